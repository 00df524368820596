"""The benchmark's crowd: its requests wait together, one more is answered meanwhile, and all get an answer."""

from pathlib import Path

import pytest

from bench import cost, waiting
from bench.apps import HELLO
from bench.sample import Metric
from bench.server import Request, Server
from tests.conftest import Start
from tests.support import ROOT


def test_a_crowd_is_held_and_answered(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "WATCHED_S", 0.2)
    monkeypatch.setattr(waiting, "PER_PROCESS", 50)  # two processes of clients
    # A server of this size changes by more than 80 requests need, so the test says how large the server is.
    sizes_bytes = iter((1_000_000, 1_800_000))
    monkeypatch.setattr(cost, "tree_pss_bytes", lambda _pid: next(sizes_bytes))
    server = start("--socket", "app.sock", "--pythonpath", str(ROOT), "bench.apps:crowd").wait_ready(1)
    measured = waiting.waiting(80)(Server(server.pid, tmp_path / "app.sock", 0, "/"), Request(HELLO), 1)
    assert measured[Metric.ERRORS] == 0
    assert 0 < measured[Metric.P50_MS] <= measured[Metric.P99_MS]
    assert measured[Metric.IN_FLIGHT_BYTES] == 10_000
