"""What Cache promises, over every store."""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.site.cache.conftest import Later, MakeCache
from tests.support.server import eventually
from wsgid.cache import Cache
from wsgid.errors import LockNotAcquired, NoSuchKey, NotANumber

SOON_S = 0.05
CLOSED = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None))
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


class Flavour(str):
    """A subclass comes back as what it was."""


# --- values ---


@given(value=CLOSED)
@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_a_value_comes_back_with_its_type(cache: Cache, value: Any) -> None:
    cache.set("key", value)
    found = cache.get("key", "nothing")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("value", [Decimal("1.10"), Flavour("sweet"), -(2**63), 2**63, b"", "", {1: ("a", None)}])
def test_other_objects_are_pickled(cache: Cache, value: Any) -> None:
    cache.set("key", value, 60)
    found = cache.get("key")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("size_bytes", [0, 1, 1990, 2100, 3999, 4000, 4001, 4080, 8159, 8160, 8161, 100_000, 900_000])
def test_a_value_may_be_large(cache: Cache, size_bytes: int) -> None:
    value = bytes(range(256)) * (size_bytes // 256 + 1)
    cache.set("large", value[:size_bytes], 60)
    cache.set("other", "x")
    assert cache.get("large") == value[:size_bytes]
    assert cache.touch("large", 60) and cache.get("large") == value[:size_bytes]
    cache.set("large", "small now")
    assert (cache.get("large"), cache.get("other")) == ("small now", "x")


@pytest.mark.parametrize("key", ["ä", b"\xff\0", "k" * 480, "k" * 481, "k" * 100_000, "\ud800", ""])
def test_a_key_is_any_text_or_bytes(cache: Cache, key: str | bytes) -> None:
    cache.set(key, 1)
    assert cache.get(key) == 1
    assert cache.get("other") is None
    assert cache.delete(key)


def test_text_and_its_bytes_are_the_same_key(cache: Cache) -> None:
    cache.set("ä", 1)
    assert cache.get("ä".encode()) == 1


@pytest.mark.parametrize("key", [1, None, ("a",)])
def test_nothing_else_is_a_key(cache: Cache, key: Any) -> None:
    with pytest.raises(TypeError, match="a key is str or bytes"):
        cache.get(key)


def test_a_missing_value_is_the_default(cache: Cache) -> None:
    assert cache.get("missing") is None
    assert cache.get("missing", 5) == 5
    cache.set("none", None)
    assert cache.get("none", 5) is None


def test_many_at_once(cache: Cache) -> None:
    cache.set_many({f"k{number}": number for number in range(600)}, 60)
    cache.set_many({})
    found = cache.get_many([*(f"k{number}" for number in range(600)), "missing"])
    assert found == {f"k{number}": number for number in range(600)}
    assert cache.delete_many(["k1", "k2", "missing"]) == 2
    assert cache.get_many(["k1", "k3"]) == {"k3": 3} and cache.get_many([]) == {}
    large = {f"large{number}": bytes([number]) * 100_000 for number in range(3)}
    cache.set_many({**large, "small": 1}, 60)
    assert cache.get_many([*large, "missing", "small"]) == {**large, "small": 1}
    with pytest.raises(TypeError, match="give a list"):
        cache.get_many("k1")


def test_add_writes_only_what_is_missing_and_replace_only_what_is_there(cache: Cache) -> None:
    assert not cache.replace("key", 1)
    assert cache.add("key", 2, 60)
    assert not cache.add("key", 3)
    assert cache.get("key") == 2
    assert cache.replace("key", 4)
    assert (cache.get("key"), cache.ttl("key")) == (4, math.inf)


def test_clear_deletes_all_values_and_no_lock(cache: Cache) -> None:
    cache.set_many({"a": 1, "b": "x" * 10_000})
    held = cache.lock("l", 60)
    assert held.acquire()
    cache.clear()
    assert cache.get_many(["a", "b"]) == {}
    assert not cache.lock("l").acquire(0)
    assert held.release()


# --- time ---


def test_a_value_expires(cache: Cache, later: Later) -> None:
    cache.set("short", 1, 600)
    cache.set("long", 1, 6000)
    cache.set("ever", 1)
    assert 500 < (cache.ttl("short") or 0) <= 600
    assert 5900 < (cache.ttl("long") or 0) <= 6000
    assert cache.ttl("ever") == math.inf
    later(500)
    assert 0 < (cache.ttl("short") or 0) <= 100
    assert (cache.get("short"), "short" in cache) == (1, True)
    later(100)
    assert (cache.get("short"), cache.ttl("short"), "short" in cache) == (None, None, False)
    assert not cache.replace("short", 1) and not cache.touch("short", 1) and not cache.delete("short")
    assert cache.add("short", 2)
    assert "long" in cache


def test_touch_changes_the_time_and_not_the_value(cache: Cache, later: Later) -> None:
    cache.set("key", [1], 60)
    assert cache.touch("key", 6000)
    assert (cache.ttl("key") or 0) > 60
    assert cache.touch("key")
    assert cache.ttl("key") == math.inf
    assert cache.get("key") == [1]
    assert cache.touch("key", 600)
    later(500)
    assert cache.get("key") == [1]
    later(100)
    assert cache.get("key") is None


@pytest.mark.parametrize("ttl_s", [0, -1, math.nan, "60"])
def test_a_time_to_live_is_above_0(cache: Cache, ttl_s: Any) -> None:
    for write in (cache.set, cache.add, cache.replace):
        with pytest.raises(ValueError, match="ttl_s"):
            write("key", 1, ttl_s)


# --- numbers ---


def test_incr_counts_from_its_initial_value(cache: Cache) -> None:
    assert cache.incr("n") == 1
    assert cache.incr("n", 5) == 6
    assert cache.incr("n", -10) == -4
    assert cache.incr("m", 2, initial=100) == 102
    assert cache.get("n") == -4
    cache.set("f", 1.5)
    assert cache.incr("f", 2) == 3.5
    assert cache.incr("g", 0.25, initial=1) == 1.25
    assert cache.incr("g") == 2.25


def test_incr_is_exact_up_to_64_bits(cache: Cache) -> None:
    cache.set("n", 2**53)
    assert cache.incr("n") == 2**53 + 1
    cache.set("n", 2**63 - 2)
    assert cache.incr("n") == 2**63 - 1


def test_incr_keeps_the_time_of_a_number_that_is_there(cache: Cache, later: Later) -> None:
    cache.incr("n", ttl_s=600)
    cache.incr("n", ttl_s=6000)
    assert 500 < (cache.ttl("n") or 0) <= 600
    later(500)
    assert cache.incr("n", ttl_s=6000) == 3
    later(100)
    assert cache.incr("n") == 1


def test_incr_wants_a_number(cache: Cache) -> None:
    cache.set("text", "12")
    cache.set("truth", True)
    for key in ("text", "truth"):
        with pytest.raises(NotANumber, match=key):
            cache.incr(key)
    with pytest.raises(NoSuchKey, match="missing"):
        cache.incr("missing", initial=None)


def test_no_count_is_lost_between_threads(cache: Cache) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cache.incr("n"), range(400)))
    assert cache.get("n") == 400


