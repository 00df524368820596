"""What the kernel refuses the master: said in one sentence, survived, and tried again.

Rules
* The sentence has what was wanted, the system call, the error and the remedy.  There is no traceback.
* A refusal ends what was asked for, and nothing else.  Who knows what follows from it handles it beside the call;
  `Net` catches what nobody has thought of.
* What is tried again waits longer each time, by the fleet's rule.
* Memory that cannot be had is a refusal, too: Python says MemoryError where the kernel says ENOMEM.
"""

import errno
import os
import posix
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf

from wsgid import log
from wsgid.errors import Refused
from wsgid.fleet import backoff_s

REFUSALS = (OSError, MemoryError)
REST_S = 0.1  # after a refusal that nobody handled: its cause may wait in the selector, and would be met at once again
SAID_AGAIN_S = 10.0  # the same sentence is said so often, at most

_PROCESSES = "raise the limit of processes (ulimit -u, LimitNPROC=, TasksMax=)"
_DESCRIPTORS = "raise the limit of open files (ulimit -n, LimitNOFILE=)"
_MEMORY = "give this machine, or this service, more memory"
_RIGHTS = "give this user the right to it"
_BACK = "put it back"
_OTHERS = "look into the kernel's log (dmesg)"
_REMEDIES = {
    errno.EMFILE: _DESCRIPTORS,
    errno.ETOOMANYREFS: _DESCRIPTORS,
    errno.ENFILE: "raise fs.file-max (sysctl)",
    errno.ENOMEM: _MEMORY,
    errno.ENOBUFS: _MEMORY,
    errno.ENOENT: _BACK,
    errno.ENOTDIR: _BACK,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOSPC: "free some space on the disk",
    errno.EDQUOT: "raise the quota",
    errno.EROFS: "choose a directory that can be written",
    errno.EADDRINUSE: "stop who uses it",
    errno.EAGAIN: _PROCESSES,
}
_REMEDIES_OF = {  # where the call makes a difference
    ("posix_spawn", errno.ENOENT): "let the virtual environment's installation finish, or put it back",
    ("execve", errno.ENOENT): "let the virtual environment's installation finish, or put it back",
    ("epoll_ctl", errno.ENOSPC): "raise fs.epoll.max_user_watches (sysctl)",
}


@contextmanager
def named(call: str, thing: str = "") -> Iterator[None]:
    """Give a refusal the name of the call, and of what it was for.

    Raises:
        Refused: in the stead of an OSError.
    """
    try:
        yield
    except Refused:
        raise
    except OSError as error:
        refused = Refused(error.errno, error.strerror or str(error))
        refused.call = f"{call} {thing}".rstrip()
        raise refused from error


def words(error: BaseException) -> str:
    """The call, the error and the remedy: "chdir /srv/site: No such file or directory (ENOENT); put it back"."""
    if isinstance(error, MemoryError):
        return f"{_place(error)}: Cannot allocate memory (ENOMEM); {_MEMORY}"
    if not isinstance(error, OSError) or error.errno is None:  # no system call's
        return f"{_place(error)}: {error}; {_OTHERS}"
    call = error.call if isinstance(error, Refused) else _place(error)
    remedy = _REMEDIES_OF.get((call.partition(" ")[0], error.errno)) or _REMEDIES.get(error.errno, _OTHERS)
    code = errno.errorcode.get(error.errno, str(error.errno))
    return f"{call}: {error.strerror} ({code}); {remedy}"


def _place(error: BaseException) -> str:
    """Where nobody has named the call: the innermost function of ours, and the file that it was about."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if f"{os.sep}wsgid{os.sep}" in one.filename]
    place = f"{os.path.basename(frames[-1].filename)}, {frames[-1].name}" if frames else type(error).__name__
    named_file = getattr(error, "filename", None)
    return f"{place}, {os.fsdecode(named_file)}" if isinstance(named_file, (str, bytes)) else place


def soon(pause_s: float) -> str:
    """When something is tried again: "in 0.4 s"."""
    return f"in {pause_s:.2g} s" if pause_s >= 0.05 else "at once"


def close(fd: int) -> None:
    """Close a descriptor, whatever the kernel says: on Linux it is gone even then (close(2)).

    By `posix`: os.close of a patched process is gevent's, which leaves a socket open until the hub has run.
    """
    with suppress(OSError):
        posix.close(fd)


class Again:
    """Something that was refused, and when it is tried again."""

    def __init__(self) -> None:
        self.failures = 0
        self.at_s = inf

    def refused(self, now_s: float) -> float:
        """Returns the pause until the next try, in seconds."""
        self.failures += 1
        pause_s = backoff_s(self.failures + 1)
        self.at_s = now_s + pause_s
        return pause_s

    def waits(self, now_s: float) -> bool:
        """Whether it was refused, and is not due yet."""
        return self.failures > 0 and now_s < self.at_s

    def take(self, now_s: float) -> bool:
        """Whether it is due; then it counts as tried."""
        if now_s < self.at_s:
            return False
        self.at_s = inf
        return True

    def done(self) -> None:
        """It went well, or is not wanted any more."""
        self.failures, self.at_s = 0, inf


class Net:
    """Under the parts of the master's turn: none of them ends the others."""

    def __init__(self) -> None:
        self._said_s: dict[str, float] = {}  # by sentence: when
        self._fell = False

    @contextmanager
    def under(self, what: str) -> Iterator[None]:
        """A refusal in here is said, and survived.

        Args:
            what: this part of the turn, for the log.
        """
        try:
            yield
        except REFUSALS as error:
            self.catch(what, error)

    def catch(self, what: str, error: BaseException) -> None:
        """Say and survive this one."""
        self._fell = True
        self.say(f"{what}: {words(error)}; wsgid goes on")

    def say(self, sentence: str) -> None:
        """Log it, unless that was said a moment ago."""
        now_s = time.monotonic()
        if now_s - self._said_s.get(sentence, -inf) < SAID_AGAIN_S:
            return
        if len(self._said_s) > 100:
            self._said_s.clear()
        self._said_s[sentence] = now_s
        log.error("%s", sentence)

    def rest(self) -> None:
        """Wait a moment, if this turn has met a refusal: so a lasting one costs no processor."""
        if self._fell:
            self._fell = False
            time.sleep(REST_S)
