"""The response: call the application, check what it says, send it.

    NEW --start_response--> STARTED --first block, or the end--> SENT      (start_response with exc_info: STARTED again)

Rules (PEP 3333 where nothing else is said)
* Before the head is out, every fault of the application's is a 500 with a traceback in the log; after it, the response
  is TORN, and the caller cuts the connection so that nobody takes a part for the whole.
* Head and first block leave in one send.  Nothing is held back: each block is sent when the application yields it.
* Never chunked, never 1xx: nginx takes the frames for the body, and an interim answer for the final one.
* close() of what the application returned is called exactly once, whatever happens.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Any, Protocol

from wsgid import log
from wsgid.errors import ApplicationError, ClientDisconnected, WsgidError
from wsgid.wsgi.filewrapper import FileWrapper, sendable

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Write = Callable[[bytes], None]

_STATUS = re.compile(r"(101|[2-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?")
# A name is a token (RFC 9110, 5.6.2); a value has no control characters but the tab (5.5): no CR, no LF, no NUL.
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\n[^\x00-\x08\x0a-\x1f\x7f\u0100-\U0010ffff]*")
_LENGTH = re.compile(r"[0-9]{1,18}")

# They speak of one connection (RFC 9110, 7.6.1), and this one is nginx's and ours.
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"})
_UPGRADING = frozenset({"connection", "upgrade"})
_SWITCHING_PROTOCOLS = "101"
_SPECIAL = _HOP_BY_HOP | {"content-length"}


class Transport(Protocol):
    """The connection, as the response needs it."""

    def send(self, *blocks: bytes) -> None:
        """All of it, in order. Raises ClientDisconnected."""

    def sendfile(self, fd: int, offset: int, size_bytes: int) -> int:
        """A part of a file; returns the bytes sent, fewer if the file is shorter. Raises ClientDisconnected."""
        raise NotImplementedError


class Outcome(Enum):
    COMPLETE = auto()  # the whole response is sent
    FAILED = auto()  # the application failed before the head was out: an error response is sent
    TORN = auto()  # it failed later, or sent less than it announced: the caller cuts the connection
    DISCONNECTED = auto()  # the client has left; nobody is to blame


class State(Enum):
    NEW = auto()
    STARTED = auto()
    SENT = auto()


@dataclass(frozen=True, slots=True)
class Result:
    outcome: Outcome
    status: int  # what the client got; 0 if nothing
    sent_bytes: int  # of the body


class Response:
    """One response on its way.

    Args:
        transport: where it goes.
        method: of the request; a HEAD gets no body.
    """

    __slots__ = ("_transport", "_method", "state", "status", "_headers", "_announced_bytes", "sent_bytes", "overran")

    def __init__(self, transport: Transport, method: str) -> None:
        self._transport = transport
        self._method = method
        self.state = State.NEW
        self.status = ""
        self._headers: list[tuple[str, str]] = []
        self._announced_bytes: int | None = None
        self.sent_bytes = 0
        self.overran = False  # the application gave more than it had announced

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Write:
        """start_response.

        Raises:
            ApplicationError: status or headers break PEP 3333, or it is called twice without exc_info.
            BaseException: exc_info's, if the head is out already.
        """
        if exc_info is not None:
            try:
                if self.state is State.SENT:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # or this frame and the traceback keep each other alive
        elif self.state is not State.NEW:
            raise ApplicationError("start_response was called twice, without exc_info")
        if not isinstance(status, str) or not _STATUS.fullmatch(status):
            raise ApplicationError(f"the status {status!a} is none: write '200 OK'; interim answers are not sent")
        self._headers, self._announced_bytes = _checked(headers, status)
        self.status = status
        self.state = State.STARTED
        return self.write

    def write(self, block: bytes) -> None:
        """Send a block, behind the head if that is not out.

        Raises:
            ApplicationError: it is called before start_response.
            TypeError: the block is no bytes.
            ClientDisconnected: the client has left.
        """
        if not isinstance(block, bytes):
            raise TypeError(f"a block of the response is a {type(block).__name__}; PEP 3333 wants bytes")
        if self.state is State.NEW:
            raise ApplicationError("the application gave a block before it called start_response")
        if not block:
            return
        rest_bytes = self._rest_bytes()
        if rest_bytes is not None and len(block) > rest_bytes:
            self.overran = True
            block = block[:rest_bytes]
        self._send(block)

    def _send(self, block: bytes) -> None:
        self.sent_bytes += len(block)
        if self.state is State.SENT:
            if block:
                self._transport.send(block)
            return
        head = self._head()
        self.state = State.SENT
        if block:
            self._transport.send(head, block)
        else:
            self._transport.send(head)

    def _rest_bytes(self) -> int | None:
        """How much of the body may still be sent; None if nobody has said."""
        if self._bodiless():
            return 0
        return None if self._announced_bytes is None else self._announced_bytes - self.sent_bytes

    def _bodiless(self) -> bool:
        return self._method == "HEAD" or self.status[:3] in ("204", "304", _SWITCHING_PROTOCOLS)

    def _head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status}"]
        lines += [f"{name}: {value}" for name, value in self._headers]
        lines.append("\r\n")
        return "\r\n".join(lines).encode("latin-1")

    def announce(self, size_bytes: int) -> None:
        """The whole body is known to have this size: say so, if the application has not."""
        if self._announced_bytes is None and self.state is State.STARTED and not self._bodiless():
            self._announced_bytes = size_bytes
            self._headers.append(("Content-Length", str(size_bytes)))

    def finish(self) -> bool:
        """The application has nothing more. Returns whether that is all that was announced."""
        if self.state is State.NEW:
            raise ApplicationError("the application never called start_response")
        if self.state is State.STARTED:
            self._send(b"")
        return not self._rest_bytes()

    def send_file(self, fd: int, offset: int, size_bytes: int) -> None:
        """A file as the whole body. Raises ClientDisconnected."""
        self.announce(size_bytes)
        rest_bytes = self._rest_bytes() or 0
        self._send(b"")
        self.overran = size_bytes > rest_bytes
        if rest_bytes:
            self.sent_bytes += self._transport.sendfile(fd, offset, min(size_bytes, rest_bytes))

    def fail(self, status: str) -> None:
        """Say that the application failed, instead of what it has begun."""
        text = f"{status}\n".encode("latin-1")
        self.state = State.STARTED
        self.status = status
        self._headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))]
        self._announced_bytes = len(text)
        self._send(b"" if self._bodiless() else text)


def _checked(headers: Any, status: str) -> tuple[list[tuple[str, str]], int | None]:
    """The headers to send, and the Content-Length among them.

    Raises:
        ApplicationError: one of them is not what PEP 3333 asks for.
    """
    if not isinstance(headers, list):
        raise ApplicationError(f"the headers are a {type(headers).__name__}; PEP 3333 wants a list of tuples")
    special = False
    for header in headers:
        if not (isinstance(header, tuple) and len(header) == 2 and isinstance(header[0], str)
                and isinstance(header[1], str) and _HEADER.fullmatch(f"{header[0]}\n{header[1]}")):
            raise ApplicationError(f"the header {header!a} is none: it takes a tuple of a token and a string without "
                                   "control characters")
        special = special or header[0].lower() in _SPECIAL
    return _special(headers, status) if special else (list(headers), None)


def _special(headers: list[tuple[str, str]], status: str) -> tuple[list[tuple[str, str]], int | None]:
    """Leave out what is not the application's to say, and understand Content-Length."""
    code = status[:3]
    dropped = _HOP_BY_HOP - _UPGRADING if code == _SWITCHING_PROTOCOLS else _HOP_BY_HOP
    if code in ("204", _SWITCHING_PROTOCOLS):
        dropped |= {"content-length"}  # RFC 9110, 8.6
    kept = [(name, value) for name, value in headers if name.lower() not in dropped]
    lengths = {value.strip() for name, value in kept if name.lower() == "content-length"}
    if not lengths:
        return kept, None
    (length, *others) = lengths
    if others or not _LENGTH.fullmatch(length):
        raise ApplicationError(f"Content-Length is {' and '.join(sorted(lengths))!a}: it has to be one number of bytes")
    return kept, int(length)


