"""Several processes decide about one key in the same memory: what is admitted is what is allowed, exactly. Also when
processes are killed at any instruction."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.server import eventually
from wsgid import limits
from wsgid.limits.home import HOME, NoRequests
from wsgid.limits.layout import Layout
from wsgid.limits.ledger import Ledger

pytestmark = pytest.mark.hot

KEYS = 1024
PROCESSES = 4


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger.keep_or_create(-1, KEYS)
    yield made
    HOME.forget()
    os.close(made.fd)


def start(ledger: Ledger, slot: int, work: Callable[[], int]) -> int:
    """Let a process do this work as the worker in a slot. Its exit code is the result. Returns its pid."""
    ledger.note_spawn(slot)
    pid = os.fork()
    if pid:
        return pid
    code = 255
    try:
        HOME.begin(ledger.fd, KEYS, slot, NoRequests())
        code = work()
    finally:
        os._exit(code)


def results(pids: list[int]) -> list[int]:
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert 255 not in codes
    return codes


def hammer(limiter: Any, tries: int) -> Callable[[], int]:
    return lambda: sum(bool(limiter.acquire("k", wait=False)) for _ in range(tries))


@pytest.mark.parametrize(
    "limiter",
    [
        limits.RequestRate("1r/d", burst=249, name="rate"),
        limits.WindowCount(250, 3600, name="window"),
        limits.combine(limits.RequestRate("1r/d", burst=249, name="both"), limits.WindowCount(300, 3600, name="both")),
    ],
    ids=["rate", "window", "combined"],
)
def test_what_is_admitted_is_what_is_allowed(ledger: Ledger, limiter: Any) -> None:
    assert sum(results([start(ledger, slot, hammer(limiter, 1000)) for slot in range(PROCESSES)])) == 250


def test_no_more_permits_are_held_than_allowed(ledger: Ledger) -> None:
    """Each process takes permits and gives them back. A shared number of holders would lose counts at once."""
    limiter: Any = limits.Concurrency(3, name="held")

    def work() -> int:
        for _ in range(500):
            with_permit = limiter.acquire("k")
            if with_permit and with_permit.used > 3:
                return 1
            if with_permit:
                with_permit.release()
        return 0

    assert results([start(ledger, slot, work) for slot in range(PROCESSES)]) == [0] * PROCESSES
    ledger.note_spawn(PROCESSES)
    assert results([start(ledger, PROCESSES, lambda: limiter.peek("k").used - 1)]) == [0]


def test_a_process_that_dies_leaves_no_permit_behind(ledger: Ledger) -> None:
    limiter: Any = limits.Concurrency(2, name="held")
    kept: list[Any] = []

    def hold() -> int:
        kept.extend((limiter.acquire("k"), limiter.acquire("k")))
        time.sleep(60)
        return 0

    pid = start(ledger, 0, hold)
    eventually(lambda: [view.level for view in ledger.limiters()] == [2], "both permits are held")
    assert results([start(ledger, 1, lambda: bool(limiter.acquire("k")))]) == [0]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    ledger.clear(0)
    assert [view.level for view in ledger.limiters()] == [0]
    assert results([start(ledger, 1, lambda: bool(limiter.acquire("k")))]) == [1]


def test_kills_at_any_instruction_leave_no_ghost(ledger: Ledger) -> None:
    """The long form is `make faults ONLY=limits`."""
    limiter: Any = limits.Concurrency(3, name="held")
    rate = limits.RequestRate("1r/d", burst=10, name="rate")

    def work() -> int:
        while True:
            for key in ("a", "b"):
                first, second = limiter.acquire(key), limiter.acquire(key)
                if any(permit and permit.used > 3 for permit in (first, second)):
                    os.kill(os.getppid(), signal.SIGUSR1)  # more than allowed
                rate.acquire(random.randrange(100))
                del first, second

    pids = {slot: start(ledger, slot, work) for slot in range(3)}
    for _ in range(60):
        slot = random.randrange(3)
        time.sleep(random.random() / 100)
        os.kill(pids[slot], signal.SIGKILL)
        os.waitpid(pids[slot], 0)
        ledger.clear(slot)
        pids[slot] = start(ledger, slot, work)
    for slot, pid in pids.items():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        ledger.clear(slot)
    assert [view.level for view in ledger.limiters()] == [0, 0]
    assert results([start(ledger, 0, lambda: limiter.peek("a").used + limiter.peek("b").used)]) == [2]


def standing_still(limiter: Any, writing: int) -> Callable[[], int]:
    """Return work that stands still within a decision about the key k, and writes a byte then."""

    def work() -> int:
        table = HOME.open()

        def clock() -> int:
            os.write(writing, b"x")
            time.sleep(60)
            return 0

        table.clock = clock
        return bool(limiter.acquire("k"))

    return work


def test_a_process_that_stands_still_within_a_decision_makes_nobody_wait_for_long(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock is not free. Others fail open, and count that."""
    monkeypatch.setattr("wsgid.limits.table.LOCK_WAIT_S", 0.1)
    limiter = limits.WindowCount(1, 60, name="count")
    reading, writing = os.pipe()
    pid = start(ledger, 0, standing_still(limiter, writing))
    assert os.read(reading, 1) == b"x"
    [code] = results([start(ledger, 1, lambda: [bool(limiter.acquire("k")) for _ in range(2)].count(True))])
    assert code == 2
    assert [view.counts[4] for view in ledger.limiters()] == [2]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    ledger.clear(0)
    assert results([start(ledger, 1, lambda: [bool(limiter.acquire("k")) for _ in range(2)].count(True))]) == [1]
    for fd in (reading, writing):
        os.close(fd)


