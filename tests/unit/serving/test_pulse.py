"""The pulse: beats that tell how late they come."""

from typing import Any

import pytest

from wsgid.serving import pulse
from wsgid.serving.pulse import LONGEST, SHORTEST, Pulse


class Timer:
    closed = False

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s

    def start(self, callback: Any, update: bool) -> None:
        assert update
        self.callback = callback

    def close(self) -> None:
        self.closed = True


class Loop:
    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def timer(self, after_s: float) -> Timer:
        self.timers.append(Timer(after_s))
        return self.timers[-1]


def test_each_beat_tells_how_late_it_is_and_stops_cannot_come_just_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(pulse, "_monotonic", lambda: now_s[0])
    loop, lates = Loop(), list[float]()
    made = Pulse(loop, 0.1, lates.append)
    made.start()
    for _ in range(100):  # the loop stands still for 100 ms, again and again
        now_s[0] += 0.1
        if now_s[0] >= made._due_s:
            loop.timers[-1].callback()
    assert sum(late_s > 0.015 for late_s in lates) > 20
    assert all(0.1 * SHORTEST <= timer.after_s <= 0.1 * LONGEST for timer in loop.timers)
    made.stop()
    assert all(timer.closed for timer in loop.timers)


def test_a_pause_is_as_long_as_it_is_told_and_is_ended_by_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(pulse, "_monotonic", lambda: now_s[0])
    loop, lates = Loop(), list[float]()
    made = Pulse(loop, 0.1, lates.append)
    made.start()
    made.pause(2.0)
    assert made.due_s() == loop.timers[-1].after_s == 2.0
    now_s[0] = 0.5
    made.start()
    assert loop.timers[-1].after_s <= 0.1 * LONGEST and all(timer.closed for timer in loop.timers[:-1])
    made.pause(0.2)  # a time that is over
    assert loop.timers[-1].after_s == 0.0
    made.pause(0.7)
    now_s[0] = 0.75
    loop.timers[-1].callback()
    assert lates == [pytest.approx(0.05)] and loop.timers[-1].after_s <= 0.1 * LONGEST
    made.stop()
