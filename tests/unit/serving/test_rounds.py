"""The worker's round: it rests while there is nothing to look after, and the loop is not late meanwhile."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from wsgid.serving import clock, rounds
from wsgid.serving.clock import LATE_S, ROUND_S, Clock
from wsgid.serving.rounds import Rounds

BEAT_S = 0.25


class Watcher:
    """A watcher that the test calls."""

    def __init__(self) -> None:
        self.callback: Callable[[], None] | None = None

    def start(self, callback: Callable[[], None], update: bool = False) -> None:
        self.callback = callback

    def stop(self) -> None:
        self.callback = None

    def fires(self) -> None:
        assert self.callback
        self.callback()


class Loop:
    """A loop in which the test decides what happens."""

    def __init__(self) -> None:
        self.round, self.happened = Watcher(), Watcher()
        self._callbacks: list[Callable[[], None]] = []

    def timer(self, after: float, repeat: float) -> Watcher:
        assert after == repeat == ROUND_S
        return self.round

    def check(self, ref: bool) -> Watcher:
        return self.happened

    def run_callback(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def run(self) -> None:
        while self._callbacks:
            self._callbacks.pop(0)()


class Site:
    """Rounds over such a loop, with a clock that stands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.looks = 0
        self.idle = True
        self.due_s = self.now_s + BEAT_S
        self.clock = Clock()
        self.loop = Loop()
        self.happened = self.loop.happened
        monkeypatch.setattr(clock, "_monotonic", lambda: self.now_s)
        monkeypatch.setattr(rounds, "_monotonic", lambda: self.now_s)
        monkeypatch.setattr(rounds, "CLOCK", self.clock)
        self.clock.start()
        self.rounds = Rounds(self.loop, self.look, lambda: self.due_s)
        self.rounds.start()

    def look(self) -> bool:
        self.looks += 1
        self.clock.look()
        return self.idle

    def passes(self, seconds: float) -> None:
        self.now_s += seconds

    def round_comes(self) -> None:
        self.passes(ROUND_S)
        self.loop.round.fires()

    def beat_comes(self) -> None:
        """As the worker does it: the pulse plans the next beat first."""
        self.now_s = self.due_s
        self.happened.fires()
        self.due_s += BEAT_S
        self.clock.look()
        self.rounds.beat()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


def is_waiting(watcher: Any) -> bool:
    return watcher.callback is not None


def test_a_busy_worker_is_looked_at_in_each_round(site: Site) -> None:
    site.idle = False
    for _ in range(3):
        site.round_comes()
    site.rounds.beat()
    assert site.looks == 3 and is_waiting(site.loop.round) and not is_waiting(site.happened)


def test_an_idle_worker_is_looked_at_with_each_beat_only(site: Site) -> None:
    site.round_comes()
    assert not is_waiting(site.loop.round) and is_waiting(site.happened)
    for _ in range(3):
        site.beat_comes()
        site.loop.run()
    assert site.looks == 4 and site.clock.held_s == 0 and site.rounds.is_resting


def test_what_happens_ends_the_rest_at_once(site: Site) -> None:
    site.round_comes()
    site.passes(0.05)
    site.happened.fires()
    assert is_waiting(site.loop.round) and not is_waiting(site.happened) and not site.rounds.is_resting
    site.round_comes()
    assert site.rounds.is_resting and site.clock.held_s == 0


def test_what_comes_together_with_a_beat_ends_the_rest(site: Site) -> None:
    site.round_comes()
    site.beat_comes()
    site.idle = False  # a request was accepted in the same turn of the loop
    site.loop.run()
    assert is_waiting(site.loop.round) and not site.rounds.is_resting


def test_what_is_about_to_run_ends_the_rest(site: Site) -> None:
    site.round_comes()
    site.beat_comes()
    site.loop._callbacks.append(lambda: None)
    site.loop.run()
    assert is_waiting(site.loop.round)


def test_a_loop_that_is_held_up_after_a_rest_is_late(site: Site) -> None:
    site.round_comes()
    site.passes(0.05)
    site.happened.fires()
    site.idle = False
    site.passes(ROUND_S + 0.4)
    site.loop.round.fires()
    assert site.clock.held_s == pytest.approx(0.4)


def test_a_beat_that_comes_late_is_time_in_which_the_worker_could_not_run(site: Site) -> None:
    site.round_comes()
    site.due_s = site.now_s + BEAT_S
    site.clock.rest(site.due_s)
    site.now_s = site.due_s + 2 * LATE_S
    site.clock.look()
    assert site.clock.held_s == pytest.approx(2 * LATE_S)


def test_a_clock_that_was_not_started_does_not_rest() -> None:
    resting = Clock()
    resting.rest(1.0)
    resting.wake()
    assert resting.held_s == 0 and resting._looked_s == math.inf