def test_a_permit_is_given_back_without_the_lock(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    limiter: Any = limits.Concurrency(2, name="held")
    reading, writing = os.pipe()
    going_on, go_on = os.pipe()

    def give_back() -> int:
        permit = limiter.acquire("k")
        os.write(writing, b"held")
        os.read(going_on, 1)
        monkeypatch.setattr("wsgid.limits.table.time", None)  # whoever waits for a lock fails
        permit.release()
        return 7

    holder = start(ledger, 1, give_back)
    assert os.read(reading, 4) == b"held"
    pid = start(ledger, 0, standing_still(limiter, writing))
    assert os.read(reading, 1) == b"x"
    assert [view.level for view in ledger.limiters()] == [1]
    os.write(go_on, b"x")
    assert results([holder]) == [7]
    assert [view.level for view in ledger.limiters()] == [0]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for fd in (reading, writing, going_on, go_on):
        os.close(fd)


def test_the_memory_stays_after_an_upgrade_unless_its_form_changes(ledger: Ledger) -> None:
    assert Ledger.keep_or_create(ledger.fd, KEYS).fd == ledger.fd
    other = Ledger.keep_or_create(ledger.fd, KEYS + 100)
    assert other.fd != ledger.fd
    os.close(other.fd)
    with pytest.raises(PermissionError):
        os.ftruncate(ledger.fd, Layout(KEYS).size_bytes - 1)


def test_the_top_keys_are_those_that_are_rejected_most(ledger: Ledger) -> None:
    limiter = limits.WindowCount(2, 60, name="count")

    def work() -> int:
        for key, requests in (("quiet", 1), ("loud", 9), ("louder\n", 12)):
            for _ in range(requests):
                limiter.acquire(key)
        return 0

    results([start(ledger, 0, work)])
    seen = [(view.limiter, view.key, view.admitted, view.rejected) for view in ledger.top_keys(2)]
    assert seen == [("count", "louder\n", 2, 10), ("count", "loud", 2, 7)]


def test_a_limiter_beyond_the_last_row_still_limits(ledger: Ledger) -> None:
    def work() -> int:
        made = [limits.WindowCount(1, 60, name=f"limiter {number}") for number in range(200)]
        return sum(bool(limiter.acquire("k")) for limiter in made for _ in range(2)) - 100

    assert results([start(ledger, 0, work)]) == [100]
    views = ledger.limiters()
    assert len(views) == 128 and views[-1].name == "others" and views[-1].counts[:2] == (73, 73)
