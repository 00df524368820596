"""recv_packet: what has arrived on a uwsgi connection, in two parts."""

import socket
from collections.abc import Iterator

import pytest

from tests.support.client import packet
from wsgid.serving.syscalls import recv_packet

pytestmark = pytest.mark.hot

HEAD = packet()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


@pytest.mark.parametrize("body", [b"", b"b", b"b" * 40_000])
def test_the_packet_and_what_is_behind_it_come_apart(ends: tuple[socket.socket, socket.socket], body: bytes) -> None:
    ours, theirs = ends
    theirs.sendall(HEAD + body)
    assert recv_packet(ours.fileno()) == (HEAD, body)
    assert recv_packet(ours.fileno()) is None


@pytest.mark.parametrize("size", range(1, len(HEAD), 7))
def test_an_incomplete_packet_comes_as_it_is(ends: tuple[socket.socket, socket.socket], size: int) -> None:
    ours, theirs = ends
    theirs.sendall(HEAD[:size])
    assert recv_packet(ours.fileno()) == (HEAD[:size], b"")


def test_no_byte_is_lost_where_no_packet_comes(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 40_000)
    parts = recv_packet(ours.fileno())
    assert parts is not None
    assert b"".join(parts) == b"GET / HTTP/1.1\r\n\r\n" + b"x" * 40_000


def test_the_end_is_empty(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.close()
    assert recv_packet(ours.fileno()) == (b"", b"")


def test_an_error_is_told() -> None:
    with pytest.raises(OSError):
        recv_packet(-1)
