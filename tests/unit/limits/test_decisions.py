"""The decisions of the limits against reference models, also when the clock jumps. Each test uses memory of its own."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgid import limits
from wsgid.errors import Rejected
from wsgid.limits.home import HOME, private_table
from wsgid.limits.layout import LimitCount
from wsgid.limits.limiters import Limiter
from wsgid.limits.table import Table

pytestmark = pytest.mark.hot

NS = 1_000_000_000


class Clock:
    """Nanoseconds that a test moves."""

    def __init__(self) -> None:
        self.ns = 10**15

    def __call__(self) -> int:
        return self.ns


def home(keys: int = 64) -> Clock:
    """Give this process an empty table with a clock that stands still."""
    clock = Clock()
    HOME.forget()
    HOME.store = private_table(keys, clock)
    return clock


@pytest.fixture(autouse=True)
def a_home_of_its_own() -> Iterator[None]:
    home()
    yield
    HOME.forget()


def admitted(limiter: Any, key: str = "k", **how: Any) -> bool:
    return bool(limiter.acquire(key, **how))


# --- against models ---


class Bucket:
    """A leaky bucket as lua-resty-limit-traffic writes it: the excess in requests, and the time of the last one."""

    def __init__(self, interval_ns: int, burst: int) -> None:
        self._interval_ns = interval_ns
        self._burst_ns = burst * interval_ns
        self._excess_ns = 0  # requests times the interval
        self._last_ns: int | None = None

    def take(self, now_ns: int) -> int | None:
        """Return the delay in ns, or None for a rejection."""
        if self._last_ns is None:
            excess_ns = 0
        else:
            excess_ns = max(self._excess_ns - (now_ns - self._last_ns) + self._interval_ns, 0)
            if excess_ns > self._burst_ns + self._interval_ns:  # no request has left this behind: the clock went back
                excess_ns = self._burst_ns + self._interval_ns
                self._excess_ns, self._last_ns = self._burst_ns, now_ns
        if excess_ns > self._burst_ns:
            return None
        self._excess_ns, self._last_ns = excess_ns, now_ns
        return excess_ns


steps = st.lists(
    st.one_of(st.integers(0, 5 * NS), st.sampled_from([0, 1, NS // 10, NS // 10 - 1, 3600 * NS, -NS, -3600 * NS])),
    max_size=60,
)


@given(rate=st.sampled_from([1, 10, 3, 1000]), burst=st.integers(0, 5), moves=steps)
def test_a_rate_is_a_leaky_bucket(rate: int, burst: int, moves: Sequence[int]) -> None:
    clock = home()
    limiter = limits.RequestRate(rate, burst)
    model = Bucket(limiter.interval_ns, burst)
    for move in moves:
        clock.ns += move
        expected = model.take(clock.ns)
        seen = limiter.peek("k")
        permit = limiter.acquire("k", wait=False)
        assert bool(seen) == bool(permit) == (expected is not None)
        if isinstance(permit, Rejected):
            assert 0 < permit.retry_after_s <= (burst + 1) * limiter.interval_ns / NS
        else:
            assert permit.delay_s == expected / NS  # type: ignore[operator]


@given(count=st.integers(1, 5), window_ms=st.sampled_from([1, 250, 1000, 60_000]), moves=steps)
def test_a_window_counts_from_its_first_request(count: int, window_ms: int, moves: Sequence[int]) -> None:
    clock = home()
    limiter = limits.WindowCount(count, window_ms / 1000)
    ends_ms, used = 0, 0
    for move in moves:
        clock.ns += move
        now_ms = clock.ns // 1_000_000
        if ends_ms <= now_ms:
            ends_ms, used = now_ms + window_ms, 0
        ends_ms = min(ends_ms, now_ms + window_ms)  # no window is longer, also if the clock went back
        fits = used < count
        permit = limiter.acquire("k")
        assert bool(permit) == fits
        used += fits
        if isinstance(permit, Rejected):
            assert permit.retry_after_s == ends_ms / 1000 - clock.ns / NS or permit.retry_after_s > 0
        else:
            assert permit.remaining == count - used


@given(limit=st.integers(1, 4), burst=st.integers(0, 3), calls=st.lists(st.integers(0, 9), max_size=80))
def test_concurrency_counts_what_is_held(limit: int, burst: int, calls: Sequence[int]) -> None:
    home()
    limiter = limits.Concurrency(limit, burst, delay=0.5)
    held: list[Any] = []
    for call in calls:
        if call >= 6 and held:
            held.pop(call % len(held)).release()
            continue
        permit = limiter.acquire("k", wait=False)
        assert bool(permit) == (len(held) < limit + burst)
        if permit:
            held.append(permit)
            assert (permit.delay_s > 0) == (len(held) > limit)
    for permit in held:
        permit.release()
    assert limiter.acquire("k", wait=False)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, NS // 2)), max_size=40))
def test_combined_limits_spend_together_or_not_at_all(requests: Sequence[tuple[str, bool, int]]) -> None:
    clock = home()
    rate, count, held = limits.RequestRate(4, 2), limits.WindowCount(5, 10), limits.Concurrency(2, delay=1)
    alone = [limits.RequestRate(4, 2, name="alone"), limits.WindowCount(5, 10, name="alone")]
    both = limits.combine(rate, count, held)
    kept: list[tuple[str, Any]] = []
    for key, keep, move in requests:
        clock.ns += move
        permits = both.acquire(key, wait=False)
        expected = all(limiter.peek(key) for limiter in alone) and sum(kept_key == key for kept_key, _ in kept) < 2
        assert bool(permits) == expected
        if permits:
            for limiter in alone:
                assert limiter.acquire(key, wait=False)
            if keep:
                kept.append((key, permits))
            else:
                permits.release()


def test_permits_that_were_given_together_are_used_as_one() -> None:
    home()
    held, count = limits.Concurrency(1, burst=1, delay=2), limits.WindowCount(2, 60)
    both = limits.combine(held, count)
    with both.acquire("k") as permits:
        assert permits.delay_s == 0 and dict(permits.headers())["RateLimit-Remaining"] == "1"
        second = both.acquire("k", wait=False)
        assert second and second.delay_s == 2  # the longest of all: the window has none
        second.undo()
        assert both.peek("k") and count.peek("k")
    rejected = [both.acquire("k"), both.peek("k"), both.acquire("k")]
    assert [bool(permits) for permits in rejected] == [True, False, False]
    assert isinstance(rejected[1], Rejected) and isinstance(rejected[2], Rejected)
    assert rejected[1].retry_after == rejected[2].retry_after == 60


def test_a_combination_takes_one_key_for_all_or_one_for_each() -> None:
    home()
    by_user, by_path = limits.WindowCount(1, 60, name="user"), limits.WindowCount(1, 60, name="path")
    both = limits.combine(by_user, by_path)
    assert both.acquire("ann", "/a") and not both.acquire("ann", "/b") and both.acquire("bob", "/b")
    for keys in ((), ("ann", "/a", "more")):
        with pytest.raises(
            TypeError, match=f"with 2 limits takes one key for all, or one for each: it got {len(keys)}"
        ):
            both.acquire(*keys)


# --- undo ---


def test_undo_leaves_nothing_behind() -> None:
    clock = home()
    rate, count, held = limits.RequestRate(1, 0), limits.WindowCount(1, 60), limits.Concurrency(1)
    for limiter in (rate, count, held):
        permit = limiter.acquire("k")
        assert permit and not limiter.peek("k")
        permit.undo()
        again = limiter.acquire("k")  # lua-resty-limit-traffic rejects here: its uncommit keeps the time of the request
        assert again
        permit.undo()  # a second undo does nothing
        assert not limiter.peek("k")
        again.undo()
    clock.ns += 1
    assert all(limiter.peek("k") for limiter in (rate, count, held))


def test_an_undo_after_the_window_takes_nothing_from_the_next_one() -> None:
    clock = home()
    count = limits.WindowCount(1, 1)
    first = count.acquire("k")
    clock.ns += NS
    assert first and count.acquire("k")
    first.undo()
    assert not count.peek("k")


def test_a_peek_spends_nothing() -> None:
    for limiter in (limits.RequestRate(1), limits.WindowCount(1, 60), limits.Concurrency(1)):
        assert all(limiter.peek("k") for _ in range(3))
        kept = limiter.acquire("k")
        assert kept and not limiter.peek("k") and not limiter.acquire("k")


# --- permits ---


def test_with_releases_whatever_happens() -> None:
    limiter = limits.Concurrency(1)
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), limiter.acquire("k"):
            assert not limiter.peek("k")
            raise error
        assert limiter.peek("k")


def test_a_permit_that_nobody_refers_to_is_released() -> None:
    limiter = limits.Concurrency(1)
    assert limiter.acquire("k")
    assert limiter.peek("k")


def test_a_rejection_is_false_and_raised_by_with() -> None:
    limiter = limits.RequestRate("1r/m", name="login")
    limiter.acquire("k")
    rejected = limiter.acquire("k")
    assert not rejected and isinstance(rejected, Rejected)
    assert rejected.retry_after == 60 and "login rejects 'k'" in str(rejected)
    assert dict(rejected.answer_headers) == {
        "RateLimit-Limit": "1",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "60",
        "Retry-After": "60",
    }
    with pytest.raises(Rejected), limiter.acquire("k"):
        pytest.fail("the block ran")


def test_the_delay_of_a_concurrency_becomes_the_time_that_permits_are_held() -> None:
    clock = home()
    limiter = limits.Concurrency(1, burst=3, delay=1)
    first, second = limiter.acquire("k"), limiter.acquire("k", wait=False)
    assert first and second and (first.delay_s, second.delay_s) == (0, 1)
    clock.ns += 3 * NS
    first.release()  # held for 3 s: the average of 1 s and 3 s
    third, fourth = limiter.acquire("k", wait=False), limiter.acquire("k", wait=False)
    assert third and fourth and (third.delay_s, fourth.delay_s) == (2, 4)


def test_a_dry_run_only_counts() -> None:
    limiter = limits.RequestRate("1r/m", name="dry", dry_run=True)
    permits = [limiter.acquire("k") for _ in range(3)]
    assert all(permits)
    assert [permit.outcome.name for permit in permits if permit] == ["ADMITTED", "WOULD_REJECT", "WOULD_REJECT"]
    assert [permit.delay_s for permit in permits if permit] == [0, 0, 0]


def test_a_dry_run_in_a_combination_rejects_nothing() -> None:
    dry, wet = limits.WindowCount(1, 60, dry_run=True), limits.WindowCount(2, 60)
    both = limits.combine(dry, wet)
    assert [bool(both.acquire("k")) for _ in range(3)] == [True, True, False]


# --- keys ---


def test_keys_of_different_limiters_have_nothing_in_common() -> None:
    first, second = limits.WindowCount(1, 60, name="first"), limits.WindowCount(1, 60, name="second")
    assert first.acquire("k") and second.acquire("k") and not first.acquire("k")


def test_limiters_with_the_same_name_and_numbers_are_one_limiter() -> None:
    first, second = limits.WindowCount(1, 60, name="one"), limits.WindowCount(1, 60, name="one")
    assert first.acquire("k") and not second.acquire("k")


@given(st.lists(st.one_of(st.text(), st.binary(), st.integers()), unique_by=repr, max_size=20))
@settings(max_examples=30)
def test_any_text_is_a_key(keys: Sequence[str | bytes | int]) -> None:
    home()
    limiter = limits.WindowCount(1, 60)
    different = {key if isinstance(key, bytes) else str(key).encode("utf-8", "surrogatepass") for key in keys}
    assert sum(bool(limiter.acquire(key)) for key in keys) == len(different)


@pytest.mark.parametrize("key", [None, 1.0, True, ("a",), ["a"]])
def test_what_is_no_key_is_an_error(key: Any) -> None:
    limiter = limits.RequestRate(1)
    with pytest.raises(TypeError):
        limiter.acquire(key)


def test_idle_keys_make_room_and_busy_keys_do_not() -> None:
    clock = home(keys=1)  # one bucket of 32 places
    rate, held = limits.RequestRate(1), limits.Concurrency(1)
    assert all(rate.acquire(key) for key in range(32))
    kept = held.acquire("no room")
    assert kept and kept.outcome.name == "FAILED_OPEN"
    clock.ns += NS
    kept = held.acquire("room")
    assert kept and kept.outcome.name == "ADMITTED"
    assert all(permit.outcome.name == "ADMITTED" for key in range(31) if (permit := rate.acquire(key)))
    full = rate.acquire("once more")
    assert full and full.outcome.name == "FAILED_OPEN"
    assert not held.peek("room")  # a key that is held is never evicted


def test_a_word_that_no_decision_has_stored_locks_nobody_out() -> None:
    clock = home()
    rate, count = limits.RequestRate(1, 2), limits.WindowCount(1, 60)
    assert rate.acquire("k") and count.acquire("k")
    clock.ns -= 10**5 * NS  # as if the words were from the far future
    assert not rate.peek("k") and not count.acquire("k")
    clock.ns += 60 * NS
    assert rate.peek("k") and count.peek("k")


# --- numbers ---


@pytest.mark.parametrize(
    "make",
    [
        lambda: limits.RequestRate(0),
        lambda: limits.RequestRate("10"),
        lambda: limits.RequestRate("r/s"),
        lambda: limits.RequestRate("10r/y"),
        lambda: limits.RequestRate("0r/s"),
        lambda: limits.RequestRate(-1),
        lambda: limits.RequestRate(1, -1),
        lambda: limits.RequestRate("1r/d", 1000),
        lambda: limits.WindowCount(0, 1),
        lambda: limits.WindowCount(1 << 24, 1),
        lambda: limits.WindowCount(1, 0),
        lambda: limits.Concurrency(0),
        lambda: limits.Concurrency(1, -1),
        lambda: limits.Concurrency(1, delay=0),
        lambda: limits.RequestRate("1/1000d"),
        lambda: limits.RequestRate("2000000000r/s"),
        lambda: limits.combine(),
        lambda: limits.combine(*[limits.Concurrency(1, name="same")] * 2),
    ],
)
def test_impossible_numbers_are_errors(make: Any) -> None:
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize(
    ("rate", "interval_ns"),
    [("10r/s", NS // 10), ("100r/m", 600_000_000), ("1/h", 3600 * NS), ("5/10s", 2 * NS), (0.5, 2 * NS), (4, NS // 4)],
)
def test_the_forms_of_a_rate(rate: Any, interval_ns: int) -> None:
    assert limits.RequestRate(rate).interval_ns == interval_ns


def test_the_default_name_is_the_line_that_makes_the_limiter() -> None:
    limiter: Limiter = limits.RequestRate(1)
    assert limiter.name.startswith(f"{__name__}:")


def test_a_forked_process_has_limits_of_its_own() -> None:
    limiter = limits.Concurrency(1)
    permit: Any = limiter.acquire("k")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        permit.release()  # the row in the memory belongs to the parent
        os.write(writing, b"free" if limiter.acquire("k") else b"held")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 9) == b"free"
    assert not limiter.peek("k")
    for fd in (reading, writing):
        os.close(fd)


def test_counts_are_those_of_the_decisions() -> None:
    table: Table = HOME.store
    limiter = limits.WindowCount(1, 60)
    for _ in range(3):
        limiter.acquire("k")
    start = table.counts(limiter)
    assert (start[LimitCount.ADMITTED], start[LimitCount.REJECTED]) == (1, 2)
