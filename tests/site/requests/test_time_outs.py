"""Time-outs end requests that are overdue, and no others. This also holds in a worker that leaves or was held up."""

import fcntl
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from signal import Signals

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually

pytestmark = pytest.mark.hot

APP = """
import fcntl, os, sys, time
import gevent

def spin(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass

def wait_for_gate():
    while not os.path.exists("gate"):
        gevent.sleep(0.01)

def application(environ, start_response):
    path, seconds = environ["PATH_INFO"], float(environ["QUERY_STRING"] or 0)
    if path == "/sleep":
        time.sleep(seconds)
    elif path == "/spin":
        spin(seconds)
    elif path == "/stutter":  # other requests run in between
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            spin(0.4)
            gevent.sleep(0.001)
    elif path == "/later":
        wait_for_gate()
        time.sleep(0.3)
        spin(seconds)
    elif path == "/gate":
        wait_for_gate()
        time.sleep(seconds)
    elif path == "/locked":
        with open("lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
    elif path == "/clean":
        try:
            time.sleep(seconds)
        finally:
            time.sleep(0.05)  # a rollback waits for the database
            print("cleaned up", file=sys.stderr, flush=True)
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
    return start("--socket", "app.sock", "--workers", str(workers), *options, "app:application", app=APP).wait_ready(
        workers
    )


def address(server: Server) -> Path:
    return server.directory / "app.sock"


def among(server: Server, path: str, seconds: str, sleepers: int = 32, sleep_s: str = "2") -> tuple[bytes, list[int]]:
    """One overdue request among requests that sleep. Returns its raw answer, and the statuses of the other requests."""
    with ThreadPoolExecutor(sleepers + 1) as pool:
        others = [pool.submit(client.get, address(server), "/sleep", QUERY_STRING=sleep_s) for _ in range(sleepers)]
        wait_for_begin(server, others)
        overdue = pool.submit(client.exchange, address(server), client.packet(path, QUERY_STRING=seconds))
        return overdue.result(), [future.result().status for future in others]


def wait_for_begin(server: Server, asked: "list[Future[client.Answer]]") -> None:
    """Wait until all these requests are in flight. On a busy machine some may be answered before the last one comes."""
    eventually(
        lambda: server.in_flight() + sum(future.done() for future in asked) >= len(asked), "all requests have begun"
    )


def test_a_request_that_sleeps_too_long_gets_a_504_and_its_neighbours_live(start: Start) -> None:
    server = serve(start, "--harakiri", "4")
    raw, others = among(server, "/sleep", "60")
    assert client.parse(raw).status == 504 and others == [200] * 32
    server.wait_for(r"harakiri: GET /sleep, \d+\.\d s old; the stack:")
    server.wait_for(r'app.py", line \d+, in application')


def test_a_request_that_spins_in_python_ends_alone(start: Start) -> None:
    server = serve(start, "--hub-timeout", "1")
    before = server.worker_pids()
    raw, others = among(server, "/spin", "60")
    assert client.parse(raw).status == 504 and others == [200] * 32
    server.wait_for(r"the event loop has been held up for \d+\.\d s by GET /spin, \d+\.\d s old; the stack:")
    assert server.worker_pids() == before


def test_a_worker_that_is_stuck_in_c_is_killed_and_replaced(start: Start) -> None:
    server = serve(start, "--hub-timeout", "0.5")
    with client.connect(address(server)) as connected:
        connected.sendall(client.packet("/stuck", QUERY_STRING="60"))
        server.wait_for(r"worker 0 .*: its event loop has not run for")
        server.wait_for(r"worker 0 .* was killed by SIGABRT with 1 request in flight")
        server.wait_for("Fatal Python error: Aborted")  # faulthandler shows the stack, which ends in C
        server.wait_for(r'app.py", line \d+ in application')
        server.wait_ready(2)


def test_a_short_stall_is_shown_and_the_worker_lives(start: Start) -> None:
    server = serve(start, "--hub-warn", "0.8")
    assert client.get(address(server), "/spin", QUERY_STRING="1.8").status == 200
    server.wait_for(r"the event loop has been held up for \d+\.\d s by GET /spin")
    assert server.log.count("the stack:") == 1
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


def test_slow_requests_are_not_ended_without_harakiri(start: Start) -> None:
    server = serve(start, "--hub-timeout", "1.2", "--hub-warn", "1")
    assert client.get(address(server), "/sleep", QUERY_STRING="2.5").status == 200
    assert "event loop" not in server.log and "harakiri" not in server.log


# --- time in which a request could not run does not count ---


def test_a_request_that_waits_does_not_pay_for_another_that_holds_the_loop(start: Start) -> None:
    server = serve(start, "--harakiri", "4")  # this sets --hub-timeout, too
    raw, others = among(server, "/spin", "60", sleepers=15, sleep_s="2")
    assert client.parse(raw).status == 504 and others == [200] * 15
    server.wait_for("held up for .* by GET /spin")
    assert "GET /sleep" not in server.log


def test_a_request_that_holds_the_loop_again_and_again_pays_for_its_own_time(start: Start) -> None:
    server = serve(start, "--harakiri", "4", "--hub-timeout", "30")
    raw, others = among(server, "/stutter", "60", sleepers=15, sleep_s="2")
    assert client.parse(raw).status == 504 and others == [200] * 15
    server.wait_for("harakiri: GET /stutter")
    assert server.log.count("harakiri") == 1


def held_up(server: Server, seconds: str) -> None:
    """Hold up the loop while other requests run."""
    assert client.get(address(server), "/spin", QUERY_STRING=seconds).status == 200


def test_a_head_that_is_on_its_way_is_not_late_because_the_loop_was_held_up(start: Start) -> None:
    server = serve(start, "--socket-timeout", "2.5")
    packet = client.packet("/sleep", QUERY_STRING="0")
    with client.connect(address(server)) as connected:
        connected.sendall(packet[:50])
        eventually(lambda: server.in_flight() == 1, "half of the head is there")
        held_up(server, "3.5")
        connected.sendall(packet[50:])
        assert client.parse(client.read_all(connected)).status == 200


def test_a_body_that_is_on_its_way_is_not_late_because_the_loop_was_held_up(start: Start) -> None:
    server = start(
        "--socket",
        "app.sock",
        "--socket-timeout",
        "2.5",
        "app:application",
        app=APP
        + """
    environ["wsgi.input"].read() if path == "/read" else None
