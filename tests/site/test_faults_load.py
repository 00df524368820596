"""The scenarios of faults/load.py in short forms. What is counted has to hold anywhere; times are for `make faults`."""

from signal import Signals

import pytest

from faults import load
from faults.clients import RIGHT, Kind, Load, Plan
from faults.report import Result
from tests.conftest import Start

pytestmark = pytest.mark.alone


def assert_held(results: list[Result]) -> None:
    assert results and [one for one in results if not one.held] == []


def test_reloads() -> None:
    run = load.roll(Signals.SIGHUP, clients=16, count=2, period_s=2.0)
    assert_held(run.counts())
    assert {one.note for one in run.load.records} >= {"v0", "v2"}  # v1 may be overtaken on a slow machine


def test_upgrades() -> None:
    run = load.roll(Signals.SIGUSR2, clients=16, count=1, period_s=3.0)
    assert_held([*run.counts(), load.upgraded(run)])


def test_a_stop_at_the_socket() -> None:
    assert_held(load.stop_at_the_socket(clients=64))


def test_a_stop_behind_nginx() -> None:
    assert_held(load.stop_behind_nginx(clients=64))


def test_killed_workers_lose_what_they_had_in_flight() -> None:
    assert_held(load.killed_counts(load.kill_run(1, "uwsgi_next_upstream off;", clients=16, count=3, period_s=0.5)))


def test_killed_workers_lose_nothing_that_nginx_repeats() -> None:
    run = load.kill_run(2, "", clients=16, count=3, period_s=1.0, kinds=load.PAGES)
    assert_held(load.repeated_counts(run))


def test_poison() -> None:
    assert_held(load.poison_counts(load.poison_run(0.5, 0.4)))


def test_killed_templates() -> None:
    assert_held(load.template_run(clients=16, period_s=0.5))


def test_a_killed_master() -> None:
    assert_held(load.master_run(clients=40).counts)


# --- the load itself sees what is wrong ---


def test_the_load_counts_what_is_wrong(start: Start) -> None:
    server = start(
        "--socket",
        "app.sock",
        "app:application",
        app="""
        def application(environ, start_response):
            path, body = environ["PATH_INFO"], environ["QUERY_STRING"].encode()
            length = len(body) + (path == "/short")
            start_response("404 Not Found" if path == "/lost" else "200 OK", [("Content-Length", str(length))])
            return [body.upper() if path == "/other" else body]
    """,
    ).wait_ready(1)
    kinds = tuple(Kind(f"{path}?xID", "xID") for path in ("/right", "/lost", "/other", "/short"))
    seen = {"right", "status 404", "wrong", "broken"}
    with Load(Plan(str(server.directory / "app.sock"), kinds, 4, ends_with=tuple(seen))) as clients:
        pass
    assert {clients.plan.kinds[one.kind].path: one.outcome for one in clients.records} == {
        "/right?xID": RIGHT,
        "/lost?xID": "status 404",
        "/other?xID": "wrong",
        "/short?xID": "broken",
    }
    assert server.stop() == 0
    with Load(Plan(str(server.directory / "app.sock"), kinds, 4, ends_with=("refused",))) as clients:
        pass
    assert clients.outcomes() == {"refused": 4}