# --- locks ---


def test_a_lock_has_one_holder(cache: Cache) -> None:
    with cache.lock("job", 60) as held:
        assert not cache.lock("job").acquire(0)
        assert not cache.lock("job").acquire(SOON_S)
        assert cache.lock("another").acquire(0)
        assert held.extend(60)
        with pytest.raises(LockNotAcquired, match=r"'job' was not free within 0\.01 s"), cache.lock("job", wait_s=0.01):
            pass
    assert cache.lock("job").acquire(0)


def test_a_lock_ends_with_its_time_and_then_belongs_to_another(cache: Cache) -> None:
    late = cache.lock("job", SOON_S)
    assert late.acquire()
    next_one = cache.lock("job", 60)
    assert next_one.acquire()  # waits until the time is over
    assert not late.release()
    assert not late.extend()
    assert not cache.lock("job").acquire(0)
    assert next_one.release()


def test_who_waits_gets_the_lock(cache: Cache) -> None:
    order: list[int] = []

    def take(number: int) -> None:
        with cache.lock("job", 60):
            order.append(number)
            time.sleep(0.001)
            order.append(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, range(8)))
    assert order[::2] == order[1::2] and len(order) == 16


def test_a_lock_ends_some_day(cache: Cache) -> None:
    with pytest.raises(ValueError, match="a lock has to end"):
        cache.lock("job", math.inf)


def test_locks_and_values_have_separate_names(cache: Cache) -> None:
    cache.set("job", 1)
    with cache.lock("job"):
        assert cache.get("job") == 1


# --- get_or_make ---


def calls_of(make: Callable[[], Any]) -> tuple[list[int], Callable[[], Any]]:
    """A list that grows by one for each call, and the function."""
    calls: list[int] = []

    def counted() -> Any:
        calls.append(1)
        return make()

    return calls, counted


def test_a_value_is_made_once(cache: Cache) -> None:
    calls, make = calls_of(lambda: "made")
    assert [cache.get_or_make("key", make, 60) for _ in range(3)] == ["made"] * 3
    assert len(calls) == 1
    assert cache.get("key") == "made"


def test_of_all_who_want_a_value_one_makes_it(cache: Cache) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def make() -> str:
        begun.set()
        assert go_on.wait(20)
        return "made"

    calls, counted = calls_of(make)
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(cache.get_or_make, "key", counted, 60) for _ in range(8)]
        assert begun.wait(20)
        go_on.set()
        assert [future.result(20) for future in found] == ["made"] * 8
    assert len(calls) == 1


