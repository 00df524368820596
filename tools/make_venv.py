"""python3 -m tools.make_venv DIRECTORY EXTRA: a virtual environment with wsgid, editable, and one of its extras.

With --tools behind EXTRA, the environment gets the packages of the extra alone: these are programs that do not import
wsgid, and the hot path need not be compiled for them.

This program runs under any python3 of the machine, so it uses nothing newer than Python 3.8.
"""

import configparser
import importlib.util
import subprocess
import sys
from pathlib import Path

from tools import apt

MINIMUM = (3, 11)
MEASURED = "bench"  # the extra of the environment in which starts are measured


def main() -> int:
    directory, extra = Path(sys.argv[1]), sys.argv[2]
    version = "{}.{}".format(*sys.version_info)
    if sys.version_info < MINIMUM:
        print(
            f"wsgid needs Python 3.11 or newer, and {sys.executable} is {version}: "
            "name another one, for example `make PYTHON=python3.12 ...`",
            file=sys.stderr,
        )
        return 1
    try:
        # In Debian and Ubuntu, the module that puts pip into an environment is in a package of its own.
        if importlib.util.find_spec("ensurepip") is None:
            apt.install(f"python{version}-venv", "Python's venv module")
    except apt.MissingPackage as missing:
        print(missing, file=sys.stderr)
        return 1
    python = directory / "bin" / "python"
    # A working environment is kept. Anything else at this path, such as an incomplete environment, is made again.
    if not has_pip(python):
        print(f"making the virtual environment {directory}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
    wanted = packages(extra) if "--tools" in sys.argv else ["--editable", f".[{extra}]"]
    print(
        f"installing {' '.join(wanted).replace('--editable .', 'wsgid')} into {directory}", file=sys.stderr, flush=True
    )
    if extra == MEASURED:
        # A plain entry of sys.path. Otherwise each start of Python imports a finder first: 8 ms, and no installed
        # package has one (setuptools, "Development Mode").
        wanted = ["--config-settings", "editable_mode=compat", *wanted]
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    return subprocess.run([*pip, *wanted]).returncode


def packages(extra: str) -> "list[str]":
    """Return the packages of an extra in setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read("setup.cfg")
    lines = setup["options.extras_require"][extra].splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]


def has_pip(python: Path) -> bool:
    try:
        return (
            subprocess.run(
                [str(python), "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ).returncode
            == 0
        )
    except OSError:
        return False


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
