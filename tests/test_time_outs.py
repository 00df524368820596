"""Time-outs end what is overdue, and nothing else."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import client
from tests.conftest import Start
from tests.server import Server, eventually

APP = """
import os, time

def application(environ, start_response):
    path, seconds = environ["PATH_INFO"], float(environ["QUERY_STRING"] or 0)
    if path == "/sleep":
        time.sleep(seconds)
    elif path == "/spin":
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
    elif path == "/stuck":  # in C, where no Python handler runs
        sum(range(10 ** 12))
    elif path == "/stubborn":
        try:
            time.sleep(seconds)
        except BaseException:
            time.sleep(seconds)
    elif path == "/longer":
        environ["wsgid.harakiri"](60)
        time.sleep(seconds)
    elif path == "/shorter":
        environ["wsgid.harakiri"](0.1)
        time.sleep(seconds)
    elif path == "/late":
        start_response("200 OK", [("Content-Length", "10")])(b"begun")
        time.sleep(seconds)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""


def serve(start: Start, *options: str, workers: int = 1) -> Server:
    return start("--socket", "app.sock", "--workers", str(workers), *options, "app:application",
                 app=APP).wait_ready(workers)


def address(server: Server) -> Path:
    return server.directory / "app.sock"


def among(server: Server, path: str, seconds: str, innocents: int = 32) -> tuple[bytes, list[int]]:
    """One culprit among innocents that sleep: its raw answer, and their statuses."""
    with ThreadPoolExecutor(innocents + 1) as pool:
        others = [pool.submit(client.get, address(server), "/sleep", QUERY_STRING="0.7") for _ in range(innocents)]
        eventually(lambda: server.in_flight() == innocents, "all innocents are in flight")
        culprit = pool.submit(client.exchange, address(server), client.packet(path, QUERY_STRING=seconds))
        return culprit.result(), [one.result().status for one in others]


def test_a_request_that_sleeps_too_long_gets_a_504_and_its_neighbours_live(start: Start) -> None:
    server = serve(start, "--harakiri", "1")
    raw, others = among(server, "/sleep", "60")
    assert client.parse(raw).status == 504 and others == [200] * 32
    server.wait_for(r"harakiri: GET /sleep, 1\.\d s old; it is here:")
    server.wait_for(r'app.py", line \d+, in application')


def test_a_request_that_spins_in_python_ends_alone(start: Start) -> None:
    server = serve(start, "--hub-timeout", "1")
    before = server.worker_pids()
    raw, others = among(server, "/spin", "60")
    assert client.parse(raw).status == 504 and others == [200] * 32
    server.wait_for(r"the event loop has been held up for \d\.\d s by GET /spin, \d\.\d s old; it is here:")
    assert server.worker_pids() == before


def test_a_worker_that_is_stuck_in_c_is_killed_and_replaced(start: Start) -> None:
    server = serve(start, "--hub-timeout", "0.5")
    with client.connect(address(server)) as connected:
        connected.sendall(client.packet("/stuck", QUERY_STRING="60"))
        server.wait_for(r"worker 0 .*: its event loop has not run for")
        server.wait_for(r"worker 0 .* was killed by SIGABRT with 1 requests in flight")
        server.wait_for("Fatal Python error: Aborted")  # faulthandler shows the stack, which ends in C
        server.wait_for(r'app.py", line \d+ in application')
        server.wait_ready(2)


def test_a_short_stall_is_shown_and_the_worker_lives(start: Start) -> None:
    server = serve(start, "--hub-warn", "0.3")
    assert client.get(address(server), "/spin", QUERY_STRING="1.5").status == 200
    server.wait_for(r"the event loop has been held up for \d\.\d s by GET /spin")
    assert server.log.count("it is here") == 1
    assert "exited" not in server.log and "killed" not in server.log


def test_a_time_out_that_is_swallowed_is_raised_again(start: Start) -> None:
    server = serve(start, "--harakiri", "0.5")
    assert client.get(address(server), "/stubborn", QUERY_STRING="60").status == 504
    server.wait_for("harakiri: GET /stubborn", 2)


@pytest.mark.parametrize(("path", "status"), [("/longer", 200), ("/shorter", 504)])
def test_an_application_can_change_its_own_time(start: Start, path: str, status: int) -> None:
    server = serve(start, "--harakiri", "1")
    assert client.get(address(server), path, QUERY_STRING="2").status == status


def test_a_time_out_after_the_head_cuts_the_response(start: Start) -> None:
    server = serve(start, "--harakiri", "0.5")
    answer = client.get(address(server), "/late", QUERY_STRING="60")
    assert answer.body == b"begun"
    server.wait_for("harakiri: GET /late")


def test_slow_requests_are_nobodys_business_without_harakiri(start: Start) -> None:
    server = serve(start, "--hub-timeout", "0.3", "--hub-warn", "0.2")
    assert client.get(address(server), "/sleep", QUERY_STRING="2").status == 200
    assert "event loop" not in server.log and "harakiri" not in server.log
