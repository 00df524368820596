"""No client holds up a worker's event loop: a client that always has data ready does not stop other requests.

All that a test's client has sent waits in the kernel before the application reads it. So no read ever has to wait.
Meanwhile the application counts the turns of the event loop.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
import trustme

from tests.support import client
from tests.support.certificates import Authority, files
from tests.support.http_client import Reader, request
from tests.support.server import Server
from wsgid.protocol.forwarded import Trusted
from wsgid.protocol.http import Decoder, Limits
from wsgid.serving.client_socket import TlsClientSocket
from wsgid.serving.connection import Connection
from wsgid.serving.http_connection import Arrival, BodyRate, HttpConnection, Leaving
from wsgid.wsgi.filewrapper import FileWrapper
from wsgid.wsgi.response import serve

APP = """
    import gevent
    from gevent.event import Event

    count = 0
    go = Event()

    def counting():
        global count
        while True:
            gevent.sleep(0.001)
            count += 1

    def during(call):
        before = count
        call()
        return b"%d" % (count - before)

    def application(environ, start_response):
        path, body = environ["PATH_INFO"], environ["wsgi.input"]
        size = int(environ["QUERY_STRING"] or 0)
        if path == "/go":
            go.set()
            answer = b"gone"
        elif path == "/raw":
            raw = environ["wsgid.socket"]
            raw.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: x\\r\\nConnection: Upgrade\\r\\n\\r\\n")
            wait()
            raw.sendall(during(lambda: [raw.recv(1) for _ in range(size)]) + b"\\n")
            return []
        elif path == "/body":
            wait()
            answer = during(lambda: body.read(size))
        elif path == "/stream":
            start_response("200 OK", [])
            return stream(size)
        start_response("200 OK", [("Content-Length", str(len(answer)))])
        return [answer]

    def wait():
        gevent.spawn(counting)
        go.wait()
        go.clear()

    def stream(size):
        gevent.spawn(counting)
        gevent.sleep(0.01)
        before = count
        for _ in range(size):
            yield b"."
        yield b"%d" % (count - before)
"""


BODIES = 10


class Site:
    """A server with one worker, reached over TCP or TLS."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        self.server = server
        self.plain, self.https = server.tcp_addresses()
        self.context = context

    def connect(self, way: str) -> socket.socket:
        raw = client.connect(self.plain if way == "tcp" else self.https)
        return raw if way == "tcp" else self.context.wrap_socket(raw, server_hostname="localhost")

    def go(self) -> None:
        with self.connect("tcp") as connection:
            connection.sendall(request("/go", Connection="close"))
            assert client.read_all(connection).endswith(b"gone")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("turns")
    authority = Authority(trustme.CA(), tmp_path_factory.mktemp("authority"))
    (directory / "app.py").write_text(dedent(APP))
    server = Server(directory, "--http", "127.0.0.1:0", "--https", files(authority), "app:application")
    try:
        yield Site(server.wait_ready(1), authority.context())
    finally:
        server.end()


ways = pytest.mark.parametrize("way", ["tcp", "tls"])


@ways
@pytest.mark.parametrize(
    ("head", "piece", "size"),
    [
        (request("/body?50000", "POST", Transfer_Encoding="chunked"), b"1\r\nx\r\n", 50_000),
        (request("/body?10000", "POST", Transfer_Encoding="chunked"), b"1;a=b\r\nx\r\n", 10_000),
    ],
    ids=["a chunk for each byte", "with extensions"],
)
def test_a_client_that_sends_a_body_without_pause_lets_the_others_go_on(
    site: Site, way: str, head: bytes, piece: bytes, size: int
) -> None:
    """A body takes one or two slices, more would not fit into the kernel: so there are several bodies."""
    turns = 0
    for _ in range(BODIES):
        with site.connect(way) as connection:
            connection.sendall(head + piece * size)
            connection.sendall(b"0\r\n\r\n")
            site.go()
            turns += int(Reader(connection).response().body)
    assert turns > 0


@ways
def test_a_client_that_speaks_another_protocol_without_pause_lets_the_others_go_on(site: Site, way: str) -> None:
    with site.connect(way) as connection:
        connection.sendall(request("/raw?50000", Connection="Upgrade", Upgrade="x"))
        reader = Reader(connection)
        assert reader.response().status == 101
        connection.sendall(b"x" * 50_000)
        site.go()
        assert int(reader._file.readline()) > 0


@ways
def test_a_client_that_takes_a_response_without_pause_lets_the_others_go_on(site: Site, way: str) -> None:
    with site.connect(way) as connection:
        connection.sendall(request("/stream?3000"))  # the kernel takes all of it at once
        assert int(Reader(connection).response().body[3000:]) > 0


# --- one loop after the other, without a server -----------------------------------------------------------------------


def turns_during(call: Callable[[], Any]) -> int:
    """How often another greenlet runs during this call."""
    count = 0

    def count_turns() -> None:
        nonlocal count
        while True:
            gevent.sleep(0)
            count += 1

    other = gevent.spawn(count_turns)
    gevent.sleep(0)
    before = count
    try:
        call()
        return count - before
    finally:
        other.kill()


@pytest.fixture
def pair() -> Iterator[tuple[Connection, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    accepted.setblocking(False)
    connection = Connection(accepted.detach(), 5.0, True)
    yield connection, peer
    connection.close()
    peer.close()


def test_reading_what_is_there_has_slices(pair: tuple[Connection, socket.socket]) -> None:
    connection, peer = pair
    peer.sendall(b"x" * 50_000)
    assert turns_during(lambda: [connection.recv(1) for _ in range(50_000)]) > 0


def test_an_upgraded_connection_has_slices_also_for_what_has_been_decrypted_at_once(
    pair: tuple[Connection, socket.socket],
) -> None:
    connection, _peer = pair
    blocks = [b"x" * 50_000, b""]
    decrypted: Any = SimpleNamespace(fd=connection.fd, take=lambda: blocks.pop(0))
    raw = TlsClientSocket(decrypted, 5.0, lambda: b"first")
    assert raw.recv(3, socket.MSG_PEEK) == raw.recv(3) == b"fir" and raw.recv(100) == b"st"
    assert turns_during(lambda: [raw.recv(1) for _ in range(50_000)]) > 0
    assert raw.recv(1) == b""
    raw.close()


def test_a_response_of_many_blocks_has_slices(pair: tuple[Connection, socket.socket]) -> None:
    connection, _peer = pair

    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        return (b"x" for _ in range(20_000))

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.file_wrapper": FileWrapper}
    assert turns_during(lambda: serve(application, environ, connection)) > 0


def test_empty_lines_are_taken_in_one_block_after_the_other(pair: tuple[Connection, socket.socket]) -> None:
    connection, peer = pair
    peer.sendall(b"\r\n" * 25_000)
    exchange = HttpConnection(
        connection, Decoder(Limits(8190, 100, 1 << 20), {}), Trusted(""), Leaving(), BodyRate(0, 0.0)
    )
    assert exchange.advance() is not Arrival.HEAD
    assert connection.take()  # the rest waits for the next turn of the event loop
