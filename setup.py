"""The compiled form of the hot path; everything else about the package is in setup.cfg.

A module of wsgid/ with a .pyx beside it has a second source for Cython, and a .pxd if others call its C functions; one
with a .pxd alone is compiled as it stands, with the types that are said there.  Both are optional: without a compiler,
the pure Python form is installed.
"""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

OWN = set(Path("wsgid").rglob("*.pyx"))
HOT = [*OWN, *(path.with_suffix(".py") for path in Path("wsgid").rglob("*.pxd") if path.with_suffix(".pyx") not in OWN)]

extensions = cythonize(
    [Extension(".".join(path.with_suffix("").parts), [str(path)]) for path in sorted(HOT)],
    build_dir="build",
    compiler_directives={"language_level": "3", "annotation_typing": False, "binding": False},
)
for extension in extensions:
    extension.optional = True  # now: cythonize makes extensions of its own

setup(ext_modules=extensions)
