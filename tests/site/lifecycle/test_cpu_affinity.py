"""--cpu-affinity: which processors a worker may use, by the kernel."""

import os
from signal import Signals

import pytest

from tests.conftest import Start
from tests.support.server import Server, eventually
from wsgid.linux import process

APP = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b""]
"""


def serve(start: Start, processors: set[int], workers: int, each: int) -> Server:
    return start(
        "--socket",
        "app.sock",
        "--workers",
        str(workers),
        "--cpu-affinity",
        str(each),
        "app:application",
        app=APP,
        preexec_fn=lambda: os.sched_setaffinity(0, processors),
    ).wait_ready(workers)


def bound(server: Server) -> list[set[int]]:
    return sorted((os.sched_getaffinity(pid) for pid in server.worker_pids()), key=sorted)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [{2}, {3}, {5}, {7}, {2}, {3}]),
        (2, [{2, 3}, {5, 7}, {2, 3}, {5, 7}]),
        (3, [{2, 3, 5}, {7, 2, 3}, {5, 7, 2}, {3, 5, 7}]),
        (4, [{2, 3, 5, 7}] * 2),
        (9, [{2, 3, 5, 7}] * 2),
    ],
)
def test_processors_are_dealt_round_and_round(
    count: int, expected: list[set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {7, 2, 5, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, mask: chosen.append(set(mask)))
    for seat in range(len(expected)):
        process.bind_to_processors(seat, count)
    assert chosen == expected


def test_workers_are_spread_over_the_processors_and_stay_so(start: Start) -> None:
    ours = sorted(os.sched_getaffinity(0))
    server = serve(start, set(ours), len(ours), 1)
    assert bound(server) == [{cpu} for cpu in ours]
    os.kill(server.worker_pids()[0], Signals.SIGKILL)
    server.wait_ready(len(ours) + 1)
    assert bound(server) == [{cpu} for cpu in ours]
    for _ in range(2):  # the new workers are in other slots than the old workers
        server.lines.clear()
        server.send_signal(Signals.SIGHUP)
        server.wait_for(r"worker \d+ .* exited with code 0", len(ours))
        eventually(lambda: len(server.worker_pids()) == len(ours), "the new workers are there alone")
        assert bound(server) == [{cpu} for cpu in ours]
    assert os.sched_getaffinity(server.pid) == set(ours)  # a reload and its import may use all processors
    assert server.stop() == 0


def test_only_processors_that_the_master_may_use_are_used(start: Start) -> None:
    last = max(os.sched_getaffinity(0))
    server = serve(start, {last}, 3, 2)
    assert bound(server) == [{last}] * 3


def test_without_the_option_workers_may_use_all(start: Start) -> None:
    server = start("--socket", "app.sock", "--workers", "2", "app:application", app=APP).wait_ready(2)
    assert bound(server) == [os.sched_getaffinity(0)] * 2
