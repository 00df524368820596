"""The shared memory of the limits: which words it has, and where they are.

    header | slots in use | limiters | counters | mutexes | directory of keys, one array for each field | held permits

    a key has a place in the directory. Its hash chooses a bucket of WAYS places, and one lock for the whole bucket.
    held permits: one row for each worker slot, with a number for each place: how many permits that worker holds there

Rules
* Nobody counts what another process holds: each worker writes only its own row of the held permits.  So a worker that
  dies leaves nothing behind but its row, and the master zeroes that row after waitpid (ledger.py).
* Every decision ends with one store of an aligned word. A process that dies in between leaves the old state or the new.
* Words are read and written only through memoryview.cast: one aligned access, which is atomic (scoreboard.py).
* The file is sparse: a page costs memory when it is first written.  The size is sealed, as the scoreboard's is.
* The name of the memfd says the layout, the number of keys and the kind of locks. Another version, or another
  --limit-keys, starts with new memory.
"""

import fcntl
import os
import zlib
from enum import IntEnum

from wsgid.ipc.scoreboard import SLOTS_MAX
from wsgid.limits import locks

WAYS = 32  # places in a bucket
STRIPES = 1024  # locks; several buckets share a lock
KEY_LOCKS = 64  # further locks, for what needs several keys (counters.py)
LOCKS = STRIPES + 1 + KEY_LOCKS  # one is for the rows of the limiters
LIMITERS_MAX = 128  # limiters with counters of their own; all further limiters share the last row
TEXT_BYTES = 64  # of a key that are kept for display
PAGE_BYTES = 4096
SECRET_BYTES = 16
WORD_BYTES = 8
NAME_BYTES = 96  # of a limiter
LIMITER_BYTES = 128
MUTEX_BYTES = 64  # room for one pthread_mutex_t, in a cache line of its own
HELD_BYTES = 4


class HeadWord(IntEnum):
    """The words of the header."""

    IN_USE = 0  # 1 when a limiter was used for the first time
    SLOTS_USED = 1  # the highest slot that a worker has ever lived in, plus one; only the master writes it
    SECRET = 2  # and the next word: the key of the hash, so that no client can choose keys with the same hash


class LimitCount(IntEnum):
    """The counters of a limiter in the row of a worker slot."""

    ADMITTED = 0
    REJECTED = 1
    DELAYED = 2
    WOULD_REJECT = 3  # by a limiter that only counts (dry run)
    FAILED_OPEN = 4  # admitted without a look, because there was no place, no lock, or no store
    UNDONE = 5
    # Present values. They end with their worker.
    HELD = 6  # permits of a Concurrency
    WAITING = 7  # requests that are delayed now


COUNTS = len(LimitCount)
GAUGES = (LimitCount.HELD, LimitCount.WAITING)
PAST = SLOTS_MAX  # the row with the counts of dead workers


class Layout:
    """The offsets of all parts, in bytes.

    Args:
        keys: how many keys have a place in any case.
    """

    def __init__(self, keys: int) -> None:
        self.keys = keys
        # Twice as many places as keys: hashes do not fill the buckets evenly.
        self.buckets = max(1, -(-2 * keys // WAYS))
        self.places = places = self.buckets * WAYS
        words = places * WORD_BYTES
        self.header = 0
        self.touched = PAGE_BYTES
        self.limiters = self.touched + SLOTS_MAX * WORD_BYTES
        self.counters = self.limiters + LIMITERS_MAX * LIMITER_BYTES
        self.row_bytes = LIMITERS_MAX * COUNTS * WORD_BYTES
        self.mutexes = self.counters + (SLOTS_MAX + 1) * self.row_bytes
        self.hashes = self.mutexes + LOCKS * MUTEX_BYTES
        self.hashes = -(-self.hashes // PAGE_BYTES) * PAGE_BYTES
        self.values = self.hashes + words
        self.metas = self.values + words
        self.admitted = self.metas + words
        self.rejected = self.admitted + words
        self.texts = self.rejected + words
        self.held = self.texts + places * TEXT_BYTES
        self.column_bytes = places * HELD_BYTES
        self.size_bytes = -(-(self.held + SLOTS_MAX * self.column_bytes) // PAGE_BYTES) * PAGE_BYTES

    def name(self) -> str:
        """Return the name of the memfd."""
        return f"wsgid-limits-{_version()}-{locks.FORM}-{self.keys}"


def _version() -> str:
    """A short name for the places of all words."""
    enums = [(word.name, word.value) for kind in (HeadWord, LimitCount) for word in kind]
    sizes = (WAYS, LOCKS, LIMITERS_MAX, TEXT_BYTES, LIMITER_BYTES, MUTEX_BYTES, HELD_BYTES, SLOTS_MAX)
    return f"{zlib.crc32(repr((enums, sizes)).encode()):08x}"


def create(layout: Layout) -> int:
    """Make a memfd with this layout, which nobody can make larger or smaller. Returns its descriptor."""
    fd = os.memfd_create(layout.name(), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, layout.size_bytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    os.pwrite(fd, os.urandom(SECRET_BYTES), layout.header + HeadWord.SECRET * WORD_BYTES)
    os.pwrite(fd, locks.fresh(LOCKS, MUTEX_BYTES), layout.mutexes)
    return fd


def keep_or_create(fd: int, keys: int) -> int:
    """Return the memfd that an earlier image of the master has left, if its layout is this one; else a new memfd.

    Args:
        fd: of the earlier image; -1: there is none.
        keys: of --limit-keys.
    """
    layout = Layout(keys)
    return fd if fd >= 0 and _fits(fd, layout) else create(layout)


def _fits(fd: int, layout: Layout) -> bool:
    try:
        name = os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)").rpartition(":")[2]
    except OSError:  # without /proc, the layout is unknown
        return False
    return name == layout.name() and os.fstat(fd).st_size == layout.size_bytes
