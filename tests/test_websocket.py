"""WebSockets with Flask-Sock, unchanged: straight, and through nginx's proxy_pass."""

from pathlib import Path

import pytest
from simple_websocket import Client, ConnectionClosed

from tests.conftest import Start
from tests.server import Server
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
    server = serve(start, "--http", "127.0.0.1:0", "--harakiri", "0.2")
    [port] = server.wait_for(r"listens on 127.0.0.1:(\d+)")
    conversation = Client.connect(f"ws://127.0.0.1:{port[1]}/shout")
    assert conversation.receive(timeout=0.5) is None  # longer than --harakiri
    conversation.send("still there")
    assert conversation.receive(timeout=20) == "STILL THERE"
    conversation.close()
    talk(f"ws://127.0.0.1:{port[1]}")
    assert server.stop() == 0
    assert "ERROR" not in server.log
    server.assert_nothing_left()


def test_a_websocket_through_nginx(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--http", "http.sock")
    with Nginx(SITE % (tmp_path / "http.sock")) as nginx:
        talk(nginx.url.replace("http:", "ws:"))
    assert server.stop() == 0
    assert "ERROR" not in server.log
