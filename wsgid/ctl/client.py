"""The other end of admin/commands.py: find a server's control socket, ask, get the answer.

Rules
* Nothing is guessed: where several servers could be meant, they are named, and the operator chooses.
* Whatever goes wrong is a CtlError: one sentence.
"""

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import psutil

from wsgid.errors import WsgidError

SUFFIX = ".ctl"  # of the control sockets that a server makes by itself
PATIENCE_S = 10.0
_BLOCK_BYTES = 64 * 1024


class CtlError(WsgidError):
    """wsgidctl cannot do what it was asked to."""


class Server:
    """A running server.

    Args:
        path: its control socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, command: str, patience_s: float = PATIENCE_S, **arguments: Any) -> dict[str, Any]:
        """One question, and its answer.

        Args:
            command: of admin.commands.COMMANDS.
            patience_s: how long the answer may take.

        Raises:
            CtlError: nobody is there, no answer came, or the server refuses.
        """
        request = json.dumps({**arguments, "command": command}).encode() + b"\n"
        answer = self._exchange(request, patience_s)
        if not answer:
            raise CtlError(f"the server at {self.path} did not answer: look into its log")
        said: dict[str, Any] = json.loads(answer)
        if not said.pop("ok"):
            raise CtlError(said["error"])
        return said

    def _exchange(self, request: bytes, patience_s: float) -> bytes:
        blocks = []
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patience_s)
            try:
                connection.connect(os.fspath(self.path))
                connection.sendall(request)
                while block := connection.recv(_BLOCK_BYTES):
                    blocks.append(block)
            except TimeoutError:
                raise CtlError(f"no answer came from {self.path} within {patience_s:g} s") from None
            except PermissionError:
                raise CtlError(f"{self.path} belongs to somebody else: be that user, or root") from None
            except (FileNotFoundError, ConnectionRefusedError):
                raise CtlError(f"no server listens on {self.path}: is it running?") from None
            except OSError as error:
                raise CtlError(f"{self.path} cannot be asked: {error}") from error
        return b"".join(blocks)


def find(control: str = "", pidfile: str = "") -> Server:
    """The server that is meant.

    Args:
        control: its control socket; empty to look for it.
        pidfile: a file with its pid; empty to look into the working directory.

    Raises:
        CtlError: there is none, or more than one.
    """
    if control:
        return Server(Path(control))
    if pidfile:
        return Server(_of_process(_pid(Path(pidfile))))
    return Server(_only(_sockets_in(Path.cwd()), f"in {Path.cwd()}"))


def _pid(pidfile: Path) -> int:
    try:
        return int(pidfile.read_text())
    except (OSError, ValueError) as error:
        raise CtlError(f"{pidfile} has no pid: {error}") from error


def _of_process(pid: int) -> Path:
    """The control socket on which a process listens."""
    try:
        held = {Path(str(one.laddr)) for one in psutil.Process(pid).net_connections("unix") if one.laddr}
    except psutil.Error as error:
        raise CtlError(f"process {pid} cannot be looked at: {error}") from error
    return _only(sorted(path for path in held if path.suffix == SUFFIX), f"of process {pid}")


def _sockets_in(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if stat.S_ISSOCK(path.lstat().st_mode))


def _only(found: list[Path], where: str) -> Path:
    if not found:
        raise CtlError(f"there is no control socket {where}: name it with --control PATH, or the server's --pidfile")
    if len(found) > 1:
        raise CtlError(f"there are several control sockets {where}: name one of {', '.join(map(str, found))} "
                       "with --control")
    return found[0]
