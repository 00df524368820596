"""The worker's round: it rests while nothing happens, and the loop is not late meanwhile."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from wsgid.serving import clock, rounds
from wsgid.serving.clock import LATE_S, ROUND_S, Clock
from wsgid.serving.rounds import QUIET_ROUNDS, REST_S, Rounds

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
        self.iteration = 7
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
        self.until_s = math.inf  # there is nothing to look after
        self.beat_s = self.now_s + BEAT_S
        self.vouched_s = 0.0
        self.clock = Clock()
        self.loop = Loop()
        self.happened = self.loop.happened
        monkeypatch.setattr(clock, "_monotonic", lambda: self.now_s)
        monkeypatch.setattr(rounds, "_monotonic", lambda: self.now_s)
        monkeypatch.setattr(rounds, "CLOCK", self.clock)
        self.clock.start()
        pulse: Any = self
        self.rounds = Rounds(self.loop, self.look, pulse, self.vouch)
        self.rounds.start()

    # --- the pulse ---

    def start(self) -> None:
        self.beat_s = self.now_s + BEAT_S

    def pause(self, until_s: float) -> None:
        self.beat_s = until_s

    def due_s(self) -> float:
        return self.beat_s

    # --- the worker ---

    def look(self) -> float:
        self.looks += 1
        self.clock.look()
        return self.until_s

    def vouch(self, until_s: float) -> None:
        self.vouched_s = until_s

    # --- what happens ---

    def passes(self, seconds: float) -> None:
        self.now_s += seconds

    def runs(self) -> None:
        self.loop.iteration += 1

    def round_comes(self) -> None:
        """As libev does it, with the beats that are due before the round."""
        self.passes(ROUND_S)
        if self.beat_s <= self.now_s:
            self.start()
            self.runs()
            self.rounds.beat()
        self.runs()
        self.loop.round.fires()

    def comes_to_rest(self) -> None:
        for _ in range(QUIET_ROUNDS):
            self.round_comes()
        assert self.rounds.is_resting

    def event_comes(self) -> None:
        self.runs()
        self.happened.fires()

    def beat_comes(self) -> None:
        """As the worker does it: the pulse plans the next beat first."""
        self.now_s = self.beat_s
        self.event_comes()
        self.start()
        self.clock.look()
        self.rounds.beat()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


def is_waiting(watcher: Any) -> bool:
    return watcher.callback is not None


def is_awake(site: Site) -> bool:
    return is_waiting(site.loop.round) and not is_waiting(site.happened) and not site.rounds.is_resting


def test_a_busy_worker_is_looked_at_in_each_round(site: Site) -> None:
    for _ in range(3 * QUIET_ROUNDS):
        site.runs()
        site.round_comes()
    assert site.looks == 3 * QUIET_ROUNDS and is_awake(site)


def test_a_worker_in_which_nothing_happens_is_looked_at_with_each_slow_beat_only(site: Site) -> None:
    site.comes_to_rest()
    assert not is_waiting(site.loop.round) and is_waiting(site.happened)
    for number in range(1, 4):
        assert site.beat_s == site.vouched_s == pytest.approx(site.now_s + REST_S)
        site.beat_comes()
        site.loop.run()
        assert site.looks == QUIET_ROUNDS + number
    assert site.clock.held_s == 0 and site.rounds.is_resting


def test_what_happens_between_the_rounds_puts_the_rest_off(site: Site) -> None:
    for _ in range(QUIET_ROUNDS - 1):
        site.round_comes()
    site.runs()
    site.round_comes()
    assert is_awake(site)
    site.comes_to_rest()


def test_the_rest_ends_when_a_deadline_does(site: Site) -> None:
    site.until_s = site.now_s + QUIET_ROUNDS * ROUND_S + 0.3
    site.comes_to_rest()
    assert site.beat_s == site.until_s
    site.until_s = site.now_s  # and a look that could do nothing about it is repeated in the time of a round
    site.beat_comes()
    site.loop.run()
    assert site.beat_s == pytest.approx(site.now_s + ROUND_S) and site.rounds.is_resting


@pytest.mark.parametrize("until_s", [-math.inf, 100.0])
def test_a_worker_that_must_not_rest_or_has_something_due_does_not_rest(site: Site, until_s: float) -> None:
    site.until_s = until_s
    for _ in range(2 * QUIET_ROUNDS):
        site.round_comes()
    assert is_awake(site)


def test_what_happens_ends_the_rest_at_once(site: Site) -> None:
    site.comes_to_rest()
    site.passes(0.05)
    site.event_comes()
    assert is_awake(site) and site.vouched_s == site.now_s and site.beat_s == site.now_s + BEAT_S
    site.comes_to_rest()
    assert site.clock.held_s == 0


def test_a_reason_to_stay_awake_that_comes_together_with_a_beat_ends_the_rest(site: Site) -> None:
    site.comes_to_rest()
    site.beat_comes()
    site.until_s = -math.inf
    site.loop.run()
    assert is_awake(site)


def test_what_is_about_to_run_ends_the_rest(site: Site) -> None:
    site.comes_to_rest()
    site.beat_comes()
    site.loop._callbacks.append(lambda: None)
    site.loop.run()
    assert is_awake(site)


def test_a_loop_that_is_held_up_after_a_rest_is_late(site: Site) -> None:
    site.comes_to_rest()
    site.passes(0.05)
    site.event_comes()
    site.passes(ROUND_S + 0.4)
    site.loop.round.fires()
    assert site.clock.held_s == pytest.approx(0.4)


def test_a_beat_that_comes_late_is_time_in_which_the_worker_could_not_run(site: Site) -> None:
    site.comes_to_rest()
    site.now_s = site.beat_s + 2 * LATE_S
    site.clock.look()
    assert site.clock.held_s == pytest.approx(2 * LATE_S)


def test_a_clock_that_was_not_started_does_not_rest() -> None:
    resting = Clock()
    resting.rest(1.0)
    resting.wake()
    assert resting.held_s == 0 and resting._looked_s == math.inf
