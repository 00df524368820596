"""Install Debian or Ubuntu packages, or say in one sentence what has to be installed.

    python -m tools.apt PROGRAM:PACKAGE ...

This program runs under any python3 of the machine, so it uses nothing newer than Python 3.8.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Debian's maintainer scripts ask this program before they start a service; 101 means "not allowed".
POLICY = Path("/usr/sbin/policy-rc.d")
LOCK_WAIT_S = 300  # a fresh machine is often busy with its own first upgrade


class MissingPackage(Exception):
    """Something is not installed and this user cannot install it. The message says what to do."""


def ensure(program: str, package: str) -> str:
    """The path of a program. If the program is missing, its package is installed for root."""
    if not shutil.which(program):
        install(package, program)
    path = shutil.which(program)
    if path is None:
        raise MissingPackage(f"{package} was installed, but {program} is not on PATH")
    return path


def install(package: str, purpose: str) -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise MissingPackage(f"{purpose} is missing: install it (Debian, Ubuntu: sudo apt-get install {package})")
    print(f"{purpose} is missing: installing {package} with apt-get", file=sys.stderr, flush=True)
    with services_not_started():
        # a broken package source need not matter: the installation shows whether it does
        apt_get("update", check=False)
        apt_get("install", "--yes", "--no-install-recommends", package)


def apt_get(*arguments: str, check: bool = True) -> None:
    command = ["apt-get", "-qq", "-o", f"DPkg::Lock::Timeout={LOCK_WAIT_S}", *arguments]
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if check and done.returncode != 0:
        raise MissingPackage(f"`{' '.join(command)}` failed:\n{done.stdout.strip()}")


@contextmanager
def services_not_started() -> Iterator[None]:
    """Within this, apt-get must not start the service of a package. An existing policy stays in force."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


if __name__ == "__main__":
    try:
        for pair in sys.argv[1:]:
            ensure(*pair.split(":"))
    except MissingPackage as missing:
        sys.exit(str(missing))
