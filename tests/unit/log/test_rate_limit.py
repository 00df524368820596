"""Rates of log lines."""

from hypothesis import given
from hypothesis import strategies as st

from wsgid.log.rate_limit import RateLimit


def test_a_burst_is_admitted_and_then_the_rate() -> None:
    limit = RateLimit(per_s=2, burst=3)
    assert [limit.admit(100.0) for _ in range(5)] == [True, True, True, False, False]
    assert [limit.admit(100.5), limit.admit(100.5), limit.admit(101.0)] == [True, False, True]
    assert limit.take_refused() == 3 and limit.take_refused() == 0


@given(st.lists(st.floats(0, 10), max_size=300), st.integers(1, 20), st.integers(1, 10))
def test_no_span_of_time_sees_more_than_its_burst_and_its_share(gaps_s: list[float], per_s: int, burst: int) -> None:
    limit = RateLimit(per_s, burst)
    now_s, admitted_s = 0.0, []
    for gap_s in gaps_s:
        now_s += gap_s / 20
        if limit.admit(now_s):
            admitted_s.append(now_s)
    for first in range(len(admitted_s)):
        for last in range(first, len(admitted_s)):
            assert last - first + 1 <= burst + (admitted_s[last] - admitted_s[first]) * per_s + 1e-6
