"""The scoreboard: shared memory with a line of numbers for each worker, and the sums of dead workers for each slot.

    two memfds of SLOTS_MAX lines, LINE_BYTES each; word W of a line is Word(W)
           live line N: the present values and the counters of the worker that lives in slot N
           past line N: the counters of all earlier workers of slot N, and why they had to be replaced

Rules
* Each word has exactly one writer: of a live line the worker in the slot, of a past line the master.  When a worker was
  reaped, the master adds its counters to the past line and zeroes the live line. No count is lost.
* The application can write to the live lines.  So no child gets the past lines, the size of both memfds is sealed (a
  shorter file would end the master by SIGBUS; memfd_create(2), "File sealing"), and sums are modulo 2^64. This
  holds for the worker, too: it goes on serving whatever the application has written into its line.
* Words are read and written only through memoryview.cast("Q"): one aligned access of 8 bytes, which is atomic.
  struct.pack_into is not: it clears the bytes first, and another process can see that.
* Times are CLOCK_MONOTONIC nanoseconds. This clock is the same in all processes of the machine.
"""

import fcntl
import mmap
import os
import zlib
from enum import Enum, IntEnum

LINE_BYTES = 640
_WORD_BYTES = 8
_WORDS_PER_LINE = LINE_BYTES // _WORD_BYTES
SLOTS_MAX = 512  # the shared memory is made once, for so many slots
SIZE_BYTES = SLOTS_MAX * LINE_BYTES
WORD_MAX = (1 << 64) - 1

# The upper bounds of the histogram of durations. One bucket more holds the longer durations.
DURATION_BOUNDS_US = (
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
)


class Word(IntEnum):
    """The words of a line, by their places."""

    # Present values, in a live line.
    HEARTBEAT_NS = 0  # when the hub last ran, or until when it rests (serving/rounds.py)
    IN_FLIGHT = 1  # connections that hold a place of --gevent
    LAG_US = 2  # how late the last heartbeat of the hub was
    AVERAGE_US = 3  # of the durations; each new duration counts for half, as in uWSGI's avg_rt

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
    HUB_LATE_US = 32  # how late the loop's beats came, added up
    OFFLOADED = 33  # calls that went through wsgid.offload
    OFFLOAD_GIVEN_UP = 34  # calls of wsgid.offload whose caller stopped waiting
    UPGRADED = 35  # connections that an application has upgraded (WebSockets)
    FRONTED = 36  # requests that say when they reached the server in front (serving/phases.py)
    FRONT_US = 37  # the sum of their times before this worker
    WAITING_US = 38  # how long requests of HTTP waited in the worker for their turn
    READING_US = 39  # how long requests waited for bytes of their clients
    SENDING_US = 40  # how long responses waited until their clients took bytes
    COLLECTIONS = 41  # runs of Python's garbage collector
    FULL_COLLECTIONS = 42  # those of the oldest generation
    COLLECTOR_US = 43  # the sum of the pauses of all runs

    # In a past line.
    SPAWNS = 44
    SPAWNED_S = 45  # start of the slot's newest worker: seconds of time.time()
    CPU_US = 46  # processor time of the slot's dead workers
    DEATHS = 47  # a word for each DeathCause, in the order of the Enum

    # In a live line.
    HELD_US = 58  # how long the loop was held up since the worker's start; deadlines move by this time
    HUB_LATE_PERMILLE = 59  # for which share of the last 10 s the loop stood still
    IDLE_GREENLETS = 60  # greenlets that wait for a request
    OFFLOAD_RUNNING = 61  # calls of wsgid.offload that have a thread
    OFFLOAD_WAITING = 62  # calls of wsgid.offload that wait for a thread
    COLLECTOR_LONGEST_US = 63  # the longest pause of the garbage collector since the worker's start
    UPGRADED_NOW = 64  # upgraded connections that are open


COUNTERS = range(Word.REQUESTS, Word.SPAWNS)


class DeathCause(Enum):
    """Why a worker had to be replaced. The value is the name in statistics."""

    RELOAD = "reload"  # the worker had older code
    REQUESTS = "max-requests"
    LIFETIME = "max-worker-lifetime"
    RSS = "reload-on-rss"
    EVIL_RSS = "evil-reload-on-rss"
    HUB = "hub-timeout"  # the event loop was held up, and only a signal could end that
    BOOT = "boot"  # the worker never became Ready
    CRASH = "crash"
    SURPLUS = "surplus"  # there were more workers than wanted
    LEFT = "left"  # the worker left by itself, and the master had not asked for it


def add(line: memoryview, word: int, count: int = 1) -> None:
    """Add to a counter of a line."""
    line[word] = (line[word] + count) & WORD_MAX


