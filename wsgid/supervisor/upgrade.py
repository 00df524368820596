"""SIGUSR2: the master executes itself anew, and what it holds survives.

    old master --rehearsal: wsgid --check--> exec, same pid --> new master: adopts listeners and workers, rolls them

Rules
* The same process goes on (execve(2)): its pid, its children and its open descriptors stay, so a service manager
  notices nothing, and waitpid still works for the workers that the old image had forked.
* What the new image needs to know travels as one JSON text in the environment, beside the descriptors it speaks of.
* There is no way back after exec; so the new code first has to start once as a rehearsal.
* Until exec everything can be refused, and the old image goes on; after it, the new one tries until it can start.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from wsgid import log
from wsgid.errors import ExitCode
from wsgid.linux.syscall_errors import close, named, soon, words
from wsgid.log import stdio
from wsgid.sockets import listen_spec
from wsgid.sockets.listen_spec import ListenSpec
from wsgid.sockets.listener import Listener
from wsgid.supervisor.backoff import backoff_s

_LAST_WORDS_S = 0.1  # the exec waits so long for who reads standard error
_VARIABLE = "WSGID_HANDOVER"
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class HeldListener:
    fd: int
    spec: str
    address: str
    path: str  # empty: no file, or not ours
    identity: tuple[int, int]
    spoken: ListenSpec
    reuse_port: bool


@dataclass(frozen=True, slots=True)
class HeldWorker:
    slot: int
    generation: int
    pid: int
    fd: int  # its channel
    dump_fd: int = -1  # see stackdump.py; -1: it has none


@dataclass(frozen=True, slots=True)
class Handover:
    """All that one image of the master leaves to the next."""

    scoreboard_fd: int
    past_fd: int  # of the scoreboard, too; -1: it had none
    listeners: tuple[HeldListener, ...]
    workers: tuple[HeldWorker, ...]
    fifos: tuple[tuple[str, int], ...] = ()  # path and descriptor: what is written meanwhile is not lost
    directory: str = ""  # where the image was started
    failures: int = 0  # how often in a row this was taken over by an image that could not start

    def scoreboard_fds(self) -> tuple[int, int]:
        return self.scoreboard_fd, self.past_fd

    def fds(self) -> list[int]:
        dumps = [worker.dump_fd for worker in self.workers if worker.dump_fd >= 0]
        fifos = [fd for _, fd in self.fifos]
        past = [self.past_fd] if self.past_fd >= 0 else []
        return [
            self.scoreboard_fd,
            *past,
            *(listener.fd for listener in self.listeners),
            *(worker.fd for worker in self.workers),
            *dumps,
            *fifos,
        ]


@dataclass(frozen=True, slots=True)
class Start:
    """How this master was started, before it changed anything: what a new image has to find again."""

    argv: tuple[str, ...]
    directory: Path

    @classmethod
    def now(cls) -> "Start":
        with named("getcwd", "of the start"):
            return cls(_argv(), Path.cwd())

    def rehearse(self) -> int:
        """Start the new code with the same options and import the application, only to see whether it can: nothing of
        this server is touched. Returns the pid: status 0 is a yes.

        Raises:
            Refused: it could not be started.
        """
        argv = [*self.argv, "--check"]
        silent = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)  # the report; what is wrong goes to the log
        with _standing_in(self.directory), named("posix_spawn", argv[0]):
            return os.posix_spawn(argv[0], argv, os.environ, file_actions=[silent])

    def execute(self, handover: Handover, variables: Mapping[str, str]) -> None:
        """Become the new image. Does not return. Signals have to wait meanwhile (SignalPipe.hold): before the new image
        has its handlers, they would end it.

        Args:
            variables: what the environment held for the master alone.

        Raises:
            Refused: the kernel does not execute it; everything is as it was.
        """
        with _standing_in(self.directory):
            _execute(self.argv, replace(handover, directory=os.fspath(self.directory)), {**os.environ, **variables})


def _argv() -> tuple[str, ...]:
    return sys.executable, *sys.orig_argv[1:]


@contextmanager
def _standing_in(directory: Path) -> Iterator[None]:
    """For a moment, in another directory; the one of before may have been removed, so it has no name to return to.

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
    """Does not return.

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
    """Nothing that is executed later inherits these."""
    for fd in handover.fds():
        with suppress(OSError):
            os.set_inheritable(fd, False)


def is_due(environ: Mapping[str, str]) -> bool:
    """Whether this process goes on with what an earlier image has left, and has not come so far yet."""
    return _VARIABLE in environ


def take_over(environ: Mapping[str, str]) -> Handover | None:
    """What an earlier image has left, if there was one."""
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
        fields.get("failures", 0),
    )
    _keep_to_ourselves(handover)
    return handover


def hold(held: HeldListener) -> Listener:
    """A listener that an earlier image of this process has opened, and that is still ours.

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
    """This image serves now. Nobody whom it starts shall take itself for the next."""
    environ.pop(_VARIABLE, None)


def try_again(environ: Mapping[str, str]) -> ExitCode:
    """This image could not start, though its rehearsal went well. The workers of the one before serve on as long as
    this process lives: so it executes itself again, after a pause, until it can start. Returns when told to stop.

    Args:
        environ: as the image before has left it.
    """
    handover = take_over(environ)
    assert handover is not None
    start = Start(_argv(), Path(handover.directory))
    while True:
        handover = replace(handover, failures=handover.failures + 1)
        pause_s = backoff_s(handover.failures + 1)
        log.error("wsgid could not start anew; its workers serve on, and it is tried again %s", soon(pause_s))
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
