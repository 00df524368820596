"""All failures that wsgid can name, as one tree of exceptions.

Rules
* The type says whose fault it is: the operator's (BootError), the peer's (PeerError), the application's
  (ApplicationError) or wsgid's own (InternalError).  The type carries `status_hint` (the status for the peer) or
  `exit_code` (the exit code of the process), so that no caller needs isinstance to find them.
* The message is one sentence for the operator: the thing, its value, the remedy.
* This module imports nothing of wsgid.
"""

import math
from enum import IntEnum
from typing import Any, Literal, NoReturn


class ExitCode(IntEnum):
    """The exit codes of `wsgid`. The tables of docs/exit-codes.md and of the manual page are written from here."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> "ExitCode":
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    OK = 0, "stopped as asked"
    FAILURE = 1, "the operating system refused something: a socket in use, no permission, no memory"
    USAGE = 2, "a wrong option"  # argparse's convention
    APPLICATION = 3, "the application cannot be imported, or no worker ever became ready"  # gunicorn's convention


class WsgidError(Exception):
    """The base of all. Never raised itself."""

    status_hint = "500 Internal Server Error"


# --- the operator's faults, while booting ----------------------------------------------------------------------------


class BootError(WsgidError):
    """The server cannot start, because of something that the operator can change."""

    exit_code = ExitCode.FAILURE


class ConfigError(BootError):
    """An option has a value that cannot be used."""

    exit_code = ExitCode.USAGE


class ListenerError(BootError):
    """A socket cannot be bound, inherited, or given its mode and owner."""


class ApplicationImportError(BootError):
    """The application cannot be imported, or is not callable."""

    exit_code = ExitCode.APPLICATION


# --- refusals of the machine, at any time -----------------------------------------------------------------------------


class Refused(WsgidError, OSError):
    """The kernel has refused a system call. `call` names the call and its object: "chdir /srv/site".

    This is an OSError, so it has errno and strerror (errno(3)).
    """

    call = ""


# --- the peer's faults, on a connection -------------------------------------------------------------------------------


class PeerError(WsgidError):
    """The peer sent something that is refused. `status_hint` is the answer, which nginx can show."""

    status_hint = "400 Bad Request"


class BadPacket(PeerError):
    """The lengths in the packet do not add up, or a variable has a forbidden value."""


class UnknownModifier(PeerError):
    """modifier1 asks for something that a WSGI server does not offer."""


class ForeignProtocol(PeerError):
    """The bytes are HTTP or TLS, not a uwsgi packet."""


class TooManyVariables(PeerError):
    """The packet has more variables than --max-vars allows."""

    status_hint = "431 Request Header Fields Too Large"


class BadRequest(PeerError):
    """The bytes are no valid HTTP/1.1, or are ambiguous."""


class BadHandshake(PeerError):
    """The TLS handshake failed: the peer speaks no TLS, an old version, or shows no certificate."""


class BadProxyHeader(PeerError):
    """The PROXY header is malformed or missing, or comes from an untrusted peer."""


class UriTooLong(PeerError):
    """The request line is longer than --http-line-size."""

    status_hint = "414 URI Too Long"


class HeadTooLarge(PeerError):
    """There are more headers than --max-vars, or more bytes of headers than --http-head-size."""

    status_hint = "431 Request Header Fields Too Large"


class NotImplementedByServer(PeerError):
    """The transfer coding is unknown."""

    status_hint = "501 Not Implemented"


class VersionNotSupported(PeerError):
    """The version is neither HTTP/1.0 nor HTTP/1.1."""

    status_hint = "505 HTTP Version Not Supported"


class HeadTimeout(PeerError):
    """The peer did not send the whole head within --socket-timeout."""

    status_hint = "408 Request Timeout"


class BodyTooSlow(PeerError):
    """The peer sends the body of its request more slowly than --body-rate."""

    status_hint = "408 Request Timeout"


class ClientDisconnected(WsgidError, ConnectionError):
    """The peer left, or was silent for longer than --socket-timeout, in the middle of a body or a response.

    This is a ConnectionError and so an OSError, which frameworks expect here. For example, Django turns it into
    UnreadablePostError while it reads a form.

    Args:
        has_begun: whether the peer has got a part of the block that was sent.
    """

    def __init__(self, message: str = "", has_begun: bool = False) -> None:
        super().__init__(message)
        self.has_begun = has_begun


# --- the application's faults ----------------------------------------------------------------------------------------


class ApplicationError(WsgidError):
    """The application broke PEP 3333. The client gets a 500 if the head was not sent yet."""


class OffloadTimeout(WsgidError, TimeoutError):
    """A caller of an offloaded function has waited for longer than `timeout_s` (wsgid.offload). The function may still
    run in its thread.

    This is a TimeoutError, and so an OSError.
    """

    status_hint = "504 Gateway Timeout"


class RequestTimeout(BaseException):
    """The request took longer than --harakiri. Raised in the greenlet of the request only.

    This is a BaseException, as gevent.Timeout is, because `except Exception` of an application must not catch it.
    Therefore it is not part of the tree.
    """

    status_hint = "504 Gateway Timeout"


class Rejected(WsgidError):
    """A limit of the application or of the operator has rejected a request (wsgid.limits).

    `acquire` returns it in place of a permit: it is false, and `with` raises it. Raised out of the application, it is
    answered with its status and with `answer_headers`.

    Args:
        permit: the decision.
    """

    def __init__(self, permit: Any) -> None:
        self.permit = permit

    @property
    def status_hint(self) -> str:  # type: ignore[override]
        """429; 503 if the store of the limits is gone (--limit-store-closed)."""
        return "503 Service Unavailable" if self.permit.store_is_gone else "429 Too Many Requests"

    def __bool__(self) -> Literal[False]:
        return False

    def __enter__(self) -> NoReturn:
        raise self

    def __exit__(self, *_exception: object) -> None:
        """Never called: __enter__ raises."""

    def __str__(self) -> str:
        return f"{self.permit.limiter.name} rejects {self.permit.key!r}: try again in {self.retry_after_s:.3f} s"

    @property
    def retry_after_s(self) -> float:
        """When the next try makes sense, in seconds."""
        return float(self.permit.retry_after_s)

    @property
    def retry_after(self) -> int:
        """When the next try makes sense: whole seconds, as in Retry-After."""
        return max(math.ceil(self.retry_after_s), 1)

    @property
    def answer_headers(self) -> list[tuple[str, str]]:
        """The headers for the client: Retry-After, and those of the limit."""
        return list(self.permit.headers())


class NoRoomForBody(WsgidError):
    """The temporary file of --post-buffering cannot be written."""

    status_hint = "507 Insufficient Storage"


# --- the cache -------------------------------------------------------------------------------------------------------


class CacheError(WsgidError):
    """The base of all errors of wsgid.cache."""


class NoSuchCache(CacheError, LookupError):
    """No --cache has this name, or its store cannot be opened."""


class NoSuchKey(CacheError, LookupError):
    """incr was called with `initial=None` for a key that is not there."""


class ValueTooLarge(CacheError, ValueError):
    """The value, or its key, is larger than the store allows."""


class NotANumber(CacheError, TypeError):
    """incr was called for a value that is no number."""


class CacheFull(CacheError):
    """There is no room, although the least used values were removed. Other processes still read old pages."""


class CacheUnavailable(CacheError):
    """The network store does not answer, and `fail=closed` asks for an error instead of a miss."""

    status_hint = "503 Service Unavailable"


class LockNotAcquired(CacheError, TimeoutError):
    """A lock of the cache was not free within `wait_s`."""

    status_hint = "503 Service Unavailable"


# --- wsgid's own faults -----------------------------------------------------------------------------------------------


class InternalError(WsgidError):
    """A rule of wsgid itself was broken. This is always a bug to report."""


class IllegalTransition(InternalError):
    """A (state, event) pair that is not in the fleet's transition table."""


class ControlError(InternalError):
    """A datagram between master, template and worker is no known message."""
