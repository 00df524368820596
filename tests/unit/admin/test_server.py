"""The master's endpoints, turn by turn: a slow client gets its whole answer, and an error costs only its question."""

import os
import re
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.server import eventually
from wsgid.admin import server
from wsgid.admin.server import INCOMPLETE, Admin, Endpoint, Later, Responder, guarded
from wsgid.sockets.listener import Listener

LARGE = os.urandom(1 << 16) * 64  # more than the buffers of a socket take


class Site:
    """An Admin with one endpoint, and its clients."""

    def __init__(self, path: Path, respond: Responder) -> None:
        self.selector = selectors.DefaultSelector()
        self.path = path
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen()
        listening.setblocking(False)
        self.admin = Admin(self.selector, [Endpoint(Listener(listening, str(path), str(path)), respond)])

    def client(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.path))
        connection.setblocking(False)
        return connection

    def turn(self, until: Callable[[], bool]) -> None:
        """Take turns as the master does: after each event, or when the next turn is due."""

        def one() -> bool:
            self.selector.select(0.01)
            self.admin.turn(time.monotonic())
            return until()

        eventually(one, "the turns lead to this")


@contextmanager
def site(tmp_path: Path, respond: Responder) -> Iterator[Site]:
    made = Site(tmp_path / "socket", respond)
    yield made
    made.admin.close()
    assert not made.selector.get_map()
    made.selector.close()


def answer_of(client: socket.socket) -> bytes | None:
    """What has arrived; None if nothing has."""
    try:
        return client.recv(1 << 20)
    except BlockingIOError:
        return None


def has_ended(client: socket.socket) -> bool:
    return answer_of(client) == b""


def test_an_answer_waits_for_a_slow_client_and_holds_up_nobody(tmp_path: Path) -> None:
    with site(tmp_path, lambda request: LARGE) as made, made.client() as slow, made.client() as quick:
        found = {slow: bytearray(), quick: bytearray()}

        def read(client: socket.socket) -> bool:
            block = answer_of(client)
            found[client] += block or b""
            return block == b""

        made.turn(lambda: read(quick))
        assert found[quick] == LARGE
        made.turn(lambda: read(slow))
        assert found[slow] == LARGE


def test_the_end_of_the_server_cuts_the_questions_under_way(tmp_path: Path) -> None:
    with site(tmp_path, lambda request: INCOMPLETE) as made, made.client() as client:
        made.turn(lambda: len(made.admin._questions) == 1)
        made.admin.close()
        assert has_ended(client)


def test_clients_whose_answers_the_master_prepares_are_not_replaced(tmp_path: Path) -> None:
    later = Later(time.monotonic() + 3600, lambda: b"")
    with site(tmp_path, lambda request: later) as made:
        clients = [made.client() for _ in range(server.QUESTIONS_MAX)]
        made.turn(lambda: sum(question.later is later for question in made.admin._questions) == len(clients))
        with made.client() as surplus:
            made.turn(lambda: has_ended(surplus))
        assert not any(has_ended(client) for client in clients)
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(24, "Too many open files"), "stats could not be answered: .*Too many open files.*; ask again"),
        (ZeroDivisionError(), r"stats could not be answered\n(?:  .*\n|Traceback.*\n)+ZeroDivisionError"),
    ],
)
def test_an_error_costs_only_the_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    def fail(request: bytes) -> bytes:
        raise error

    with site(tmp_path, guarded(fail, "stats")) as made, made.client() as client, made.client() as other:
        made.turn(lambda: has_ended(client) and has_ended(other))
    assert len(re.findall(said, capsys.readouterr().err)) == 2


def test_listeners_that_the_kernel_does_not_watch_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")  # epoll_ctl(2)

    monkeypatch.setattr(server, "PAUSE_S", 0.01)
    with monkeypatch.context() as full:
        full.setattr(selectors.DefaultSelector, "register", refuse)
        made = Site(tmp_path / "socket", lambda request: b"fine")
    with made.client() as client:
        made.turn(lambda: answer_of(client) == b"fine")
    made.admin.close()
    made.selector.close()
