"""Modules that were imported before gevent could patch them: sitecustomize and .pth files run before every program.

    python starts -> site: .pth files, sitecustomize, usercustomize -> wsgid -> patch_all() -> the application

Rules
* sys.modules keeps the order of imports (CPython), and `wsgid` comes before gevent. What precedes it was too early.
* Only imports that matter are named: those of modules that gevent patches, with the packages that have imported them.
  Such a package may hold unpatched locks, sockets and TLS contexts.
* coverage is not named: it works with gevent, and its .pth file is in every environment that has it.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from wsgid import log

_PATCHED = frozenset(
    {"asyncio", "concurrent", "queue", "select", "selectors", "socket", "ssl", "subprocess", "threading"}
)
_HARMLESS = frozenset({"coverage"})
_NAMED_MAX = 8


def warn() -> None:
    """Name imports that came too early."""
    packages = too_early(sys.modules)
    if packages:
        more = f" and {len(packages) - _NAMED_MAX} more" if len(packages) > _NAMED_MAX else ""
        log.warning(
            "%s were imported before gevent could patch them, by %s: locks, sockets and TLS may block a whole worker "
            "or fail; import what needs them in the application instead (docs/gevent.md)",
            ", ".join(packages[:_NAMED_MAX]) + more,
            _importer(),
        )


def too_early(modules: Mapping[str, Any]) -> list[str]:
    """Return the packages that were imported too early and matter; empty if all is well.

    Args:
        modules: sys.modules.
    """
    early = _before_wsgid(modules)
    patched = sorted(early & _PATCHED)
    others = sorted(name for name in early if _is_foreign(name))
    return others + patched if patched and (others or not early & _HARMLESS) else []


def _before_wsgid(modules: Iterable[str]) -> set[str]:
    """Return the first parts of the names."""
    found = set()
    for name in modules:
        if name == "wsgid" or name.startswith("wsgid."):
            break
        found.add(name.partition(".")[0])
    return found


def _is_foreign(name: str) -> bool:
    known = sys.stdlib_module_names | _HARMLESS | {"sitecustomize", "usercustomize", "__main__"}
    return name not in known and not name.startswith("_")


def _importer() -> str:
    for name in ("sitecustomize", "usercustomize"):
        path = getattr(sys.modules.get(name), "__file__", None)
        if path:
            return os.path.abspath(str(path))
    return "a .pth file of site-packages"
