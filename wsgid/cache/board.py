"""The board of a store: a file of shared words beside it. Counters, versions and uses of keys, and who lives.

    header   HEADER_WORDS words, Head(W)
    lines    LINES lines of LINE_WORDS words: each process owns one, and counts there
    versions a word for each bucket of keys: the number of the last transaction that has written one of them
    uses     a word for each bucket: when a key of it was last used (seconds of the store's clock, as a double)

Rules
* A process owns a line while it holds the POSIX lock of the line's byte (fcntl(2)). The kernel releases the lock when
  the process ends, however it ends.  The next owner of the line goes on with its counters, so no count is lost, and
  raises the line's INCARNATION. So (line, incarnation) names a process for good, and tells whether it lives.
* POSIX locks belong to the process, and end when the process closes any descriptor of the file. So a process opens the
  file once, and never closes it. A child does not inherit them, and takes a line of its own.
* Words are read and written through memoryview.cast only: one access of 8 bytes.
* Versions and header words are written inside a write transaction of the store, so by one process at a time.
* The master never maps this file: the application could make it shorter, which ends a process by SIGBUS. It reads.
* This module needs nothing but the standard library.
"""

import fcntl
import mmap
import os
import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from wsgid.records import dataclass

LINES = 1024
LINE_WORDS = 16
HEADER_WORDS = 64
_MAGIC = 0x7773_6769_6463_0001  # "wsgidc", and the number of this layout
_BUCKETS_MIN, _BUCKETS_MAX = 1 << 12, 1 << 20
_BYTES_PER_BUCKET = 1024
_FIRST_LINE = HEADER_WORDS
_FIRST_BUCKET = HEADER_WORDS + LINES * LINE_WORDS
_FLOCK = "hhqqi4x"  # struct flock of Linux on 64 bits (fcntl(2))


# Mapped boards are never freed. mmap keeps a descriptor of its own, and closing it would end the locks of the process.
_memories: list[mmap.mmap] = []


class Head(IntEnum):
    """The words of the header."""

    MAGIC = 0
    EPOCH = 1  # a version of all keys together: the number of the last transaction that has cleared the store
    USED_BYTES = 2
    ITEMS = 3
    SIZE_BYTES = 4
    HAND = 5  # where eviction goes on, in the order of the keys' checksums
    BUCKETS = 6
    LINES_USED = 7  # all lines behind this number are zero
    CHANGED_S = 8  # when a value was last written: seconds of time.time()


class Count(IntEnum):
    """The words of a line."""

    INCARNATION = 0
    HITS = 1  # a value was there
    MISSES = 2
    LOCAL_HITS = 3  # a value was there as an object of the process; not among HITS
    STALE = 4  # get_or_make has returned a value that had expired
    SETS = 5  # values written
    DELETES = 6  # values deleted by the application
    EVICTIONS = 7  # values that went for want of room before they had expired
    EXPIRED = 8  # expired values that were removed
    MAKES = 9  # calls of `make` by get_or_make
    LOCK_WAITS = 10  # callers that had to wait for a lock, or for a value that another caller makes
    FULL = 11  # values that were refused, for want of room
    ERRORS = 12  # calls that a network store did not answer


COUNTS = tuple(Count)[1:]