""",
    ).wait_ready(1)
    with client.connect(address(server)) as connected:
        connected.sendall(client.packet("/read", b"x" * 200_000)[:-1])
        eventually(lambda: server.in_flight() == 1, "the body is there, except its end")
        held_up(server, "3.5")
        connected.sendall(b"x")
        assert client.parse(client.read_all(connected)).status == 200


@pytest.mark.parametrize("sent", [b"", b"GET /sleep HTTP/1.1\r\n"], ids=["keep-alive", "head"])
def test_a_kept_connection_is_not_closed_because_the_loop_was_held_up(start: Start, sent: bytes) -> None:
    server = serve(start, "--http", "http.sock", "--http-keepalive", "2.5", "--http-head-timeout", "2.5")
    request = b"GET /sleep HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with client.connect(server.directory / "http.sock") as connected:
        connected.sendall(request + sent)
        assert connected.recv(65536).startswith(b"HTTP/1.1 200")
        held_up(server, "3.5")
        connected.sendall(request[len(sent) :])
        assert connected.recv(65536).startswith(b"HTTP/1.1 200")


def test_the_mercy_time_does_not_pass_while_the_loop_is_held_up(start: Start) -> None:
    server = serve(start, "--worker-reload-mercy", "1")
    with ThreadPoolExecutor(2) as pool:
        innocent = pool.submit(client.get, address(server), "/gate", QUERY_STRING="0.7")
        overdue = pool.submit(client.get, address(server), "/later", QUERY_STRING="5")
        eventually(lambda: server.in_flight() == 2, "both requests are in flight")
        (server.directory / "gate").touch()
        assert server.stop() == 0
        assert [innocent.result().status, overdue.result().status] == [200, 200]
    assert "cut after" not in server.log and "overdue" not in server.log


# --- a worker that leaves ---


def test_what_is_cut_after_the_mercy_time_can_clean_up_and_is_answered(start: Start) -> None:
    server = serve(start, "--worker-reload-mercy", "0.5")
    with ThreadPoolExecutor(1) as pool:
        cut = pool.submit(client.get, address(server), "/clean", QUERY_STRING="60")
        eventually(lambda: server.in_flight() == 1, "the request is in flight")
        assert server.stop() == 0
        assert cut.result().status == 504
    server.wait_for("cut after the mercy time: GET /clean")
    server.wait_for("cleaned up")


def test_a_request_that_blocks_a_leaving_worker_is_ended_and_its_neighbour_answered(start: Start) -> None:
    server = serve(start, "--hub-timeout", "1", "--worker-reload-mercy", "5")
    with ThreadPoolExecutor(2) as pool, (server.directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        innocent = pool.submit(client.get, address(server), "/sleep", QUERY_STRING="2")
        wait_for_begin(server, [innocent])
        overdue = pool.submit(client.get, address(server), "/locked")
        wait_for_begin(server, [innocent, overdue])
        server.send_signal(Signals.SIGTERM)
        assert [overdue.result().status, innocent.result().status] == [504, 200]
    assert server.wait() == 0
    server.wait_for("held up for .* by GET /locked")
    assert "killed" not in server.log


def test_a_leaving_worker_that_is_stuck_in_c_is_killed_before_its_mercy_time_is_over(start: Start) -> None:
    server = serve(start, "--hub-timeout", "0.5", "--worker-reload-mercy", "600")
    with client.connect(address(server)) as connected:
        connected.sendall(client.packet("/stuck"))
        # on a busy machine the worker may be killed before we look
        eventually(lambda: server.in_flight() == 1 or "SIGABRT" in server.log, "the request is in flight")
        server.send_signal(Signals.SIGTERM)
        server.wait_for(r"worker 0 .* was killed by SIGABRT with 1 request in flight")
    assert server.wait() == 0


def test_a_client_that_never_reads_is_ended_all_the_same_after_the_loop_was_held_up(start: Start) -> None:
    """Deadlines move, and still end the request."""
    server = start(
        "--socket",
        "app.sock",
        "--socket-timeout",
        "1",
        "app:application",
        app=APP
        + """
    if path == "/much":
        return [b"x" * (64 << 20)]
""",
    ).wait_ready(1)
    with client.connect(address(server)) as connected:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connected.sendall(client.packet("/much"))
        connected.recv(1)
        held_up(server, "1.5")
        eventually(lambda: server.in_flight() == 0, "its connection is closed")
