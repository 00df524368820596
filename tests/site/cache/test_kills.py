"""A short form of `make faults ONLY="cache-kills cache-stale"`."""

from faults.scenarios import caches


def test_killed_processes_leave_whole_values_free_locks_and_right_counts() -> None:
    results = caches.cache_kills(kills=30)
    assert all(result.held for result in results), results
    assert caches.leftovers() == []


def test_no_value_in_the_process_is_older_than_the_last_write() -> None:
    results = caches.cache_stale(checks=20_000)
    assert all(result.held for result in results), results
