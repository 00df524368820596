"""Compile wsgid with the address sanitizer. The compiled form in the checkout stays unchanged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

FLAGS = "-fsanitize=address -fno-omit-frame-pointer -g -O1"
SOURCES = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def make(directory: Path) -> Path:
    """Compile a copy of the sources in this directory. Returns the directory that contains the package.

    Raises:
        subprocess.CalledProcessError: the compiler has failed.
    """
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(ROOT / "wsgid", directory / "wsgid", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in SOURCES:
        shutil.copy(ROOT / name, directory)
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=directory,
        env={**os.environ, "CFLAGS": FLAGS, "LDFLAGS": "-fsanitize=address"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return directory
