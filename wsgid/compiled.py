"""The two forms of the hot path: compiled by Cython, and pure Python. Both behave the same.

Python imports an extension module where one lies beside the .py file: the compiled form.  With WSGID_PURE=1 in the
environment, the .py files of this package are imported instead.  setup.py describes the build.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader


def hot() -> list[str]:
    """Return the names of the hot path's modules: those with a .pyx (second source) or a .pxd (types for Cython)."""
    from pathlib import Path  # imported here, because a process that serves does not need it

    package = Path(__file__).parent
    sources = [*package.rglob("*.pyx"), *package.rglob("*.pxd")]
    return sorted({".".join([__package__, *path.relative_to(package).with_suffix("").parts]) for path in sources})


class _SourceOnly:
    """Finds the .py files of this package, and no extension modules."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        if not name.startswith("wsgid."):
            return None
        finders = (FileFinder(entry, (SourceFileLoader, SOURCE_SUFFIXES)) for entry in path or ())
        return next((spec for finder in finders if (spec := finder.find_spec(name))), None)


def choose() -> None:
    """Follow WSGID_PURE. Must be called before any other module of the package is imported."""
    if os.environ.get("WSGID_PURE", "0") not in ("", "0"):
        sys.meta_path.insert(0, _SourceOnly)  # the class itself is the finder; its method is static


def pure() -> list[str]:
    """Return the hot path's modules that run as pure Python; empty if all of them are compiled."""
    specs = ((name, importlib.util.find_spec(name)) for name in hot())
    return [name for name, spec in specs if not spec or not str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES))]


def described() -> str:
    """Return the form in use, for `wsgid --version`."""
    interpreted = pure()
    if not interpreted:
        return "compiled"
    return "pure Python" if len(interpreted) == len(hot()) else f"compiled, but for {', '.join(interpreted)}"
