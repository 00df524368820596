"""--master-fifo: uWSGI's commands of one letter, for scripts that run `echo r > FIFO`.

Rules
* The FIFO is opened for reading and writing. So a writer never waits in open(2), and there is no end-of-file, which
  would keep the selector awake (fifo(7)).
* However much is written into the FIFO, the master reads at most one block in PAUSE_S, and follows each letter once.
* An existing FIFO without a reader is used as it is, not replaced: a writer may wait for it in open(2).  When the
  master executes itself anew (SIGUSR2), the descriptor stays open, and no letter is lost.
* A letter that wsgid cannot follow is logged, with what to do instead.
"""

import json
import os
import selectors
import stat
from collections.abc import Callable
from math import inf

from wsgid import log
from wsgid.admin.commands import Operator
from wsgid.admin.status import status
from wsgid.errors import WsgidError
from wsgid.linux.selector import forget
from wsgid.linux.syscall_errors import close, words

MODE = 0o600
PAUSE_S = 0.1
RETRY_S = 1.0  # after an error
_BLOCK_BYTES = 4096


class FifoError(WsgidError):
    """The FIFO cannot be opened."""


class Fifo:
    """One FIFO, registered in the master's selector.

    Args:
        path: absolute; the FIFO is created if it is missing.
        operator: follows the letters.
        selector: the master's.
        held: the descriptor, if the master before this one has left it.

    Raises:
        FifoError: with the path, the reason and the remedy.
    """

    def __init__(
        self, path: str, operator: Operator, selector: selectors.BaseSelector, held: int | None = None
    ) -> None:
        self.path = path
        self._operator = operator
        self._selector = selector
        self._warned: set[str] = set()
        self._listens_again_s = 0.0  # when reading begins again; 0 while it reads
        self.fd = _open(path) if held is None else held
        try:
            selector.register(self.fd, selectors.EVENT_READ)
        except OSError as error:
            remove(path, self.fd)
            raise FifoError(f"{path} cannot be waited for: {words(error)}") from error

    def turn(self, now_s: float) -> None:
        """Read, and follow the letters."""
        if now_s < self._listens_again_s:
            return
        try:
            if self._listens_again_s:
                self._selector.register(self.fd, selectors.EVENT_READ)
                self._listens_again_s = 0.0
            letters = os.read(self.fd, _BLOCK_BYTES).decode("ascii", "backslashreplace")
        except BlockingIOError:
            return
        except OSError as error:
            log.error("--master-fifo %s: %s; it is read again in %g s", self.path, words(error), RETRY_S)
            self._look_away(now_s + RETRY_S)
            return
        self._look_away(now_s + PAUSE_S)
        for letter in dict.fromkeys("".join(letters.split())):
            self._follow(letter, letters.count(letter))

    def next_turn_s(self) -> float:
        """Return when the FIFO is read again, by time.monotonic(); inf while the selector waits for it."""
        return self._listens_again_s or inf

    def _look_away(self, until_s: float) -> None:
        forget(self._selector, self.fd)
        self._listens_again_s = until_s

    def close(self) -> None:
        """Remove the file, if it is still this FIFO."""
        forget(self._selector, self.fd)
        remove(self.path, self.fd)

    def _follow(self, letter: str, times: int) -> None:
        """Follow a letter once, however often it is in a block; + and - get the number as `times`."""
        act = LETTERS.get(letter)
        try:
            if act is not None:
                act(self._operator, f"FIFO {letter}", times)
                return
        except WsgidError as error:
            log.error("FIFO %s: %s", letter, error)
            return
        if letter not in self._warned:
            self._warned.add(letter)
            log.warning("%s: the letter %r %s", self.path, letter, REFUSED.get(letter, "is no command of wsgid"))


def _reload(operator: Operator, who: str, times: int) -> None:
    operator.reload(who)


def _stop(operator: Operator, who: str, times: int) -> None:
    operator.stop(who)


def _stop_now(operator: Operator, who: str, times: int) -> None:
    operator.stop_now(who)


def _reopen(operator: Operator, who: str, times: int) -> None:
    operator.reopen_logs(who)


def _more(operator: Operator, who: str, times: int) -> None:
    operator.resize(operator.snapshot().wanted + times, who)


def _fewer(operator: Operator, who: str, times: int) -> None:
    operator.resize(operator.snapshot().wanted - times, who)


def _say_status(operator: Operator, who: str, times: int) -> None:
    log.info("%s: %s", who, json.dumps(status(operator.snapshot(), operator.settings)))


_Act = Callable[[Operator, str, int], None]
LETTERS: dict[str, _Act] = {
    **dict.fromkeys("crRwW", _reload),
    "q": _stop,
    "Q": _stop_now,
    "l": _reopen,
    "s": _say_status,
    "+": _more,
    "-": _fewer,
}
REFUSED = {
    "p": "is not followed: a server that takes no requests helps nobody; stop it (q), or have nginx answer",
    "L": "is not followed: let logrotate rotate the log, then reopen it (l)",
    "f": "is not followed: send SIGUSR2 to the master, which starts wsgid anew",
    "C": "is not followed: there is no cheap mode; '-' takes a worker away",
    "E": "is not followed: there is no emperor; run a service for each application",
    "P": "is not followed: the pid of the master never changes",
}


# --- the file ---


def remove(path: str, fd: int) -> None:
    """Close a FIFO, and remove its file if the path still leads to this FIFO."""
    try:
        if _identity(os.lstat(path)) == _identity(os.fstat(fd)):
            os.unlink(path)
    except OSError:  # gone, or in a directory that is no longer ours
        pass
    close(fd)


def _open(path: str) -> int:
    made = False
    try:
        made = _make(path)
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise FifoError(f"{path} cannot be opened: {error.strerror}; choose another path") from error
    try:
        held = os.fstat(fd)
        if not stat.S_ISFIFO(held.st_mode) or held.st_uid != os.geteuid():  # the path was replaced a moment ago
            close(fd)
            raise FifoError(f"{path} belongs to somebody else: move it away")
        os.fchmod(fd, MODE)
    except OSError as error:
        remove(path, fd) if made else close(fd)
        raise FifoError(f"{path} cannot be opened: {words(error)}") from error
    return fd


def _make(path: str) -> bool:
    """Create the FIFO, or check that the existing one may be used. Returns whether it was created.

    Raises:
        FifoError: it may not be used.
    """
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        os.mkfifo(path, MODE)
        return True
    if not stat.S_ISFIFO(there.st_mode):
        raise FifoError(f"{path} is no FIFO: move it away")
    if there.st_uid != os.geteuid():
        raise FifoError(f"{path} belongs to user {there.st_uid}: move it away")
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # ENXIO: it has no reader
        return False
    raise FifoError(f"{path} is read by another process: stop that server or choose another path")


def _identity(status_of: os.stat_result) -> tuple[int, int]:
    return status_of.st_dev, status_of.st_ino
