"""What a request leaves behind does not reach the next request: greenlets are used again, unless a request was
interrupted.

Each test sends one request after the other. So the worker serves the next request in the greenlet of the last request.
"""

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually

pytestmark = pytest.mark.hot

APP = """
    import contextvars, os, sys, threading, time, weakref
    import gevent
    from gevent.hub import get_hub
    from wsgid.serving import greenlets
    greenlets.TRIM_S = 0.2

    seen = contextvars.ContextVar("seen", default="nothing")
    class Local(threading.local):
        def __init__(self):
            self.counts = {}

    local = Local()
    lock = threading.RLock()
    together = []

    class Cycle:
        def __init__(self):
            self.itself = self
            weakref.finalize(self, print, "a cycle was collected", file=sys.stderr, flush=True)

    def endless():
        while True:
            yield b"x" * 65536

    class Late:  # its close() is interrupted
        def __iter__(self):
            return iter((b"fine",))
        def close(self):
            sys.exit("in close()")

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        here = gevent.getcurrent()
        body = [b"fine"]
        if path == "/context":
            body = [seen.get().encode()]
            seen.set("an earlier request")
        elif path == "/local":
            name = environ["QUERY_STRING"]
            local.counts[name] = local.counts.get(name, 0) + 1
            body = [str(local.counts[name]).encode()]
        elif path == "/locked":
            with lock:
                environ["wsgid.harakiri"](0.2)
                gevent.sleep(60)
        elif path == "/lock":
            body = [str(lock.acquire(timeout=1)).encode()]
            lock.release()
        elif path == "/cycles":
            local.cycle = Cycle()
            together.append(path)
            while len(together) < int(environ["QUERY_STRING"]):  # each needs a greenlet of its own
                gevent.sleep(0.01)

        # These go on after their request.
        elif path == "/forgotten":
            gevent.Timeout(0.5).start()
        elif path == "/forgotten-error":
            gevent.Timeout(0.5, OSError("forgotten")).start()
        elif path == "/kill-later":
            gevent.spawn_later(0.2, gevent.kill, here)
        elif path == "/call-later":
            local.timer = get_hub().loop.timer(0.2)
            local.timer.start(here.switch)
        elif path == "/wait":
            gevent.sleep(1)

        # Ways in which a request ends.
        elif path == "/raises":
            raise ValueError("an Exception")
        elif path == "/harakiri":
            environ["wsgid.harakiri"](0.2)
            gevent.sleep(60)
        elif path == "/swallows":
            environ["wsgid.harakiri"](0.2)
            try:
                gevent.sleep(60)
            except BaseException:
                pass
        elif path == "/hub-timeout":
            while True:
                pass
        elif path == "/killed":
            gevent.spawn(gevent.kill, here)
            gevent.sleep(5)
        elif path == "/killed-by-an-exception":
            gevent.spawn(gevent.kill, here, RuntimeError("from outside"))
            gevent.sleep(5)
        elif path == "/exits":
            sys.exit("within a request")
        elif path == "/timeout":
            gevent.Timeout(0.1).start()
            gevent.sleep(5)
        elif path == "/late":
            body = Late()
        elif path == "/endless":
            body = endless()
        elif path == "/reads":
            environ["wsgi.input"].read()
        elif path == "/spawns-an-exit":
            gevent.spawn(sys.exit, "from a greenlet")
            gevent.sleep(0.1)
        start_response("200 OK", [])
        return body
"""


# A request that waits for a processor holds the event loop, too: on a busy machine for longer than half a second.
ARGUMENTS = ("--socket", "app.sock", "--http", "http.sock", "--hub-timeout", "2")


