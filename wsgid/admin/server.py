"""The master's side doors: small questions over sockets of their own, answered without ever waiting for anybody.

    connect -> [request] -> answer -> close                one exchange a connection

Rules
* Nothing here blocks: the master's one selector waits for these sockets too, and each turn moves what can be moved.
* Whoever is slow, silent or too many is cut: a question has REQUEST_MAX_BYTES, an exchange PATIENCE_S, and each door
  has at most EXCHANGES_MAX of them.  Beyond that, the client that has kept us waiting for longest makes room: silent
  clients of --metrics shut neither that door nor the control socket.
* What is said is the business of who opens the door: a responder takes the bytes so far and gives an answer, nothing
  yet, or takes the connection itself, to hand it to a worker.
"""

import errno
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

from wsgid import log
from wsgid.linux.syscall_errors import REFUSALS, words
from wsgid.sockets.listener import Listener

REQUEST_MAX_BYTES = 64 * 1024
PATIENCE_S = 10.0
EXCHANGES_MAX = 16
PAUSE_S = 1.0
_BLOCK_BYTES = 64 * 1024
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Incomplete:
    """The request has not come whole yet."""


INCOMPLETE = Incomplete()


@dataclass(frozen=True, slots=True)
class Delegated:
    """Somebody else answers: `take` is called with the connection's descriptor, which is closed here afterwards."""

    take: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Later:
    """The answer is there at `at_s`, of time.monotonic(): then `answer` gives it. It must not fail."""

    at_s: float
    answer: Callable[[], bytes]


