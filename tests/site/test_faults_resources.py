"""Short forms of the scenarios of `make faults` about resources: the counts have to hold at any size.

No time and no share of a processor is tested here, because a busy machine must not make a commit fail.
"""

import re

import pytest

from faults.report import Result
from faults.scenarios import clients, crash_loops, crowds, descriptors, disk, malformed, soak, uploads

pytestmark = pytest.mark.alone


def assert_held(results: list[Result], *bars: str) -> None:
    """For each of these regular expressions, at least one bar begins with it, and all such bars are held."""
    for bar in bars:
        found = [result for result in results if re.match(bar, result.bar)]
        assert found and all(result.held for result in found), found or results


def test_an_application_that_cannot_be_imported() -> None:
    assert_held(crash_loops.crash_loop_at_import(), "exit code 3", "one traceback", "no process and no socket left")


def test_workers_that_die_young() -> None:
    results = crash_loops.crash_loop_after_start(seconds=1.0)
    assert_held(results, "at most one traceback a kind", "a sentence", "visitors are served in between")


def test_out_of_descriptors() -> None:
    results = descriptors.out_of_descriptors(count=100, sleep_s=0.2)
    assert_held(results, "all 100 slow ones answered", "100 more answered", "the same worker")


def test_an_ignored_body() -> None:
    results = uploads.ignored_body(count=4, size_bytes=2_000_000)
    assert len(results) == 4
    assert_held(results, "4 of 4 POSTs")


def test_a_full_disk() -> None:
    results = disk.disk_full_log(count=10)
    assert_held(results, "")


def test_malformed_packets() -> None:
    results = malformed.malformed(count=700, warm_up=300)
    assert_held(
        results,
        "the 175 good ones",
        "all 700 bad ones come to an end",
        "no descriptor more",
        "at most one log line each",
        "no traceback",
    )


def test_clients_that_leave() -> None:
    results = clients.clients_that_leave(count=300, warm_up=600)
    assert_held(
        results, "300 clients have left", "no descriptor more", "no greenlet more", r"close\(\) of each", "no traceback"
    )


def test_many_in_flight() -> None:
    results = crowds.ten_thousand_in_flight(count=300, sleep_s=2.0)
    assert_held(results, "all 300 answered", "300 in flight at the same time")


def test_at_the_limit() -> None:
    results = crowds.at_the_limit(count=60, places=10, sleep_s=0.2)
    assert_held(results, "all 60 answered", "10 in flight, and never more")


def test_slow_clients() -> None:
    results = clients.slow_clients(count=30, fast=200, seconds=2.0)
    assert_held(
        results, "all 60 slow ones answered", "all 200 fast ones answered", "60 slow ones in flight", "the same worker"
    )


def test_a_long_run() -> None:
    assert_held(soak.soak(count=2_000, warm_up=1_000), "all 2,000 answered", "no descriptor more", "nothing in")
