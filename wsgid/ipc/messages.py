"""The messages between master, template and workers. One message is one datagram.

    master -> template   ForkSpare       before Boot: fork the next spare; its channel is sent along
                         Boot            settings, listeners, scoreboard and log files, all as descriptors
                         Spawn           fork a worker for this slot; its channel is sent along
    template -> master   Booting         wsgid is loaded, and Boot was read
                         TemplateReady   the application is imported
                         SpawnFailed     fork was refused
    either -> master     Hello           this worker, or spare, lives; the kernel tells its pid (channel.py)
    worker -> master     Ready           this worker accepts connections
                         Dumps           the memfd for this worker's stack in case it gets stuck (stackdump.py)
                         Notice          a sentence to log once for the whole server, whichever workers send it
                         Tired           this worker wants to be replaced
                         SourceChanged   a file of the application has changed since the import (--py-autoreload)
                         Connections     how many connections go out of this worker, by peer (--metrics)
    either -> master     BootFailed      the application could not be imported
    master -> worker     LendSockets     also accept from these sockets, which are sent along (--reuse-port)
                         ReturnSockets   stop accepting from these sockets
                         Drain           stop accepting, finish what is in flight, leave
                         Lead            call the timers that only one worker calls (wsgid.hooks), or call them no more
                         Question        a question of wsgidctl; the connection is sent along, and the worker answers
    master -> either     Reopen          from now on write to these log files, which are sent along

Rules
* A message is a frozen dataclass with fields that JSON can carry. The datagram is JSON with the class name as "type".
* Bytes in, messages out, no I/O.  A datagram that is none of these messages is a ControlError.
* The application can write to its worker's channel.  So each field is checked against its annotation before the message
  is used: the type, the range of a number, the length of a text.  A child's message never contains what the master
  knows itself: slot, generation or pid.
* End-of-file has a meaning too. For a template: leave. For a worker: the master is gone. For the master: the process is
  leaving.
"""

import json
from enum import Enum
from math import inf
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from wsgid.counted import counted
from wsgid.errors import ControlError
from wsgid.ipc.peer_counts import PEERS_MAX
from wsgid.records import asdict, dataclass

DATAGRAM_MAX_BYTES = 128 * 1024  # below the kernel's default socket buffer (net.core.wmem_default, 208 KiB)
NUMBER_MAX = (1 << 31) - 1
LINE_MAX_CHARS = 8_000  # one sentence, possibly with a path of PATH_MAX bytes
PEER_MAX_CHARS = 300  # host:port with a name of 253 characters (RFC 1035), or a path of 108 bytes (unix(7))
TEXT_MAX_CHARS = 20_000  # in JSON one character may take six; a datagram holds DATAGRAM_MAX_BYTES

Line = Annotated[str, LINE_MAX_CHARS]
Text = Annotated[str, TEXT_MAX_CHARS]
PeerCounts = Annotated[dict[str, int], PEERS_MAX + 1]  # one more: all others together (peer_counts.py)
Limit = Literal["max-requests", "max-worker-lifetime", "reload-on-rss"]  # scoreboard.DeathCause has these values, too


@dataclass(frozen=True, slots=True)
class ForkSpare:
    """Fork a process that is as this one is now, and waits for Boot. Its channel is sent along."""


@dataclass(frozen=True, slots=True)
class Boot:
    """Become the template of this generation."""

    generation: int
    # The first descriptor is the settings (linux/memfd.py). For the following ones: a ListenSpec as a dict for each.
    # Then: scoreboard, limits, log files.
    listeners: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a worker."""

    slot: int
    generation: int
    wary: bool  # the last worker in this slot died
    seat: int  # the number of this worker among those that serve together


@dataclass(frozen=True, slots=True)
class Booting:
    """The template has read Boot."""


@dataclass(frozen=True, slots=True)
class TemplateReady:
    """The template has imported the application."""


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The kernel has refused to fork a worker."""

    slot: int
    reason: Line


@dataclass(frozen=True, slots=True)
class Hello:
    """The worker, or the spare, lives."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker accepts connections."""


@dataclass(frozen=True, slots=True)
class Dumps:
    """The worker's memfd for its stack; sent along."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence to log once for the whole server."""

    key: Line  # a sentence is logged once for each key
    text: Line


@dataclass(frozen=True, slots=True)
class BootFailed:
    """The application could not be imported."""

    reason: Line
    traceback: Text  # of the application's exception; empty if it raised none


@dataclass(frozen=True, slots=True)
class Tired:
    """The worker has reached a limit and wants to be replaced."""

    cause: Limit
    reason: Line


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """A file of the application has changed since the import."""

    path: Line
    stamp: Line  # distinguishes one change from the next


