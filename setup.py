"""The compiled form of the hot path; everything else about the package is in setup.cfg.

A module of wsgid/ with a .pyx beside it has a second source for Cython; one with a .pxd is compiled as it stands, with
the types that are said there.  Both are optional: without a compiler, the pure Python form is installed.
"""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

HOT = [*Path("wsgid").rglob("*.pyx"), *(path.with_suffix(".py") for path in Path("wsgid").rglob("*.pxd"))]

extensions = cythonize(
    [Extension(".".join(path.with_suffix("").parts), [str(path)]) for path in sorted(HOT)],
    build_dir="build",
    compiler_directives={"language_level": "3", "annotation_typing": False, "binding": False},
)
for extension in extensions:
    extension.optional = True  # now: cythonize makes extensions of its own

setup(ext_modules=extensions)