class Lines:
    """One memfd, as one process sees it.

    Args:
        fd: the memfd; the caller keeps it.
    """

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, SIZE_BYTES)
        self._words = memoryview(self._memory).cast("Q")

    def line(self, slot: int) -> memoryview:
        """Return the words of a slot, indexed by Word."""
        start = slot * _WORDS_PER_LINE
        return self._words[start : start + _WORDS_PER_LINE]

    def column(self, word: int) -> memoryview:
        """Return the same word of all slots."""
        return self._words[word::_WORDS_PER_LINE]


class Scoreboard:
    """Both memfds, as the master sees them.

    Args:
        fd: of the live lines; the caller keeps it.
        past_fd: of the past lines; the caller keeps it.
    """

    def __init__(self, fd: int, past_fd: int) -> None:
        self.fd = fd
        self.past_fd = past_fd
        self._live = Lines(fd)
        self._past = Lines(past_fd)

    def line(self, slot: int) -> memoryview:
        """Return the words of the worker that lives in a slot, indexed by Word."""
        return self._live.line(slot)

    def past(self, slot: int) -> memoryview:
        """Return the sums of the earlier workers of a slot, indexed by Word."""
        return self._past.line(slot)

    def total(self, slot: int, counter: int) -> int:
        """Return the count of all workers of a slot, dead or alive."""
        return (self.line(slot)[counter] + self.past(slot)[counter]) & WORD_MAX

    def in_flight(self) -> int:
        """Return the number of requests that all workers have now."""
        return sum(self._live.column(Word.IN_FLIGHT))

    def slots_used(self) -> int:
        """Return the number of slots up to the last slot that a worker has ever lived in."""
        spawns = self._past.column(Word.SPAWNS)
        return max((slot + 1 for slot, count in enumerate(spawns) if count), default=0)

    def clear(self, slot: int) -> None:
        """Add a dead worker's counters to the past line, and zero its live line. Only the master calls this, after
        waitpid."""
        line, past = self.line(slot), self.past(slot)
        for word in COUNTERS:
            past[word] = self.total(slot, word)
        for word in range(_WORDS_PER_LINE):
            line[word] = 0

    def note_spawn(self, slot: int, now_s: int) -> None:
        """Record that a worker begins to live in this slot.

        Args:
            slot: the slot's number.
            now_s: of time.time().
        """
        past = self.past(slot)
        past[Word.SPAWNS] += 1
        past[Word.SPAWNED_S] = now_s

    def note_cpu(self, slot: int, cpu_us: int) -> None:
        """Add the processor time of a dead worker of this slot."""
        self.past(slot)[Word.CPU_US] += cpu_us

    def note_death(self, slot: int, cause: DeathCause) -> None:
        """Count that a worker of this slot had to be replaced, for this cause."""
        self.past(slot)[Word.DEATHS + _CAUSES.index(cause)] += 1

    def deaths(self, slot: int) -> dict[DeathCause, int]:
        """Return how often workers of this slot had to be replaced, by cause."""
        first = int(Word.DEATHS)
        return dict(zip(_CAUSES, self.past(slot)[first : first + len(_CAUSES)].tolist()))


_CAUSES = tuple(DeathCause)


def create(name: str = "live") -> int:
    """Make a memfd of the right size, which nobody can change. Returns its descriptor (close-on-exec)."""
    fd = os.memfd_create(f"wsgid-scoreboard-{name}-{layout()}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, SIZE_BYTES)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def keep_or_create(fd: int = -1, past_fd: int = -1) -> Scoreboard:
    """The scoreboard in memfds that another version of wsgid has made, if they have this layout; else a new one.

    Args:
        fd: of the live lines; -1: there is none.
        past_fd: of the past lines; likewise. No child gets it.
    """
    if fits(fd, past_fd):
        return Scoreboard(fd, past_fd)
    return Scoreboard(create("live"), create("past"))


def fits(*fds: int) -> bool:
    """Whether memfds that another version of wsgid has made have this layout. -1 stands for a missing memfd.

    The name of a memfd says its layout (memfd_create(2)). Where there is no /proc, the size alone has to do.
    """
    return all(fd >= 0 and os.fstat(fd).st_size == SIZE_BYTES and _says_layout(fd) for fd in fds)


def layout() -> str:
    """A short name for the places of all words: another one, when a version moves a word."""
    places = [(word.name, word.value) for word in Word]
    return f"{zlib.crc32(repr((LINE_BYTES, places)).encode()):08x}"


def _says_layout(fd: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)").endswith(f"-{layout()}")
    except OSError:
        return True
