"""The locks of the shared memory, in their pure form: record locks of the kernel (fcntl(2), F_SETLK) on the memfd.

Rules
* A lock never outlives its process: the kernel frees the record locks of a process that ends.
* Record locks belong to the process, and end when any descriptor of the file is closed there. So the descriptor is
  opened once, and is never duplicated or closed.
* Record locks do not exclude threads of one process from each other. `_turn` does that: list.pop is atomic.
* `take` never waits. The caller decides how often to try again (table.py).
* locks.pyx is the compiled form: robust mutexes (pthread_mutexattr_setrobust(3)) in the shared memory itself. The forms
  do not exclude each other, so FORM is part of the memfd's name (layout.py).
"""

import fcntl
from typing import Any

FORM = "records"


def fresh(count: int, size_bytes: int) -> bytes:
    """Return the memory of locks that nobody holds: record locks need none.

    Args:
        count: of locks.
        size_bytes: of one lock.
    """
    return b""


class StripeLocks:
    """The locks of one table.

    Args:
        fd: of the memfd; -1: the memory is of this process alone.
        memory: the mapped memory.
        offset: of the mutexes, for the compiled form.
    """

    def __init__(self, fd: int, memory: Any, offset: int) -> None:
        self._fd = fd
        self._turn = [True]

    def take(self, number: int) -> bool:
        """Take one lock. Returns False if somebody else has it.

        Raises:
            OSError: the kernel refuses.
        """
        try:
            self._turn.pop()
        except IndexError:
            return False
        if self._fd < 0:
            return True
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except BlockingIOError:
            self._turn.append(True)
            return False
        except BaseException:
            self._turn.append(True)
            raise
        return True

    def free(self, number: int) -> None:
        """Free one lock."""
        if self._fd >= 0:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, number)
        self._turn.append(True)

    def take_all(self, numbers: list[int]) -> bool:
        """Take several locks, in this order, or none. Returns False if somebody else has one of them.

        Args:
            numbers: ascending, each only once.

        Raises:
            OSError: the kernel refuses.
        """
        if not self.take(numbers[0]):
            return False
        for place, number in enumerate(numbers[1:], 1):
            try:
                if self._fd >= 0:
                    fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except OSError as error:
                self.free_all(numbers[:place])
                if isinstance(error, BlockingIOError):
                    return False
                raise
        return True

    def free_all(self, numbers: list[int]) -> None:
        """Free several locks."""
        if self._fd >= 0:
            for number in numbers:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, number)
        self._turn.append(True)