Response = bytes | Incomplete | Delegated | Later
Responder = Callable[[bytes], Response]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A listening socket, and what is said there.

    Args:
        listener: open and non-blocking.
        respond: takes what has come of the request, from empty on.
    """

    listener: Listener
    respond: Responder


class Inlet(Protocol):
    """A FIFO."""

    def turn(self, now_s: float) -> None: ...

    def next_turn_s(self) -> float: ...

    def close(self) -> None: ...


@dataclass
class Question:
    """One connection."""

    connection: socket.socket
    door: Endpoint
    until_s: float
    request: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None
    later: Later | None = None  # meanwhile nobody waits for the connection


class Admin:
    """All side doors, and the exchanges under way.

    Args:
        selector: the master's; everything that has to be waited for is registered there.
        doors: open; closed and unlinked by `close`.
        inlets: open and registered; where something comes in and nothing goes out.
    """

    def __init__(
        self, selector: selectors.BaseSelector, doors: Sequence[Endpoint], inlets: Sequence[Inlet] = ()
    ) -> None:
        self._selector = selector
        self._doors = tuple(doors)
        self._inlets = tuple(inlets)
        self._exchanges: list[Question] = []
        self._open_again_s = 0.0  # until then nothing is accepted; 0: the doors are open
        self._open_doors(time.monotonic())

    def turn(self, now_s: float) -> None:
        """Accept, read, answer, close: as far as it goes without waiting."""
        for inlet in self._inlets:
            inlet.turn(now_s)
        for door in self._doors:
            if self._accepts(now_s):
                self._accept(door, now_s)
        for exchange in list(self._exchanges):
            if now_s >= exchange.until_s or not self._advance(exchange, now_s):
                self._end(exchange)

    def next_turn_s(self) -> float:
        """When the next patience ends, or the next answer is there."""
        times = [exchange.later.at_s if exchange.later else exchange.until_s for exchange in self._exchanges]
        return min([*times, *(inlet.next_turn_s() for inlet in self._inlets), self._open_again_s or inf])

    def close(self) -> None:
        """Take the doors away; cuts what is under way."""
        for inlet in self._inlets:
            inlet.close()
        self._inlets = ()
        for exchange in list(self._exchanges):
            self._end(exchange)
        for door in self._doors:
            forget(self._selector, door.listener.socket)
            door.listener.unlink()
            with suppress(OSError):
                door.listener.socket.close()
        self._doors = ()

    def _accept(self, door: Endpoint, now_s: float) -> None:
        while True:
            try:
                connection, _ = door.listener.socket.accept()
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._pause(now_s)
                return
            with suppress(OSError):  # then it is closed again, at the end of this block
                if self._make_room(door):
                    connection.setblocking(False)
                    self._selector.register(connection, selectors.EVENT_READ)
                    self._exchanges.append(Question(connection, door, now_s + PATIENCE_S))
                    continue
            with suppress(OSError):
                connection.close()

    def _make_room(self, door: Endpoint) -> bool:
        """Cut the oldest client of a full door. Clients that wait for us are not cut. Returns whether there is room."""
        here = [exchange for exchange in self._exchanges if exchange.door is door]
        if len(here) < EXCHANGES_MAX:
            return True
        for exchange in here:
            if exchange.later is None:
                self._end(exchange)
                return True
        return False

    def _pause(self, now_s: float) -> None:
        """Out of descriptors or memory: the listeners stay readable, so look away instead of spinning."""
        self._open_again_s = now_s + PAUSE_S
        for door in self._doors:
            forget(self._selector, door.listener.socket)

    def _accepts(self, now_s: float) -> bool:
        if now_s < self._open_again_s:
            return False
        if self._open_again_s:
            self._open_doors(now_s)
        return not self._open_again_s

    def _open_doors(self, now_s: float) -> None:
        """Wait for who comes; if the kernel refuses that, again after the pause."""
        self._open_again_s = 0.0
        try:
            for door in self._doors:
                self._selector.register(door.listener.socket, selectors.EVENT_READ)
        except OSError:  # epoll_ctl(2): ENOMEM, ENOSPC
            self._pause(now_s)

    def _advance(self, exchange: Question, now_s: float) -> bool:
        """Returns whether the exchange goes on."""
        try:
            if exchange.later is not None:
                if now_s < exchange.later.at_s:
                    return True
                exchange.answer, exchange.later = memoryview(exchange.later.answer()), None
                self._selector.register(exchange.connection, selectors.EVENT_WRITE)
            if exchange.answer is None:
                return self._read(exchange) and (exchange.answer is None or self._write(exchange))
            return self._write(exchange)
        except BlockingIOError:
            return True
        except OSError:  # the other end has gone
            return False

    def _read(self, exchange: Question) -> bool:
        response = exchange.door.respond(bytes(exchange.request))
        if isinstance(response, Incomplete):
            block = exchange.connection.recv(_BLOCK_BYTES)
            exchange.request += block
            if not block or len(exchange.request) > REQUEST_MAX_BYTES:
                return False
            response = exchange.door.respond(bytes(exchange.request))
        if isinstance(response, Delegated):
            response.take(exchange.connection.fileno())
            return False
        if isinstance(response, bytes):
            exchange.answer = memoryview(response)
        if isinstance(response, Later):
            exchange.later = response
            forget(self._selector, exchange.connection)
        return True

    def _write(self, exchange: Question) -> bool:
        answer = exchange.answer
        assert answer is not None
        while answer:
            try:
                answer = answer[exchange.connection.send(answer) :]
            except BlockingIOError:
                exchange.answer = answer
                self._selector.modify(exchange.connection, selectors.EVENT_WRITE)
                return True
        return False

    def _end(self, exchange: Question) -> None:
        self._exchanges.remove(exchange)
        forget(self._selector, exchange.connection)
        with suppress(OSError):
            exchange.connection.close()


def forget(selector: selectors.BaseSelector, waited_for: Any) -> None:
    """Wait for it no longer; nothing if nobody does. (A selector forgets by itself what epoll_ctl(2) has refused.)"""
    with suppress(KeyError, ValueError):
        selector.unregister(waited_for)


def guarded(respond: Responder, name: str) -> Responder:
    """A responder whose faults cost its questions and not the server."""

    def safe(request: bytes) -> Response:
        try:
            return respond(request)
        except REFUSALS as error:
            log.error("a question at %s could not be answered: %s; ask again", name, words(error))
            return b""
        except Exception:
            log.error("a question at %s could not be answered", name, exc_info=True)
            return b""

    return safe
