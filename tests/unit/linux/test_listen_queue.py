"""How many connections wait in a backlog, by the kernel: for unix and TCP sockets, bound here and inherited."""

import errno
import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from signal import Signals
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually, halt
from wsgid.linux import listen_queue
from wsgid.linux.listen_queue import ListenQueue
from wsgid.sockets import listener
from wsgid.sockets.listener import Ownership

APP = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"hello"]
"""


@pytest.fixture(autouse=True)
def ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_queue, "_diag_missing", False)


@pytest.fixture(params=["unix", "tcp", "tcp6"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    address = {"unix": str(tmp_path / "a.sock"), "tcp": "127.0.0.1:0", "tcp6": "[::1]:0"}[request.param]
    with listener.open_listener(address, 20, Ownership()).socket as opened:
        yield opened


def connect(to: socket.socket) -> socket.socket:
    connected = socket.socket(to.family)
    connected.connect(to.getsockname())
    return connected


def test_each_connection_that_is_not_accepted_counts(listening: socket.socket) -> None:
    assert listen_queue.of(listening) == ListenQueue(0, 20)
    clients = [connect(listening) for _ in range(7)]
    eventually(lambda: listen_queue.of(listening) == ListenQueue(7, 20), "seven connections wait")
    accepted, _ = listening.accept()
    assert listen_queue.of(listening) == ListenQueue(6, 20)
    for connection in (accepted, *clients):
        connection.close()


def test_an_inherited_socket_is_looked_at_like_any_other(listening: socket.socket) -> None:
    inherited = listener.inherit(str(os.dup(listening.fileno())), 20)
    with inherited.socket, connect(listening):
        eventually(lambda: inherited.queue() == ListenQueue(1, 20), "the connection waits")


def test_a_closed_socket_is_unknown_and_does_not_change_the_others(listening: socket.socket) -> None:
    closed = listener.inherit(str(os.dup(listening.fileno())), 20)
    closed.socket.close()
    assert closed.queue() is None
    assert listen_queue.of(listening) == ListenQueue(0, 20)


@pytest.mark.parametrize("refusal", [errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EPERM])
def test_without_permission_the_queue_is_unknown_and_not_asked_for_again(
    refusal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(inode: int) -> bytes:
        asked.append(inode)
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(listen_queue, "_ask", refuse)
    with listener.open_listener(str(tmp_path / "a.sock"), 20, Ownership()).socket as opened:
        assert listen_queue.of(opened) is None and listen_queue.of(opened) is None
        assert asked == [os.fstat(opened.fileno()).st_ino]


def test_the_queue_is_asked_for_again_after_descriptors_ran_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listener.open_listener(str(tmp_path / "a.sock"), 20, Ownership()).socket as opened:
        with monkeypatch.context() as patch:
            patch.setattr(listen_queue, "_ask", lambda inode: (_ for _ in ()).throw(OSError(errno.EMFILE, "too many")))
            assert listen_queue.of(opened) is None
        assert listen_queue.of(opened) == ListenQueue(0, 20)


def test_a_kernel_that_does_not_know_the_socket_answers_with_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        listen_queue._decode(listen_queue._ask(0xFFFFFFF0))


@given(st.binary(max_size=100))
def test_any_answer_is_decoded_or_refused(answer: bytes) -> None:
    try:
        found = listen_queue._decode(answer)
    except (OSError, struct.error):
        return
    assert found is None or isinstance(found, ListenQueue)


# --- in a server ---


def queues(server: Server) -> list[tuple[int, int]]:
    with client.connect(server.directory / "stats.sock") as connected:
        found: Any = json.loads(client.read_all(connected))
    assert found["listen_queue"] == found["load"] == max(listed["queue"] for listed in found["sockets"])
    return [(listed["queue"], listed["max_queue"]) for listed in found["sockets"]]


def test_connections_that_wait_for_a_stopped_worker_are_counted(start: Start) -> None:
    server = start(
        "--socket",
        "app.sock",
        "--socket",
        "127.0.0.1:0",
        "--listen",
        "40",
        "--stats",
        "stats.sock",
        "app:application",
        app=APP,
    ).wait_ready(1)
    [port] = [connection.laddr.port for connection in psutil.Process(server.pid).net_connections("tcp")]
    assert queues(server) == [(0, 40), (0, 40)]
    [worker] = server.worker_pids()
    halt(worker)
    waiting = [client.connect(server.directory / "app.sock") for _ in range(11)]
    waiting += [client.connect(("127.0.0.1", port)) for _ in range(5)]
    eventually(lambda: queues(server) == [(11, 40), (5, 40)], "the connections wait in both queues")
    os.kill(worker, Signals.SIGCONT)
    for connection in waiting:
        connection.sendall(client.packet())
        assert client.read_all(connection).endswith(b"hello")
        connection.close()
    assert queues(server) == [(0, 40), (0, 40)]
