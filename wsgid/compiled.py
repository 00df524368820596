"""The two forms of the hot path: compiled by Cython, and pure Python.

Python's import takes an extension module where there is one beside the .py file: the compiled form.  WSGID_PURE=1 in
the environment turns that round for all of this package.  Both do the same; setup.py says how one is made of the other.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader


def hot() -> list[str]:
    """The modules of the hot path: those with a second source (.pyx), or with types for Cython (.pxd)."""
    from pathlib import Path  # here: a process that serves need not know

    package = Path(__file__).parent
    sources = [*package.rglob("*.pyx"), *package.rglob("*.pxd")]
    return sorted(".".join([__package__, *path.relative_to(package).with_suffix("").parts]) for path in sources)


class _SourceOnly:
    """Finds the modules of this package, and no extension modules."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        if not name.startswith("wsgid."):
            return None
        finders = (FileFinder(entry, (SourceFileLoader, SOURCE_SUFFIXES)) for entry in path or ())
        return next((spec for finder in finders if (spec := finder.find_spec(name))), None)


def choose() -> None:
    """Obey WSGID_PURE. Called before any other module of the package is imported."""
    if os.environ.get("WSGID_PURE", "0") not in ("", "0"):
        sys.meta_path.insert(0, _SourceOnly)  # a class with a finder's static method


def pure() -> list[str]:
    """The modules of the hot path that are pure Python here; empty if all are compiled."""
    specs = ((name, importlib.util.find_spec(name)) for name in hot())
    return [name for name, spec in specs if not spec or not str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES))]


def described() -> str:
    """The form in use, for `wsgid --version`."""
    interpreted = pure()
    if not interpreted:
        return "compiled"
    return "pure Python" if len(interpreted) == len(hot()) else f"compiled, but for {', '.join(interpreted)}"
