"""The benchmark's servers that are started in a way of their own: each answers, and keeps its connections open."""

import http.client
import sys
from pathlib import Path

import pytest

from bench import apps
from bench.front import front
from bench.peers import HOST, PEERS, Launch
from bench.server import Request, Route, running
from tools.nginx import free_port

HELLO = Request(apps.HELLO)
# There are no wheels of fastwsgi for newer Pythons.
NEW = ["uwsgi-http", "bjoern", "pywsgi", *(["fastwsgi"] if sys.version_info < (3, 12) else [])]


@pytest.mark.parametrize("name", NEW)
def test_a_peer_answers_twice_on_one_connection(name: str, tmp_path: Path) -> None:
    nginx = front(tmp_path / "unused.sock", free_port(HOST), 64)  # is not started
    launch = Launch("bench.apps:hello", 1, 1, tmp_path / "server.sock", free_port(HOST))
    with running(PEERS[name], launch, nginx, HELLO, Route.STRAIGHT) as server:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=20)
        connection.connect()
        kept = connection.sock
        for _ in range(2):
            connection.request("GET", server.path)
            assert connection.getresponse().read() == apps.HELLO
            assert connection.sock is kept
        connection.close()


@pytest.mark.parametrize("route", [Route.NGINX_KEPT, Route.NGINX])
def test_nginx_finds_a_server_on_the_port_or_on_the_socket(route: Route, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    port = free_port(HOST)
    launch = Launch("bench.apps:hello", 1, 1, tmp_path / "server.sock", port if route is Route.NGINX_KEPT else 0)
    with front(launch.socket, port, 64) as nginx, running(PEERS["wsgid-http"], launch, nginx, HELLO, route) as server:
        server.check(HELLO)
