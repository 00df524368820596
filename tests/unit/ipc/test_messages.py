"""Messages and the channel that carries them."""

import json
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgid.errors import ControlError
from wsgid.ipc import messages
from wsgid.ipc.channel import Channel
from wsgid.linux.socket_pair import pair
from wsgid.supervisor.inbox import MESSAGES_BURST, MESSAGES_PER_TURN, Inbox

MESSAGES: list[messages.Message] = [
    messages.Boot(3, [{"protocol": "http", "tls": None, "proxied": "required"}]),
    messages.Spawn(1, 3, True, 2),
    messages.LendSockets(0, [{"protocol": "http", "tls": None, "proxied": "none"}]),
    messages.ReturnSockets(0),
    messages.Booting(),
    messages.ForkSpare(),
    messages.TemplateReady(),
    messages.SpawnFailed(1, "no"),
    messages.Hello(),
    messages.Ready(),
    messages.Dumps(),
    messages.Notice("key", "text"),
    messages.BootFailed("reason", "Traceback ...\n"),
    messages.Drain("leave", 60.0),
    messages.Lead(True, 1.5),
    messages.Tired("max-requests", "old"),
    messages.SourceChanged("app.py", "1"),
    messages.Connections({"127.0.0.1:5432": 3, "other": 7}),
    messages.Reopen(["", "/a.log"]),
    messages.Question("requests", {"slot": 1}),
]


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    left, right = map(Channel, pair())
    yield left, right
    left.close()
    right.close()


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_survives_the_wire(message: messages.Message) -> None:
    assert messages.decode(messages.encode(message)) == message


def test_the_list_of_messages_is_complete() -> None:
    assert {type(message) for message in MESSAGES} == set(messages._TYPES.values())


WRONG = [
    '{"type": "Notice", "key": [], "text": "x"}',
    '{"type": "Notice", "key": 1, "text": "x"}',
    '{"type": "Notice", "key": "k", "text": "%s"}' % ("x" * (messages.LINE_MAX_CHARS + 1)),
    '{"type": "SpawnFailed", "slot": -1, "reason": ""}',
    '{"type": "SpawnFailed", "slot": true, "reason": ""}',
    '{"type": "SpawnFailed", "slot": 1.0, "reason": ""}',
    '{"type": "SpawnFailed", "slot": 2147483648, "reason": ""}',
    '{"type": "Tired", "cause": "crash", "reason": ""}',
    '{"type": "Tired", "cause": [], "reason": ""}',
    '{"type": "Drain", "backlog": "leave", "mercy_s": NaN}',
    '{"type": "Drain", "backlog": "leave", "mercy_s": 1e999}',
    '{"type": "Connections", "counts": []}',
    '{"type": "Connections", "counts": {"a": -1}}',
    '{"type": "Connections", "counts": {"a": 1.5}}',
    '{"type": "Connections", "counts": {"a": "1"}}',
    '{"type": "Connections", "counts": {"a": true}}',
    '{"type": "Connections", "counts": {"a": {}}}',
    '{"type": "Connections", "counts": {"%s": 1}}' % ("x" * (messages.PEER_MAX_CHARS + 1)),
    json.dumps({"type": "Connections", "counts": {str(number): 1 for number in range(22)}}),
    '{"type": "Hello", "pid": 1}',
    '{"type": ["Hello"]}',
    "[" * 60_000,
    '{"type": %s}' % ("9" * 9_000),
]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:60])
def test_a_field_that_is_not_what_its_annotation_says_is_a_control_error(text: str) -> None:
    with pytest.raises(ControlError):
        messages.decode(text.encode())


def test_a_peer_s_name_is_printable() -> None:
    sent = messages.Connections({"/tmp/a\x1b]0;owned\x07": 1})
    assert messages.decode(messages.encode(sent)) == messages.Connections({r"/tmp/a\x1b]0;owned\x07": 1})


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_child_cannot_send_a_message_of_the_master(message: messages.Message) -> None:
    for kinds in (messages.FROM_TEMPLATE, messages.FROM_WORKER):
        if type(message) in kinds:
            assert messages.decode(messages.encode(message), kinds) == message
        else:
            with pytest.raises(ControlError, match="is no message of this sender"):
                messages.decode(messages.encode(message), kinds)


def test_a_line_cannot_command_the_terminal_that_shows_the_log() -> None:
    sent = messages.Notice("key", "two\nlines \x1b]0;owned\x07\u202e")
    assert messages.decode(messages.encode(sent)) == messages.Notice("key", r"two\nlines \x1b]0;owned\x07\u202e")


def test_the_kernel_names_the_sender_of_a_message_to_the_master(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    child = os.fork()
    if child == 0:
        theirs.send(messages.Hello())
        os._exit(0)
    os.waitpid(child, 0)
    assert ours.receive() == (messages.Hello(), []) and ours.sender_pid == child
    theirs.send(messages.Hello())
    assert ours.receive() == (messages.Hello(), []) and ours.sender_pid == os.getpid()


def test_descriptors_of_a_refused_message_are_closed() -> None:
    ours, theirs = pair()
    inbox = Inbox(ours, messages.FROM_WORKER)
    sender = Channel(theirs)
    before = len(os.listdir("/proc/self/fd"))
    for message in (messages.Drain("leave", 1.0), messages.Ready(), messages.Dumps()):
        sender.send(message, [0, 1])
        with pytest.raises(ControlError):
            next(inbox.read())
    assert len(os.listdir("/proc/self/fd")) == before
    inbox.close()
    sender.close()


def test_a_flood_is_read_a_little_at_a_time_and_then_refused() -> None:
    ours, theirs = pair()
    inbox, sender = Inbox(ours, messages.FROM_WORKER), Channel(theirs)
    heard = 0
    with pytest.raises(ControlError, match="messages a second"):
        while True:
            while sender.send(messages.Notice("key", "text")):
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
        messages.decode(datagram)


@pytest.mark.parametrize(
    "datagram",
    [b'{"type": "Spawn"}', b'{"type": "Spawn", "slot": 1, "generation": 1, "x": 1}', b'{"type": "Exec"}', b"[]", b"1"],
)
def test_a_message_of_another_shape_is_a_control_error(datagram: bytes) -> None:
    with pytest.raises(ControlError, match="no known message"):
        messages.decode(datagram)


def test_a_message_that_does_not_fit_a_datagram_is_refused_where_it_is_made() -> None:
    with pytest.raises(ControlError, match="more than"):
        messages.encode(messages.Notice("key", "x" * messages.DATAGRAM_MAX_BYTES))


def test_the_largest_message_fits_the_channel(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    message = messages.BootFailed("r" * messages.LINE_MAX_CHARS, "\n" * messages.TEXT_MAX_CHARS)
    assert left.send(message)
    assert right.receive() == (message, [])


def test_boundaries_and_descriptors_are_kept(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    read_fd, write_fd = os.pipe()
    left.send(messages.Ready(), [write_fd])
    left.send(messages.Ready())
    os.close(write_fd)
    received = right.receive()
    assert received is not None and received[0] == messages.Ready()
    os.write(received[1][0], b"through")
    assert os.read(read_fd, 7) == b"through"
    assert not os.get_inheritable(received[1][0])
    assert right.receive() == (messages.Ready(), [])
    with pytest.raises(BlockingIOError):
        right.receive()
    os.close(received[1][0])
    os.close(read_fd)


def test_the_end_of_a_process_is_the_end_of_the_file(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    left.send(messages.Ready())
    left.close()
    assert right.receive() == (messages.Ready(), [])
    assert right.receive() is None
    assert right.send(messages.Ready()) is False
