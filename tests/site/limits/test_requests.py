"""wsgid.limits in an application: a permit ends with its request, however the request ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.ctl import said
from tests.support.http_client import request
from tests.support.server import Server, eventually

pytestmark = pytest.mark.hot

APP = """
    import os, time, json
    import gevent
    from wsgid import limits

    held = limits.Concurrency(1, name="held")
    slow = limits.RequestRate("1r/h", burst=5, name="slow")
    queue = limits.Concurrency(1, burst=1, delay=600, name="queue")
    kept = []

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/rejected":
            with limits.WindowCount(1, 60, name="rejected").acquire("k"):
                return answer(start_response)
        if path == "/slow":
            with open("begun", "w"):
                pass
            slow.acquire("k")
            return answer(start_response)
        if path == "/queue":
            queue.acquire("k")
            with open("begun", "w"):
                pass
            time.sleep(600)
        permit = held.acquire("k")
        if not permit:
            start_response("429 Too Many Requests", [("Content-Type", "text/plain")])
            return [b"busy"]
        kept[:] = [permit]  # also what the application keeps is given back
        if path == "/raise":
            raise ValueError("boom")
        if path == "/exit":
            raise SystemExit
        if path == "/greenlet-exit":
            raise gevent.GreenletExit
        if path == "/sleep":
            with open("begun", "w"):
                pass
            time.sleep(600)
        if path == "/stream":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return stream()
        if path == "/die":
            os.kill(os.getpid(), 9)
        return answer(start_response)

    def answer(start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    def stream():
        for number in range(10**9):
            yield b"x" * 100_000
            time.sleep(0.001)
"""


def serve(start: Start, *options: str, workers: int = 2) -> Server:
    arguments = ("--socket", "app.sock", "--workers", str(workers), *options, "app:application")
    return start(*arguments, app=APP).wait_ready(workers)


def get(server: Server, path: str = "/") -> client.Answer:
    return client.get(server.directory / "app.sock", path)


def limit(server: Server, name: str) -> dict[str, Any]:
    shown: list[dict[str, Any]] = said(server.directory, "limits")["limits"]
    return next((each for each in shown if each["name"] == name), {"level": 0, "waiting": 0, "undone": 0})


def begun(server: Server) -> Path:
    return server.directory / "begun"


@pytest.mark.parametrize("path", ["/raise", "/exit", "/greenlet-exit", "/"])
def test_a_request_that_ends_gives_its_permit_back(start: Start, path: str) -> None:
    server = serve(start)
    for _ in range(3):
        assert get(server, path).status != 429
    assert limit(server, "held")["level"] == 0


def test_a_time_out_gives_the_permit_back(start: Start) -> None:
    server = serve(start, "--harakiri", "0.5")
    assert get(server, "/sleep").status == 504
    assert get(server).status == 200


def test_a_visitor_who_leaves_within_a_response_gives_the_permit_back(start: Start) -> None:
    server = serve(start)
    connection = client.connect(server.directory / "app.sock")
    connection.sendall(client.packet("/stream"))
    assert connection.recv(1000)
    assert get(server).body == b"busy"  # held until the response is closed
    connection.close()
    eventually(lambda: get(server).status == 200, "the permit is given back")


def test_a_worker_that_is_killed_gives_its_permits_back(start: Start) -> None:
    server = serve(start)
    for _ in range(3):
        client.exchange(server.directory / "app.sock", client.packet("/die"))
        eventually(lambda: get(server).status == 200, "the permit is given back")
        server.wait_for("was killed by SIGKILL|killed")
    assert limit(server, "held")["level"] == 0


def test_a_raised_rejection_is_a_whole_answer(start: Start) -> None:
    server = serve(start, workers=1)
    assert get(server, "/rejected").status == 200
    refused = get(server, "/rejected")
    assert (refused.status, refused.header("Retry-After"), refused.header("RateLimit-Limit")) == (429, "60", "1")
    assert "Traceback" not in server.log


@pytest.mark.parametrize("protocol", ["uwsgi", "http", "http over tcp"])
def test_a_client_that_leaves_during_its_delay_has_spent_nothing(start: Start, protocol: str) -> None:
    listen = {"uwsgi": ("--socket", "app.sock"), "http": ("--http", "app.sock"), "http over tcp": ("--http", ":0")}
    server = start(*listen[protocol], "app:application", app=APP).wait_ready(1)
    address: client.Address = server.directory / "app.sock"
    if protocol == "http over tcp":
        [address] = server.tcp_addresses()
    ask = client.packet("/slow") if protocol == "uwsgi" else request("/slow")
    first = client.connect(address)
    first.sendall(ask)
    assert first.recv(1000)
    first.close()
    begun(server).unlink()
    second = client.connect(address)
    second.sendall(ask)
    eventually(begun(server).exists, "the second request has begun")
    eventually(lambda: control(server)["waiting"] == 1, "it is delayed")
    second.close()
    eventually(lambda: control(server)["undone"] == 1, "its permit is undone")
    assert control(server)["waiting"] == 0


def control(server: Server) -> dict[str, Any]:
    shown: list[dict[str, Any]] = said(server.directory, *_control(server), "limits")["limits"]
    return next((each for each in shown if each["name"] == "slow"), {"waiting": 0, "undone": 0})


def _control(server: Server) -> list[str]:
    found = [str(path) for path in server.directory.iterdir() if path.suffix == ".ctl"]
    return ["--control", *found] if found else ["--pidfile", "pid"]


def test_a_delayed_request_that_is_ended_has_spent_but_holds_nothing(start: Start) -> None:
    """Only a client that has left is forgiven. A time-out is not."""
    server = serve(start, "--harakiri", "0.5", workers=1)
    held = client.connect(server.directory / "app.sock")
    held.sendall(client.packet("/queue"))
    eventually(begun(server).exists, "the first request has its permit")
    assert get(server, "/queue").status == 504  # it was delayed
    assert limit(server, "queue")["undone"] == 0
    eventually(lambda: limit(server, "queue")["level"] == 0, "all permits are given back")
    held.close()


def test_other_requests_go_on_while_one_is_delayed(start: Start) -> None:
    server = serve(start, workers=1)
    assert get(server, "/slow").status == 200
    delayed = client.connect(server.directory / "app.sock")
    delayed.sendall(client.packet("/slow"))
    eventually(lambda: limit(server, "slow")["waiting"] == 1, "it is delayed")
    assert get(server).status == 200
    delayed.close()


def test_the_child_of_a_request_gives_back_no_permit_of_its_parent(start: Start) -> None:
    app = """
        import os, posix
        from wsgid import limits
        held = limits.Concurrency(1, name="held")
        def application(environ, start_response):
            with held.acquire("k"):
                pid = posix.fork()
                if pid:
                    os.waitpid(pid, 0)
                    seen = held.peek("k")
                start_response("200 OK", [("Content-Type", "text/plain")])
                if pid:
                    return [b"free" if seen else b"held"]
            return [b"child"]
    """
    server = start("--socket", "app.sock", "app:application", app=app).wait_ready(1)
    assert [get(server).body for _ in range(2)] == [b"held", b"held"]
    assert limit(server, "held")["level"] == 0


def test_outside_of_wsgid_limits_work_within_the_process(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import json; import wsgid; limits = wsgid.limits; rate = limits.RequestRate('1r/m', burst=1, delay=False)\n"
        "held = limits.Concurrency(1); permit = held.acquire('k')\n"
        "print(json.dumps([bool(rate.acquire('k')) for _ in range(3)] + [bool(held.acquire('k'))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [True, True, False, False]


def test_a_site_without_limits_has_no_limits_on_its_way(start: Start) -> None:
    """No memory is mapped, and no module of the decisions is loaded."""
    app = """
        import os, sys
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            mapped = "wsgid-limits" in open(f"/proc/{os.getpid()}/maps").read()
            return [f"{mapped} {'wsgid.limits.limiters' in sys.modules}".encode()]
    """
    server = start("--socket", "app.sock", "app:application", app=app).wait_ready(1)
    assert get(server).body == b"False False"
