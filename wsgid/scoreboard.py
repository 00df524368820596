"""The scoreboard: shared memory in which each worker keeps its own line of counters.

    memfd: SLOTS_MAX lines of LINE_BYTES; line N belongs to the worker in slot N; word W of it is Word(W)

Rules
* Each word has one writing process: the worker that lives in the slot; after it was reaped, the master zeroes the line.
* Words are read and written only through memoryview.cast("Q"): one aligned 8-byte access, which never tears
  (struct.pack_into clears the bytes first, and a reader in another process sees that).
* Times are CLOCK_MONOTONIC nanoseconds, which are the same in all processes of the machine.
"""

import mmap
import os
from enum import IntEnum

from wsgid.fleet import SLOTS_MAX

LINE_BYTES = 128  # two cache lines
_WORD_BYTES = 8
_WORDS_PER_LINE = LINE_BYTES // _WORD_BYTES


class Word(IntEnum):
    HEARTBEAT_NS = 0  # when the hub last ran
    REQUESTS = 1  # answered, whatever the status
    IN_FLIGHT = 2  # connections that hold a place of --gevent
    FAILED = 3  # 500s that wsgid sent for the application
    TORN = 4  # responses that were cut after their head
    DISCONNECTED = 5  # clients that left before their response was sent
    REJECTED = 6  # packets that were refused
    TIMED_OUT = 7  # requests ended by --harakiri or --hub-timeout


class Scoreboard:
    """The memory as seen by one process.

    Args:
        fd: the memfd; stays the caller's.
    """

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, SLOTS_MAX * LINE_BYTES)
        self._words = memoryview(self._memory).cast("Q")

    def line(self, slot: int) -> memoryview:
        """The words of one slot, to be indexed by Word."""
        start = slot * _WORDS_PER_LINE
        return self._words[start:start + _WORDS_PER_LINE]

    def clear(self, slot: int) -> None:
        """Zero a dead worker's line. Only the master does this, after waitpid."""
        line = self.line(slot)
        for word in range(_WORDS_PER_LINE):
            line[word] = 0


def create() -> int:
    """A new memfd of the right size, close-on-exec."""
    fd = os.memfd_create("wsgid-scoreboard", os.MFD_CLOEXEC)
    os.ftruncate(fd, SLOTS_MAX * LINE_BYTES)
    return fd
