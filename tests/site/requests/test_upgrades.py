"""WebSockets of the usual libraries, behind nginx's uwsgi_pass and over --http: their limits, and their end."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from signal import Signals
from typing import Any

import pytest
from simple_websocket import Client, ConnectionClosed

from tests.conftest import Start
from tests.support import client
from tests.support.ctl import said, wsgidctl
from tests.support.server import Server, eventually
from tools.nginx import Nginx, example

SOCKETIO = """
    import os, sys
    if "WITHOUT_GEVENT_WEBSOCKET" in os.environ:
        sys.modules["geventwebsocket"] = None  # importing it fails, as where it is not installed
    from flask import Flask
    from flask_socketio import SocketIO, emit

    application = Flask(__name__)
    socketio = SocketIO(application, async_mode="gevent")

    @socketio.on("say")
    def say(text):
        emit("heard", f"{text} {os.getpid()}", broadcast=True)

    @application.route("/")
    def index():
        return "no socket"
"""
SOCK = """
    import os
    from flask import Flask
    from flask_sock import Sock

    application = Flask(__name__)
    sock = Sock(application)

    @sock.route("/shout")
    def shout(ws):
        while (text := ws.receive()) != "enough":
            ws.send(text.upper())

    @application.route("/")
    def index():
        return str(os.getpid())
"""
WAYS = ["uwsgi_pass", "http"]

Site = Callable[..., tuple[Server, str]]


@pytest.fixture
def site(start: Start) -> Iterator[Site]:
    """Serve an application, behind nginx or over --http: site(app, way, *options). Returns the server and its URL."""
    with ExitStack() as stack:

        def build(app: str, way: str, *options: str, **more: Any) -> tuple[Server, str]:
            listen = ["--socket", "app.sock"] if way == "uwsgi_pass" else ["--http", "127.0.0.1:0"]
            server = start(*listen, *options, "app:application", app=app, **more).wait_ready(1)
            if way == "http":
                [(host, port)] = server.tcp_addresses()
                return server, f"http://{host}:{port}"
            nginx = Nginx(example("flask_nginx.conf", f"unix:{server.directory / 'app.sock'}"))
            return server, stack.enter_context(nginx).url

        yield build


# Two visitors. For each line of standard input the first one says it, and both print what they hear.
VISITORS = """
import socketio, sys
visitors = [socketio.SimpleClient(reconnection_delay=0.1, reconnection_delay_max=0.2) for _ in range(2)]
for visitor in visitors:
    visitor.connect(sys.argv[1], transports=["websocket"])
for line in sys.stdin:
    visitors[0].emit("say", line.strip())
    for visitor in visitors:
        try:
            print(*visitor.receive(timeout=5), flush=True)
        except socketio.exceptions.TimeoutError:
            print("nothing", flush=True)
for visitor in visitors:
    visitor.disconnect()
"""


class Visitors:
    """The clients are a program of their own: their sockets are left to the garbage collector."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", VISITORS, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def hear(self, text: str) -> list[str]:
        """What both hear when the first one says this."""
        assert self._process.stdin and self._process.stdout
        print(text, file=self._process.stdin, flush=True)
        return [self._process.stdout.readline().strip() for _ in range(2)]

    def end(self) -> None:
        self._process.communicate()


@pytest.mark.hot
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("environ", [{}, {"WITHOUT_GEVENT_WEBSOCKET": "1"}], ids=["gevent-websocket", "without it"])
def test_flask_socketio_talks_and_its_clients_come_back_after_a_reload(
    site: Site, way: str, environ: dict[str, str]
) -> None:
    server, url = site(SOCKETIO, way, environ=environ)
    visitors = Visitors(url)
    try:
        first, second = visitors.hear("hello")
        assert first == second and first.startswith("heard hello ")
        old = first.split()[2]
        server.send_signal(Signals.SIGHUP)
        server.wait_generation(1, 1)
        server.wait_for(rf"pid {old}\) exited with code 0")  # long before its mercy time is over

        def both_hear() -> bool:
            """Until both have connected again, a broadcast may reach one of them only."""
            first, second = visitors.hear("again")
            return first == second and first.startswith("heard again ") and not first.endswith(old)

        eventually(both_hear, "both visitors have connected again")
    finally:
        visitors.end()
    assert server.stop() == 0
    assert "ERROR" not in server.log, server.log
    server.assert_nothing_left()


