"""SIGUSR2: the master executes itself anew, and what it holds survives.

    old master --rehearsal: wsgid --check--> exec, same pid --> new master: adopts listeners and workers, rolls them

Rules
* The same process goes on (execve(2)): its pid, its children and its open descriptors stay, so a service manager
  notices nothing, and waitpid still works for the workers that the old image had forked.
* What the new image needs to know travels as one JSON text in the environment, beside the descriptors it speaks of.
* There is no way back after exec; so the new code first has to start once as a rehearsal.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from wsgid import spoken, stdio
from wsgid.spoken import Spoken

_LAST_WORDS_S = 0.1  # the exec waits so long for who reads standard error
_VARIABLE = "WSGID_HANDOVER"


@dataclass(frozen=True, slots=True)
class HeldListener:
    fd: int
    spec: str
    address: str
    path: str  # empty: no file, or not ours
    identity: tuple[int, int]
    spoken: Spoken
    reuse_port: bool


@dataclass(frozen=True, slots=True)
class HeldWorker:
    slot: int
    generation: int
    pid: int
    fd: int  # its channel
    dump_fd: int = -1  # see dump.py; -1: it has none


@dataclass(frozen=True, slots=True)
class Handover:
    """All that one image of the master leaves to the next."""

    scoreboard_fd: int
    listeners: tuple[HeldListener, ...]
    workers: tuple[HeldWorker, ...]
    fifos: tuple[tuple[str, int], ...] = ()  # path and descriptor: what is written meanwhile is not lost

    def fds(self) -> list[int]:
        dumps = [one.dump_fd for one in self.workers if one.dump_fd >= 0]
        fifos = [fd for _, fd in self.fifos]
        return [self.scoreboard_fd, *(one.fd for one in self.listeners), *(one.fd for one in self.workers), *dumps,
                *fifos]


@dataclass(frozen=True, slots=True)
class Start:
    """How this master was started, before it changed anything: what a new image has to find again."""

    argv: tuple[str, ...]
    directory: Path

    @classmethod
    def now(cls) -> "Start":
        return cls((sys.executable, *sys.orig_argv[1:]), Path.cwd())

    def rehearse(self) -> int:
        """Start the new code with the same options and import the application, only to see whether it can: nothing of
        this server is touched. Returns the pid: status 0 is a yes."""
        argv = [*self.argv, "--check"]
        here = Path.cwd()
        os.chdir(self.directory)
        try:
            silent = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)  # the report; what is wrong goes to the log
            return os.posix_spawn(argv[0], argv, os.environ, file_actions=[silent])
        finally:
            os.chdir(here)

    def execute(self, handover: Handover, blocked: Sequence[signal.Signals], variables: Mapping[str, str]) -> None:
        """Become the new image. Does not return.

        Args:
            blocked: signals that wait until the new image has its handlers; their default would end it.
            variables: what the environment held for the master alone.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        for fd in handover.fds():
            os.set_inheritable(fd, True)
        os.chdir(self.directory)
        stdio.end(_LAST_WORDS_S)
        os.execve(self.argv[0], self.argv, {**os.environ, **variables, _VARIABLE: json.dumps(asdict(handover))})


def is_due(environ: Mapping[str, str]) -> bool:
    """Whether this process goes on with what an earlier image has left."""
    return _VARIABLE in environ


def take_over(environ: MutableMapping[str, str]) -> Handover | None:
    """What an earlier image has left, if there was one; takes it out of `environ`."""
    text = environ.pop(_VARIABLE, None)
    if text is None:
        return None
    fields = json.loads(text)
    handover = Handover(
        fields["scoreboard_fd"],
        tuple(HeldListener(**{**one, "identity": tuple(one["identity"]), "spoken": spoken.from_dict(one["spoken"])})
              for one in fields["listeners"]),
        tuple(HeldWorker(**one) for one in fields["workers"]),
        tuple((path, fd) for path, fd in fields.get("fifos", ())))
    for fd in handover.fds():
        os.set_inheritable(fd, False)
    return handover
