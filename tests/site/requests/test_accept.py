"""Which connections are accepted, and which requests run next: connections without requests, and requests that wait
beside requests that compute."""

from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import eventually

pytestmark = pytest.mark.hot

APP = """
    import time

    done = []

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/wait":
            time.sleep(0.001)
        elif path.startswith("/compute"):
            until_s = time.perf_counter() + (0.2 if path == "/compute-long" else 0.003)
            while time.perf_counter() < until_s:
                pass
        if path != "/done":
            done.append(path)
        start_response("200 OK", [])
        return [" ".join(done).encode()]
"""


def address(start: Start) -> Path:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    return server.directory / "app.sock"


def test_connections_without_a_request_hold_up_no_other_request(start: Start) -> None:
    socket = address(start)
    silent = [client.connect(socket) for _ in range(40)]
    assert client.get(socket, "/fast").status == 200
    for number, connection in enumerate(silent):
        connection.sendall(client.packet(f"/{number}"))
    for connection in silent:
        assert client.parse(client.read_all(connection)).status == 200
        connection.close()
    done = client.get(socket, "/done").body.split()
    assert done[0] == b"/fast" and sorted(done[1:]) == sorted(b"/%d" % number for number in range(40))


def test_a_request_that_waits_has_a_turn_while_others_compute(start: Start) -> None:
    socket = address(start)
    asked = []
    for path in ("/compute-long", "/wait", *["/compute"] * 15):  # all but the first are in the backlog during its 0.2 s
        asked.append(client.connect(socket))
        asked[-1].sendall(client.packet(path))
    for connection in asked:
        client.read_all(connection)
        connection.close()
    done = client.get(socket, "/done").body.split()
    assert len(done) == 17 and done.index(b"/wait") <= 3, done


def test_a_batch_and_more_at_once_are_all_answered(start: Start) -> None:
    socket = address(start)
    asked = [client.connect(socket) for _ in range(100)]
    for connection in asked:
        connection.sendall(client.packet("/wait"))
    assert all(client.parse(client.read_all(connection)).status == 200 for connection in asked)
    for connection in asked:
        connection.close()
    eventually(lambda: client.get(socket, "/done").body.count(b"/wait") == 100, "each was served once")
