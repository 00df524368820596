"""Messages and the channel that carries them."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgid import channel
from wsgid.channel import Channel
from wsgid.errors import ControlError
from wsgid.protocol import control

MESSAGES: list[control.Message] = [
    control.Boot(3, {"workers": 4, "socket": ["a.sock"]}, [{"protocol": "http", "tls": None, "proxied": True}]),
    control.Spawn(1, 3, True, 2), control.Share(0, [{"protocol": "http", "tls": None, "proxied": False}]),
    control.Unshare(0), control.Booting(3), control.TemplateReady(3),
    control.SpawnFailed(1, "no"), control.Hello(1, 3, 4711), control.Ready(1), control.Dumps(),
    control.Notice("key", "text"),
    control.BootFailed("reason", "Traceback ...\n"), control.Drain("leave", 60.0),
    control.Tired("max-requests", "old"), control.SourceChanged("app.py", "1"), control.Reopen(["", "/a.log"]),
    control.Question("requests", {"slot": 1}),
]


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    left, right = map(Channel, channel.pair())
    yield left, right
    left.close()
    right.close()


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_survives_the_wire(message: control.Message) -> None:
    assert control.decode(control.encode(message)) == message


def test_the_list_of_messages_is_complete() -> None:
    assert {type(message) for message in MESSAGES} == set(control._TYPES.values())


@given(st.binary())
def test_anything_else_is_a_control_error(datagram: bytes) -> None:
    with pytest.raises(ControlError):
        control.decode(datagram)


@pytest.mark.parametrize("datagram", [b'{"type": "Spawn"}', b'{"type": "Spawn", "slot": 1, "generation": 1, "x": 1}',
                                      b'{"type": "Exec"}', b"[]", b"1"])
def test_a_message_of_another_shape_is_a_control_error(datagram: bytes) -> None:
    with pytest.raises(ControlError, match="no known message"):
        control.decode(datagram)


def test_a_message_that_does_not_fit_a_datagram_is_refused_where_it_is_made() -> None:
    with pytest.raises(ControlError, match="more than"):
        control.encode(control.Notice("key", "x" * control.DATAGRAM_MAX_BYTES))


def test_the_largest_message_fits_the_channel(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    message = control.BootFailed("r" * 20_000, "\n" * 20_000)
    assert left.send(message)
    assert right.receive() == (message, [])


def test_boundaries_and_descriptors_are_kept(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    read_fd, write_fd = os.pipe()
    left.send(control.Ready(1), [write_fd])
    left.send(control.Ready(2))
    os.close(write_fd)
    received = right.receive()
    assert received is not None and received[0] == control.Ready(1)
    os.write(received[1][0], b"through")
    assert os.read(read_fd, 7) == b"through"
    assert not os.get_inheritable(received[1][0])
    assert right.receive() == (control.Ready(2), [])
    with pytest.raises(BlockingIOError):
        right.receive()
    os.close(received[1][0])
    os.close(read_fd)


def test_the_end_of_a_process_is_the_end_of_the_file(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    left.send(control.Ready(1))
    left.close()
    assert right.receive() == (control.Ready(1), [])
    assert right.receive() is None
    assert right.send(control.Ready(1)) is False
