"""One HTTP connection in a worker: requests in order, one response each, as long as both sides want.

    advance -> next_head -> the application reads the body with recv, and answers -> settle -> advance ... -> close

Rules
* `advance` never waits: while a head is on its way, the connection needs no greenlet and holds no place (parking.py).
* A response without a Content-Length is chunked; where the client is too old for that, the connection ends it.  A
  response that fails after its head is cut without its last chunk, so that nobody takes the part for the whole.
* The connection is kept only if the request was read to its end, or nearly: what is left is thrown away within limits.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum, auto

from wsgid.connection import Connection
from wsgid.errors import ClientDisconnected, HeadTimeout, PeerError
from wsgid.forwarded import Trusted
from wsgid.protocol.http import END, Decoder, End, Head
from wsgid.rawsocket import RawSocket, raw_socket

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LEFT_MAX_BYTES = 256 * 1024  # of an ignored body: more, and a new connection costs less

_date_line = ""
_date_of_s = 0


class Arrival(Enum):
    """What there is of the next request."""

    NOTHING = auto()
    PART = auto()  # of its head
    HEAD = auto()  # all of it, or what has to be refused
    END = auto()  # the client has closed


_NOTHING, _PART, _HEAD, _END = Arrival  # reading a member through its class costs several times as much


@dataclass(slots=True)
class Leaving:
    """Whether the worker leaves: then each connection ends with the last request that has come by `until_s`."""

    until_s: float = math.inf


class Exchange:
    """The state of one connection between its requests.

    Args:
        connection: accepted; this object is its only user.
        decoder: of its requests.
        trusted: the peers who speak for others.
        leaving: of the worker.
    """

    def __init__(self, connection: Connection, decoder: Decoder, trusted: Trusted, leaving: Leaving) -> None:
        self.connection = connection
        self._leaving = leaving
        self.keep_alive = False
        self.chunked = False  # response.Framing
        self.taken = False  # likewise
        self.served = 0  # requests
        self.is_trusted = False  # whether forwarded.py is to be asked
        self._decoder = decoder
        self._trusted = trusted
        self._introduced = False
        self._next: Head | bytes | End | None = None
        self.refused: PeerError | None = None  # nothing more is read then
        self._expects = False  # a 100, before the body
        self._ended = True  # the body of the last request has come whole
        self._broken = False  # a read of it was interrupted, and what it had read is lost
        self._rest = b""  # of a block of it
        self._close_delimited = False
        self._old = False  # HTTP/1.0

    # --- the request ---

    def advance(self) -> Arrival:
        """Take in what has come of the next request, without waiting."""
        while True:
            if self._next is None:
                self._next = self._decoder.take()
            if self._next is not None or self.refused is not None:
                return _HEAD
            arrival = self._take_in()
            if arrival is not None:
                return arrival

    def _take_in(self) -> Arrival | None:
        """None: something has come, and is to be looked at."""
        try:
            block = self.connection.take()
            if block:
                self._feed(block)
                return None
        except PeerError as error:
            self.refused = error
            return None
        except OSError:  # the client has left, whatever the kernel calls it
            return _END
        if block is not None:
            return _END
        between = self._decoder.is_between and not self.connection.opening()
        return _NOTHING if between else _PART

    def _feed(self, block: bytes) -> None:
        if not self._introduced:  # at the first byte of HTTP everything is known about the connection
            self._introduced = True
            names = self.connection.names()
            self.is_trusted = self._trusted.includes(names["REMOTE_ADDR"])
            self._decoder.introduce(names)
        self._decoder.feed(block)

    def late(self) -> HeadTimeout:
        """What is said if it takes too long."""
        awaited = self.connection.opening() or "head of a request"
        return HeadTimeout(f"the {awaited} did not arrive within --http-head-timeout")

    def next_head(self) -> Head:
        """The request of which `advance` has said that it is there.

        Raises:
            PeerError: it is refused, and so is all that follows it.
        """
        head, self._next = self._next, None
        if head is None and self.refused is not None:
            raise self.refused
        assert isinstance(head, Head)
        self._expects = head.expects
        self._ended = self._broken = False
        self._rest = b""
        self.chunked = self._close_delimited = False
        self.keep_alive = head.keep_alive
        self.served += 1
        self._old = head.variables["SERVER_PROTOCOL"] == "HTTP/1.0"
        return head

    def recv(self, size_bytes: int) -> bytes:
        """A part of the body; empty at its end.

        Raises:
            ClientDisconnected: it broke off, or is no valid HTTP.
        """
        self._broken = True  # until this read has succeeded: a time-out may end it at any place
        while not self._rest:
            if self._ended:
                self._broken = False
                return b""
            event = self._decoder.take()
            if event is None:
                self._receive()
            elif event is END:
                self._ended = True
            else:
                assert isinstance(event, bytes)
                self._rest = event
        block, self._rest = self._rest[:size_bytes], self._rest[size_bytes:]
        self._broken = False
        return block

    def _receive(self) -> None:
        if self.refused:
            raise ClientDisconnected(f"the request body is refused: {self.refused}")
        if self._expects:
            self._expects = False
            self.connection.send(_CONTINUE)
        block = self.connection.recv()
        if not block:
            raise ClientDisconnected("the client closed within the request body")
        try:
            self._feed(block)
        except PeerError as error:  # what came before it may still be whole
            self.refused = error

    def settle(self) -> bool:
        """After the response: throw away what is left of the request. Returns whether the connection can go on."""
        if not self.keep_alive or self._close_delimited or self._broken or self.refused:
            return False
        if self._expects and not self._ended and not self._rest:
            # The client may or may not send its body now: RFC 9110, 10.1.1 has us close.
            return self._decoder.take() is END
        left = _LEFT_MAX_BYTES
        while left > 0:
            block = self.recv(left)
            if not block:
                return True
            left -= len(block)
        return False

    def _has_next(self) -> bool:
        """Whether another request follows the one that is being answered: a client that pipelines has sent it by now.
        Who is told that the connection ends would have to ask again (RFC 9112, 9.3.2)."""
        if not self._decoder.has_next and self.refused is None:
            self._take_in()
        return self._decoder.has_next

    def raw_socket(self, on_use: Callable[[], None]) -> RawSocket:
        """The socket, for an application that takes up an Upgrade; `on_use` is called when it does."""

        def used() -> None:
            self.taken = True
            on_use()

        return raw_socket(self.connection, self._decoder.beyond, used)

    # --- the response ---

    def head_lines(self, code: int, head: str, length: int | None, bodiless: bool) -> str:
        """response.Framing: RFC 9112, 6.3 and 9.3; RFC 9110, 6.6.1."""
        lines = "" if "\r\nDate: " in head else date_line()
        if code == 101:
            return lines
        if self._leaving.until_s < math.inf and self.keep_alive:
            self.keep_alive = time.monotonic() < self._leaving.until_s and self._has_next()
        self.keep_alive = self.keep_alive and not self._broken
        self.chunked = length is None and not bodiless and not self._old
        self._close_delimited = length is None and not bodiless and self._old
        if self.chunked:
            lines += "Transfer-Encoding: chunked\r\n"
        if not self.keep_alive or self._close_delimited:
            lines += "Connection: close\r\n"
        elif self._old:
            lines += "Connection: keep-alive\r\n"
        return lines


def date_line() -> str:
    """The Date header, made once a second."""
    global _date_line, _date_of_s
    now_s = int(time.time())
    if now_s != _date_of_s:
        _date_line, _date_of_s = f"Date: {formatdate(now_s, usegmt=True)}\r\n", now_s
    return _date_line
