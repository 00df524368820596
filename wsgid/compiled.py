"""The two forms of the hot path: compiled by Cython, and pure Python. Both behave the same.

Python imports an extension module where one lies beside the .py file: the compiled form.  With WSGID_PURE=1 in the
environment, the .py files of this package are imported instead.  setup.py describes the build.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader


def hot() -> list[str]:
    """Return the names of the hot path's modules: those with a .pyx (second source) or a .pxd (types for Cython)."""
    return sorted(_places())


def _places() -> dict[str, str]:
    """Return the path of each of these modules, without a suffix, by its name."""
    package = os.path.dirname(__file__)
    found = {}
    for directory, _, files in os.walk(package):
        for file in files:
            stem, suffix = os.path.splitext(os.path.join(directory, file))
            if suffix in (".pyx", ".pxd"):
                found[".".join([__package__, *os.path.relpath(stem, package).split(os.sep)])] = stem
    return found


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
    if _SourceOnly in sys.meta_path:
        return hot()
    return [name for name, stem in sorted(_places().items()) if not _has_extension(stem)]


def _has_extension(stem: str) -> bool:
    """Whether an extension module lies beside the source. Python prefers the extension module (FileFinder)."""
    return any(os.path.exists(stem + suffix) for suffix in EXTENSION_SUFFIXES)


def described() -> str:
    """Return the form in use, for `wsgid --version`. Reads the package's directories."""
    interpreted = pure()
    if not interpreted:
        return "compiled"
    return "pure Python" if len(interpreted) == len(hot()) else f"compiled, but for {', '.join(interpreted)}"
