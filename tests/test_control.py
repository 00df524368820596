"""Messages and the channel that carries them."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgid import channel
from wsgid.channel import Channel
from wsgid.errors import ControlError
from wsgid.inbox import MESSAGES_BURST, MESSAGES_PER_TURN, Inbox
from wsgid.protocol import control

MESSAGES: list[control.Message] = [
    control.Boot(3, {"workers": 4, "socket": ["a.sock"]}, [{"protocol": "http", "tls": None, "proxied": True}]),
    control.Spawn(1, 3, True, 2),
    control.Share(0, [{"protocol": "http", "tls": None, "proxied": False}]),
    control.Unshare(0),
    control.Booting(),
    control.TemplateReady(),
    control.SpawnFailed(1, "no"),
    control.Hello(),
    control.Ready(),
    control.Dumps(),
    control.Notice("key", "text"),
    control.BootFailed("reason", "Traceback ...\n"),
    control.Drain("leave", 60.0),
    control.Tired("max-requests", "old"),
    control.SourceChanged("app.py", "1"),
    control.Reopen(["", "/a.log"]),
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


WRONG = [
    '{"type": "Notice", "key": [], "text": "x"}',
    '{"type": "Notice", "key": 1, "text": "x"}',
    '{"type": "Notice", "key": "k", "text": "%s"}' % ("x" * (control.LINE_MAX_CHARS + 1)),
    '{"type": "SpawnFailed", "slot": -1, "reason": ""}',
    '{"type": "SpawnFailed", "slot": true, "reason": ""}',
    '{"type": "SpawnFailed", "slot": 1.0, "reason": ""}',
    '{"type": "SpawnFailed", "slot": 2147483648, "reason": ""}',
    '{"type": "Tired", "cause": "crash", "reason": ""}',
    '{"type": "Tired", "cause": [], "reason": ""}',
    '{"type": "Drain", "backlog": "leave", "mercy_s": NaN}',
    '{"type": "Drain", "backlog": "leave", "mercy_s": 1e999}',
    '{"type": "Hello", "pid": 1}',
    '{"type": ["Hello"]}',
    "[" * 60_000,
    '{"type": %s}' % ("9" * 9_000),
]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:60])
def test_a_field_that_is_not_what_its_annotation_says_is_a_control_error(text: str) -> None:
    with pytest.raises(ControlError):
        control.decode(text.encode())


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_child_cannot_say_what_the_master_says(message: control.Message) -> None:
    for kinds in (control.FROM_TEMPLATE, control.FROM_WORKER):
        if type(message) in kinds:
            assert control.decode(control.encode(message), kinds) == message
        else:
            with pytest.raises(ControlError, match="is no message of this sender"):
                control.decode(control.encode(message), kinds)


def test_a_line_cannot_command_the_terminal_that_shows_the_log() -> None:
    sent = control.Notice("key", "two\nlines \x1b]0;owned\x07\u202e")
    assert control.decode(control.encode(sent)) == control.Notice("key", r"two\nlines \x1b]0;owned\x07\u202e")


def test_the_kernel_says_who_has_sent_a_message_to_the_master(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    child = os.fork()
    if child == 0:
        theirs.send(control.Hello())
        os._exit(0)
    os.waitpid(child, 0)
    assert ours.receive() == (control.Hello(), []) and ours.sender_pid == child
    theirs.send(control.Hello())
    assert ours.receive() == (control.Hello(), []) and ours.sender_pid == os.getpid()


def test_descriptors_of_a_refused_message_are_closed() -> None:
    ours, theirs = channel.pair()
    inbox = Inbox(ours, control.FROM_WORKER)
    sender = Channel(theirs)
    before = len(os.listdir("/proc/self/fd"))
    for message in (control.Drain("leave", 1.0), control.Ready(), control.Dumps()):
        sender.send(message, [0, 1])
        with pytest.raises(ControlError):
            next(inbox.read())
    assert len(os.listdir("/proc/self/fd")) == before
    inbox.close()
    sender.close()


def test_a_flood_is_read_a_little_at_a_time_and_then_refused() -> None:
    ours, theirs = channel.pair()
    inbox, sender = Inbox(ours, control.FROM_WORKER), Channel(theirs)
    heard = 0
    with pytest.raises(ControlError, match="messages a second"):
        while True:
            while sender.send(control.Notice("key", "text")):
                pass
            turn = sum(1 for _ in inbox.read())
            assert 0 < turn <= MESSAGES_PER_TURN
            heard += turn
    assert heard >= MESSAGES_BURST - MESSAGES_PER_TURN
    inbox.close()
    sender.close()


@given(st.binary())
def test_anything_else_is_a_control_error(datagram: bytes) -> None:
    with pytest.raises(ControlError):
        control.decode(datagram)


@pytest.mark.parametrize(
    "datagram",
    [b'{"type": "Spawn"}', b'{"type": "Spawn", "slot": 1, "generation": 1, "x": 1}', b'{"type": "Exec"}', b"[]", b"1"],
)
def test_a_message_of_another_shape_is_a_control_error(datagram: bytes) -> None:
    with pytest.raises(ControlError, match="no known message"):
        control.decode(datagram)


def test_a_message_that_does_not_fit_a_datagram_is_refused_where_it_is_made() -> None:
    with pytest.raises(ControlError, match="more than"):
        control.encode(control.Notice("key", "x" * control.DATAGRAM_MAX_BYTES))


def test_the_largest_message_fits_the_channel(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    message = control.BootFailed("r" * control.LINE_MAX_CHARS, "\n" * control.TEXT_MAX_CHARS)
    assert left.send(message)
    assert right.receive() == (message, [])


def test_boundaries_and_descriptors_are_kept(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    read_fd, write_fd = os.pipe()
    left.send(control.Ready(), [write_fd])
    left.send(control.Ready())
    os.close(write_fd)
    received = right.receive()
    assert received is not None and received[0] == control.Ready()
    os.write(received[1][0], b"through")
    assert os.read(read_fd, 7) == b"through"
    assert not os.get_inheritable(received[1][0])
    assert right.receive() == (control.Ready(), [])
    with pytest.raises(BlockingIOError):
        right.receive()
    os.close(received[1][0])
    os.close(read_fd)


def test_the_end_of_a_process_is_the_end_of_the_file(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    left.send(control.Ready())
    left.close()
    assert right.receive() == (control.Ready(), [])
    assert right.receive() is None
    assert right.send(control.Ready()) is False