@pytest.mark.hot
@pytest.mark.parametrize("way", WAYS)
def test_a_leaving_worker_tells_its_clients_that_it_goes_away(site: Site, way: str) -> None:
    """1001, "going away" (RFC 6455, 7.4.1). The client answers, and the application ends as if the client had left."""
    server, url = site(SOCK, way, "--worker-reload-mercy", "15")
    conversations = [Client.connect(f"{url.replace('http', 'ws')}/shout") for _ in range(3)]
    for conversation in conversations:
        conversation.send("x" * 1_000_000)  # more than the kernel takes at once: nothing is lost
        assert conversation.receive(timeout=20) == "X" * 1_000_000
    server.send_signal(Signals.SIGHUP)
    for conversation in conversations:
        with pytest.raises(ConnectionClosed) as closed:
            conversation.receive(timeout=20)
        assert closed.value.reason == 1001
    server.wait_for("exited with code 0")
    assert server.stop() == 0
    assert "cut after the mercy time" not in server.log and "Traceback" not in server.log
    server.assert_nothing_left()


RAW = """
    import sys

    HEAD = b"HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: "

    def application(environ, start_response):
        raw = environ.get("wsgid.socket")
        if raw is None:
            start_response("200 OK", [])
            return [b"plain"]
        if environ["PATH_INFO"] == "/ignore":
            start_response("200 OK", [("Content-Length", "7")])
            return [b"ignored"]
        if environ["PATH_INFO"] == "/frame":
            raw.sendall(HEAD + b"websocket\\r\\n\\r\\n")
            raw.sendall(b"\\x82\\x05ab")  # the head of a frame and a part of it
            raw.recv(1)
            raw.sendall(b"cde")
            raw.sendall(b"\\x82\\x01z")  # behind the close frame: dropped
        else:
            raw.sendall(HEAD + b"echo\\r\\n\\r\\n")
            if environ["PATH_INFO"] == "/flood":
                try:
                    while True:
                        raw.sendall(b"x" * 65536)
                except TimeoutError:
                    print("given up", file=sys.stderr)
                return []
        while block := raw.recv(100):
            raw.sendall(block)
        print("the end was read", file=sys.stderr)
        return []
"""
UPGRADE = {"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "keep-alive, Upgrade"}


def serve(start: Start, *options: str) -> Server:
    return start("--socket", "app.sock", *options, "app:application", app=RAW).wait_ready(1)


def upgraded(server: Server, path: str = "/", first: bytes = b"") -> socket.socket:
    """A connection that the application has upgraded."""
    connected = client.connect(server.directory / "app.sock")
    connected.sendall(client.packet(path, **UPGRADE) + first)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connected.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    return connected


def test_a_request_has_the_socket_if_it_asks_for_another_protocol(start: Start) -> None:
    server = serve(start)
    address = server.directory / "app.sock"
    for variables in ({}, {**UPGRADE, "HTTP_CONNECTION": "close"}, {**UPGRADE, "HTTP_UPGRADE": ""}):
        assert client.get(address, **variables).body == b"plain"
    ignored = client.get(address, "/ignore", **UPGRADE)
    assert ignored.raw == b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nignored"
    # What has arrived behind the request belongs to the other protocol.
    with upgraded(server, first=b"early") as connected:
        assert connected.recv(100) == b"early"
        connected.sendall(b"late")
        assert connected.recv(100) == b"late"
    server.wait_for("the end was read")
    assert server.stop() == 0
    server.assert_nothing_left()


GEVENT_WEBSOCKET = """
    import geventwebsocket

    def application(environ, start_response):
        ws = environ.get("wsgi.websocket")
        if ws is None:
            start_response("200 OK", [])
            return [b"plain"]
        ws.environ = {"who": "me"}  # attributes are those of the real object
        while (text := ws.receive()) is not None:
            ws.send(text.upper() + ws.environ["who"])
        return []
"""


def test_gevent_websockets_object_shakes_hands_when_it_is_used(start: Start) -> None:
    listen = ("--socket", "app.sock", "--http", "127.0.0.1:0")
    server = start(*listen, "app:application", app=GEVENT_WEBSOCKET).wait_ready(1)
    [(host, port)] = server.tcp_addresses()
    connected = Client(f"ws://{host}:{port}/")
    for text in ("one", "two" * 50_000):
        connected.send(text)
        assert connected.receive(20) == text.upper() + "me"
    connected.close()
    for version, key in (("12", "x" * 22 + "=="), ("13", "short"), ("13", "\xe4" * 22 + "=="), ("13", "")):
        handshake = {"HTTP_SEC_WEBSOCKET_VERSION": version, "HTTP_SEC_WEBSOCKET_KEY": key}
        assert client.get(server.directory / "app.sock", **UPGRADE, **handshake).status == 400
    assert server.stop() == 0


def test_an_upgraded_connection_holds_no_place_and_has_no_harakiri(start: Start) -> None:
    server = serve(start, "--gevent", "2", "--websockets", "3", "--harakiri", "1")
    address = server.directory / "app.sock"
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(upgraded(server))
        assert client.get(address).body == b"plain"
        refused = client.get(address, **UPGRADE)
        assert refused.status == 503 and b"--websockets" in refused.body
    server.wait_for("the end was read", 3)
    with upgraded(server) as connected:  # there is room again
        connected.settimeout(2.5)
        with pytest.raises(TimeoutError):  # longer than --harakiri
            connected.recv(1)
    assert server.stop() == 0
    assert "harakiri" not in server.log


def test_upgraded_connections_are_counted_apart(start: Start) -> None:
    server = serve(start)
    with upgraded(server):
        status = said(server.directory, "status")
        [worker] = status["workers"]
        assert worker["upgraded"] == 1 and worker["in_flight"] == 0
        assert status["totals"]["upgraded"] == 1 and status["totals"]["requests"] == 0
        assert "1 upgraded connection (WebSockets and the like)\n" in wsgidctl(server.directory, "status").stdout
    eventually(lambda: said(server.directory, "status")["workers"][0]["upgraded"] == 0, "the connection has ended")
    eventually(lambda: said(server.directory, "status")["totals"]["requests"] == 1, "it is counted as a request")
    assert said(server.directory, "status")["totals"]["busy_us"] == 0  # its life is no duration of a request
    assert server.stop() == 0


def test_a_quiet_connection_ends_after_websocket_idle(start: Start) -> None:
    server = serve(start, "--websocket-idle", "1")
    # When the younger one has ended, the older one was told its end: no later word of its client can prevent this.
    with upgraded(server, "/frame") as websocket, upgraded(server) as quiet:
        assert quiet.recv(1) == b""
        assert websocket.recv(100) == b"\x82\x05ab"
        websocket.sendall(b"x")
        received = b""
        while block := websocket.recv(100):  # the answer to the close frame does not come
            received += block
        assert received == b"cde\x88\x02\x03\xe9"  # not within the frame, and nothing behind it
    server.wait_for("the end was read", 2)
    assert server.stop() == 0


def test_a_close_frame_waits_for_the_end_of_a_frame(start: Start) -> None:
    server = serve(start, "--worker-reload-mercy", "4")
    with upgraded(server, "/frame") as websocket:
        assert websocket.recv(100) == b"\x82\x05ab"
        server.send_signal(Signals.SIGTERM)
        server.wait_for("SIGTERM")
        websocket.sendall(b"x")
        received = b""
        while block := websocket.recv(100):
            received += block
        assert received in (b"cde\x88\x02\x03\xe9", b"cde\x82\x01z\x88\x02\x03\xe9")  # the notice may come late
    assert server.wait() == 0
    assert "cut after the mercy time" not in server.log


def test_a_client_that_takes_nothing_is_given_up(start: Start) -> None:
    server = serve(start, "--socket-timeout", "1")
    with upgraded(server, "/flood"):
        server.wait_for("given up")
    assert server.stop() == 0
