"""What goes when a store is full: expired values first, then those that were used least recently."""

import os
import random
from pathlib import Path

import pytest

from wsgid.cache import Cache
from wsgid.cache.board import Count, Head
from wsgid.errors import CacheError, CacheFull, ValueTooLarge

SIZE_BYTES = 2 << 20


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache("e", path=str(tmp_path / "e"), size_bytes=SIZE_BYTES)


def counts(cache: Cache) -> list[int]:
    return list(cache._store.opened.board.line)


def test_what_is_used_stays_and_what_is_not_used_goes(cache: Cache) -> None:
    for number in range(20):
        cache.set(f"hot{number}", b"x" * 1000)
    for number in range(10_000):
        cache.set(f"cold{number}", b"x" * 1000)
        cache.get(f"hot{number % 20}")
    kept = sum(cache.get(f"hot{number}") is not None for number in range(20))
    assert kept >= 19  # a sample of the keys is compared, so one may be unlucky
    assert cache.get("cold0") is None and cache.get("cold9999") is not None
    assert counts(cache)[Count.EVICTIONS] > 8000


def test_expired_values_go_before_living_ones(cache: Cache) -> None:
    for number in range(1200):
        cache.set(f"old{number}", b"x" * 1000, 1e-9)
    for number in range(300):
        cache.set(f"new{number}", b"x" * 1000)
    for number in range(1200):
        cache.set(f"more{number}", b"x" * 1000, 1e-9)
    assert len(cache.get_many(f"new{number}" for number in range(300))) == 300
    assert counts(cache)[Count.EXPIRED] > 500 and counts(cache)[Count.EVICTIONS] == 0


def test_a_full_store_takes_values_of_all_sizes_and_never_more_than_its_size(cache: Cache, tmp_path: Path) -> None:
    chance = random.Random(1)
    for number in range(3000):
        value = bytes([number % 251]) * int(10 ** chance.uniform(0, 5.7))
        key = f"k{chance.randrange(300)}"
        cache.set(key, value)
        assert cache.get(key) == value
    used_bytes = cache._store.opened.board.words[Head.USED_BYTES]
    assert SIZE_BYTES / 3 < used_bytes < SIZE_BYTES
    assert (tmp_path / "e").stat().st_size == SIZE_BYTES
    assert counts(cache)[Count.FULL] == 0


def test_a_process_that_asks_for_less_takes_nothing_from_the_others(cache: Cache, tmp_path: Path) -> None:
    """As a program outside of the server, which does not know the size."""
    value = b"x" * 100_000
    for number in range(12):
        cache.set(f"k{number}", value)
    pid = os.fork()
    if pid == 0:
        small = Cache("other", path=str(tmp_path / "e"), size_bytes=1 << 20)
        small.set("small", 1)
        os._exit(small.get("k11") != value)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (tmp_path / "e").stat().st_size == SIZE_BYTES
    for number in range(40):
        cache.set(f"more{number}", value)
        assert cache.get(f"more{number}") == value


def test_what_is_too_large_is_refused_and_changes_nothing(cache: Cache) -> None:
    cache.set("key", "old")
    for write in (cache.set, cache.add, cache.replace):
        with pytest.raises(ValueTooLarge, match="too large for the store e, which takes 524288, a fourth of its size"):
            write("key", b"x" * (SIZE_BYTES // 2))
    assert cache.get("key") == "old"
    assert counts(cache)[Count.FULL] == 3


def test_while_a_reader_stands_still_a_write_is_refused_and_then_all_is_as_before(cache: Cache) -> None:
    """LMDB keeps the pages of a snapshot as long as a reader holds it: for example, a worker that was stopped."""
    cache.set("key", "old")
    opened = cache._store.opened
    with (
        opened.environment.begin(db=opened.files.data) as reader,
        pytest.raises(CacheFull, match="no room for a value"),
    ):
        assert reader.get(b"nothing") is None
        for number in range(1000):
            cache.set(f"k{number}", bytes([number % 251]) * 10_000)
    assert counts(cache)[Count.FULL] == 1
    for number in range(1000):
        cache.set(f"k{number}", bytes([number % 251]) * 10_000)
        assert cache.get(f"k{number}") == bytes([number % 251]) * 10_000


def test_locks_are_not_thrown_out_and_forgotten_ones_do_not_pile_up(cache: Cache) -> None:
    held = cache.lock("held", 600)
    assert held.acquire()
    for number in range(1000):
        assert cache.lock(f"l{number}", 1e-9).acquire()
        cache.set(f"v{number}", b"x" * 5000)
    opened = cache._store.opened
    with opened.environment.begin() as transaction:
        assert transaction.stat(opened.files.locks)["entries"] < 300
    assert held.release()


def test_a_call_inside_of_a_call_is_an_error_and_no_deadlock(cache: Cache) -> None:
    """As in a finalizer or a signal handler, which Python may run at any moment."""

    def change(transaction: object, opened: object, now_s: float) -> None:
        with pytest.raises(CacheError, match="same thread"):
            cache.set("inner", 1)
        assert cache.get("other") == 1

    cache.set("other", 1)
    cache._store._space.write(change, ())
    cache.set("key", 1)
    assert cache.get("key") == 1
