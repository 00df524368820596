"""SIGUSR2: the master executes itself anew, and keeps what it holds.

    old master --rehearsal: wsgid --check--> exec, same pid --> new master: adopts listeners and workers, replaces them

Rules
* The process stays the same (execve(2)): its pid, its children and its open descriptors. So a service manager notices
  nothing, and waitpid still works for workers that the old image has forked.
* The new image gets its knowledge as one JSON text in the environment, beside the descriptors that the text names.
* exec cannot be undone. So the new code first has to start once as a rehearsal.
* Every step before exec may fail, and the old image goes on. After exec the new image tries until it can start.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path

from wsgid import log
from wsgid.errors import ExitCode
from wsgid.linux.syscall_errors import close, named, soon, words
from wsgid.log import stdio
from wsgid.records import asdict, dataclass, replace
from wsgid.sockets import listen_spec
from wsgid.sockets.listen_spec import ListenSpec
from wsgid.sockets.listener import Listener
from wsgid.supervisor.backoff import backoff_s

_LAST_WORDS_S = 0.1  # how long the exec waits for the reader of standard error
_VARIABLE = "WSGID_HANDOVER"
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class HeldListener:
    """A listener that is passed to the next image."""

    fd: int
    spec: str
    address: str
    path: str  # empty if there is no file, or the file is not ours
    identity: tuple[int, int]
    spoken: ListenSpec
    reuse_port: bool


@dataclass(frozen=True, slots=True)
class HeldWorker:
    """A worker that is passed to the next image."""

    slot: int
    generation: int
    pid: int
    fd: int  # of its channel
    dump_fd: int = -1  # see ipc/stackdump.py; -1 if it has none


@dataclass(frozen=True, slots=True)
class Handover:
    """Everything that an image of the master leaves to the next image."""

    scoreboard_fd: int
    past_fd: int  # also of the scoreboard; -1 if there was none
    listeners: tuple[HeldListener, ...]
    workers: tuple[HeldWorker, ...]
    fifos: tuple[tuple[str, int], ...] = ()  # path and descriptor, so that no letter is lost meanwhile
    directory: str = ""  # the directory in which the image was started
    daemons: tuple[tuple[str, int], ...] = ()  # the commands of --attach-daemon that run, with their pids
    limits_fd: int = -1  # see limits/layout.py; -1 if the image had none
    failures: int = 0  # how many images in a row have taken this over and could not start

    def scoreboard_fds(self) -> tuple[int, int]:
        """Return the descriptors of the scoreboard."""
        return self.scoreboard_fd, self.past_fd

    def fds(self) -> list[int]:
        """Return all descriptors that the next image inherits."""
        dumps = [worker.dump_fd for worker in self.workers if worker.dump_fd >= 0]
        fifos = [fd for _, fd in self.fifos]
        more = [fd for fd in (self.past_fd, self.limits_fd) if fd >= 0]
        return [
            self.scoreboard_fd,
            *more,
            *(listener.fd for listener in self.listeners),
            *(worker.fd for worker in self.workers),
            *dumps,
            *fifos,
        ]


@dataclass(frozen=True, slots=True)
class Start:
    """How this master was started, before it has changed anything. A new image needs the same."""

    argv: tuple[str, ...]
    directory: Path
    command: str = ""  # the start script, with its directory; empty if there is none (python -m wsgid)
    command_file: str = ""  # the file that the script was at the start, with no symbolic link in its path

    @classmethod
    def now(cls) -> "Start":
        """Return how this process was started."""
        with named("getcwd", "of the start"):
            directory = Path.cwd()
        command = os.path.abspath(sys.argv[0]) if sys.orig_argv[1:2] == sys.argv[:1] else ""
        return cls(_argv(), directory, command, os.path.realpath(command) if command else "")

    def replaced_by(self) -> str:
        """Return the file that the start script is now; empty if it is the same file as at the start. A release that
        has a virtual environment of its own switches a symbolic link in the script's path."""
        if not self.command or not os.access(self.command, os.X_OK):
            return ""
        now = os.path.realpath(self.command)
        return now if now != self.command_file else ""

    def _argv_now(self) -> tuple[str, ...]:
        """Return the command line of the next image. A start script that is another file now names its own
        interpreter."""
        return (self.command, *self.argv[2:]) if self.replaced_by() else self.argv

    def rehearse(self) -> int:
        """Start the new code with the same options, and let it import the application. This server is not affected.

        Returns:
            The pid. Its exit status 0 means that the new code can start.

        Raises:
            Refused: the rehearsal could not be started.
        """
        argv = [*self._argv_now(), "--check"]
        silent = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)  # the report is dropped; errors go to the log
        with _standing_in(self.directory), named("posix_spawn", argv[0]):
            return os.posix_spawn(argv[0], argv, os.environ, file_actions=[silent])

    def execute(self, handover: Handover, variables: Mapping[str, str]) -> None:
        """Become the new image. Does not return. The caller must hold signals back (SignalPipe.hold): they would end
        the new image before it has its handlers.

        Args:
            handover: for the new image.
            variables: environment variables that only the master has.

        Raises:
            Refused: the kernel does not execute it; everything is as it was.
        """
        with _standing_in(self.directory):
            _execute(
                self._argv_now(), replace(handover, directory=os.fspath(self.directory)), {**os.environ, **variables}
            )