@dataclass(frozen=True, slots=True)
class Connections:
    """So many connections go out of this worker, to each of these peers. Replaces the message before."""

    counts: PeerCounts


@dataclass(frozen=True, slots=True)
class LendSockets:
    """Also accept from these sockets, which are sent along."""

    number: int
    spoken: list[dict[str, Any]]  # a sockets.listen_spec.ListenSpec as a dict, for each descriptor


@dataclass(frozen=True, slots=True)
class ReturnSockets:
    """Stop accepting from the sockets of this share."""

    number: int


class OnDrain(Enum):
    """What a draining worker does with connections that wait in the listener's backlog."""

    LEAVE = "leave"  # leave them to the siblings
    EMPTY = "empty"  # accept until the backlog is empty: no other worker will


@dataclass(frozen=True, slots=True)
class Drain:
    """Finish what is in flight, and leave."""

    backlog: str  # a value of OnDrain
    mercy_s: float


@dataclass(frozen=True, slots=True)
class Lead:
    """Whether this worker calls the timers that only one worker of the server calls."""

    leads: bool
    vacant_s: float  # how long no worker has led


@dataclass(frozen=True, slots=True)
class Question:
    """A question of wsgidctl; the asker's connection is sent along."""

    kind: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reopen:
    """Write to these log files, which are sent along."""

    names: list[str]  # paths, or log.files.STREAMS; one name for each descriptor


Message = (
    ForkSpare
    | Boot
    | Spawn
    | Booting
    | TemplateReady
    | SpawnFailed
    | Hello
    | Ready
    | Dumps
    | Notice
    | Tired
    | SourceChanged
    | Connections
    | BootFailed
    | LendSockets
    | ReturnSockets
    | Drain
    | Lead
    | Question
    | Reopen
)

Kinds = frozenset[type[Message]]

ALL: Kinds = frozenset(get_args(Message))
FROM_TEMPLATE: Kinds = frozenset({Hello, Booting, TemplateReady, SpawnFailed, BootFailed})
FROM_WORKER: Kinds = frozenset({Hello, Ready, Dumps, Notice, Tired, SourceChanged, Connections, BootFailed})

FDS: dict[type[Message], int] = {Dumps: 1}  # descriptors that come with a message to the master; others have none

_TYPES: dict[str, type[Message]] = {cls.__name__: cls for cls in get_args(Message)}
_HINTS = {cls: get_type_hints(cls, include_extras=True) for cls in get_args(Message)}


def encode(message: Message) -> bytes:
    """Return the datagram of a message.

    Raises:
        ControlError: the datagram would be larger than DATAGRAM_MAX_BYTES.
    """
    datagram = json.dumps({"type": type(message).__name__, **asdict(message)}).encode()
    if len(datagram) > DATAGRAM_MAX_BYTES:
        raise ControlError(
            f"{type(message).__name__} takes {counted(len(datagram), 'byte')}, more than {DATAGRAM_MAX_BYTES}"
        )
    return datagram


def decode(datagram: bytes, kinds: Kinds = ALL) -> Message:
    """Return the message in a datagram.

    Args:
        datagram: as received.
        kinds: the messages that this sender may send.

    Raises:
        ControlError: the datagram is none of these messages, or a field does not fit its annotation.
    """
    try:
        values = json.loads(datagram)
        kind = _TYPES[values.pop("type")]
        if values.keys() != _HINTS[kind].keys():
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ControlError(f"datagram {datagram[:80]!r} is no known message") from error
    if kind not in kinds:
        raise ControlError(f"{kind.__name__} is no message of this sender")
    for name, hint in _HINTS[kind].items():
        if not _fits(hint, values[name]):
            raise ControlError(f"{kind.__name__} has {repr(values[name])[:80]} as its {name}")
        if hint is Line:
            values[name] = _printable(values[name])
        elif hint is PeerCounts:
            values[name] = {_printable(peer): number for peer, number in values[name].items()}
    return kind(**values)


def _printable(line: str) -> str:
    """Return a line as it goes into the log: characters that could control a terminal or a log reader are escaped."""
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value fits an annotation. The elements of lists and other dictionaries are not checked: only the master
    sends those."""
    if hint is PeerCounts:
        return isinstance(value, dict) and len(value) <= PEERS_MAX + 1 and all(map(_is_peer_count, value.items()))
    if get_origin(hint) is Annotated:
        return isinstance(value, str) and len(value) <= hint.__metadata__[0]
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is int:
        return type(value) is int and 0 <= value <= NUMBER_MAX  # bool is a subclass of int
    if hint is float:
        return type(value) in (int, float) and 0 <= value < inf
    return isinstance(value, get_origin(hint) or hint)


def _is_peer_count(entry: tuple[str, Any]) -> bool:
    peer, number = entry
    return len(peer) <= PEER_MAX_CHARS and _fits(int, number)
