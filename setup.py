"""The compiled form of the hot path; everything else about the package is in setup.cfg.

A module of wsgid/ with a .pyx beside it has a second source for Cython, and a .pxd if others call its C functions; one
with a .pxd alone is compiled as it stands, with the types that are said there.  Both are optional: without a compiler,
the pure Python form is installed.

In a checkout (`pip install --editable`), only modules are compiled whose C source is newer than their compiled form.
pip builds in a new directory each time, and would compile all of them for each changed line.
"""

import os
import shutil
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

OWN = set(Path("wsgid").rglob("*.pyx"))
HOT = [*OWN, *(path.with_suffix(".py") for path in Path("wsgid").rglob("*.pxd") if path.with_suffix(".pyx") not in OWN)]

extensions = cythonize(
    [Extension(".".join(path.with_suffix("").parts), [str(path)]) for path in sorted(HOT)],
    build_dir="build",
    compiler_directives={"language_level": "3", "annotation_typing": False, "binding": False},
)
for extension in extensions:
    extension.optional = True  # now: cythonize makes extensions of its own
    # Python's own flags ask for debug information, which is three quarters of a wheel, and for -O3, whose larger frames
    # are memory for each request that waits. CFLAGS can ask for both again.
    extension.extra_compile_args = [] if "CFLAGS" in os.environ else ["-g0", "-O2"]


class BuildChanged(build_ext):
    """Compiles on all processors, and takes compiled modules that are up to date from the checkout."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or len(os.sched_getaffinity(0))

    def build_extension(self, ext: Extension) -> None:
        built = Path(self.get_ext_filename(ext.name))
        newest_ns = max(Path(source).stat().st_mtime_ns for source in ext.sources)
        if self.editable_mode and built.exists() and built.stat().st_mtime_ns > newest_ns:
            to = Path(self.get_ext_fullpath(ext.name))
            to.parent.mkdir(parents=True, exist_ok=True)
            if to.absolute() != built.absolute():
                shutil.copy(built, to)
        else:
            super().build_extension(ext)


setup(ext_modules=extensions, cmdclass={"build_ext": BuildChanged})
