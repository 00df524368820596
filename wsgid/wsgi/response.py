"""From the application's answer to the bytes that nginx gets (PEP 3333).

    start_response -> head, kept back -> the first non-empty block: head and block leave in one send -> blocks

Rules
* Until the head is out, every failure becomes a whole error response.  After it, a failure tears the response: the
  caller has to cut the connection, so that nobody takes the part for the whole.
* nginx reads a plain HTTP/1.1 response up to the end of the stream.  Chunks would reach the client as body, a 1xx would
  be taken for the final status: neither is ever sent.
* Bytes on the wire are what Content-Length says: more are cut off, fewer tear the response.
* What the application hands in is checked to the letter: its head in head.py, its blocks here.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Any, Protocol

from wsgid import log
from wsgid.errors import ApplicationError, ClientDisconnected, RequestTimeout
from wsgid.linux import forked_child
from wsgid.wsgi import hints
from wsgid.wsgi.filewrapper import FileWrapper, sendable
from wsgid.wsgi.head import is_status, render_head

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_FIRST_BLOCK_MAX_BYTES = 64 * 1024  # of a file; the kernel sends the rest
_LAST_CHUNK = b"0\r\n\r\n"
_BODILESS = frozenset({204, 304})  # RFC 9110, 6.4.1


class Transport(Protocol):
    """Where the response goes."""

    def send(self, first: bytes, second: bytes = b"") -> None:
        """All of both. Raises ClientDisconnected."""

    def sendfile(self, fd: int, offset: int, size_bytes: int) -> int:
        """Returns the bytes sent: fewer if the file is shorter. Raises ClientDisconnected."""

    def give_way(self) -> None:
        """Let the others go on, if this response has held the loop for long."""


class Framing(Protocol):
    """How the other end learns where a response ends; without one, it ends with the connection."""

    chunked: bool  # whether blocks have to be framed
    taken: bool  # the application has the socket, and answers there

    def head_lines(self, code: int, head: str, length: int | None, bodiless: bool) -> str:
        """What the server adds to the head, which decides on `chunked`."""


class Outcome(Enum):
    COMPLETE = auto()  # the whole response was sent
    FAILED = auto()  # the application failed before its head was out: a whole error response was sent
    TORN = auto()  # it failed, or sent too little, after its head: the connection has to be cut
    DISCONNECTED = auto()  # the client left


@dataclass
class Served:
    """What became of one request."""

    __slots__ = ("outcome", "status", "sent_bytes", "head_bytes", "headers", "interrupted")

    outcome: Outcome
    status: int  # its code; 0 if there was none
    sent_bytes: int  # of the body
    head_bytes: int  # of the head that was sent
    headers: int  # that the application has given
    interrupted: bool  # the application did not come to an end of its own: what it left behind may be half done


class ResponseStage(Enum):
    """How far a response is: SILENT, STARTED, STREAMING, FULL, CLOSED; or TORN or GONE, from any of them."""

    SILENT = auto()  # start_response was not called
    STARTED = auto()  # the head is known and not sent
    STREAMING = auto()  # the head is sent, and the body goes on
    FULL = auto()  # as many bytes as Content-Length says are sent
    CLOSED = auto()  # blocks are dropped: there were more than that, or the response has no body
    TORN = auto()  # a send was interrupted, and nobody knows after which byte
    GONE = auto()  # the client left


# Reading a member through its class costs several times as much, on Python 3.11.
_SILENT, _STARTED, _STREAMING, _FULL, _CLOSED, _TORN, _GONE = ResponseStage
_COMPLETE = Outcome.COMPLETE
_HEADLESS = (_SILENT, _STARTED)

# What the response is if the application has nothing more to say, and what it is if it raises.
_ENDED = {
    ResponseStage.STREAMING: Outcome.COMPLETE,
    ResponseStage.FULL: Outcome.COMPLETE,
    ResponseStage.CLOSED: Outcome.COMPLETE,
    ResponseStage.TORN: Outcome.TORN,
    ResponseStage.GONE: Outcome.DISCONNECTED,
}
_RAISED = {**_ENDED, ResponseStage.STREAMING: Outcome.TORN}


class _Response:
    """The response to one request, on its way out."""

    __slots__ = (
        "stage",
        "code",
        "sent_bytes",
        "head_bytes",
        "headers",
        "interrupted",
        "_transport",
        "_method",
        "_path",
        "_head",
        "_length",
        "_bodiless",
        "_framing",
    )

    def __init__(self, environ: dict[str, Any], transport: Transport, framing: Framing | None) -> None:
        self.stage = _SILENT
        self.code = 0
        self.sent_bytes = 0
        self.head_bytes = 0
        self.headers = 0
        self.interrupted = False
        self._transport = transport
        self._framing = framing
        self._method = environ["REQUEST_METHOD"]  # now: the application may change its environ
        self._path = environ["PATH_INFO"]
        self._length: int | None = None

    # --- what the application calls ---

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333, "The start_response() Callable"."""
        if exc_info:
            try:
                if self.stage not in _HEADLESS:
                    raise (
                        exc_info[1].with_traceback(exc_info[2])
                        if exc_info[1]
                        else ApplicationError(
                            "start_response was called after the head was sent, and with an empty exc_info"
                        )
                    )
            finally:
                exc_info = None  # its traceback holds this frame: a cycle
        elif self.stage is not _SILENT:
            raise ApplicationError("start_response was called a second time, and without exc_info")
        self.code, self._head, self._length = render_head(status, headers)
        self._bodiless = self.code in _BODILESS or self._method == "HEAD"
        self.headers = len(headers)
        self.stage = _STARTED
        return self.write

    def write(self, block: bytes) -> None:
        """PEP 3333, "The write() Callable"."""
        _check_block(block)
        if block:
            self._put(block, False)

    # --- what the server calls ---

    def send_body(self, iterable: Iterable[bytes]) -> None:
        """All that the application returned.

        Raises:
            ClientDisconnected: the client left.
            BaseException: whatever the application raises.
        """
        # PEP 3333, "Handling the Content-Length Header": known from the first block if there is no other.
        if type(iterable) is list:
            alone = len(iterable) == 1
        elif type(iterable) is FileWrapper and self._send_file(iterable):
            return
        elif iterable is None or isinstance(iterable, (bytes, str)):
            _check_block(iterable)
            iterable, alone = (iterable,), True
        else:
            alone = hasattr(iterable, "__len__") and len(iterable) == 1  # type: ignore[arg-type]
        for block in iterable:
            if type(block) is not bytes:
                _check_block(block)
            if block and not self._put(block, alone):
                break

    def finish(self) -> Outcome:
        """The application has nothing more to say."""
        if self._framing is not None and self._framing.taken:
            self.code = 101
            return _COMPLETE
        if self.stage is _FULL:
            return _COMPLETE
        if self.stage is _SILENT:
            raise ApplicationError("the application did not call start_response")
        if self.stage is _STARTED:
            self._send_head(0)
        if self.stage is _STREAMING and self._length is None and self._framing is not None and self._framing.chunked:
            self._send(_LAST_CHUNK)
            return _COMPLETE
        if self.stage is _STREAMING and self._length is not None:
            log.error(
                "%s: the response ends after %d of the %d bytes that its Content-Length says; it is cut off",
                self._request(),
                self.sent_bytes,
                self._length,
            )
            return Outcome.TORN
        return _ENDED[self.stage]

    def fail(self, error: BaseException) -> Outcome:
        """The application raised this, or broke PEP 3333."""
        forked_child.end_if_one(error)
        self._note(error)
        if self._framing is not None and self._framing.taken:
            self.stage = _STREAMING
        if not isinstance(error, RequestTimeout):  # who raises that one has said where the request was
            log.error("%s: the application failed", self._request(), exc_info=error)
            hints.give(error)
        if self.stage not in _HEADLESS:
            return _RAISED[self.stage]
        try:
            self._send_error(getattr(error, "status_hint", None))
        except ClientDisconnected:
            return Outcome.DISCONNECTED
        except BaseException as second:
            self._note(second)
            log.error("%s: the error response could not be sent", self._request(), exc_info=second)
            return Outcome.TORN
        return Outcome.FAILED

    def close(self, iterable: Any) -> None:
        """PEP 3333: close() is called at the end, however the request ended."""
        try:
            close = getattr(iterable, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._note(error)
            log.error("%s: close() of the response failed", self._request(), exc_info=error)

    def _note(self, error: BaseException) -> None:
        """A time-out, a kill or an exit: drivers clean up after an Exception, and not after these."""
        if not isinstance(error, Exception):
            self.interrupted = True

    # --- bytes out ---

    def _put(self, block: bytes, alone: bool) -> bool:
        """Send one block, with the head if it is the first. Returns whether the body may go on.

        Args:
            alone: whether there is no other block.
        """
        if self._framing is not None and self._framing.taken:
            return False
        head = b""
        if self.stage is _STARTED:
            if self._bodiless:
                self._send_head(0)
                return False
            head = self._end_head(len(block) if alone else None)
        elif self.stage is not _STREAMING:
            return self._refuse()
        room = len(block) if self._length is None else self._length - self.sent_bytes
        sent = block if len(block) <= room else block[:room]
        framed = sent
        if self._framing is not None and self._framing.chunked:
            framed = b"%x\r\n%b\r\n" % (len(sent), sent)  # RFC 9112, 7.1
        if head:
            self._send(head, framed)
        else:
            self._send(framed)
        self.sent_bytes += len(sent)
        return self._settle(len(block) - len(sent))

    def _settle(self, excess_bytes: int) -> bool:
        """The stage after a part of the body was sent. Returns whether the body may go on."""
        if self.sent_bytes == self._length:
            self.stage = _FULL
        return self._refuse() if excess_bytes else True

    def _send_head(self, size_bytes: int | None) -> None:
        """Send the head without a block."""
        self._send(self._end_head(None if self._bodiless else size_bytes))
        if self._bodiless:
            self.stage = _CLOSED
        else:
            self._settle(0)

    def _end_head(self, size_bytes: int | None) -> bytes:
        """The whole head; the Content-Length is `size_bytes` if the application gave none and that is known."""
        if size_bytes is not None and self._length is None and self.code != 101:
            self._length = size_bytes
            self._head += f"Content-Length: {size_bytes}\r\n"
        if self._framing is not None:
            self._head += self._framing.head_lines(self.code, self._head, self._length, self._bodiless)
        head = (self._head + "\r\n").encode("latin-1")
        self.head_bytes = len(head)
        return head

    def _send(self, first: bytes, second: bytes = b"") -> None:
        if self.stage is _STREAMING:  # a fast reader never makes a response wait
            self._transport.give_way()
        try:
            self._transport.send(first, second)
        except ClientDisconnected:
            if self.stage in _HEADLESS:
                self.head_bytes = 0
            self.stage = _GONE
            raise
        except BaseException:
            self.stage = _TORN
            raise
        self.stage = _STREAMING

    def _send_file(self, wrapper: FileWrapper) -> bool:
        """Have the kernel send the file, if it can. Returns whether it could."""
        if self.stage is not _STREAMING and (self.stage is not _STARTED or self._bodiless):
            return False
        if self._framing is not None and self._framing.chunked:
            return False
        region = sendable(wrapper)
        if region is None:
            return False
        fd, offset, size_bytes = region
        if self.stage is _STARTED:
            first_bytes = self._send_first(fd, offset, size_bytes)
            offset, size_bytes = offset + first_bytes, size_bytes - first_bytes
        elif self._length is None:
            self._length = self.sent_bytes + size_bytes  # the head is out: only to notice that the file gets shorter
        room = size_bytes if self._length is None else min(size_bytes, self._length - self.sent_bytes)
        if room:
            self.sent_bytes += self._transport.sendfile(fd, offset, room)
        self._settle(size_bytes - room)
        return True

    def _send_first(self, fd: int, offset: int, size_bytes: int) -> int:
        """The head with the first block of a file, in one send: a small file is whole then, and as long as nginx has
        nothing of a response it may ask another worker (uwsgi_next_upstream). Returns the bytes of the block."""
        head = self._end_head(size_bytes)
        assert self._length is not None
        block = os.pread(fd, min(size_bytes, self._length, _FIRST_BLOCK_MAX_BYTES), offset)
        self._send(head, block)
        self.sent_bytes = len(block)
        return len(block)

    def _send_error(self, status_hint: object) -> None:
        """A whole response that says no more than its status."""
        status = str(status_hint) if is_status(status_hint) else "500 Internal Server Error"
        text = f"{status}\n".encode("latin-1")
        self.code, self._head, _ = render_head(status, [("Content-Type", "text/plain; charset=latin-1")])
        self._length = None
        self.headers = 1
        self._bodiless = self._method == "HEAD"
        head = self._end_head(len(text))
        if self._method == "HEAD":
            self._send(head)
        else:
            self._send(head, text)
            self.sent_bytes = len(text)

    def _refuse(self) -> bool:
        """A block at a stage that takes none. Returns False: the body must not go on."""
        if self.stage is _SILENT:
            raise ApplicationError("the application has to call start_response before the first block of its response")
        if self.stage is _TORN:
            raise ApplicationError("an earlier write was interrupted: nothing can follow it")
        if self.stage is _GONE:
            raise ClientDisconnected("the client left during an earlier write")
        if self.stage is _FULL:
            log.warning(
                "%s: the response is longer than its Content-Length of %d bytes; the rest is cut off",
                self._request(),
                self._length,
            )
            self.stage = _CLOSED
        return False

    def _request(self) -> str:
        """Method and path for the log; a path may have any character."""
        return ascii(f"{self._method} {self._path}")[1:-1]


def _check_block(block: object) -> None:
    if not isinstance(block, bytes):
        raise TypeError(f"the application answers with a {type(block).__name__} where PEP 3333 demands bytes")


def serve(
    application: Callable[..., Any], environ: dict[str, Any], transport: Transport, framing: Framing | None = None
) -> Served:
    """Call the application and send what it answers. Raises nothing: what happened is logged, and in the result.

    Args:
        application: the WSGI callable.
        environ: made by `environ.make_environ`.
        transport: to the client.
        framing: of the response; None for nginx's uwsgi_pass, where the end of the connection is the end.
    """
    response = _Response(environ, transport, framing)
    iterable = None
    try:
        iterable = application(environ, response.start_response)
        response.send_body(iterable)
        outcome = response.finish()
    except ClientDisconnected:  # of the response, or of the request body: nobody is there to be told
        outcome = Outcome.DISCONNECTED
        response.interrupted = iterable is not None and type(iterable) is not list  # it has not come to its end
    except BaseException as error:  # SystemExit and time-outs too: one request's end is not the worker's
        outcome = response.fail(error)
    if type(iterable) is not list:
        response.close(iterable)
    return Served(
        outcome, response.code, response.sent_bytes, response.head_bytes, response.headers, response.interrupted
    )
