"""uWSGI's signals: when a cron is due, and what is refused."""

import time
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgid.application.uwsgi_api import timers
from wsgid.application.uwsgi_api.timers import is_cron_due, new_minutes

ANY = -1
YEAR = [datetime(2026, 1, 1) + timedelta(minutes=minute) for minute in range(365 * 24 * 60)]


@pytest.mark.parametrize(
    ("wanted", "times_a_year"),
    [
        ((ANY, ANY, ANY, ANY, ANY), 365 * 24 * 60),
        ((0, 4, ANY, ANY, ANY), 365),
        ((-15, ANY, ANY, ANY, ANY), 365 * 24 * 4),
        ((30, -6, ANY, ANY, ANY), 365 * 4),
        ((0, 0, 1, ANY, ANY), 12),
        ((0, 0, ANY, 2, ANY), 28),
        ((0, 0, ANY, ANY, 0), 52),
        ((0, 0, ANY, ANY, 7), 52),
        ((0, 0, ANY, ANY, 4), 53),  # 1 January 2026 is a Thursday
        ((0, 0, 13, ANY, 5), 12 + 52 - 3),  # the 13th or a Friday, as in crontab(5); three of them are both
        ((0, 0, 31, 2, ANY), 0),
    ],
)
def test_a_cron_is_due_at_its_times(wanted: tuple[int, ...], times_a_year: int) -> None:
    assert sum(is_cron_due(wanted, moment.timetuple()) for moment in YEAR) == times_a_year


def test_the_present_time_is_a_time() -> None:
    assert is_cron_due((ANY,) * 5, time.localtime())


@given(first_s=st.floats(0, 1e6), late_s=st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_each_minute_is_judged_once_however_late_the_looks_are(first_s: float, late_s: list[float]) -> None:
    before = 0
    judged: list[int] = []
    for beat, late in enumerate(late_s):
        now = int((1e9 + first_s + beat * 60 + late) // 60)
        judged += new_minutes(before, now)
        before = now
    assert judged == list(range(judged[0], before + 1))


@pytest.mark.parametrize("now", [1000, 1001, 1063, 5000])
def test_a_clock_that_was_moved_makes_one_look(now: int) -> None:
    assert list(new_minutes(1003, now)) == [now]


@pytest.fixture
def no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "_signals", {})


@pytest.mark.usefixtures("no_signals")
def test_impossible_signals_are_refused_with_a_remedy() -> None:
    for number in (-1, 256):
        with pytest.raises(ValueError, match=f"there is no signal {number}: use 0 to 255"):
            timers.register_signal(number, "", print)
    with pytest.raises(ValueError, match="no spooler: use a task queue"):
        timers.register_signal(1, "spooler", print)
    for add in (timers.add_timer, timers.add_rb_timer):
        with pytest.raises(ValueError, match="signal 1 has no handler: call register_signal first"):
            add(1, 5)
    assert not timers.signal_registered(1)


@pytest.mark.usefixtures("no_signals")
def test_signals_without_a_handler_are_handed_out_from_the_highest_one() -> None:
    assert timers.unused_signal() == 255
    timers.register_signal(255, "workers", print)
    assert timers.signal_registered(255) and timers.unused_signal() == 254
