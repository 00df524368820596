"""WebSockets with Flask-Sock, unchanged: directly, and through nginx's proxy_pass."""

import ssl
from pathlib import Path

import pytest
import trustme
from simple_websocket import Client, ConnectionClosed
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server
from tools.nginx import Nginx

APP = """
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
        return "no socket"
"""
SITE = """
server {
    listen 80;
    location / {
        proxy_pass http://unix:%s;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
    }
}
"""


def talk(url: str) -> None:
    conversation = Client.connect(f"{url}/shout")
    for text in ("hello", "x" * 100_000):
        conversation.send(text)
        assert conversation.receive(timeout=20) == text.upper()
    conversation.send("enough")
    with pytest.raises(ConnectionClosed):
        conversation.receive(timeout=20)


def serve(start: Start, *options: str) -> Server:
    return start(*options, "app:application", app=APP).wait_ready(1)


def test_a_websocket_lives_longer_than_a_request_may(start: Start) -> None:
    server = serve(start, "--http", "127.0.0.1:0", "--harakiri", "1")
    [port] = server.wait_for(r"listens on 127.0.0.1:(\d+)")
    conversation = Client.connect(f"ws://127.0.0.1:{port[1]}/shout")
    assert conversation.receive(timeout=1.5) is None  # longer than --harakiri
    conversation.send("still there")
    assert conversation.receive(timeout=20) == "STILL THERE"
    conversation.close()
    talk(f"ws://127.0.0.1:{port[1]}")
    assert server.stop() == 0
    assert "ERROR" not in server.log
    server.assert_nothing_left()


def hear(connected: ssl.SSLSocket, protocol: WSConnection) -> str:
    """The next message. If it is no text message, its name in angle brackets."""
    text = ""
    while True:
        for event in protocol.events():
            match event:
                case AcceptConnection():
                    return "<accepted>"
                case CloseConnection():
                    connected.sendall(protocol.send(event.response()))
                    return "<closed>"
                case TextMessage(data=data, message_finished=finished):
                    text += data
                    if finished:
                        return text
        protocol.receive_data(connected.recv(1 << 16) or None)


def test_a_websocket_over_tls(start: Start, tmp_path: Path) -> None:
    """An SSLSocket must not be read and written in two threads, as the client of simple_websocket would do."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    server = serve(start, "--https", "127.0.0.1:0,server.pem,server.pem", "--socket-timeout", "2")
    [port] = server.wait_for(r"listens on 127.0.0.1:(\d+)")
    protocol = WSConnection(ConnectionType.CLIENT)
    with context.wrap_socket(
        client.connect(("127.0.0.1", int(port[1]))), server_hostname="127.0.0.1", suppress_ragged_eofs=False
    ) as connected:
        connected.sendall(protocol.send(Request(host="localhost", target="/shout")))
        assert hear(connected, protocol) == "<accepted>"
        connected.settimeout(2.5)  # longer than --socket-timeout
        with pytest.raises(TimeoutError):
            connected.recv(1)
        connected.settimeout(20)
        for text in ("still there", "x" * 100_000, "y" * 1_000_000):
            connected.sendall(protocol.send(TextMessage(data=text)))
            assert hear(connected, protocol) == text.upper()
        connected.sendall(protocol.send(TextMessage(data="enough")))
        assert hear(connected, protocol) == "<closed>"
        assert connected.recv(1) == b""  # the end comes with close_notify
    assert server.stop() == 0
    assert "ERROR" not in server.log and "Traceback" not in server.log


def test_a_websocket_through_nginx(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--http", "http.sock")
    with Nginx(SITE % (tmp_path / "http.sock")) as nginx:
        talk(nginx.url.replace("http:", "ws:"))
    assert server.stop() == 0
    assert "ERROR" not in server.log
