"""HTTP/1.1 directly from the workers: connections that are kept, bodies of all kinds, and clients that are too slow."""

import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from textwrap import dedent

import psutil
import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.http_client import Reader, request
from tests.support.http_refused import REFUSED
from tests.support.server import Server, eventually

pytestmark = pytest.mark.hot

APP = """
    import os, time
    import gevent
    open_doors = {}

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/echo":
            body = environ["wsgi.input"].read()
        elif path == "/stream":
            start_response("200 OK", [])
            return (b"block %d," % number for number in range(4))
        elif path == "/torn":
            start_response("200 OK", [])
            return torn()
        elif path == "/fail":
            raise ValueError("on purpose")
        elif path == "/sleep":
            gevent.sleep(float(environ["QUERY_STRING"]))
            body = b"slept"
        elif path == "/headers":
            body = "".join(f"{name}={value}\\n" for name, value in environ.items() if isinstance(value, str)).encode()
        elif path == "/ignore":
            body = b"ignored"
        elif path == "/raw":
            raw = environ["wsgid.socket"]
            raw.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: echo\\r\\nConnection: Upgrade\\r\\n\\r\\n")
            while block := raw.recv(100):
                raw.sendall(block.upper())
            return []
        else:
            body = path.encode() + environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    def torn():
        yield b"a part"
        raise ValueError("torn on purpose")
"""


def serve(start: Start, *options: str, workers: int = 1) -> Server:
    return start(
        "--http", "127.0.0.1:0", "--http", "http.sock", "--workers", str(workers), *options, "app:application", app=APP
    ).wait_ready(workers)


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    with client.connect(server.directory / "http.sock") as connection:
        yield connection


def tcp_address(server: Server) -> tuple[str, int]:
    [found] = server.wait_for(r"listens on 127.0.0.1:(\d+)")
    return "127.0.0.1", int(found[1])


def test_many_requests_on_one_connection(start: Start) -> None:
    server = serve(start)
    with connected(server) as connection:
        reader = Reader(connection)
        for number in range(5):
            connection.sendall(request(f"/{number}"))
            answer = reader.response()
            assert (answer.status, answer.body) == (200, f"/{number}".encode())
            assert answer.header("Date") and answer.header("Connection") is None
        connection.sendall(request("/last", Connection="close"))
        assert reader.response().header("Connection") == "close" and reader.at_end()


def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    server = serve(start)
    with connected(server) as connection:
        connection.sendall(
            request("/1") + request("/sleep?0.1") + request("/echo", "POST", b"body") + request("/stream")
        )
        reader = Reader(connection)
        bodies = [reader.response().body for _ in range(4)]
    assert bodies == [b"/1", b"slept", b"body", b"block 0,block 1,block 2,block 3,"]


def test_a_client_that_pipelines_without_end_does_not_stop_the_others(start: Start) -> None:
    server = serve(start, "--http-keepalive-requests", "20000")
    with connected(server) as connection, connected(server) as other, ThreadPoolExecutor(1) as pool:
        flood = pool.submit(connection.sendall, request("/x") * 20_000)
        other.sendall(request("/me"))
        assert Reader(other).response().body == b"/me"
        reader = Reader(connection)
        for _ in range(20_000):
            assert reader.response().body == b"/x"
        flood.result()
    assert "event loop" not in server.log


def test_the_requests_of_a_connection_are_limited(start: Start) -> None:
    server = serve(start, "--http-keepalive-requests", "2")
    with connected(server) as connection:
        connection.sendall(request("/1") + request("/2") + request("/3"))
        reader = Reader(connection)
        assert reader.response().header("Connection") is None
        assert reader.response().header("Connection") == "close" and reader.at_end()


def test_a_quiet_connection_is_closed_in_time(start: Start) -> None:
    server = serve(start, "--http-keepalive", "1.0")
    with connected(server) as fresh, connected(server) as used:
        used.sendall(request("/"))
        reader = Reader(used)
        assert reader.response().status == 200
        assert reader.at_end() and fresh.recv(1) == b""


def test_what_an_environ_has(start: Start) -> None:
    server = serve(start)
    with client.connect(tcp_address(server)) as connection:
        connection.sendall(request("/headers?a=b", Host="site.example:81", X_Some_Thing="1", X_Other="2"))
        lines = Reader(connection).response().body.decode().split("\n")
        local = connection.getsockname()
    assert {
        "REMOTE_ADDR=127.0.0.1",
        f"REMOTE_PORT={local[1]}",
        "SERVER_NAME=site.example",
        "HTTP_HOST=site.example:81",
        f"SERVER_PORT={tcp_address(server)[1]}",
        "SCRIPT_NAME=",
        "QUERY_STRING=a=b",
        "wsgi.url_scheme=http",
        "SERVER_PROTOCOL=HTTP/1.1",
        "HTTP_X_SOME_THING=1",
        "REQUEST_URI=/headers?a=b",
    } <= set(lines)


