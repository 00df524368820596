"""Everything that master, template and worker say to each other, one message a datagram.

    master -> template   Boot            the settings; listeners, scoreboard and log files ride along as descriptors
                         Spawn           fork a worker for this slot; its channel rides along
    template -> master   Booting         wsgid is loaded, and Boot is read
                         TemplateReady   the application is imported
                         SpawnFailed     fork was refused
    worker -> master     Hello           I live in this slot, with this pid
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
* Bytes in, messages out, no I/O.  A datagram that is none of these is a ControlError: a bug, never guessed at.
* End-of-file is a message too: to a template "you are dismissed", to a worker "the master is gone", to the master
  "that process is leaving".
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, get_args

from wsgid.errors import ControlError

DATAGRAM_MAX_BYTES = 128 * 1024  # below the kernel's default socket buffer (net.core.wmem_default, 208 KiB)


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
    generation: int


@dataclass(frozen=True, slots=True)
class TemplateReady:
    generation: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    slot: int
    reason: str


@dataclass(frozen=True, slots=True)
class Hello:
    slot: int
    generation: int
    pid: int


@dataclass(frozen=True, slots=True)
class Ready:
    slot: int


@dataclass(frozen=True, slots=True)
class Dumps:
    pass


@dataclass(frozen=True, slots=True)
class Notice:
    key: str  # said once per key
    text: str


@dataclass(frozen=True, slots=True)
class BootFailed:
    reason: str
    traceback: str  # of the application's exception; empty if it raised none


@dataclass(frozen=True, slots=True)
class Tired:
    cause: str  # a scoreboard.Cause value
    reason: str


@dataclass(frozen=True, slots=True)
class SourceChanged:
    path: str
    stamp: str  # tells one change from the next


@dataclass(frozen=True, slots=True)
class Share:
    number: int
    spoken: list[dict[str, Any]]  # what spoken.Spoken of each file descriptor


@dataclass(frozen=True, slots=True)
class Unshare:
    number: int


@dataclass(frozen=True, slots=True)
class Drain:
    backlog: str  # a fleet.Backlog value
    mercy_s: float


@dataclass(frozen=True, slots=True)
class Question:
    kind: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reopen:
    names: list[str]  # paths, or logfiles.STREAMS; one for each descriptor


Message = (Boot | Spawn | Booting | TemplateReady | SpawnFailed | Hello | Ready | Dumps | Notice | Tired | SourceChanged
           | BootFailed | Share | Unshare | Drain | Question | Reopen)

_TYPES: dict[str, type[Message]] = {cls.__name__: cls for cls in get_args(Message)}


def encode(message: Message) -> bytes:
    """The datagram for a message.

    Raises:
        ControlError: it would be larger than DATAGRAM_MAX_BYTES.
    """
    datagram = json.dumps({"type": type(message).__name__, **asdict(message)}).encode()
    if len(datagram) > DATAGRAM_MAX_BYTES:
        raise ControlError(f"{type(message).__name__} takes {len(datagram)} bytes, more than {DATAGRAM_MAX_BYTES}")
    return datagram


def decode(datagram: bytes) -> Message:
    """The message in a datagram.

    Raises:
        ControlError: it is none of the messages above.
    """
    try:
        fields = json.loads(datagram)
        message: Message = _TYPES[fields.pop("type")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ControlError(f"datagram {datagram[:80]!r} is no known message: {error!r}") from error
    return message
