"""`make test-all`: `make test` on each supported CPython of this machine, each in a virtual environment of its own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def main() -> int:
    found = {version: python for version in VERSIONS if (python := find(version))}
    results = {version: run(version, python) for version, python in found.items()}
    print()
    for version in VERSIONS:
        print(f"Python {version}: {results.get(version, 'not on this machine')}")
    return 0 if results and set(results.values()) == {"passed"} else 1


def run(version: str, python: str) -> str:
    print(f"\n== Python {version}: {python}", flush=True)
    command = [
        os.environ.get("MAKE", "make"),
        "--no-print-directory",
        "test",
        f"PYTHON={python}",
        f"VENV=.venv-{version}",
    ]
    return "passed" if subprocess.run(command).returncode == 0 else "FAILED"


def find(version: str) -> str | None:
    return next((str(path) for path in candidates(version) if is_version(path, version)), None)


def candidates(version: str) -> Iterator[Path]:
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield Path(on_path)
    root = pyenv_root()
    if root:
        # Leave out free-threaded builds ("3.13.0t") and other implementations. The newest patch release comes first.
        builds = [path for path in (root / "versions").glob(f"{version}.*") if re.fullmatch(r"[\d.]+", path.name)]
        for build in sorted(builds, key=lambda path: int(path.name.rpartition(".")[2]), reverse=True):
            yield build / "bin" / f"python{version}"


def pyenv_root() -> Path | None:
    if "PYENV_ROOT" in os.environ:
        return Path(os.environ["PYENV_ROOT"])
    if shutil.which("pyenv"):
        return Path(subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout.strip())
    return None


def is_version(python: Path, version: str) -> bool:
    """Whether this program is CPython of this version. The program itself is asked: pyenv's shims are on PATH even for
    versions that they refuse to run."""
    question = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-c", question], capture_output=True, text=True)
    except OSError:
        return False
    return answer.stdout.split() == ["cpython", version]


if __name__ == "__main__":
    sys.exit(main())