def serve(start: Start, *options: str) -> Server:
    return start(*ARGUMENTS, *options, "app:application", app=APP).wait_ready(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of many tests. Each test has counts of its own."""
    directory = tmp_path_factory.mktemp("greenlets")
    (directory / "app.py").write_text(textwrap.dedent(APP))
    server = Server(directory, *ARGUMENTS, "app:application")
    try:
        yield server.wait_ready(1)
    finally:
        server.end()


def address(server: Server) -> Path:
    return server.directory / "app.sock"


def bodies(server: Server, path: str, count: int = 3, query: str = "") -> list[bytes]:
    return [client.get(address(server), path, QUERY_STRING=query).body for _ in range(count)]


def over_http(server: Server, *requests: bytes) -> bytes:
    """Send these requests together. Returns all that the server sends until it closes the connection."""
    with client.connect(server.directory / "http.sock") as connected:
        connected.sendall(b"".join(requests))
        return client.read_all(connected)


def http(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


# --- ways in which a request can end ---


def answered(path: str, status: int) -> Callable[[Server], None]:
    def end(server: Server) -> None:
        assert client.get(address(server), path).status == status

    return end


def answered_over_http(path: str, status: int) -> Callable[[Server], None]:
    def end(server: Server) -> None:
        assert client.parse(over_http(server, http(path, "Connection: close"))).status == status

    return end


def left_while_it_is_sent(server: Server) -> None:
    with client.connect(address(server)) as connected:
        connected.sendall(client.packet("/endless"))
        connected.recv(1)
    eventually(lambda: server.in_flight() == 0, "the worker has noticed")


def left_within_the_body(server: Server) -> None:
    with client.connect(address(server)) as connected:
        connected.sendall(client.packet("/reads", b"all of it")[:-1])
    eventually(lambda: server.in_flight() == 0, "the worker has noticed")


COMES_TO_ITS_END = {
    "answered": answered("/", 200),
    "raises": answered("/raises", 500),
    "killed by an exception": answered("/killed-by-an-exception", 500),
    "left within the body": left_within_the_body,
}
IS_INTERRUPTED = {
    "harakiri": answered("/harakiri", 504),
    "harakiri, swallowed": answered("/swallows", 200),
    "hub-timeout": answered("/hub-timeout", 504),
    "killed": answered("/killed", 500),
    "exits": answered("/exits", 500),
    "gevent.Timeout": answered("/timeout", 500),
    "exits in close()": answered("/late", 200),
    "left while the response is sent": left_while_it_is_sent,
    "harakiri over http": answered_over_http("/harakiri", 504),
    "exits over http": answered_over_http("/exits", 500),
}


@pytest.mark.parametrize("how", COMES_TO_ITS_END)
def test_thread_locals_last_as_they_do_in_a_thread_pool(shared: Server, how: str) -> None:
    """Django keeps its database connections in thread-locals (CONN_MAX_AGE)."""
    assert bodies(shared, "/local", query=how) == [b"1", b"2", b"3"]
    COMES_TO_ITS_END[how](shared)
    assert bodies(shared, "/local", query=how) == [b"4", b"5", b"6"]


@pytest.mark.parametrize("how", IS_INTERRUPTED)
def test_thread_locals_end_with_a_request_that_was_interrupted(shared: Server, how: str) -> None:
    assert bodies(shared, "/local", query=how) == [b"1", b"2", b"3"]
    IS_INTERRUPTED[how](shared)
    assert bodies(shared, "/local", query=how) == [b"1", b"2", b"3"]


def test_a_request_gives_its_place_back_however_it_ends(start: Start) -> None:
    server = serve(start, "--gevent", "1")
    for end in (*COMES_TO_ITS_END.values(), *IS_INTERRUPTED.values()):
        end(server)
        assert bodies(server, "/", 2) == [b"fine"] * 2
    assert server.stop() == 0
    assert "in flight" not in server.log.partition("SIGTERM")[2].partition("\n")[2]


def test_a_lock_is_given_back_by_a_request_that_was_ended(shared: Server) -> None:
    assert client.get(address(shared), "/locked").status == 504
    assert bodies(shared, "/lock") == [b"True"] * 3


# --- contexts ---


def test_context_variables_are_fresh_for_each_request(shared: Server) -> None:
    assert bodies(shared, "/context") == [b"nothing"] * 3


def test_context_variables_are_fresh_for_each_of_the_requests_that_come_together(shared: Server) -> None:
    said = over_http(shared, http("/context"), http("/context"), http("/context", "Connection: close"))
    assert said.count(b"\r\n\r\nnothing") == 3


def test_the_requests_behind_one_that_was_interrupted_are_answered_without_its_thread_locals(shared: Server) -> None:
    said = over_http(shared, http("/local?together"), http("/harakiri"), http("/local?together", "Connection: close"))
    assert [said.count(line) for line in (b"HTTP/1.1 200", b"HTTP/1.1 504", b"\r\n\r\n1")] == [2, 1, 2]


@pytest.mark.parametrize("path", ["/reads", "/harakiri"])
def test_a_connection_is_closed_if_the_rest_of_a_body_is_unknown(start: Start, path: str) -> None:
    """The rest of a request that was ended must not be taken for the next request."""
    server = serve(start, "--harakiri", "0.3", "--socket-timeout", "1", "--http-keepalive", "1.0")
    begun = http(path, "Content-Length: 30") + b"GET /never HTTP/1.1\r\n"
    said = over_http(server, begun)
    assert said.count(b"HTTP/1.1 ") == 1 and said.startswith(b"HTTP/1.1 504")
    assert (b"Connection: close" in said) == (path == "/reads")


# --- what goes on after its request ---


@pytest.mark.parametrize("path", ["/forgotten", "/forgotten-error"])
def test_a_forgotten_time_out_ends_no_other_request_and_is_named(start: Start, path: str) -> None:
    server = serve(start)
    assert client.get(address(server), path).status == 200
    assert client.get(address(server), "/wait").status == 200
    server.wait_for(
        "a gevent.Timeout of 0.5 seconds?.* has expired after the end of the request that has started it: "
        "cancel time-outs that you start"
    )
    assert bodies(server, "/local") == [b"1", b"2", b"3"]


def test_a_forgotten_time_out_expires_in_an_idle_greenlet(start: Start) -> None:
    server = serve(start)
    assert client.get(address(server), "/forgotten").status == 200
    server.wait_for("has expired after the end of the request that has started it")
    assert bodies(server, "/") == [b"fine"] * 3


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/kill-later", "an idle greenlet got GreenletExit.* from an earlier request, and ends"),
        (
            "/call-later",
            "an idle greenlet was called by a timer or callback of an earlier request: stop those that you",
        ),
    ],
)
def test_a_call_that_wakes_an_idle_greenlet_is_named_and_costs_no_answer(start: Start, path: str, says: str) -> None:
    server = serve(start)
    assert client.get(address(server), path).status == 200
    server.wait_for(says)
    assert bodies(server, "/") == [b"fine"] * 3


def test_cycles_of_greenlets_that_were_let_go_are_collected(start: Start) -> None:
    server = serve(start)
    connections = [client.connect(address(server)) for _ in range(8)]
    for connected in connections:
        connected.sendall(client.packet("/cycles", QUERY_STRING="8"))
    for connected in connections:
        client.read_all(connected)
        connected.close()
    server.wait_for("a cycle was collected", 7)  # the last greenlet stays


def test_cycles_of_a_greenlet_that_was_interrupted_are_collected(start: Start) -> None:
    server = serve(start)
    assert client.get(address(server), "/cycles", QUERY_STRING="1").status == 200
    assert client.get(address(server), "/harakiri").status == 504
    server.wait_for("a cycle was collected")


def test_a_greenlet_that_exits_does_not_take_the_worker_along(start: Start) -> None:
    server = serve(start)
    assert client.get(address(server), "/spawns-an-exit").status == 200
    server.wait_for("a greenlet of the application has raised SystemExit.*; the worker goes on")
    assert client.get(address(server)).status == 200
    assert server.stop() == 0


# --- a body that a left-behind greenlet reads ---

READER = """
    import gevent
    from wsgid.errors import ClientDisconnected

    seen = []

    def application(environ, start_response):
        stream, path = environ["wsgi.input"], environ["PATH_INFO"]

        def read():
            try:
                seen.append(stream.read())
            except ClientDisconnected as error:
                seen.append(str(error).encode())

        body = b""
        if path == "/within":
            gevent.spawn(read)
            gevent.sleep(0.05)  # this greenlet waits for the body when the response ends
        elif path == "/after":
            gevent.spawn_later(0.05, read)
        elif path == "/seen":
            body = b"|".join(seen)
        else:
            body = stream.read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
"""


@pytest.mark.parametrize(
    ("framing", "body"),
    [("Content-Length: 10", b"0123456789"), ("Transfer-Encoding: chunked", b"a\r\n0123456789\r\n0\r\n\r\n")],
)
def test_a_greenlet_that_is_left_behind_reads_nothing_of_the_next_request(
    start: Start, framing: str, body: bytes
) -> None:
    server = start("--http", "http.sock", "app:application", app=READER).wait_ready(1)
    with client.connect(server.directory / "http.sock") as connected:
        connected.sendall(http("/after", framing) + body)
        assert connected.recv(65536).endswith(b"\r\n\r\n")
        connected.sendall(http("/echo", "Content-Length: 5"))  # the body of this request has not arrived yet
        eventually(lambda: seen_by(server), "the greenlet that is left behind has tried to read")
        connected.sendall(b"hello")
        assert connected.recv(65536).endswith(b"\r\n\r\nhello")
    assert seen_by(server) == b"the request is over, and its body with it: read it before the response ends"


def seen_by(server: Server) -> bytes:
    return client.parse(over_http(server, http("/seen", "Connection: close"))).body


def test_a_connection_ends_whose_body_is_being_read_when_the_response_begins(start: Start) -> None:
    server = start("--http", "http.sock", "app:application", app=READER).wait_ready(1)
    with client.connect(server.directory / "http.sock") as connected:
        connected.sendall(http("/within", "Content-Length: 10"))
        assert b"Connection: close" in connected.recv(65536)
