"""From the application's answer to the bytes for nginx (PEP 3333).

    start_response -> the head is kept back -> first non-empty block: head and block in one send -> blocks

Rules
* Until the head is sent, every failure becomes a complete error response.  After that, a failure tears the response:
  the caller has to cut the connection, so that nobody takes a part for the whole.
* nginx reads a plain HTTP/1.1 response up to the end of the stream.  It would pass chunks to the client as the body,
  and take a 1xx for the final status. So neither is ever sent.
* The body has as many bytes as Content-Length says: more bytes are cut off, fewer bytes tear the response.
* The application's values are checked strictly: the head in head.py, the blocks here.
* What the application waits in keeps the C stack below it: `serve` is short, and the rest is done before or after it.
"""

import os
import sys
from collections.abc import Callable, Iterable
from enum import Enum, auto
from types import TracebackType
from typing import Any, Protocol

from wsgid import log
from wsgid.counted import counted
from wsgid.errors import ApplicationError, ClientDisconnected, Rejected, RequestTimeout
from wsgid.linux import forked_child
from wsgid.wsgi import hints
from wsgid.wsgi.filewrapper import FileWrapper, sendable
from wsgid.wsgi.head import is_status, render_head

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_FIRST_BLOCK_MAX_BYTES = 64 * 1024  # of a file; the kernel sends the rest
_LAST_CHUNK = b"0\r\n\r\n"
_CONTEXTS_MAX = 10  # how far back a time-out is looked for
_BODILESS = frozenset({204, 304})  # RFC 9110, 6.4.1


class Transport:
    """The way of the response to the peer. A class and no protocol: so a compiled response calls it without a search
    for the method's name."""

    __slots__ = ()

    def send(self, first: bytes, second: bytes = b"") -> None:
        """Send both blocks completely. Raises ClientDisconnected."""
        raise NotImplementedError

    def sendfile(self, fd: int, offset: int, size_bytes: int) -> int:
        """Send a part of a file. Returns the bytes sent: fewer if the file is shorter. Raises ClientDisconnected."""
        raise NotImplementedError

    def give_way(self) -> None:
        """Let other requests run, if this response has held the loop for long."""
        raise NotImplementedError


class Framing(Protocol):
    """How the peer learns where a response ends. Without a framing, the response ends with the connection."""

    chunked: bool  # whether blocks are sent as chunks
    taken: bool  # whether the application uses the socket, and answers there

    def head_lines(self, code: int, head: str, length: int | None, bodiless: bool) -> str:
        """Return the lines that the server adds to the head. Also decides about `chunked`."""


class Outcome(Enum):
    """The end of a response."""

    COMPLETE = auto()  # the whole response was sent
    FAILED = auto()  # the application failed before the head was sent: a complete error response was sent
    TORN = auto()  # the application failed, or sent too little, after the head: the connection has to be cut
    DISCONNECTED = auto()  # the client left


class Served:
    """The result of a request."""

    __slots__ = ("outcome", "status", "sent_bytes", "head_bytes", "headers", "interrupted")

    def __init__(
        self, outcome: Outcome, status: int, sent_bytes: int, head_bytes: int, headers: int, interrupted: bool
    ) -> None:
        self.outcome = outcome
        self.status = status  # the code; 0 if there was none
        self.sent_bytes = sent_bytes  # of the body
        self.head_bytes = head_bytes  # of the head that was sent
        self.headers = headers  # headers from the application
        self.interrupted = interrupted  # whether the application was interrupted, so that work of it may be half done


class ResponseStage(Enum):
    """The progress of a response: SILENT, STARTED, STREAMING, FULL, CLOSED; or TORN or GONE, from any of these."""

    SILENT = auto()  # start_response was not called
    STARTED = auto()  # the head is known, but not sent
    STREAMING = auto()  # the head is sent, and the body goes on
    FULL = auto()  # all bytes of the Content-Length are sent
    CLOSED = auto()  # further blocks are dropped: there were too many bytes, or the response has no body
    TORN = auto()  # a send was interrupted, after an unknown number of bytes
    GONE = auto()  # the client left


