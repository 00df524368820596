"""Follow a page of the documentation, as a reader would: python -m tests.support.page_runner PAGE DIRECTORY

tests/site/docs/test_pages.py starts this program with `unshare`, in namespaces of its own: the commands of the page see
their usual paths and ports (/run, /srv, /etc/nginx, port 80), and nothing of them is this machine's. The end of this
program ends all processes of the page.

Rules
* What a reader would install is installed already. STAND_INS takes the place of pip, sudo and systemctl. That systemctl
  reads the unit that the page has written, and starts its ExecStart as its user (stand_in_systemctl.py).
* The programs in the page are real: wsgid, wsgidctl, nginx, curl, bash.
"""

import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from tests.support.page_blocks import RUNNING, Block, blocks

PATIENCE_S = 60.0
READY = re.compile(r"worker \d+ .* is ready")
TMPFS = ("/run", "/srv", "/var/log", "/var/lib/nginx", "/var/lib/logrotate", "/etc/systemd/system", "/etc/logrotate.d")

PYTHON = """#!/bin/bash
# python3 -m venv DIR: an environment with the programs that a reader would install into it
if [[ "$1 $2" == "-m venv" ]]; then
    mkdir -p "${@: -1}/bin" && cp @BIN@/* "${@: -1}/bin/" && echo : > "${@: -1}/bin/activate"
else
    exec @PYTHON@ "$@"
fi
"""
PIP = """#!@PYTHON@
# pip install NAME...: whether this environment has what the page installs
import re, sys
from importlib.metadata import distribution
for name in [word for word in sys.argv[2:] if not word.startswith(("-", "/")) and not word.endswith((".txt", "."))]:
    distribution(re.split(r"[<>=~[]", name)[0])
"""
SUDO = """#!/bin/bash
exec "$@"
"""
SYSTEMCTL = """#!/bin/bash
exec @PYTHON@ @SUPPORT@/stand_in_systemctl.py "$@"
"""
JOURNALCTL = """#!/bin/bash
cat /run/*.journal
"""
STAND_INS = {"python3": PYTHON, "pip": PIP, "sudo": SUDO, "systemctl": SYSTEMCTL, "journalctl": JOURNALCTL}
PROGRAMS = ("wsgid", "wsgidctl", "flask", "django-admin")


class PageError(Exception):
    """A block has not done what the page says."""


class Page:
    """A page that is followed, block by block, in a directory."""

    def __init__(self, path: Path, directory: Path) -> None:
        self._path = path
        self._directory = directory
        self._printed = ""  # by the last script
        self._servers: list[tuple[subprocess.Popen[str], threading.Thread]] = []
        self._environ = {
            "PATH": f"{directory}/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def follow(self) -> None:
        for block in blocks(self._path):
            if block.kind in RUNNING:
                print(f"--- {self._path.name}:{block.line}: {block.kind} {block.argument}", flush=True)
                getattr(self, f"_{block.kind}")(block)
        while self._servers:
            self._end(signal.SIGTERM)

    def _file(self, block: Block) -> None:
        path = self._directory / block.argument
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)

    def _run(self, block: Block) -> None:
        if self._bash(block):
            raise PageError(f"line {block.line} of {self._path.name} has failed")

    def _fails(self, block: Block) -> None:
        if not self._bash(block):
            raise PageError(f"line {block.line} of {self._path.name} has not failed")

    def _bash(self, block: Block) -> int:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", re.sub(r"(?m)^\$ ", "", block.text)],
            cwd=self._directory,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        self._printed = done.stdout
        print(done.stdout, flush=True)
        return done.returncode

    def _start(self, block: Block) -> None:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {block.text.split('#')[0]}"],
            cwd=self._directory,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ready = threading.Event()
        workers = re.search(r"--workers (\d+)", block.text)
        reader = threading.Thread(target=_read, args=(server, int(workers[1]) if workers else 1, ready))
        reader.start()
        self._servers.append((server, reader))
        if not ready.wait(PATIENCE_S) or server.poll() is not None:
            raise PageError(f"the server of line {block.line} does not become ready")

    def _stop(self, _block: Block) -> None:
        self._end(signal.SIGINT)

    def _end(self, signo: signal.Signals) -> None:
        server, reader = self._servers.pop()
        server.send_signal(signo)
        if code := server.wait(PATIENCE_S):
            raise PageError(f"a server ends with {code}")
        reader.join()

    def _output(self, block: Block) -> None:
        lines = block.text.strip("\n").splitlines()
        pattern = "".join(
            "(?:.*\n)*?" if line == "…" else re.escape(line.rstrip()).replace("…", ".*") + "\n" for line in lines
        )
        printed = "".join(f"{line.rstrip()}\n" for line in self._printed.splitlines())
        if not re.search(f"(?m)^{pattern}", printed):
            raise PageError(f"line {block.line} of {self._path.name} is not what was printed:\n{block.text}")


def _read(server: subprocess.Popen[str], workers: int, ready: threading.Event) -> None:
    """Show the log of a server, and say when so many workers are ready, or when the server has ended."""
    assert server.stdout
    for line in server.stdout:
        print(f"    | {line}", end="", flush=True)
        workers -= bool(READY.search(line))
        if workers <= 0:
            ready.set()
    ready.set()


# --- the namespaces ---


def prepare(directory: Path) -> None:
    """Make this mount and network namespace a machine of its own, with the stand-ins on its PATH."""
    loopback_up()
    nginx = directory / ".nginx"
    shutil.copytree("/etc/nginx", nginx, symlinks=True)
    for folder in ("conf.d", "sites-enabled"):
        shutil.rmtree(nginx / folder, ignore_errors=True)
        (nginx / folder).mkdir()
    subprocess.run(["mount", "--bind", str(nginx), "/etc/nginx"], check=True)
    for place in TMPFS:
        if Path(place).is_dir():
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", place], check=True)
    Path("/var/log/nginx").mkdir()
    programs = directory / ".bin"
    programs.mkdir()
    for name, text in STAND_INS.items():
        _write_program(programs / name, _filled(text, programs))
    for name in PROGRAMS:
        program = Path(sys.executable).with_name(name)
        if program.exists():
            _write_program(programs / name, f'#!/bin/bash\nexec {program} "$@"\n')
    _write_program(programs / "python", _filled(PYTHON, programs))


def _filled(text: str, programs: Path) -> str:
    names = {"@PYTHON@": sys.executable, "@BIN@": str(programs), "@SUPPORT@": str(Path(__file__).parent)}
    for name, value in names.items():
        text = text.replace(name, value)
    return text


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def loopback_up() -> None:
    """What `ip link set lo up` does: netdevice(7)."""
    siocgifflags, siocsifflags, iff_up = 0x8913, 0x8914, 1
    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, siocgifflags, request))[1]
        fcntl.ioctl(any_socket, siocsifflags, struct.pack("16sh14x", b"lo", flags | iff_up))


def main() -> int:
    page, directory = Path(sys.argv[1]), Path(sys.argv[2])
    prepare(directory)
    os.umask(0o022)
    try:
        Page(page, directory).follow()
    except PageError as error:
        print(error, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # this is process 1 of the namespace: its end ends all others
