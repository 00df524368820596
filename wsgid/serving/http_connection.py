"""One HTTP connection in a worker: requests in order, each with one response, as long as both sides want.

    advance -> next_head -> the application reads the body with recv, and answers -> settle -> advance ... -> close

Rules
* `advance` never waits. While a head is incomplete, the connection needs no greenlet and no place (keepalive.py).
* A response without a Content-Length is chunked. For an old client that cannot read chunks, closing the connection ends
  the response.  A chunked response that fails is cut without its last chunk, so that nobody takes it for complete.
* The head of a response must not promise too much. It says `Connection: close` unless the end of the request will be
  found for sure: the rest of the request is here, or its Content-Length says that little is left.  `advance` discards
  that rest, without a greenlet and without a place.
* No `100 Continue` is sent once the head of the response is on its way: the client would take it for the body.
* Requests are answered in order. A refusal comes after the responses to all earlier requests.
"""

import math
import time
from collections.abc import Callable
from enum import Enum, auto
from wsgiref.handlers import format_date_time

from wsgid.counted import counted
from wsgid.errors import BodyTooSlow, ClientDisconnected, HeadTimeout, PeerError
from wsgid.protocol.forwarded import Trusted
from wsgid.protocol.http import END, Decoder, End, HttpHead
from wsgid.records import dataclass
from wsgid.serving.client_socket import ClientSocket, raw_socket
from wsgid.serving.clock import CLOCK
from wsgid.serving.connection import Connection
from wsgid.serving.syscalls import second
from wsgid.serving.turns import give_way

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LEFT_MAX_BYTES = 256 * 1024  # of an ignored body; for a larger rest, a new connection is cheaper
_TAKEN_MAX = 8  # the most blocks that are searched for the end of a request before a response begins
_RECV_MIN_BYTES = 16 * 1024  # the least that is read of a body, however little the application asks for
_RECV_MAX_BYTES = 64 * 1024  # of one read of a body; even with one byte in each chunk, decoding takes less than a slice

_date_line = ""
_date_of_s = 0


class Arrival(Enum):
    """How much of the next request has arrived."""

    NOTHING = auto()
    PART = auto()  # a part of its head
    HEAD = auto()  # the whole head, or something that has to be refused
    END = auto()  # the client has closed


_NOTHING, _PART, _HEAD, _END = Arrival  # looking a member up through its class costs several times as much


@dataclass(slots=True)
class Leaving:
    """Whether the worker leaves. Then each connection ends with the last request that arrives before `until_s`."""

    until_s: float = math.inf


@dataclass(frozen=True, slots=True)
class BodyRate:
    """The lowest rate of a body. Without it, a client that sends very slowly would keep its place of --gevent for ever.

    Args:
        bytes_per_s: the lowest rate; 0 for no limit.
        grace_s: how long nothing is counted.
    """

    bytes_per_s: int
    grace_s: float