# Looking a member up through its class costs several times as much, on Python 3.11.
_SILENT, _STARTED, _STREAMING, _FULL, _CLOSED, _TORN, _GONE = ResponseStage
_COMPLETE = Outcome.COMPLETE
_HEADLESS = (_SILENT, _STARTED)

# The outcome at each stage: if the application has finished, and if it raises.
_ENDED = {
    ResponseStage.STREAMING: Outcome.COMPLETE,
    ResponseStage.FULL: Outcome.COMPLETE,
    ResponseStage.CLOSED: Outcome.COMPLETE,
    ResponseStage.TORN: Outcome.TORN,
    ResponseStage.GONE: Outcome.DISCONNECTED,
}
_RAISED = {**_ENDED, ResponseStage.STREAMING: Outcome.TORN}


class _Response:
    """The response to a request, while it is sent."""

    __slots__ = (
        "stage",
        "code",
        "sent_bytes",
        "head_bytes",
        "headers",
        "interrupted",
        "transport",
        "_method",
        "_path",
        "_head",
        "_length",
        "_bodiless",
        "_framing",
        "_iterable",
        "_outcome",
    )

    def __init__(self, environ: dict[str, Any], transport: Transport, framing: Framing | None) -> None:
        self.stage = _SILENT
        self.code = 0
        self.sent_bytes = 0
        self.head_bytes = 0
        self.headers = 0
        self.interrupted = False
        self.transport = transport
        self._framing = framing
        self._method = environ["REQUEST_METHOD"]  # now: the application may change its environ
        self._path = environ["PATH_INFO"]
        self._length: int | None = None
        self._iterable: Any = None  # what the application has returned
        self._outcome = _COMPLETE

    # --- called by the application ---

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333, "The start_response() Callable". The response itself is this callable: a bound method would be 80
        bytes more for each request that waits."""
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
        self._put(block if type(block) is bytes else _as_bytes(block), False)

    # --- called by the server ---

    def answer(self, iterable: Any) -> None:
        """Send everything that the application has returned. Raises as `send_body` and `finish` do."""
        self._iterable = iterable
        self.send_body(iterable)
        self._outcome = self.finish()

    def handle(self) -> None:
        """Called while the exception that the application, or sending its answer, has raised is handled."""
        error = sys.exc_info()[1]
        if isinstance(error, ClientDisconnected):  # in the response or in the request body: nobody needs an answer
            self._outcome = Outcome.DISCONNECTED
            # Whether the iterable has not come to its end.
            self.interrupted = self._iterable is not None and type(self._iterable) is not list
        elif error is not None:
            self._outcome = self.fail(error)

    def end(self) -> Served:
        """Close what the application has returned, and return the result."""
        iterable, self._iterable = self._iterable, None  # it may have start_response, which would be a cycle
        if type(iterable) is not list:
            self.close(iterable)
        return Served(self._outcome, self.code, self.sent_bytes, self.head_bytes, self.headers, self.interrupted)

    def send_body(self, iterable: Iterable[bytes]) -> None:
        """Send everything that the application has returned.

        Args:
            iterable: of blocks.

        Raises:
            ClientDisconnected: the client left.
            BaseException: whatever the application raises.
        """
        # PEP 3333, "Handling the Content-Length Header": if there is only one block, the length is known.
        if type(iterable) is list:
            alone = len(iterable) == 1
        elif type(iterable) is FileWrapper and self._send_file(iterable):
            return
        elif iterable is None or isinstance(iterable, (bytes, str)):
            iterable, alone = (_as_bytes(iterable),), True
        else:
            alone = hasattr(iterable, "__len__") and len(iterable) == 1  # type: ignore[arg-type]
        for block in iterable:
            if not self._put(block if type(block) is bytes else _as_bytes(block), alone):
                break

    def finish(self) -> Outcome:
        """The application has finished."""
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
                "%s: the response ends after %s, and its Content-Length is %d: it is cut off",
                self._request(),
                counted(self.sent_bytes, "byte"),
                self._length,
            )
            return Outcome.TORN
        return _ENDED[self.stage]

    def fail(self, error: BaseException) -> Outcome:
        """The application has raised this error, or broken PEP 3333."""
        forked_child.end_if_one(error)
        self._note(error)
        if self._framing is not None and self._framing.taken:
            self.code, self.stage = 101, _STREAMING
            # The peer has left, or the application ends the connection as on Werkzeug's server (python-engineio).
            if isinstance(error, ConnectionError):
                return _COMPLETE
        # The code that raises a RequestTimeout has logged it. A Rejected is an answer, and counted (wsgid.limits).
        if not isinstance(error, (RequestTimeout, Rejected)):
            log.error("%s: the application failed", self._request(), exc_info=error)
            hints.give(error)
        if self.stage not in _HEADLESS:
            return _RAISED[self.stage]
        try:
            self._send_error(_time_out_or(error))
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
        """Note whether the application was interrupted: drivers clean up after an Exception, but not after a time-out
        or exit."""
        if not isinstance(error, Exception):
            self.interrupted = True

    # --- sending ---

    def _put(self, block: bytes, alone: bool) -> bool:
        """Send a block, with the head if it is the first block. Returns whether the body may go on.

        Args:
            block: may be empty, and then nothing is sent.
            alone: whether there is no other block.
        """
        if not block:
            return True
        if self.stage is _STREAMING and self._length is None and self._framing is None:  # a further block of a stream
            self._send(block)
            self.sent_bytes += len(block)
            return True
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
        sent = block if self._length is None else self._fitting(block)
        framed = sent if self._framing is None else self._framed(sent)
        if head:
            self._send(head, framed)
        else:
            self._send(framed)
        self.sent_bytes += len(sent)
        return self._length is None or self._settle(len(block) - len(sent))

    def _framed(self, block: bytes) -> bytes:
        """Return a block as the peer has to get it: as a chunk, if the response is sent in chunks (RFC 9112, 7.1)."""
        assert self._framing is not None
        return b"%x\r\n%b\r\n" % (len(block), block) if self._framing.chunked else block

    def _fitting(self, block: bytes) -> bytes:
        """Return the part of a block for which the Content-Length has room."""
        assert self._length is not None
        room = self._length - self.sent_bytes
        return block if len(block) <= room else block[:room]

    def _settle(self, excess_bytes: int) -> bool:
        """Set the stage after a part of the body was sent. Returns whether the body may go on."""
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
        """Return the whole head. If the application gave no Content-Length, and `size_bytes` is known, it is added."""
        if size_bytes is not None and self._length is None and self.code != 101:
            self._length = size_bytes
            self._head += f"Content-Length: {size_bytes}\r\n"
        if self._framing is not None:
            self._head += self._framing.head_lines(self.code, self._head, self._length, self._bodiless)
        head = (self._head + "\r\n").encode("latin-1")
        self.head_bytes = len(head)
        return head

    def _send(self, first: bytes, second: bytes = b"") -> None:
        if self.stage is _STREAMING:  # with a fast reader, a response never waits
            self.transport.give_way()
        try:
            self.transport.send(first, second)
        except ClientDisconnected as error:
            if self.stage in _HEADLESS and not error.has_begun:
                self.head_bytes = 0
            self.stage = _GONE
            raise
        except BaseException:
            self.stage = _TORN
            raise
        self.stage = _STREAMING

    def _send_file(self, wrapper: FileWrapper) -> bool:
        """Let the kernel send the file, if possible. Returns whether it was."""
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
            self._length = self.sent_bytes + size_bytes  # the head is sent: this only detects a shrinking file
        room = size_bytes if self._length is None else min(size_bytes, self._length - self.sent_bytes)
        if room:
            self.sent_bytes += self.transport.sendfile(fd, offset, room)
        self._settle(size_bytes - room)
        return True

    def _send_first(self, fd: int, offset: int, size_bytes: int) -> int:
        """Send the head with the first block of a file. A small file is complete then. As long as nginx has nothing of
        a response, it may ask another worker (uwsgi_next_upstream). Returns the size of the block in bytes."""
        head = self._end_head(size_bytes)
        assert self._length is not None
        block = os.pread(fd, min(size_bytes, self._length, _FIRST_BLOCK_MAX_BYTES), offset)
        self._send(head, block)
        self.sent_bytes = len(block)
        return len(block)

    def _send_error(self, error: BaseException) -> None:
        """Send a complete response that has only its status, and headers that a Rejected brings."""
        status_hint = getattr(error, "status_hint", None)
        told = error.answer_headers if isinstance(error, Rejected) else []
        status = str(status_hint) if is_status(status_hint) else "500 Internal Server Error"
        text = f"{status}\n".encode("latin-1")
        self.code, self._head, _ = render_head(status, [("Content-Type", "text/plain; charset=latin-1"), *told])
        self._length = None
        self.headers = 1 + len(told)
        self._bodiless = self._method == "HEAD"
        head = self._end_head(len(text))
        if self._method == "HEAD":
            self._send(head)
        else:
            self._send(head, text)
            self.sent_bytes = len(text)

    def _refuse(self) -> bool:
        """Refuse a block at a stage that takes none. Returns False: the body must not go on."""
        if self.stage is _SILENT:
            raise ApplicationError("the application has to call start_response before the first block of its response")
        if self.stage is _TORN:
            raise ApplicationError("an earlier write was interrupted: nothing can follow it")
        if self.stage is _GONE:
            raise ClientDisconnected("the client left during an earlier write")
        if self.stage is _FULL:
            log.warning(
                "%s: the response is longer than its Content-Length of %s: the rest is cut off",
                self._request(),
                counted(self._length or 0, "byte"),
            )
            self.stage = _CLOSED
        return False

    def _request(self) -> str:
        """Return method and path for the log; a path may have any character."""
        return ascii(f"{self._method} {self._path}")[1:-1]


def _time_out_or(error: BaseException) -> BaseException:
    """Return the time-out during whose handling the error was raised, else the error: drivers and pools raise errors of
    their own while they clean up after a time-out."""
    found: BaseException | None = error
    for _ in range(_CONTEXTS_MAX):
        if found is None:
            break
        if isinstance(found, RequestTimeout):
            return found
        found = found.__context__
    return error


def _as_bytes(block: object) -> bytes:
    """Return a block of a subclass of bytes as plain bytes, without a call of the subclass's methods.

    Raises:
        TypeError: the block is something else.
    """
    if not isinstance(block, bytes):
        raise TypeError(f"the application answers with a {type(block).__name__} where PEP 3333 demands bytes")
    return bytes(memoryview(block))


def _made(environ: dict[str, Any], transport: Transport, framing: Framing | None) -> _Response:
    return _Response(environ, transport, framing)


def serve(
    application: Callable[..., Any], environ: dict[str, Any], transport: Transport, framing: Framing | None = None
) -> Served:
    """Call the application and send its answer. Raises nothing: errors are logged, and the result has the outcome.

    Args:
        application: the WSGI callable.
        environ: made by `environ.make_environ`.
        transport: to the client.
        framing: of the response; None for nginx's uwsgi_pass, where the connection ends the response.
    """
    response = _made(environ, transport, framing)
    try:
        response.answer(application(environ, response))
    except BaseException:  # SystemExit and time-outs too: the end of a request must not end the worker
        response.handle()
    return response.end()
