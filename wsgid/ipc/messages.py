"""Everything that master, template and worker say to each other, one message a datagram.

    master -> template   Boot            the settings; listeners, scoreboard and log files ride along as descriptors
                         Spawn           fork a worker for this slot; its channel rides along
    template -> master   Booting         wsgid is loaded, and Boot is read
                         TemplateReady   the application is imported
                         SpawnFailed     fork was refused
    worker -> master     Hello           I live; the kernel says with which pid (channel.py)
                         Ready           I accept connections
                         Dumps           here my stack is written when I am stuck (dump.py); the memfd rides along
                         Notice          something to say once for the whole server, however many workers see it
                         Tired           replace me
                         SourceChanged   a module of the application is not what was imported (--py-autoreload)
    either -> master     BootFailed      the application could not be imported
    master -> worker     Share           accept from these sockets too; they ride along (--reuse-port)
                         Unshare         leave these to others
                         Drain           stop accepting, finish what is in flight, leave
                         Question        wsgidctl's; who asks rides along and gets the answer from the worker itself
    master -> either     Reopen          write to these log files from now on; they ride along

Rules
* A message is a frozen dataclass of what JSON keeps; the datagram is JSON with the class name as "type".
* Bytes in, messages out, no I/O.  A datagram that is none of these is a ControlError: nothing is guessed.
* The application can write to its worker's channel.  So each field is checked against its annotation before anybody
  acts on the message: the type, the range of a number, the length of a text.  A message of a child names nothing that
  the master knows by itself: which slot, generation or pid it is.
* End-of-file is a message too: to a template "you are dismissed", to a worker "the master is gone", to the master
  "that process is leaving".
"""

import json
from dataclasses import asdict, dataclass
from enum import Enum
from math import inf
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from wsgid.errors import ControlError

DATAGRAM_MAX_BYTES = 128 * 1024  # below the kernel's default socket buffer (net.core.wmem_default, 208 KiB)
NUMBER_MAX = (1 << 31) - 1
LINE_MAX_CHARS = 8_000  # a sentence, which may have a path of PATH_MAX bytes in it
TEXT_MAX_CHARS = 20_000  # JSON may make six of one; a datagram holds DATAGRAM_MAX_BYTES

Line = Annotated[str, LINE_MAX_CHARS]
Text = Annotated[str, TEXT_MAX_CHARS]
Limit = Literal["max-requests", "max-worker-lifetime", "reload-on-rss"]  # scoreboard.Cause knows them, too


@dataclass(frozen=True, slots=True)
class Boot:
    generation: int
    settings: dict[str, Any]
    # The first descriptors, and what is spoken.Spoken there; the scoreboard follows, then the log files.
    listeners: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Spawn:
    slot: int
    generation: int
    wary: bool  # the last worker in this slot died
    seat: int  # which of the workers that serve together it is


@dataclass(frozen=True, slots=True)
class Booting:
    pass


@dataclass(frozen=True, slots=True)
class TemplateReady:
    pass


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    slot: int
    reason: Line


@dataclass(frozen=True, slots=True)
class Hello:
    pass


@dataclass(frozen=True, slots=True)
class Ready:
    pass


@dataclass(frozen=True, slots=True)
class Dumps:
    pass


@dataclass(frozen=True, slots=True)
class Notice:
    key: Line  # said once per key
    text: Line


@dataclass(frozen=True, slots=True)
class BootFailed:
    reason: Line
    traceback: Text  # of the application's exception; empty if it raised none


@dataclass(frozen=True, slots=True)
class Tired:
    cause: Limit
    reason: Line


@dataclass(frozen=True, slots=True)
class SourceChanged:
    path: Line
    stamp: Line  # tells one change from the next


@dataclass(frozen=True, slots=True)
class LendSockets:
    number: int
    spoken: list[dict[str, Any]]  # what spoken.Spoken of each file descriptor


@dataclass(frozen=True, slots=True)
class ReturnSockets:
    number: int


class OnDrain(Enum):
    """What a draining worker does with connections that wait in the listener's backlog."""

    LEAVE = "leave"  # siblings take them
    EMPTY = "empty"  # nobody else will: accept until there are none


@dataclass(frozen=True, slots=True)
class Drain:
    backlog: str  # a value of OnDrain
    mercy_s: float


@dataclass(frozen=True, slots=True)
class Question:
    kind: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reopen:
    names: list[str]  # paths, or log.files.STREAMS; one for each descriptor


Message = (
    Boot
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
    | BootFailed
    | LendSockets
    | ReturnSockets
    | Drain
    | Question
    | Reopen
)

Kinds = frozenset[type[Message]]

ALL: Kinds = frozenset(get_args(Message))
FROM_TEMPLATE: Kinds = frozenset({Booting, TemplateReady, SpawnFailed, BootFailed})
FROM_WORKER: Kinds = frozenset({Hello, Ready, Dumps, Notice, Tired, SourceChanged, BootFailed})

FDS: dict[type[Message], int] = {Dumps: 1}  # descriptors that ride along to the master; none with other messages

_TYPES: dict[str, type[Message]] = {cls.__name__: cls for cls in get_args(Message)}
_HINTS = {cls: get_type_hints(cls, include_extras=True) for cls in get_args(Message)}


def encode(message: Message) -> bytes:
    """The datagram for a message.

    Raises:
        ControlError: it would be larger than DATAGRAM_MAX_BYTES.
    """
    datagram = json.dumps({"type": type(message).__name__, **asdict(message)}).encode()
    if len(datagram) > DATAGRAM_MAX_BYTES:
        raise ControlError(f"{type(message).__name__} takes {len(datagram)} bytes, more than {DATAGRAM_MAX_BYTES}")
    return datagram


def decode(datagram: bytes, kinds: Kinds = ALL) -> Message:
    """The message in a datagram.

    Args:
        kinds: what this sender may say.

    Raises:
        ControlError: it is none of these messages, or a field is not what its annotation says.
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
    return kind(**values)


def _printable(line: str) -> str:
    """A line as it goes into the log: what a terminal or a log's reader could take for a command is escaped."""
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is what an annotation says. The elements of lists and dictionaries are not looked at: the master
    alone sends these."""
    if get_origin(hint) is Annotated:
        return isinstance(value, str) and len(value) <= hint.__metadata__[0]
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is int:
        return type(value) is int and 0 <= value <= NUMBER_MAX  # a bool is an int, too
    if hint is float:
        return type(value) in (int, float) and 0 <= value < inf
    return isinstance(value, get_origin(hint) or hint)