def serve(application: Callable[..., Iterable[bytes]], environ: dict[str, Any], transport: Transport) -> Result:
    """Call the application and send what it answers.

    Nothing that the application raises leaves this function.
    """
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]  # the application may change its environ
    response = Response(transport, method)
    try:
        result = application(environ, response.start)
        try:
            _send_body(result, response)
            whole = response.finish()
        finally:
            _close(result, method, path)
    except ClientDisconnected:
        outcome = Outcome.DISCONNECTED
    except BaseException as error:  # SystemExit and gevent's GreenletExit too: one request's end is not the worker's
        log.error("%s failed", _named(method, path), exc_info=error)
        outcome = _failed(response, error)
    else:
        outcome = Outcome.COMPLETE if whole else Outcome.TORN
        if not whole or response.overran:
            _log_misfit(response, method, path)
    status = int(response.status[:3]) if response.state is State.SENT else 0
    return Result(outcome, status, response.sent_bytes)


def _send_body(result: Any, response: Response) -> None:
    if result is None or isinstance(result, str):
        raise TypeError(f"the application returned a {type(result).__name__}; PEP 3333 wants an iterable of bytes")
    if isinstance(result, bytes):
        result = [result]
    elif isinstance(result, FileWrapper) and response.state is State.STARTED:
        found = sendable(result)
        if found:
            response.send_file(*found)
            return
    if isinstance(result, (list, tuple)) and len(result) < 2:
        response.announce(len(result[0]) if result and isinstance(result[0], bytes) else 0)
    for block in result:
        response.write(block)
        if response.overran:
            return


def _close(result: Any, method: str, path: str) -> None:
    close = getattr(result, "close", None)
    if close is None:
        return
    try:
        close()
    except BaseException as error:  # the response is out, or has failed already: only the log is left
        log.error("%s: close() failed", _named(method, path), exc_info=error)


def _failed(response: Response, error: BaseException) -> Outcome:
    if response.state is State.SENT:
        return Outcome.TORN
    try:
        response.fail(error.status_hint if isinstance(error, WsgidError) else WsgidError.status_hint)
    except ClientDisconnected:
        return Outcome.DISCONNECTED
    return Outcome.FAILED


def _log_misfit(response: Response, method: str, path: str) -> None:
    if not response.overran:
        log.error("%s: the body ended after %d bytes, before its Content-Length; the connection was cut",
                  _named(method, path), response.sent_bytes)
    elif method != "HEAD":  # where a body is usual, and nobody's mistake
        log.warning("%s: the body is longer than its Content-Length or its status allow; it was cut after %d bytes",
                    _named(method, path), response.sent_bytes)


def _named(method: str, path: str) -> str:
    """Method and path for the log, where control characters have no business."""
    return ascii(f"{method} {path}")[1:-1]
