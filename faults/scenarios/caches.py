"""Processes that use a cache are killed at random moments, and values in the process are compared with what is written.

    cache-kills   four processes set, read, count, lock and make without a pause; one after the other is killed
    cache-stale   four processes write, and read each other's values through Cache(NAME, local=...)

Rules
* A process that finds something wrong ends with a code of WRONG. A killed process has the signal as its result.
* What a process has completed is in words of shared memory, each with one writer. So the scenario knows what must be
  there.
"""

import mmap
import os
import random
import signal
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from faults.report import Result, Scenario
from tests.support.server import eventually
from wsgid.cache import Cache

PROCESSES = 4
KEYS = 40
SIZE_BYTES = 64 << 20
LOCK_S = 600.0  # no process waits for it: the lock of a dead process is free
PATIENCE_S = 20.0
WRONG = {50: "a torn value", 51: "two holders of a lock", 52: "a wait for a dead holder", 53: "another error"}
_TORN, _TWO_HOLDERS, _LONG_WAIT, _OTHER = WRONG
_PREFIX = f"wsgid-faults-{os.getpid()}-"  # another run may use this machine at the same time


class Words:
    """A word for each process, which the others can read."""

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, count * 8)
        self.words = memoryview(self._memory).cast("Q")


def cache_kills(kills: int = 500) -> list[Result]:
    """Kill processes in the middle of what they do with a cache."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir="/dev/shm") as directory:
        path = f"{directory}/values"
        counted = Words(PROCESSES)
        met: Counter[str] = Counter()
        pids = [_fork(partial(_use, path, counted, place)) for place in range(PROCESSES)]
        for _ in range(kills):
            time.sleep(random.uniform(0.001, 0.06))
            place = random.randrange(PROCESSES)
            met[_killed(pids[place])] += 1
            pids[place] = _fork(partial(_use, path, counted, place))
        met.update(map(_killed, pids))
        return _after_kills(path, sum(counted.words), kills + PROCESSES, met)


def _after_kills(path: str, completed: int, kills: int, met: Counter[str]) -> list[Result]:
    cache = Cache("values", path=path, size_bytes=SIZE_BYTES)
    torn = sum(not _is_whole(cache.get(f"v{key}")) for key in range(KEYS))
    held = sum(not cache.lock(f"l{key}", LOCK_S).acquire(0) for key in range(KEYS))
    waited = sum(not cache.lock(f"make{key}", LOCK_S).acquire(0) for key in range(KEYS))
    surplus = int(cache.incr("count", 0)) - completed
    wrong = {what: count for what, count in met.items() if what != "killed"}
    return [
        Result(
            f"{kills} killed, and nothing wrong was found until then",
            str(wrong or f"{met['killed']} killed"),
            not wrong,
        ),
        Result("0 torn values", f"{torn} of {KEYS}", torn == 0),
        Result("0 locks are left", f"{held + waited} of {2 * KEYS}", held + waited == 0),
        Result(
            "no count is lost, and at most one for each kill was counted before its end was noted",
            f"{completed:,} counted, {surplus} more",
            0 <= surplus <= kills and completed > 0,
        ),
    ]


def _use(path: str, counted: Words, place: int) -> int:
    """Do everything with the cache, without an end. Returns what was wrong."""
    cache = Cache("values", path=path, size_bytes=SIZE_BYTES)
    hot = Cache("values", local=10, path=path, size_bytes=SIZE_BYTES)
    while True:
        key = random.randrange(KEYS)
        cache.set(f"v{key}", _value(random.choice((10, 500, 3000, 30_000))), random.choice((None, 0.01, 60)))
        if not all(map(_is_whole, (cache.get(f"v{key}"), hot.get(f"v{key}"), *cache.get_many(["v1", "v2"]).values()))):
            return _TORN
        cache.incr("count")
        counted.words[place] += 1
        wrong = _lock(cache, key)
        if wrong:
            return wrong
        if not _is_whole(cache.get_or_make(f"m{key}", lambda: _value(100), 0.01, 0.01)):
            return _TORN
        cache.delete(f"v{random.randrange(KEYS)}")


def _lock(cache: Cache, key: int) -> int:
    """Hold a lock for a moment. Returns what was wrong, or 0."""
    lock = cache.lock(f"l{key % 3}", LOCK_S)
    if not lock.acquire(PATIENCE_S):
        return _LONG_WAIT
    cache.set(f"owner{key % 3}", os.getpid())
    time.sleep(0.0002)
    alone = cache.get(f"owner{key % 3}") == os.getpid()
    return 0 if lock.release() and alone else _TWO_HOLDERS


def _value(size_bytes: int) -> bytes:
    body = random.randbytes(size_bytes)
    return zlib.crc32(body).to_bytes(4, "big") + body


def _is_whole(value: bytes | None) -> bool:
    return value is None or zlib.crc32(value[4:]) == int.from_bytes(value[:4], "big")


# --- processes ---


def _fork(body: Callable[[], int]) -> int:
    """Run a function in a process of its own, which ends with its result. Returns the pid."""
    pid = os.fork()
    if pid == 0:
        code = _OTHER
        try:
            code = body()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def _killed(pid: int) -> str:
    """Kill a process. Returns 'killed', or what it had found wrong before."""
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return "killed" if os.WIFSIGNALED(status) else WRONG.get(os.WEXITSTATUS(status), "ended")


# --- stale values ---


def cache_stale(checks: int = 1_000_000) -> list[Result]:
    """Compare values in the process with what other processes have written before."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir="/dev/shm") as directory:
        path = f"{directory}/values"
        written, stale, hits = Words(PROCESSES), Words(PROCESSES), Words(PROCESSES)
        each = checks // PROCESSES

        pids = [_fork(partial(_compare, path, place, each, written, stale, hits)) for place in range(PROCESSES)]
        codes = [os.WEXITSTATUS(os.waitpid(pid, 0)[1]) for pid in pids]
    return [
        Result(
            f"0 stale reads of {checks:,}, while {PROCESSES} processes write",
            f"{sum(stale.words)}; {sum(hits.words):,} values were found in the process",
            sum(stale.words) == 0 and sum(hits.words) > 0 and codes == [0] * PROCESSES,
        )
    ]


def _compare(path: str, place: int, checks: int, written: Words, stale: Words, hits: Words) -> int:
    hot = Cache("values", local=100, path=path, size_bytes=SIZE_BYTES)
    local = hot._local
    assert local is not None
    hot.set(f"k{place}", 0)
    eventually(lambda: len(hot.get_many(f"k{other}" for other in range(PROCESSES))) == PROCESSES, "all have begun")
    for check in range(checks):
        if check % 20 == 0:
            written_now = written.words[place] + 1
            hot.set(f"k{place}", written_now)
            written.words[place] = written_now  # from now on, nobody may read an older one
        other = random.randrange(PROCESSES)
        before = written.words[other]
        found = local.get(f"k{other}")
        hits.words[place] += isinstance(found, int)
        stale.words[place] += hot.get(f"k{other}") < before or (isinstance(found, int) and found < before)
    return 0


SCENARIOS: tuple[Scenario, ...] = (cache_kills, cache_stale)


def leftovers() -> list[Path]:
    """Directories that the scenarios of this process have left in shared memory."""
    return list(Path("/dev/shm").glob(f"{_PREFIX}*"))
