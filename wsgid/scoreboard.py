"""The scoreboard: shared memory in which each worker keeps its own line of numbers, and the master the dead ones' sums.

    memfd: SLOTS_MAX live lines, then SLOTS_MAX past lines, of LINE_BYTES each; word W of a line is Word(W)
           live line N: what the worker in slot N does now, and has counted since it lives
           past line N: what all workers before it in slot N have counted, and what became of them

Rules
* Each word has one writing process: of a live line the worker that lives in the slot, of a past line the master.  After
  a worker was reaped, the master adds its counters to the past line and zeroes the live one: no count is lost.
* Words are read and written only through memoryview.cast("Q"): one aligned 8-byte access, which never tears
  (struct.pack_into clears the bytes first, and a reader in another process sees that).
* Times are CLOCK_MONOTONIC nanoseconds, which are the same in all processes of the machine.
"""

import mmap
import os
from enum import Enum, IntEnum

from wsgid.fleet import SLOTS_MAX

LINE_BYTES = 512
_WORD_BYTES = 8
_WORDS_PER_LINE = LINE_BYTES // _WORD_BYTES
SIZE_BYTES = 2 * SLOTS_MAX * LINE_BYTES

# The upper bounds of the histogram of durations; what took longer is in one bucket more.
DURATION_BOUNDS_US = (1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
                      5_000_000, 10_000_000, 30_000_000)


class Word(IntEnum):
    # How things stand, in a live line.
    HEARTBEAT_NS = 0  # when the hub last ran
    IN_FLIGHT = 1  # connections that hold a place of --gevent
    LAG_US = 2  # how late the hub's last heartbeat came
    AVERAGE_US = 3  # of the durations: each new one counts for half, as in uWSGI's avg_rt

    # Counters, in both lines.
    REQUESTS = 4  # answered, whatever the status
    FAILED = 5  # 500s that wsgid sent for the application
    TORN = 6  # responses that were cut after their head
    DISCONNECTED = 7  # clients that left before their response was sent
    REJECTED = 8  # packets that were refused
    TIMED_OUT = 9  # requests ended by --harakiri or --hub-timeout
    SENT_BYTES = 10  # of response bodies
    BUSY_US = 11  # the sum of all durations
    STATUS_1XX = 12  # and the next four: 2xx, 3xx, 4xx, 5xx
    DURATIONS = 17  # the histogram: a word for each of DURATION_BOUNDS_US, and one more

    # In a past line.
    SPAWNS = 32
    SPAWNED_S = 33  # when the last of them began: seconds of time.time()
    DEATHS = 34  # a word for each Cause, in its order

    # In a live line.
    HELD_US = 48  # for how long its loop was held up, in all: deadlines move by that


COUNTERS = range(Word.REQUESTS, Word.SPAWNS)


class Cause(Enum):
    """Why a worker had to be replaced; the value is its name in statistics."""

    RELOAD = "reload"  # it had older code
    REQUESTS = "max-requests"
    LIFETIME = "max-worker-lifetime"
    RSS = "reload-on-rss"
    EVIL_RSS = "evil-reload-on-rss"
    HUB = "hub-timeout"  # nothing but a signal could end what held its event loop
    BOOT = "boot"  # it never became Ready
    CRASH = "crash"
    SURPLUS = "surplus"  # there were more than wanted
    LEFT = "left"  # it left in peace, and the master had not asked


class Scoreboard:
    """The memory as seen by one process.

    Args:
        fd: the memfd; stays the caller's.
    """

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, SIZE_BYTES)
        self._words = memoryview(self._memory).cast("Q")

    def line(self, slot: int) -> memoryview:
        """The words of the worker that lives in a slot, to be indexed by Word."""
        start = slot * _WORDS_PER_LINE
        return self._words[start:start + _WORDS_PER_LINE]

    def past(self, slot: int) -> memoryview:
        """The sums of those that have lived there."""
        return self.line(SLOTS_MAX + slot)

    def total(self, slot: int, counter: int) -> int:
        """What all workers of a slot have counted, dead or alive."""
        return self.line(slot)[counter] + self.past(slot)[counter]

    def in_flight(self) -> int:
        """How many requests all workers have now."""
        return sum(self._words[Word.IN_FLIGHT:SLOTS_MAX * _WORDS_PER_LINE:_WORDS_PER_LINE])

    def slots_used(self) -> int:
        """How many slots there are from the first to the last that a worker has ever lived in."""
        first, end = SLOTS_MAX * _WORDS_PER_LINE, 2 * SLOTS_MAX * _WORDS_PER_LINE
        spawns = self._words[first + Word.SPAWNS:end:_WORDS_PER_LINE]
        return max((slot + 1 for slot, count in enumerate(spawns) if count), default=0)

    def clear(self, slot: int) -> None:
        """Take a dead worker's counters into the past, and zero its line. Only the master does this, after waitpid."""
        line, past = self.line(slot), self.past(slot)
        for word in COUNTERS:
            past[word] += line[word]
        for word in range(_WORDS_PER_LINE):
            line[word] = 0

    def note_spawn(self, slot: int, now_s: int) -> None:
        """A worker begins to live in this slot; `now_s` is of time.time()."""
        past = self.past(slot)
        past[Word.SPAWNS] += 1
        past[Word.SPAWNED_S] = now_s

    def note_death(self, slot: int, cause: Cause) -> None:
        self.past(slot)[Word.DEATHS + _CAUSES.index(cause)] += 1

    def deaths(self, slot: int) -> dict[Cause, int]:
        past = self.past(slot)
        return {cause: past[Word.DEATHS + place] for place, cause in enumerate(_CAUSES)}


_CAUSES = tuple(Cause)


def create() -> int:
    """A new memfd of the right size, close-on-exec."""
    fd = os.memfd_create("wsgid-scoreboard", os.MFD_CLOEXEC)
    os.ftruncate(fd, SIZE_BYTES)
    return fd


def fits(fd: int) -> bool:
    """Whether a memfd that another version of wsgid has made has this layout."""
    return os.fstat(fd).st_size == SIZE_BYTES