def test_bodies_of_both_kinds(start: Start) -> None:
    server = serve(start)
    large = os.urandom(1_000_000)
    with connected(server) as connection, ThreadPoolExecutor(1) as pool:
        reader = Reader(connection)
        sent = pool.submit(connection.sendall, request("/echo", "POST", large))
        assert reader.response().body == large
        sent.result()
        chunks = (
            b"".join(
                b"%x\r\n%b\r\n" % (len(large[at : at + 70_000]), large[at : at + 70_000])
                for at in range(0, len(large), 70_000)
            )
            + b"0\r\nTrailer: x\r\n\r\n"
        )
        sent = pool.submit(connection.sendall, request("/echo", "POST", Transfer_Encoding="chunked") + chunks)
        assert reader.response().body == large
        connection.sendall(request("/after"))
        assert reader.response().body == b"/after"
        sent.result()


def test_a_client_that_waits_for_a_100_gets_it_when_the_body_is_read(start: Start) -> None:
    server = serve(start)
    with connected(server) as connection:
        reader = Reader(connection)
        head = request("/echo", "POST", b"hello", Expect="100-continue")[:-5]
        connection.sendall(head)
        assert reader.response().status == 100
        connection.sendall(b"hello")
        assert reader.response().body == b"hello"
        connection.sendall(head.replace(b"/echo", b"/ignore"))
        assert reader.response().body == b"ignored" and reader.at_end()


