"""When a cron of uWSGI is due."""

import time
from datetime import datetime, timedelta

import pytest

from wsgid.application.uwsgi_api.timers import is_cron_due

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
