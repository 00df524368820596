"""The benchmark's crowd: its requests wait together, one more is answered meanwhile, and all get an answer."""

from pathlib import Path

import pytest

from bench import waiting
from bench.apps import HELLO
from bench.sample import Metric
from bench.server import Request, Server
from tests.conftest import Start
from tests.support import ROOT


def test_a_crowd_is_held_and_answered(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "WATCHED_S", 0.2)
    monkeypatch.setattr(waiting, "PER_PROCESS", 50)  # two processes of clients
    server = start("--socket", "app.sock", "--pythonpath", str(ROOT), "bench.apps:crowd").wait_ready(1)
    measured = waiting.waiting(80)(Server(server.pid, tmp_path / "app.sock", 0, "/"), Request(HELLO), 1)
    assert measured[Metric.ERRORS] == 0
    assert 0 < measured[Metric.P50_MS] <= measured[Metric.P99_MS]
    assert measured[Metric.IN_FLIGHT_BYTES] > 1000
