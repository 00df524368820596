"""The witness: which time it counts, and which code it names. The tests give it invented runs and times."""

import os
import sys
import time
from types import FrameType

import pytest
from gevent import monkey
from gevent.hub import Hub
from hypothesis import given
from hypothesis import strategies as st

from tests.support.server import PATIENCE_S
from wsgid.ipc.scoreboard import LINE_BYTES
from wsgid.linux import thread_times
from wsgid.linux.thread_times import ThreadClock, ThreadTimes
from wsgid.serving import standstill
from wsgid.serving.clock import Clock
from wsgid.serving.lost_time import TICK_S, lost_s
from wsgid.serving.standstill import Standstill
from wsgid.serving.stutter import Witness


class IdleFrame:
    f_code = Hub.run.__code__


class Watched:
    """A witness, and the main thread that the witness looks at."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.standstill = Standstill(0.0)
        line = memoryview(bytearray(LINE_BYTES)).cast("Q")
        self.witness = Witness(self.clock, ThreadClock(os.getpid()), self.standstill, line, "app", shown_s=1.0)

    def tick(self, now_s: float, since_s: float | None = None, lost_s: float = 0.0) -> None:
        frame: FrameType = sys._getframe() if since_s else IdleFrame()  # type: ignore[assignment]
        self.clock.switched_s = since_s or now_s
        self.witness.tick(now_s, self.clock.switched_s, frame, lost_s)

    @property
    def told_s(self) -> float:
        return sum(bucket.untold_s for bucket in self.standstill._buckets)


def ticks(start: float, end: float) -> list[float]:
    return [start + TICK_S * number for number in range(1, round((end - start) / TICK_S) + 1)]


def test_a_run_is_counted_from_its_begin_to_its_end() -> None:
    watched = Watched()
    watched.tick(1.0)
    for now_s in ticks(1.0, 1.2):
        watched.tick(now_s, 1.005)
    watched.clock.long_runs.append((1.005, 1.207))
    watched.tick(1.21)
    assert watched.standstill.stood_s == pytest.approx(0.202) and watched.told_s == pytest.approx(0.202)


def test_a_run_that_is_over_before_the_witness_gets_the_lock_is_counted() -> None:
    watched = Watched()
    watched.tick(1.0)
    watched.clock.long_runs.append((1.1, 1.3))
    watched.tick(1.31)
    assert watched.standstill.stood_s == pytest.approx(0.2)


def test_short_runs_are_no_stop() -> None:
    watched = Watched()
    for number, now_s in enumerate(ticks(1.0, 3.0)):
        watched.tick(now_s, 1.0 + 0.02 * (number // 2))
    assert watched.standstill.stood_s == 0


def test_requests_that_follow_each_other_without_a_switch_are_runs_of_their_own() -> None:
    watched = Watched()
    watched.clock.switched_s = 1.0
    for now_s in ticks(1.0, 2.0):
        begun_s = 1.0 + 0.025 * ((now_s - 1.0) // 0.025)
        watched.witness.tick(now_s, begun_s, sys._getframe(), 0.0)
    assert watched.standstill.stood_s == 0
    watched.witness.tick(2.1, 2.0, sys._getframe(), 0.0)
    watched.witness.tick(2.12, 2.105, sys._getframe(), 0.0)
    assert watched.standstill.stood_s == pytest.approx(0.105)


def test_time_without_a_processor_does_not_count() -> None:
    watched = Watched()
    watched.tick(1.0)
    watched.tick(6.0, 1.005, lost_s=4.98)  # the process was stopped
    watched.tick(6.01)
    assert watched.standstill.stood_s == 0
    for now_s in ticks(7.0, 7.5):
        watched.tick(now_s, 7.0, lost_s=0.008)  # the process has a fifth of a processor
    assert watched.standstill.stood_s == pytest.approx(0.1)


def test_a_run_that_hub_warn_shows_is_not_told_again() -> None:
    watched = Watched()
    for now_s in ticks(1.0, 3.0):
        watched.tick(now_s, 1.0)
    watched.tick(3.01)
    assert watched.standstill.stood_s == pytest.approx(2.0) and watched.told_s == 0


def test_a_callback_that_holds_the_hub_is_counted() -> None:
    watched = Watched()
    watched.tick(1.0)
    watched.clock.switched_s = -5.0  # to the hub, which has waited since then
    for now_s in ticks(1.0, 1.2):
        watched.witness.tick(now_s, -5.0, sys._getframe(), 0.0)
    watched.tick(1.21)
    assert watched.standstill.stood_s == pytest.approx(0.2) and watched.told_s == pytest.approx(0.2)


def test_a_witness_rests_with_the_loop_and_looks_as_soon_as_something_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill, "WINDOW_S", 6000.0)  # a witness that is not woken looks once in 600 s
    watched, asleep = Watched(), monkey.get_original("time", "sleep")
    begun_s = watched.clock.switched_s = time.monotonic()
    watched.witness.rest()
    watched.witness.start()
    asleep(10 * TICK_S)
    assert watched.standstill.stood_s == 0
    watched.witness.wake()
    deadline_s = time.monotonic() + PATIENCE_S
    while not watched.standstill.stood_s and time.monotonic() < deadline_s:
        asleep(TICK_S)
    stood_s, before_s = watched.standstill.stood_s, watched.witness._woken_s - begun_s
    assert 0 < stood_s <= time.monotonic() - begun_s - before_s  # the rest does not count
    watched.witness.rest()
    watched.witness.stop()
    while not watched.witness.has_ended and time.monotonic() < deadline_s:
        asleep(TICK_S)
    assert watched.witness.has_ended and not watched.witness.failure


# --- lost time ---

times = st.floats(0, 10)


@given(times, times, times, times, times)
def test_no_more_is_lost_than_has_passed(passed: float, ran: float, waited: float, own: float, locked: float) -> None:
    assert 0 <= lost_s(passed, ThreadTimes(ran, min(waited, passed)), own, locked) <= passed + 1e-9


@pytest.mark.parametrize(
    ("what", "lost", "passed", "main", "own_waited", "locked"),
    [
        ("a tick", 0.0, 0.01, ThreadTimes(0.0, 0.0), 0.0, 0.0),
        ("a call in C that keeps the lock, and computes", 0.0, 0.5, ThreadTimes(0.49, 0.0), 0.0, 0.0),
        ("a call in C that keeps the lock, and sleeps", 0.0, 0.5, ThreadTimes(0.001, 0.0), 0.0, 0.49),
        ("the main thread has no processor", 0.3, 0.5, ThreadTimes(0.2, 0.3), 0.0, 0.0),
        ("the witness has no processor", 0.0, 0.5, ThreadTimes(0.0, 0.0), 0.49, 0.0),
        ("the process was stopped", 4.99, 5.0, ThreadTimes(0.0, 0.0), 0.0, 0.0),
        ("a busy process was stopped: the lock has changed hands often", 0.29, 0.5, ThreadTimes(0.2, 0.0), 0.0, 0.5),
    ],
)
def test_what_is_lost(
    what: str, lost: float, passed: float, main: ThreadTimes, own_waited: float, locked: float
) -> None:
    assert lost_s(passed, main, own_waited, locked) == pytest.approx(lost, abs=0.001), what


def test_the_kernel_tells_how_long_a_thread_ran() -> None:
    clock = ThreadClock(os.getpid())
    before = clock.read()
    until_s = time.thread_time() + 0.05
    while time.thread_time() < until_s:
        pass
    assert (clock.read() - before).ran_s >= 0.04
    clock.close()
    assert clock.read() == ThreadClock(1 << 22).read() == ThreadTimes(0.0, 0.0)


def test_the_kernel_tells_how_often_a_thread_slept() -> None:
    before = thread_times.sleeps()
    for _ in range(5):
        time.sleep(0.001)
    assert thread_times.sleeps() - before >= 5
