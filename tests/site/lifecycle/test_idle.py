"""An idle worker: it wakes for its heartbeat only, and is there at once when something happens."""

import re
import time
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import eventually
from wsgid.serving import pulse

BEAT_S = 0.25  # on average: a quarter of a second, if --hub-warn is not shorter
WAKE_UPS = 12

APP = """
    import os, threading, time
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            environ["wsgid.harakiri"](0.2)
            time.sleep(60)
        start_response("200 OK", [])
        return [b"fine"]
"""


def wake_ups(pid: int) -> int:
    """How often the main thread has waited so far (proc(5), status)."""
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def awaited(pid: int, more: int) -> float:
    """Wait until the worker has woken up so often. Returns how many seconds that took."""
    before, began_s = wake_ups(pid), time.monotonic()
    eventually(lambda: wake_ups(pid) >= before + more, "the worker wakes up")
    return time.monotonic() - began_s


@pytest.mark.parametrize("options", [(), ("--metrics", "metrics.sock"), ("--access-log", "access.log")])
def test_an_idle_worker_wakes_for_its_heartbeat_only(start: Start, options: tuple[str, ...]) -> None:
    """On a busy machine, the same wake-ups take longer."""
    server = start("--socket", "app.sock", *options, "app:application", app=APP).wait_ready(1)
    assert client.get(server.directory / "app.sock").body == b"fine"
    (worker,) = server.worker_pids()
    awaited(worker, 5)  # the rest begins with the next round
    assert awaited(worker, WAKE_UPS) > (WAKE_UPS - 2) * BEAT_S * pulse.SHORTEST
    assert server.stop() == 0


def test_a_time_out_that_begins_at_rest_is_kept(start: Start) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    for number in range(1, 4):
        (worker,) = server.worker_pids()
        awaited(worker, 3)
        assert client.get(server.directory / "app.sock", "/slow").status == 504
        server.wait_for("harakiri: GET /slow", number)
    assert "held up" not in server.log and server.stop() == 0
