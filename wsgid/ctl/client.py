"""The other end of admin/commands.py: find a server's control socket, ask, get the answer.

Rules
* Nothing is guessed: where several servers could be meant, they are named, and the operator chooses.
* Whatever goes wrong is a CtlError: one sentence.
* Workers are asked all at once, and one that does not answer keeps back no other.
"""

import json
import os
import socket
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from wsgid.errors import WsgidError

SUFFIX = ".ctl"  # of the control sockets that a server makes by itself
PATIENCE_S = 10.0
WORKER_PATIENCE_S = 3.0
_PROBE_S = 1.0
_AT_ONCE = 8  # workers that are asked at the same time; the master holds 16 connections
_BLOCK_BYTES = 64 * 1024


class CtlError(WsgidError):
    """wsgidctl cannot do what it was asked to."""


class NoAnswer(CtlError):
    """Somebody is there, and says nothing."""


class NobodyThere(CtlError):
    """No server listens."""


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
            CtlError: nobody is there (NobodyThere), no answer came (NoAnswer), or the server refuses.
        """
        request = json.dumps({**arguments, "command": command}).encode() + b"\n"
        answer = self._exchange(request, patience_s)
        if not answer:
            raise NoAnswer(f"the server at {self.path} did not answer: look into its log, or ask for less at once")
        try:
            said: dict[str, Any] = json.loads(answer)
            accepted = said.pop("ok")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise CtlError(f"{self.path} is no control socket of wsgid's") from None
        if not accepted:
            raise CtlError(str(said.get("error")))
        return said

    def ask_workers(self, command: str, slots: Sequence[int], patience_s: float = WORKER_PATIENCE_S,
                    **arguments: Any) -> dict[int, dict[str, Any] | CtlError]:
        """The same question to several workers, and what each said, or why it said nothing."""

        def one(slot: int) -> dict[str, Any] | CtlError:
            try:
                return self.ask(command, patience_s, worker=slot, **arguments)
            except CtlError as error:
                return error

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(slots, pool.map(one, slots)))

    def pid(self) -> int:
        """The master's, as the kernel knows it; 0 if it lives in another pid namespace (unix(7), SO_PEERCRED)."""
        with _connected(self.path, PATIENCE_S) as connection:
            return _peer_pid(connection)

    def _exchange(self, request: bytes, patience_s: float) -> bytes:
        blocks = []
        with _connected(self.path, patience_s) as connection:
            try:
                connection.sendall(request)
                while block := connection.recv(_BLOCK_BYTES):
                    blocks.append(block)
            except TimeoutError:
                raise NoAnswer(f"no answer came from {self.path} within {patience_s:g} s: the server is stopped or "
                               "overloaded") from None
            except ConnectionError:
                raise NoAnswer(f"the server at {self.path} cut the connection: it has just ended, or is asked too much "
                               "at once") from None
        return b"".join(blocks)


def _connected(path: Path, patience_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(patience_s)
    try:
        connection.connect(os.fspath(path))
        return connection
    except OSError as error:
        connection.close()
        raise _failure(path, error) from None


def _failure(path: Path, error: OSError) -> CtlError:
    match error:
        case PermissionError():
            return CtlError(f"{path} belongs to somebody else: be that user, or root")
        case FileNotFoundError():
            return NobodyThere(f"there is no {path}: is the server running?")
        case ConnectionRefusedError() if not path.is_socket():
            return CtlError(f"{path} is no socket")
        case ConnectionRefusedError():
            return NobodyThere(f"no server listens on {path}: it was left behind by one that is gone")
        case TimeoutError() | BlockingIOError():
            return NoAnswer(f"the server at {path} takes no connection: it is stopped or overloaded")
        case _:
            return CtlError(f"{path} cannot be asked: {error.strerror or error}")


def _peer_pid(connection: socket.socket) -> int:
    return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), "little")


# --- which server is meant ---


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
        return Server(_of_process(_pid(Path(pidfile)), pidfile))
    return Server(_in_directory(Path.cwd()))


def _pid(pidfile: Path) -> int:
    try:
        pid = int(pidfile.read_bytes())
    except OSError as error:
        raise CtlError(f"{pidfile} cannot be read: {error.strerror}") from None
    except ValueError:
        raise CtlError(f"{pidfile} has no pid in it") from None
    if not 0 < pid < 1 << 31:
        raise CtlError(f"{pidfile} has {pid} in it, which is no pid")
    return pid


def _of_process(pid: int, pidfile: str) -> Path:
    """The control socket on which a process listens."""
    try:
        process = psutil.Process(pid)
        name = process.name()
        held = {Path(str(one.laddr)) for one in process.net_connections("unix") if one.laddr}
    except psutil.NoSuchProcess:
        raise NobodyThere(f"there is no process {pid}, which {pidfile} names: the server is not running") from None
    except psutil.AccessDenied:
        raise CtlError(f"process {pid}, of {pidfile}, belongs to somebody else: be that user, or root") from None
    found = sorted(path for path in held if path.suffix == SUFFIX)
    if len(found) == 1:
        return found[0]
    if found:
        raise CtlError(f"process {pid} listens on several: name one of {', '.join(map(str, found))} with --control")
    raise CtlError(f"process {pid} ({name}), which {pidfile} names, listens on no *{SUFFIX}: name its control socket "
                   "with --control PATH")


def _in_directory(directory: Path) -> Path:
    paths = _sockets_in(directory)
    pids = {path: pid for path in paths if (pid := _listener_of(path)) is not None}
    if len(pids) == 1:
        return next(iter(pids))
    if pids:
        named = ", ".join(f"{path.name} (process {pid or 'unknown'})" for path, pid in pids.items())
        raise CtlError(f"there are several servers in {directory}: {named}; name one with --control")
    if paths:
        raise NobodyThere(f"no server is running in {directory}: nobody listens on {', '.join(p.name for p in paths)}")
    raise NobodyThere(f"there is no control socket in {directory}: name it with --control PATH, or the server's "
                      "--pidfile PATH")


def _sockets_in(directory: Path) -> list[Path]:
    found = []
    try:
        for path in sorted(directory.glob(f"*{SUFFIX}")):
            if stat.S_ISSOCK(path.lstat().st_mode):
                found.append(path)
    except OSError as error:
        raise CtlError(f"{directory} cannot be read: {error.strerror}") from None
    return found


def _listener_of(path: Path) -> int | None:
    """Who listens there: a pid, 0 if that cannot be known, None if nobody does."""
    try:
        with _connected(path, _PROBE_S) as connection:
            return _peer_pid(connection)
    except NobodyThere:
        return None
    except CtlError:  # somebody does, and takes no connection, or none of ours: asking will say it better
        return 0