def _argv() -> tuple[str, ...]:
    return sys.executable, *sys.orig_argv[1:]


@contextmanager
def _standing_in(directory: Path) -> Iterator[None]:
    """Change to another directory for a moment. The previous directory may have been removed; then it has no name to
    return to.

    Raises:
        Refused: there is no such directory.
    """
    with named("open", "."):
        here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with named("chdir", os.fspath(directory)):
            os.chdir(directory)
        try:
            yield
        finally:
            os.fchdir(here)
    finally:
        close(here)


def _execute(argv: tuple[str, ...], handover: Handover, environ: Mapping[str, str]) -> None:
    """Execute the new image. Does not return.

    Raises:
        Refused: the kernel does not execute it; the descriptors are close-on-exec again.
    """
    try:
        for fd in handover.fds():
            with named("fcntl", "FD_CLOEXEC"):
                os.set_inheritable(fd, True)
        stdio.settle(_LAST_WORDS_S)
        with named("execve", argv[0]):
            os.execve(argv[0], argv, {**environ, _VARIABLE: json.dumps(asdict(handover))})
    finally:
        _keep_to_ourselves(handover)


def _keep_to_ourselves(handover: Handover) -> None:
    """Make these descriptors close-on-exec: programs that are started later must not inherit them."""
    for fd in handover.fds():
        with suppress(OSError):
            os.set_inheritable(fd, False)


def is_due(environ: Mapping[str, str]) -> bool:
    """Whether this process continues an earlier image, and has not taken over from it yet."""
    return _VARIABLE in environ


def take_over(environ: Mapping[str, str]) -> Handover | None:
    """Return what an earlier image has left; None if there was none."""
    text = environ.get(_VARIABLE)
    if text is None:
        return None
    fields = json.loads(text)
    handover = Handover(
        fields["scoreboard_fd"],
        fields.get("past_fd", -1),
        tuple(
            HeldListener(
                **{**held, "identity": tuple(held["identity"]), "spoken": listen_spec.from_dict(held["spoken"])}
            )
            for held in fields["listeners"]
        ),
        tuple(HeldWorker(**held) for held in fields["workers"]),
        tuple((path, fd) for path, fd in fields.get("fifos", ())),
        fields.get("directory", ""),
        tuple((command, pid) for command, pid in fields.get("daemons", ())),
        fields.get("limits_fd", -1),
        fields.get("failures", 0),
    )
    _keep_to_ourselves(handover)
    return handover


def hold(held: HeldListener) -> Listener:
    """Return a listener that an earlier image of this process has opened, and that is still ours.

    Args:
        held: its record.

    Raises:
        OSError: its descriptor is no socket.
    """
    return Listener(
        socket.socket(fileno=held.fd),
        held.address,
        held.spec,
        Path(held.path) if held.path else None,
        held.identity,
        held.spoken,
        held.reuse_port,
    )


def arrive(environ: MutableMapping[str, str]) -> None:
    """This image serves now. Processes that it starts must not take themselves for its successor."""
    environ.pop(_VARIABLE, None)


def try_again(environ: Mapping[str, str]) -> ExitCode:
    """Execute this process again, after a pause, until an image can start. Returns when it is told to stop.

    Called when this image could not start although its rehearsal could. The workers of the previous image serve as long
    as this process lives.

    Args:
        environ: as the previous image has left it.
    """
    handover = take_over(environ)
    assert handover is not None
    start = Start(_argv(), Path(handover.directory))
    while True:
        handover = replace(handover, failures=handover.failures + 1)
        pause_s = backoff_s(handover.failures + 1)
        log.error("wsgid could not start anew; its workers keep serving, and the next try is %s", soon(pause_s))
        if signal.sigtimedwait(_STOPS, pause_s) is not None:
            break
        try:
            start.execute(handover, environ)
        except OSError as error:
            log.error("%s", words(error))
    log.info("wsgid stops; the workers finish what is in flight")
    for held in handover.listeners:
        hold(held).unlink()
    return ExitCode.OK
