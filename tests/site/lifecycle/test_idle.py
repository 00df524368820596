"""A worker in which nothing happens wakes for its slow heartbeat only, and is there at once when something happens."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from signal import Signals

import pytest

from faults.measure import own_bytes
from tests.conftest import Start
from tests.support import client
from tests.support.server import eventually
from wsgid.serving.rounds import QUIET_ROUNDS, REST_S

WAKE_UPS = 2

APP = """
    import os, threading, time
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path.startswith("/harakiri/"):
            environ["wsgid.harakiri"](float(path.rpartition("/")[2]))
        if path != "/":
            time.sleep(600)
        start_response("200 OK", [("Content-Length", "4")])
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


def wait_for_rest(worker: int) -> None:
    """A busy worker wakes so often in a fifth of a second."""
    eventually(lambda: awaited(worker, WAKE_UPS) > (WAKE_UPS - 1) * REST_S * 0.99, "the worker rests")


@pytest.mark.parametrize("options", [(), ("--metrics", "metrics.sock"), ("--access-log", "access.log")])
def test_an_idle_worker_wakes_for_its_heartbeat_only(start: Start, options: tuple[str, ...]) -> None:
    server = start("--socket", "app.sock", *options, "app:application", app=APP).wait_ready(1)
    assert client.get(server.directory / "app.sock").body == b"fine"
    wait_for_rest(*server.worker_pids())
    assert server.stop() == 0


@pytest.mark.parametrize("options", [(), ("--harakiri", "300"), ("--metrics", "metrics.sock")])
def test_a_worker_in_which_requests_and_connections_wait_rests_as_well(start: Start, options: tuple[str, ...]) -> None:
    http = ("--http-socket", "http.sock", "--http-keepalive", "300")
    server = start("--socket", "app.sock", *http, *options, "app:application", app=APP).wait_ready(1)
    waiting = []
    for _ in range(50):
        waiting.append(client.connect(server.directory / "app.sock"))
        waiting[-1].sendall(client.packet("/wait"))
        waiting.append(client.connect(server.directory / "http.sock"))
        waiting[-1].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    eventually(lambda: server.in_flight() == 50, "all requests wait in the application")
    wait_for_rest(*server.worker_pids())
    assert client.get(server.directory / "app.sock").body == b"fine"
    for connection in waiting:
        connection.close()


def test_a_worker_whose_loop_has_stuttered_rests_with_its_witness(start: Start) -> None:
    """The window of the witness is so long that the witness never ends in this test (serving/standstill.py)."""
    app = """
        from gevent import monkey
        from wsgid.serving import standstill
        standstill.WINDOW_S = 6000.0
        blocking_sleep = monkey.get_original("time", "sleep")
        def application(environ, start_response):
            blocking_sleep(0.3)
            start_response("200 OK", [])
            return [b"x"]
    """
    server = start("--socket", "app.sock", "--hub-warn", "30", "app:application", app=app).wait_ready(1)
    (worker,) = server.worker_pids()

    def threads() -> set[int]:
        client.get(server.directory / "app.sock")  # a stop
        return {int(task.name) for task in Path(f"/proc/{worker}/task").iterdir()} - {worker}

    eventually(threads, "the witness looks")
    for _ in range(3):  # which the witness sees
        (witness,) = threads()
    wait_for_rest(worker)
    before = wake_ups(witness)
    wait_for_rest(worker)
    assert wake_ups(witness) <= before + WAKE_UPS


def test_a_worker_that_leaves_rests_while_its_last_requests_wait(start: Start) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    (leaving,) = server.worker_pids()
    with client.connect(server.directory / "app.sock") as waiting:
        waiting.sendall(client.packet("/harakiri/8"))
        eventually(lambda: server.in_flight() == 1, "the request waits in the application")
        server.send_signal(Signals.SIGHUP)
        server.wait_generation(1, 1)
        wait_for_rest(leaving)
        assert b" 504 " in client.read_all(waiting)
    eventually(lambda: leaving not in server.worker_pids(), "the worker leaves after its last answer")
    assert server.stop() == 0


def test_a_worker_that_rests_is_not_held_up_and_its_hub_is_watched(start: Start) -> None:
    """--hub-timeout is shorter than the rest. A busy worker has a beat each 0.05 s."""
    app = APP.replace("time.sleep(600)", "[None for _ in iter(int, 1)]")
    options = ("--hub-timeout", "0.4", "--hub-warn", "0.2")
    server = start("--socket", "app.sock", *options, "app:application", app=app).wait_ready(1)
    wait_for_rest(*server.worker_pids())
    assert "has not run" not in server.log
    assert client.get(server.directory / "app.sock", "/spin").status == 504
    server.wait_for("has been held up for")
    assert server.stop() == 0


def test_a_time_out_that_begins_at_rest_is_kept(start: Start) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    for number in range(1, 3):
        (worker,) = server.worker_pids()
        wait_for_rest(worker)
        assert client.get(server.directory / "app.sock", "/harakiri/0.2").status == 504
        server.wait_for("harakiri: GET /harakiri/0.2", number)
    assert "held up" not in server.log and server.stop() == 0


def test_a_time_out_that_ends_during_the_rest_is_kept(start: Start) -> None:
    """It ends before the next slow heartbeat."""
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    seconds = 3 * QUIET_ROUNDS * 0.1 + REST_S / 2
    assert client.get(server.directory / "app.sock", f"/harakiri/{seconds}").status == 504
    server.wait_for(f"harakiri: GET /harakiri/{seconds}")
    assert "held up" not in server.log and server.stop() == 0


def test_the_time_of_a_parked_connection_ends_during_the_rest(start: Start) -> None:
    server = start("--http-socket", "http.sock", "--http-keepalive", "3", "app:application", app=APP).wait_ready(1)
    answer = client.exchange(server.directory / "http.sock", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.endswith(b"fine") and server.stop() == 0


def test_what_uploads_have_left_free_is_given_back_at_rest(start: Start) -> None:
    """glibc's malloc keeps some MiB while the worker is busy (linux/memory.py)."""
    app = """
        import time
        def application(environ, start_response):
            body = environ["wsgi.input"].read()
            time.sleep(0.2)  # so that several bodies are there at the same time
            start_response("200 OK", [])
            return [b"%d" % len(body)]
    """
    server = start("--socket", "app.sock", "app:application", app=app).wait_ready(1)
    (worker,) = server.worker_pids()
    before_bytes = own_bytes(worker)
    upload = partial(client.get, server.directory / "app.sock", "/", bytes(1 << 20))
    with ThreadPoolExecutor(8) as pool:
        assert {made.result().body for made in [pool.submit(upload) for _ in range(32)]} == {b"%d" % (1 << 20)}
    eventually(lambda: own_bytes(worker) < before_bytes + (3 << 20), "the worker gives back what it has freed")
    assert server.stop() == 0