def test_while_a_value_is_made_the_others_get_the_stale_one(cache: Cache, later: Later) -> None:
    cache.set("key", "old", 600, stale_s=6000)
    later(500)
    assert cache.get("key") == "old"
    later(100)
    assert cache.get("key") is None
    inside: list[str] = []

    def make() -> str:
        inside.append(cache.get_or_make("key", lambda: "never", 60, 60))
        with ThreadPoolExecutor(1) as pool:
            inside.append(pool.submit(cache.get_or_make, "key", lambda: "never", 60, 60).result(20))
        return "new"

    assert cache.get_or_make("key", make, 60, 60) == "new"
    assert inside == ["old", "old"]
    assert cache.get("key") == "new"


def test_none_has_a_time_of_its_own(cache: Cache, later: Later) -> None:
    calls, make = calls_of(lambda: None)
    assert cache.get_or_make("long", make, 600, negative_ttl_s=6000) is None
    assert cache.get_or_make("short", make, 6000, negative_ttl_s=600) is None
    later(500)
    assert cache.get_or_make("short", make, 60) is None
    assert len(calls) == 2
    later(100)
    assert cache.get_or_make("long", make, 60) is None
    assert len(calls) == 2
    assert cache.get_or_make("short", make, 60) is None
    assert len(calls) == 3


def test_an_exception_reaches_the_caller_and_the_next_one_tries_again(cache: Cache) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.get_or_make("key", fail, 60)
    assert cache.get_or_make("key", lambda: "made", 60) == "made"


def test_who_has_waited_for_a_failure_gets_it(cache: Cache) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        assert go_on.wait(20)
        raise ZeroDivisionError

    calls, counted = calls_of(fail)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(cache.get_or_make, "key", counted, 60)
        assert begun.wait(20)
        waiting = [pool.submit(cache.get_or_make, "key", counted, 60) for _ in range(4)]
        turn = cache._turns._turns[b"make:key"]
        while turn.waiting < 5:
            time.sleep(0.001)
        go_on.set()
        for future in (first, *waiting):
            with pytest.raises(ZeroDivisionError):
                future.result(20)
    assert len(calls) == 1
    assert not cache._turns._turns


def test_a_late_maker_is_not_waited_for(cache: Cache) -> None:
    """After lock_s another caller makes the value. Here the first one is another Cache object: another process."""
    late = cache.lock("x", SOON_S)
    late._name = b"make:key"
    assert late.acquire()
    assert cache.get_or_make("key", lambda: "made", 60) == "made"


def test_a_decorated_function_is_cached(cache: Cache) -> None:
    calls, make = calls_of(lambda: 5)
    decorated = cache.cached("key", 60)(make)
    assert (decorated(), decorated(), len(calls)) == (5, 5, 1)


# --- the level in the process ---


def test_a_write_anywhere_is_seen(make_cache: MakeCache, request: pytest.FixtureRequest) -> None:
    """At once on one machine; from another machine after the way through the network."""
    hot, other = make_cache(local=10), make_cache()
    at_once = request.node.callspec.params["make_cache"] != "redis"

    def sees(value: Any) -> None:
        assert at_once or eventually(lambda: hot.get("key") == value, f"{value} is seen")
        assert (hot.get("key"), hot.get("key")) == (value, value)

    for number in range(20):
        other.set("key", number)
        sees(number)
    other.incr("key")
    sees(20)
    other.delete("key")
    sees(None)
    other.set("key", 1)
    sees(1)
    other.clear()
    sees(None)


def test_a_hot_value_is_the_same_object_until_it_is_written_again(make_cache: MakeCache) -> None:
    hot, other = make_cache(local=10), make_cache()
    other.set("key", [1])
    eventually(lambda: hot.get("key") is hot.get("key"), "the value is kept")  # Redis has to be listened to first
    other.set("key", [1])
    kept = hot.get("key")
    eventually(lambda: hot.get("key") is not kept or hot.get("key") == [1], "the new one comes")


def test_no_more_values_are_kept_than_asked_for(make_cache: MakeCache) -> None:
    hot = make_cache(local=3)
    hot.set("first", 0)
    kept = hot._local._values  # type: ignore[union-attr]
    eventually(lambda: hot.get("first") == 0 and kept, "values are kept")  # Redis has to be listened to first
    for number in range(10):
        hot.set(f"k{number}", number)
        assert hot.get(f"k{number}") == number
    assert 1 <= len(kept) <= 3


def test_a_value_of_the_process_expires_too(make_cache: MakeCache, later: Later) -> None:
    hot = make_cache(local=10)
    hot.set("key", 1, 600)
    assert hot.get("key") == 1
    later(500)
    assert hot.get("key") == 1
    later(100)
    assert hot.get("key") is None


def test_what_is_made_is_kept_in_the_process(make_cache: MakeCache) -> None:
    hot = make_cache(local=10)
    calls, make = calls_of(lambda: {"a": 1})
    found = [hot.get_or_make("key", make, 60) for _ in range(3)]
    assert found == [{"a": 1}] * 3 and len(calls) == 1
