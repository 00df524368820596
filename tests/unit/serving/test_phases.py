"""The stamp of the server in front: its units, and what is not believed."""

import pytest

from wsgid.serving.phases import AHEAD_MAX_S, STAMP_MAX_S, front_us

NOW_S = 1_760_000_000.5


@pytest.mark.parametrize("stamp", ["1760000000.000", "t=1760000000.000", "1760000000000", "t=1760000000000000"])
def test_seconds_milliseconds_and_microseconds_are_understood(stamp: str) -> None:
    assert front_us(stamp, NOW_S) == 500_000


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        "t=",
        "soon",
        "nan",
        "inf",
        "-inf",
        "-5",
        "0",
        "1e400",
        "9" * 33,
        f"{NOW_S - STAMP_MAX_S - 1}",
        "t=t=1760000000",
    ],
)
def test_what_is_no_stamp_does_not_count(stamp: str) -> None:
    assert front_us(stamp, NOW_S) == -1


def test_a_clock_that_is_a_little_ahead_counts_as_no_time() -> None:
    assert front_us(f"{NOW_S + AHEAD_MAX_S / 2}", NOW_S) == 0
    assert front_us(f"{NOW_S + AHEAD_MAX_S * 2}", NOW_S) == -1