class HttpConnection:
    """The state of a connection between its requests.

    Args:
        connection: accepted; this object is its only user.
        decoder: of its requests.
        trusted: the peers that may speak for other clients.
        leaving: of the worker.
        least: the lowest rate of bodies.
    """

    def __init__(
        self, connection: Connection, decoder: Decoder, trusted: Trusted, leaving: Leaving, least: BodyRate
    ) -> None:
        self.connection = connection
        self.ready_s = 0.0  # since when its next request waits in the worker for a turn; 0: it does not
        self._least = least
        self._waited_s = 0.0  # time that was spent waiting for the body
        self._came_bytes = 0  # bytes of the body that arrived in that time
        self._leaving = leaving
        self.keep_alive = False
        self.chunked = False  # see response.Framing
        self.taken = False  # see response.Framing
        self.served = 0  # number of requests
        self.is_trusted = False  # whether headers about the client are read (protocol/forwarded.py)
        self._decoder = decoder
        self._trusted = trusted
        self._introduced = False
        self._next: HttpHead | bytes | End | None = None
        self.refused: PeerError | None = None  # when set, nothing more is read
        self._expects = False  # whether the client waits for a 100 before the body
        self.head_out = False  # whether the response has begun
        self._ended = True  # whether the body of the last request is complete
        self._left_bytes = (
            0  # bytes of the body that have not arrived; negative for a chunked body, whose size is unknown
        )
        self._broken = False  # whether a read of the body was interrupted, and its bytes are lost
        self._over = False  # whether the request is answered, so that nobody reads its body any more
        self._rest = b""  # the unread rest of a block of the body
        self.close_delimited = False
        self._old = False  # HTTP/1.0
        self._secret = connection.is_secret  # TLS: bytes of the next request may be here already

    # --- the request ---

    def advance(self) -> Arrival:
        """Read and decode at most one block of the next request, without waiting. Returns how much has arrived."""
        while not self._find_next():
            arrival = self._take_in()
            if arrival is not None:
                return arrival
            if not self.connection.holds():
                return _HEAD if self._find_next() else self._state()
        return _HEAD

    def is_between(self) -> bool:
        """Whether nothing of a next request is here. Does not read from the socket: a client that waits for its answer
        sends the next request after it, so reading at once would nearly always find nothing."""
        return not self._find_next() and not self._secret and self._decoder.is_between

    def _find_next(self) -> bool:
        """Whether the next head is complete, or nothing more will be read. Discards the rest of the last body."""
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
        """Return the decoder's next event. An error comes after all complete events, and is remembered."""
        event = self._decoder.take()
        if isinstance(event, PeerError):
            self.refused = event
            return None
        return event

    def _take_in(self) -> Arrival | None:
        """Read a block. Returns None if something has arrived and must be looked at."""
        try:
            block = self.connection.take()
            if block:
                self._feed(block)
                return None
        except PeerError as error:
            self.refused = error
            return None
        except OSError:  # the client has left, whatever the error is
            return _END
        if block is not None:
            return _END
        return self._state()

    def _state(self) -> Arrival:
        """Return how much has arrived of an incomplete request."""
        between = not self._ended or (self._decoder.is_between and not self.connection.opening())
        return _NOTHING if between else _PART

    def _feed(self, block: bytes) -> None:
        if not self._introduced:  # now, at the first byte of HTTP, everything about the connection is known
            self._introduced = True
            names = self.connection.names()
            self.is_trusted = self._trusted.includes(names["REMOTE_ADDR"])
            self._decoder.introduce(names)
        self._decoder.feed(block)

    def late(self) -> HeadTimeout:
        """Return the error for a head that takes too long."""
        awaited = self.connection.opening() or "head of a request"
        return HeadTimeout(f"the {awaited} did not arrive within --http-head-timeout")

    def next_head(self) -> HttpHead:
        """Return the request that `advance` has announced.

        Raises:
            PeerError: the request is refused, and everything that follows it.
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
        """Return a part of the body, at most `size_bytes`; empty at the end of the body.

        Raises:
            ClientDisconnected: the body broke off, or is no valid HTTP.
        """
        give_way()  # decoding a block with thousands of chunks takes time
        self._broken = True  # until this read has succeeded: a time-out may interrupt it anywhere
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

    def recv_into(self, target: memoryview) -> int:
        """As `recv`. Returns how many bytes were put into `target`."""
        block = self.recv(len(target))
        target[: len(block)] = block
        return len(block)

    def _taken(self, event: HttpHead | bytes | End) -> bytes:
        """Return the bytes of an event; empty at the end of the body."""
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
                f"{counted(self._came_bytes, 'byte')} of a request's body came in {self._waited_s:.0f} s: "
                f"fewer than --body-rate {least.bytes_per_s} a second"
            )
            raise ClientDisconnected(f"the request body is refused: {self.refused}")

    def _will_end(self) -> bool:
        """Whether the end of this request will surely be found, even if the application reads no more of it."""
        if self._left_bytes > 0 and not self._expects:
            return self._left_bytes <= _LEFT_MAX_BYTES
        self._gather()
        if self._ended:
            return True
        # A client that waits for a 100 may send its body now, or never. RFC 9110, 10.1.1 then demands to close.
        return 0 < self._left_bytes <= _LEFT_MAX_BYTES and self._rest != b""

    def _gather(self) -> None:
        """Read what has arrived of the body, within limits and without waiting."""
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
        """After a whole response: return whether the connection stays open, as its head has promised."""
        self._over = True
        return self.keep_alive and not self.close_delimited and not self.taken and not self._broken

    def _has_next(self) -> bool:
        """Whether another request has arrived after the present one. A client that pipelines has sent it by now. If the
        connection were closed, the client would have to send that request again (RFC 9112, 9.3.2)."""
        if not self._decoder.has_next and self.refused is None:
            self._take_in()
        return self._decoder.has_next or self.refused is not None

    def raw_socket(self, timeout_s: float, on_use: Callable[[], None]) -> ClientSocket:
        """Return the client's socket: see upgrades.Upgrade."""

        def used() -> bytes:
            self.taken = True
            on_use()
            while self.recv(_LEFT_MAX_BYTES):  # the request has to end before the other protocol begins: RFC 9110, 7.8
                pass
            return self._decoder.beyond

        return raw_socket(self.connection, timeout_s, used)

    # --- the response ---

    def head_lines(self, code: int, head: str, length: int | None, bodiless: bool) -> str:
        """Add the header lines of the framing (response.Framing): RFC 9112, 6.3 and 9.3; RFC 9110, 6.6.1.

        Args:
            code: the status.
            head: the head so far.
            length: of the body in bytes; None if it is unknown.
            bodiless: whether the response has no body, whatever its headers say.
        """
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
    """Return the Date header's line. It is rendered once a second."""
    global _date_line, _date_of_s
    now_s = second()
    if now_s != _date_of_s:
        _date_line, _date_of_s = f"Date: {format_date_time(now_s)}\r\n", now_s
    return _date_line