def test_a_body_that_was_ignored_does_not_become_a_request(start: Start) -> None:
    server = serve(start)
    with connected(server) as connection:
        connection.sendall(request("/ignore", "POST", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n") + request("/next"))
        reader = Reader(connection)
        assert [reader.response().body, reader.response().body] == [b"ignored", b"/next"]
    with connected(server) as connection, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(swallow, connection, request("/ignore", "POST", b"x" * 10_000_000))
        assert Reader(connection).response().body == b"ignored"
        connection.shutdown(socket.SHUT_RDWR)
        sent.result()


def swallow(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        pass


def test_old_clients(start: Start) -> None:
    server = serve(start)
    with connected(server) as connection:
        connection.sendall(b"GET /stream HTTP/1.0\r\n\r\n")
        answer = Reader(connection).response()
        assert answer.body == b"block 0,block 1,block 2,block 3," and answer.header("Transfer-Encoding") is None
        assert answer.header("Connection") == "close"
    with connected(server) as connection:
        connection.sendall(b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n")
        reader = Reader(connection)
        assert reader.response().header("Connection") == "keep-alive"
        assert reader.response().body == b"/2" and reader.at_end()


def test_head_has_no_body(start: Start) -> None:
    server = serve(start)
    with connected(server) as connection:
        connection.sendall(request("/stream", "HEAD") + request("/fail", "HEAD") + request("/after"))
        reader = Reader(connection)
        assert reader.response("HEAD").header("Transfer-Encoding") is None
        assert reader.response("HEAD").status == 500
        assert reader.response().body == b"/after"


def test_a_failure_is_a_whole_response_and_the_connection_goes_on(start: Start) -> None:
    server = serve(start)
    with connected(server) as connection:
        connection.sendall(request("/fail") + request("/after"))
        reader = Reader(connection)
        assert [reader.response().status, reader.response().body] == [500, b"/after"]


def test_a_torn_response_has_no_last_chunk(start: Start) -> None:
    server = serve(start)
    with connected(server) as connection:
        connection.sendall(request("/torn"))
        assert client.read_all(connection).endswith(b"\r\n\r\n6\r\na part\r\n")


def test_an_overdue_request_gets_its_504_and_the_connection_goes_on(start: Start) -> None:
    server = serve(start, "--harakiri", "0.3")
    with connected(server) as connection:
        connection.sendall(request("/sleep?20") + request("/after"))
        reader = Reader(connection)
        assert (reader.response().status, reader.response().body) == (504, b"/after")


def test_an_application_takes_up_an_upgrade(start: Start) -> None:
    server = serve(start, "--harakiri", "0.3")
    with connected(server) as connection:
        connection.sendall(request("/raw", Connection="Upgrade", Upgrade="echo") + b"early,")
        reader = Reader(connection)
        assert reader.response().header("Upgrade") == "echo"
        assert reader._file.read(6) == b"EARLY,"
        server.wait_ready(1)
        connection.sendall(b"late")
        assert reader._file.read(4) == b"LATE"
        connection.shutdown(socket.SHUT_WR)
        assert reader.at_end()
    assert "ERROR" not in server.log


@pytest.mark.parametrize(
    "framed", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
def test_an_upgrade_begins_behind_the_body_of_its_request(one_server: Server, framed: bytes) -> None:
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"
    with connected(one_server) as connection:
        reader = Reader(connection)
        connection.sendall(head % b"/echo" + framed)  # the application does not accept the upgrade
        assert reader.response().body == b"hello"
        connection.sendall(head % b"/raw" + framed[:-2])
        connection.sendall(framed[-2:] + b"early,")
        assert reader.response().header("Upgrade") == "echo"
        assert reader._file.read(6) == b"EARLY,"
        connection.shutdown(socket.SHUT_WR)
        assert reader.at_end()


def test_empty_lines_are_a_head_that_is_late(start: Start) -> None:
    server = serve(start, "--http-head-timeout", "0.3", "--http-keepalive", "60")
    with connected(server) as connection:
        connection.sendall(request("/1") + b"\r\n")
        reader = Reader(connection)
        assert [reader.response().body, reader.response().status] == [b"/1", 408] and reader.at_end()


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("http")
    (directory / "app.py").write_text(dedent(APP))
    server = Server(directory, "--http", "http.sock", "app:application").wait_ready(1)
    yield server
    server.end()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_gets_its_status_and_a_closed_connection(one_server: Server, name: str) -> None:
    data, status = REFUSED[name]
    with connected(one_server) as connection:
        connection.sendall(data + request("/smuggled"))
        connection.shutdown(socket.SHUT_WR)
        raw = client.read_all(connection)
    assert client.parse(raw).status == status and b"Connection: close" in raw
    assert len(re.findall(rb"HTTP/1.1 \d", raw)) == 1 and b"/smuggled" not in raw


def test_limits_have_their_statuses(start: Start) -> None:
    server = serve(start, "--http-line-size", "100", "--http-head-size", "1k", "--max-vars", "10")
    for data, status in (
        (request("/" + "a" * 100), 414),
        (request(X="y" * 2000), 431),
        (request(**{f"X{number}": "1" for number in range(10)}), 431),
    ):
        with connected(server) as connection:
            connection.sendall(data)
            assert Reader(connection).response().status == status
    with connected(server) as connection:
        connection.sendall(request("/fine"))
        assert Reader(connection).response().body == b"/fine"


def test_a_thousand_slow_clients_delay_no_other_client_and_get_a_408(start: Start) -> None:
    server = serve(start, "--gevent", "50", "--http-idle", "2000", "--http-head-timeout", "4")
    slow = []
    try:
        for _ in range(1000):
            slow.append(client.connect(server.directory / "http.sock"))
            slow[-1].sendall(b"GET / HTTP/1.1\r\nHost: ")
        with connected(server) as connection:
            connection.sendall(request("/fast"))
            assert Reader(connection).response().body == b"/fast"
        for connection in slow[::100]:
            assert Reader(connection).response().status == 408
        eventually(
            lambda: len(psutil.Process(server.worker_pids()[0]).net_connections("unix")) < 50,
            "all slow connections are closed",
        )
    finally:
        for connection in slow:
            connection.close()


def test_beyond_the_limit_the_oldest_quiet_connection_goes(start: Start) -> None:
    server = serve(start, "--http-idle", "3")
    kept = []
    for number in range(4):
        connection = client.connect(server.directory / "http.sock")
        connection.sendall(request(f"/{number}"))
        reader = Reader(connection)
        assert reader.response().status == 200
        kept.append((connection, reader))
    assert kept[0][1].at_end()
    kept[3][0].sendall(request("/again"))
    assert kept[3][1].response().body == b"/again"
    for connection, _ in kept:
        connection.close()


def test_more_requests_than_places_wait_their_turn(start: Start) -> None:
    server = serve(start, "--gevent", "2")
    with ThreadPoolExecutor(10) as pool:

        def ask(number: int) -> list[bytes]:
            with connected(server) as connection:
                reader = Reader(connection)
                bodies = []
                for _ in range(3):
                    connection.sendall(request("/sleep?0.05"))
                    bodies.append(reader.response().body)
                return bodies

        assert list(pool.map(ask, range(10))) == [[b"slept"] * 3] * 10


def test_a_reload_answers_active_connections_and_closes_quiet_connections(start: Start) -> None:
    server = serve(start)
    with connected(server) as active, connected(server) as quiet:
        active.sendall(request("/sleep?0.3"))
        quiet.sendall(request("/1"))
        reader = Reader(quiet)
        assert reader.response().status == 200
        server.send_signal(Signals.SIGHUP)
        server.wait_for(r"worker \d+ \(generation 1, pid \d+\) is ready")
        assert Reader(active).response().body == b"slept"
        server.wait_for(r"worker \d+ \(generation 0, pid \d+\) exited with code 0")
        assert reader.at_end()
    assert server.stop() == 0
    server.assert_nothing_left()


def test_http_and_uwsgi_beside_each_other_survive_an_upgrade(start: Start, tmp_path: Path) -> None:
    server = start("--http", "http.sock", "--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    for _ in range(2):
        with connected(server) as connection:
            connection.sendall(request("/http"))
            assert Reader(connection).response().body == b"/http"
        assert client.get(tmp_path / "app.sock", "/uwsgi").body == b"/uwsgi"
        server.lines.clear()
        server.send_signal(Signals.SIGUSR2)
        server.wait_for("wsgid starts anew, in this process")
        server.wait_ready(1)
        server.wait_for(r"worker \d+ .* exited with code 0")
