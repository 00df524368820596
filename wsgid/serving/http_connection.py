"""One HTTP connection in a worker: requests in order, one response each, as long as both sides want.

    advance -> next_head -> the application reads the body with recv, and answers -> settle -> advance ... -> close

Rules
* `advance` never waits: while a head is on its way, the connection needs no greenlet and holds no place (parking.py).
* A response without a Content-Length is chunked; where the client is too old for that, the connection ends it.  A
  response that fails after its head is cut without its last chunk, so that nobody takes the part for the whole.
* What the head of a response promises is kept.  So its head says `Connection: close` unless it is sure that the end of
  the request will be found: the rest of it is here, or its Content-Length says that not much is left.  That rest is
  thrown away by `advance`, so it costs no greenlet and no place either.
* No `100 Continue` once the head of the response is on its way: the client would take it for a part of the body.
* Requests are answered in their order; what has to be refused comes after all that came before it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum, auto

from wsgid.errors import BodyTooSlow, ClientDisconnected, HeadTimeout, PeerError
from wsgid.protocol.forwarded import Trusted
from wsgid.protocol.http import END, Decoder, End, HttpHead
from wsgid.serving.client_socket import ClientSocket, raw_socket
from wsgid.serving.clock import CLOCK
from wsgid.serving.connection import Connection
from wsgid.serving.turns import give_way

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LEFT_MAX_BYTES = 256 * 1024  # of an ignored body: more, and a new connection costs less
_TAKEN_MAX = 8  # blocks that are looked at, at most, for the end of a request, before a response begins
_RECV_MIN_BYTES = 16 * 1024  # of a body at a time, however little the application asks for
_RECV_MAX_BYTES = 64 * 1024  # of a body at a time: with one byte in each chunk it still takes less than a slice

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


@dataclass(frozen=True, slots=True)
class BodyRate:
    """How slowly a body may come: a client that drips keeps its place of --gevent for ever otherwise.

    Args:
        bytes_per_s: at least; 0: there is no limit.
        grace_s: so long, nothing is counted.
    """

    bytes_per_s: int
    grace_s: float


class HttpConnection:
    """The state of one connection between its requests.

    Args:
        connection: accepted; this object is its only user.
        decoder: of its requests.
        trusted: the peers who speak for others.
        leaving: of the worker.
        least: of bodies.
    """

    def __init__(
        self, connection: Connection, decoder: Decoder, trusted: Trusted, leaving: Leaving, least: BodyRate
    ) -> None:
        self.connection = connection
        self._least = least
        self._waited_s = 0.0  # for the body
        self._came_bytes = 0  # meanwhile
        self._leaving = leaving
        self.keep_alive = False
        self.chunked = False  # response.Framing
        self.taken = False  # likewise
        self.served = 0  # requests
        self.is_trusted = False  # whether forwarded.py is to be asked
        self._decoder = decoder
        self._trusted = trusted
        self._introduced = False
        self._next: HttpHead | bytes | End | None = None
        self.refused: PeerError | None = None  # nothing more is read then
        self._expects = False  # a 100, before the body
        self.head_out = False  # the response has begun
        self._ended = True  # the body of the last request has come whole
        self._left_bytes = 0  # of the body, that have not come; below 0: it is chunked, and nobody knows
        self._broken = False  # a read of it was interrupted, and what it had read is lost
        self._over = False  # the request is answered; nobody reads its body any more
        self._rest = b""  # of a block of it
        self.close_delimited = False
        self._old = False  # HTTP/1.0

    # --- the request ---

    def advance(self) -> Arrival:
        """Take in what has come of the next request, one block at most, without waiting."""
        while not self._find_next():
            arrival = self._take_in()
            if arrival is not None:
                return arrival
            if not self.connection.holds():
                return _HEAD if self._find_next() else self._state()
        return _HEAD

    def _find_next(self) -> bool:
        """Whether the next head is there, or nothing more will be read. Throws away what is left of the last body."""
        while self._next is None:
            event = self._event()
            if event is None:
                return self.refused is not None
            if isinstance(event, HttpHead):
                self._next = event
            elif event is END:
                self._ended = True
        return True

    def _event(self) -> HttpHead | bytes | End | None:
        """The decoder's next. What is refused comes behind all that is whole, and is remembered."""
        event = self._decoder.take()
        if isinstance(event, PeerError):
            self.refused = event
            return None
        return event

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
        return self._state()

    def _state(self) -> Arrival:
        """How far the next request is, if it is not whole."""
        between = not self._ended or (self._decoder.is_between and not self.connection.opening())
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

    def next_head(self) -> HttpHead:
        """The request of which `advance` has said that it is there.

        Raises:
            PeerError: it is refused, and so is all that follows it.
        """
        head, self._next = self._next, None
        if head is None and self.refused is not None:
            raise self.refused
        assert isinstance(head, HttpHead)
        self._expects = head.expects
        self._ended = self._broken = self._over = self.head_out = False
        self._left_bytes = head.content_length
        self._waited_s, self._came_bytes = 0.0, 0
        self._rest = b""
        self.chunked = self.close_delimited = False
        self.keep_alive = head.keep_alive
        self.served += 1
        self._old = head.variables["SERVER_PROTOCOL"] == "HTTP/1.0"
        return head

    def recv(self, size_bytes: int) -> bytes:
        """A part of the body; empty at its end.

        Raises:
            ClientDisconnected: it broke off, or is no valid HTTP.
        """
        give_way()  # a block may have thousands of chunks
        self._broken = True  # until this read has succeeded: a time-out may end it at any place
        request = self.served
        while not self._rest:
            if self._ended:
                self._broken = False
                return b""
            event = self._event()
            if event is None:
                self._receive(min(max(size_bytes, _RECV_MIN_BYTES), _RECV_MAX_BYTES))
                if self._over or request != self.served:  # a greenlet that this request has left behind; see Body.end
                    raise ClientDisconnected("the request is over, and its body with it")
            else:
                self._rest = self._taken(event)
        block, self._rest = self._rest[:size_bytes], self._rest[size_bytes:]
        self._broken = False
        return block

    def _taken(self, event: HttpHead | bytes | End) -> bytes:
        """A part of the body; empty at its end."""
        if event is END:
            self._ended = True
            return b""
        assert isinstance(event, bytes)
        self._left_bytes -= len(event)
        return event

    def _receive(self, size_bytes: int) -> None:
        if self.refused:
            raise ClientDisconnected(f"the request body is refused: {self.refused}")
        if self._expects:
            self._expects = False
            self.connection.send(_CONTINUE)
        before_s = CLOCK.now_s()
        block = self.connection.recv(size_bytes)
        if not block:
            raise ClientDisconnected("the client closed within the request body")
        self._feed(block)
        self._waited_s += CLOCK.now_s() - before_s
        self._came_bytes += len(block)
        least = self._least
        if self._waited_s > least.grace_s and self._came_bytes < least.bytes_per_s * self._waited_s:
            self.refused = BodyTooSlow(
                f"{self._came_bytes} bytes of a request's body came in {self._waited_s:.0f} s: "
                f"fewer than --body-rate {least.bytes_per_s} a second"
            )
            raise ClientDisconnected(f"the request body is refused: {self.refused}")

    def _will_end(self) -> bool:
        """Whether the end of this request is sure to be found, even if the application reads no more of it."""
        if self._left_bytes > 0 and not self._expects:
            return self._left_bytes <= _LEFT_MAX_BYTES
        self._gather()
        if self._ended:
            return True
        # A client that waits for a 100 may send its body now, or never: RFC 9110, 10.1.1 has us close.
        return 0 < self._left_bytes <= _LEFT_MAX_BYTES and self._rest != b""

    def _gather(self) -> None:
        """Take in what has come of the body, within limits and without waiting."""
        blocks, taken = [self._rest], 0
        while not self._ended:
            event = self._event()
            if event is not None:
                blocks.append(self._taken(event))
            elif taken == _TAKEN_MAX or self.refused or self._take_in() is not None:
                break
            else:
                taken += 1
        self._rest = b"".join(blocks)

    def settle(self) -> bool:
        """After a whole response: whether the connection goes on, as its head has promised."""
        self._over = True
        return self.keep_alive and not self.close_delimited and not self.taken and not self._broken

    def _has_next(self) -> bool:
        """Whether another request follows the one that is being answered: a client that pipelines has sent it by now.
        Who is told that the connection ends would have to ask again (RFC 9112, 9.3.2)."""
        if not self._decoder.has_next and self.refused is None:
            self._take_in()
        return self._decoder.has_next or self.refused is not None

    def raw_socket(self, on_use: Callable[[], None]) -> ClientSocket:
        """The socket, for an application that takes up an Upgrade; `on_use` is called when it does."""

        def used() -> bytes:
            self.taken = True
            on_use()
            while self.recv(_LEFT_MAX_BYTES):  # RFC 9110, 7.8: the request ends before the other protocol begins
                pass
            return self._decoder.beyond

        return raw_socket(self.connection, used)

    # --- the response ---

    def head_lines(self, code: int, head: str, length: int | None, bodiless: bool) -> str:
        """response.Framing: RFC 9112, 6.3 and 9.3; RFC 9110, 6.6.1."""
        lines = "" if "\r\nDate: " in head else date_line()
        self.head_out = True
        if code == 101:
            self.keep_alive = self._expects = False  # what follows is no HTTP
            return lines
        if self.keep_alive and self._left_bytes and not self._ended:
            self.keep_alive = self._will_end()
        self._expects = False
        if self._leaving.until_s < math.inf and self.keep_alive:
            self.keep_alive = time.monotonic() < self._leaving.until_s and self._has_next()
        self.keep_alive = self.keep_alive and not self._broken
        self.chunked = length is None and not bodiless and not self._old
        self.close_delimited = length is None and not bodiless and self._old
        if self.chunked:
            lines += "Transfer-Encoding: chunked\r\n"
        if not self.keep_alive or self.close_delimited:
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