def buckets_for(size_bytes: int) -> int:
    """How many buckets a store of this size has: a power of two."""
    wanted = max(size_bytes // _BYTES_PER_BUCKET, 1)
    return min(max(1 << (wanted - 1).bit_length(), _BUCKETS_MIN), _BUCKETS_MAX)


def file_bytes(size_bytes: int) -> int:
    """The size of the board of a store of this size."""
    return _bytes_for(buckets_for(size_bytes))


def _bytes_for(buckets: int) -> int:
    return (_FIRST_BUCKET + 2 * buckets) * 8


class Board:
    """The board, as a process that uses the store sees it.

    Args:
        path: of the file. It is made if it is missing, and made anew if it has another layout.
        size_bytes: of the store; decides how many buckets a new board has.

    Raises:
        OSError: the file cannot be opened, or there is no room for it.
    """

    def __init__(self, path: str, size_bytes: int) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with self.alone():
            buckets = self._buckets() or self._lay_out(size_bytes)
        memory = mmap.mmap(self.fd, _bytes_for(buckets))
        _memories.append(memory)
        self.mask = buckets - 1
        self.words = memoryview(memory).cast("Q")
        self.versions = self.words[_FIRST_BUCKET : _FIRST_BUCKET + buckets]
        self.uses = memoryview(memory).cast("d")[_FIRST_BUCKET + buckets : _FIRST_BUCKET + 2 * buckets]
        self.line_number, self.incarnation = self._take_line()
        start = _FIRST_LINE + self.line_number * LINE_WORDS
        own = memoryview(array("Q", bytes(LINE_WORDS * 8)))  # of a process that has found no line
        self.line = self.words[start : start + LINE_WORDS] if self.line_number >= 0 else own

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within this, no other process makes or opens the files of the store. A process that dies there lets go."""
        fcntl.lockf(self.fd, fcntl.LOCK_EX, 1, LINES)
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, LINES)

    def _buckets(self) -> int:
        """How many buckets the board in the file has. It keeps them, also if the store gets another size. 0: none."""
        head = memoryview(os.pread(self.fd, HEADER_WORDS * 8, 0))
        words = head.cast("Q") if len(head) == HEADER_WORDS * 8 else [0] * HEADER_WORDS
        whole = os.fstat(self.fd).st_size >= _bytes_for(words[Head.BUCKETS])
        return words[Head.BUCKETS] if words[Head.MAGIC] == _MAGIC and whole else 0

    def _lay_out(self, size_bytes: int) -> int:
        """Begin with an empty board. Returns the number of its buckets."""
        buckets = buckets_for(size_bytes)
        os.ftruncate(self.fd, 0)
        os.posix_fallocate(self.fd, 0, _bytes_for(buckets))  # else a page without room would end us by SIGBUS
        head = array("Q", bytes(HEADER_WORDS * 8))
        head[Head.MAGIC], head[Head.BUCKETS], head[Head.SIZE_BYTES] = _MAGIC, buckets, size_bytes
        os.pwrite(self.fd, head.tobytes(), 0)
        return buckets

    def _take_line(self) -> tuple[int, int]:
        """Own a line that no living process owns. Returns (-1, 0) if there is none: this process counts for itself."""
        for number in range(LINES):
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except OSError:
                continue
            words, place = self.words, _FIRST_LINE + number * LINE_WORDS + Count.INCARNATION
            words[place] = incarnation = words[place] + 1
            words[Head.LINES_USED] = max(words[Head.LINES_USED], number + 1)
            return number, incarnation
        return -1, 0

    def lives(self, line_number: int, incarnation: int) -> bool:
        """Whether the process lives that owned a line. A process without a line counts as alive."""
        if line_number < 0:
            return True
        if self.words[_FIRST_LINE + line_number * LINE_WORDS + Count.INCARNATION] != incarnation:
            return False
        if line_number == self.line_number:
            return True
        return _is_locked(self.fd, line_number, 1)

    def close(self) -> None:
        """Give the line back. In a child: only close, because the locks are the parent's."""
        os.close(self.fd)


def _is_locked(fd: int, start: int, length: int) -> bool:
    """Whether another process holds a lock on some of these bytes; 0 bytes are all that follow (fcntl(2))."""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    answer = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    return bool(answer[0] != fcntl.F_UNLCK)


def is_used(path: str) -> bool:
    """Whether another process uses the store of this board. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return _is_locked(fd, 0, 0)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a board says: the counters of all processes, dead or alive, added up."""

    used_bytes: int
    items: int
    changed_s: int
    counts: dict[Count, int]


def read(path: str) -> Reading | None:
    """Read a board without mapping it. None: nobody has made it yet, or it has another layout.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        head = os.pread(fd, HEADER_WORDS * 8, 0)
        if len(head) < HEADER_WORDS * 8:
            return None
        words = memoryview(head).cast("Q")
        lines = min(words[Head.LINES_USED], LINES)
        body = os.pread(fd, lines * LINE_WORDS * 8, _FIRST_LINE * 8)
    finally:
        os.close(fd)
    if words[Head.MAGIC] != _MAGIC or len(body) != lines * LINE_WORDS * 8:
        return None
    column = memoryview(body).cast("Q") if body else memoryview(b"").cast("Q")
    counts = {count: sum(column[count::LINE_WORDS]) & (1 << 64) - 1 for count in COUNTS}
    return Reading(words[Head.USED_BYTES], words[Head.ITEMS], words[Head.CHANGED_S], counts)
