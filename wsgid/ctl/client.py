"""The client of admin/commands.py: find a server's control socket, send a request, receive the answer.

Rules
* There is no guessing: if several servers are possible, the error names them, and the operator chooses.
* Every failure is a CtlError with one sentence.
* All workers are asked at the same time. A worker that does not answer delays no other.
* The other end may be hostile: another user can put a socket in the place of a server's, and an application can answer
  for its worker.  The kernel tells who listens (SO_PEERCRED), and answers have a size limit and a deadline.
"""

import json
import os
import pwd
import socket
import stat
import struct
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from wsgid.errors import WsgidError

SUFFIX = ".ctl"  # of control sockets that a server creates by default
PATIENCE_S = 10.0
WORKER_PATIENCE_S = 3.0
_PROBE_S = 1.0
_AT_ONCE = 8  # how many workers are asked at the same time; the master holds 16 connections
_BLOCK_BYTES = 64 * 1024
ANSWER_MAX_BYTES = 64 << 20  # ten times the largest honest answer, which shows 10,000 requests in flight


class CtlError(WsgidError):
    """wsgidctl cannot do what it was asked to do."""


class NoAnswer(CtlError):
    """There is a server, but it does not answer."""


class NobodyThere(CtlError):
    """No server listens."""


class Server:
    """A running server.

    Args:
        path: of its control socket.
        users: numbers of the users who may listen there; empty for any user.
    """

    def __init__(self, path: Path, users: Collection[int] = ()) -> None:
        self.path = path
        self._users = users or {0, os.geteuid()}

    def ask(self, command: str, patience_s: float = PATIENCE_S, **arguments: Any) -> dict[str, Any]:
        """Send one request, and return the answer.

        Args:
            command: a name in admin.commands.COMMANDS.
            patience_s: how long the answer may take.
            arguments: of the command.

        Raises:
            CtlError: no server listens (NobodyThere), no answer came (NoAnswer), or the server refuses.
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

    def ask_workers(
        self, command: str, slots: Sequence[int], patience_s: float = WORKER_PATIENCE_S, **arguments: Any
    ) -> dict[int, dict[str, Any] | CtlError]:
        """Ask several workers the same question. Returns for each worker its answer, or why there is none."""

        def ask_worker(slot: int) -> dict[str, Any] | CtlError:
            try:
                return self.ask(command, patience_s, worker=slot, **arguments)
            except CtlError as error:
                return error

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(slots, pool.map(ask_worker, slots)))

    def pid(self) -> int:
        """Return the master's pid, as the kernel knows it; 0 in another pid namespace (unix(7), SO_PEERCRED)."""
        with _connected(self.path, PATIENCE_S) as connection:
            self._check_user(connection)
            return _peer(connection).pid

    def _check_user(self, connection: socket.socket) -> None:
        """Check who listens.

        Raises:
            CtlError: the server belongs to another user.
        """
        uid = _peer(connection).uid
        if uid not in self._users:
            raise CtlError(
                f"the server at {self.path} runs as user {_user_name(uid)}: be that user, or say --user "
                f"{_user_name(uid)} if it is the right one"
            )

    def _exchange(self, request: bytes, patience_s: float) -> bytes:
        answer = bytearray()
        deadline_s = time.monotonic() + patience_s
        with _connected(self.path, patience_s) as connection:
            self._check_user(connection)
            try:
                connection.sendall(request)
                while block := connection.recv(_BLOCK_BYTES):
                    answer += block
                    if len(answer) > ANSWER_MAX_BYTES:
                        raise CtlError(
                            f"the server at {self.path} answers with more than {ANSWER_MAX_BYTES >> 20} "
                            "MiB: ask for less at once (--limit, --worker)"
                        )
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0:
                        raise TimeoutError
                    connection.settimeout(left_s)
            except TimeoutError:
                raise NoAnswer(
                    f"no answer came from {self.path} within {patience_s:g} s: the server is stopped or overloaded"
                ) from None
            except ConnectionError:
                raise NoAnswer(
                    f"the server at {self.path} cut the connection: it has just ended, or is asked too much at once"
                ) from None
        return bytes(answer)


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


class _Credentials(NamedTuple):
    """The process that listens, as the kernel knows it (unix(7), struct ucred). The pid is 0 in another pid
    namespace."""

    pid: int
    uid: int
    gid: int


def _peer(connection: socket.socket) -> _Credentials:
    form = struct.Struct("iII")
    return _Credentials(*form.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size)))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# --- which server is meant ---


def find(control: str = "", pidfile: str = "", user: str = "") -> Server:
    """Find the server that is meant.

    Args:
        control: path of its control socket; empty to look for the socket.
        pidfile: a file with its pid; empty to look in the working directory.
        user: the user who runs it, by name or number; empty for root or the present user.

    Raises:
        CtlError: there is no server, more than one server, or no such user.
    """
    users = {_user_number(user)} if user else ()
    if control:
        return Server(Path(control), users)
    if pidfile:
        return Server(_of_process(_pid(Path(pidfile)), pidfile), users)
    return Server(_in_directory(Path.cwd()), users)


def _user_number(user: str) -> int:
    try:
        return int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise CtlError(f"there is no user {user!r}: name the one who runs the server") from None


def _pid(pidfile: Path) -> int:
    try:
        pid = int(pidfile.read_bytes())
    except OSError as error:
        raise CtlError(f"{pidfile} cannot be read: {error.strerror}") from None
    except ValueError:
        raise CtlError(f"{pidfile} has no pid in it") from None
    if not 0 < pid < 1 << 31:
        raise CtlError(f"{pidfile} has the number {pid} in it, which is no pid")
    return pid


def _of_process(pid: int, pidfile: str) -> Path:
    """Return the control socket on which a process listens."""
    try:
        process = psutil.Process(pid)
        name = process.name()
        held = {Path(str(connection.laddr)) for connection in process.net_connections("unix") if connection.laddr}
    except psutil.NoSuchProcess:
        raise NobodyThere(f"there is no process {pid}, which {pidfile} names: the server is not running") from None
    except psutil.AccessDenied:
        raise CtlError(f"process {pid}, of {pidfile}, belongs to somebody else: be that user, or root") from None
    found = sorted(path for path in held if path.suffix == SUFFIX)
    if len(found) == 1:
        return found[0]
    if found:
        raise CtlError(f"process {pid} listens on several: name one of {', '.join(map(str, found))} with --control")
    raise CtlError(
        f"process {pid} ({name}), which {pidfile} names, listens on no *{SUFFIX}: name its control socket "
        "with --control PATH"
    )


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
    raise NobodyThere(
        f"there is no control socket in {directory}: name it with --control PATH, or the server's --pidfile PATH"
    )


def _sockets_in(directory: Path) -> list[Path]:
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # a server has just removed its socket
                    if entry.name.endswith(SUFFIX) and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                        found.append(directory / entry.name)
    except OSError as error:
        raise CtlError(f"{directory} cannot be read: {error.strerror}") from None
    return sorted(found)


def _listener_of(path: Path) -> int | None:
    """Return the pid of the process that listens there; 0 if it is unknown, None if no process listens."""
    try:
        with _connected(path, _PROBE_S) as connection:
            return _peer(connection).pid
    except NobodyThere:
        return None
    except CtlError:  # a process listens; the request itself will report the error better
        return 0
