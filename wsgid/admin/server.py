"""The master's endpoints: small questions over sockets of their own. The master never waits for a client.

    connect -> [request] -> answer -> close                one question for each connection

Rules
* Nothing here blocks. The master's selector waits for these sockets too, and each turn does what is possible at once.
* Slow, silent and surplus clients are cut: a request has at most REQUEST_MAX_BYTES, a question at most PATIENCE_S, and
  each endpoint at most QUESTIONS_MAX clients.  A further client replaces the client that the master has waited for
  longest. So silent clients of --metrics block neither --metrics nor the control socket.
* The endpoint's responder decides the answer. It takes the bytes so far. It returns an answer, asks for more bytes, or
  takes the connection itself to pass it to a worker.
"""

import errno
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Protocol

from wsgid import log
from wsgid.linux.selector import forget
from wsgid.linux.syscall_errors import REFUSALS, words
from wsgid.records import dataclass, field
from wsgid.sockets.listener import Listener

REQUEST_MAX_BYTES = 64 * 1024
PATIENCE_S = 10.0
QUESTIONS_MAX = 16
PAUSE_S = 1.0
_BLOCK_BYTES = 64 * 1024
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Incomplete:
    """The request is not complete yet."""


INCOMPLETE = Incomplete()


@dataclass(frozen=True, slots=True)
class Delegated:
    """Another process answers. `take` is called with the connection's descriptor, which is closed here afterwards."""

    take: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Later:
    """The answer is ready at `at_s` (time.monotonic()). `answer` then returns it, and must not fail."""

    at_s: float
    answer: Callable[[], bytes]


Response = bytes | Incomplete | Delegated | Later
Responder = Callable[[bytes], Response]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A listening socket, and its responder.

    Args:
        listener: open and non-blocking.
        respond: takes the bytes that have arrived of a request, at first none.
    """

    listener: Listener
    respond: Responder


class Inlet(Protocol):
    """A FIFO."""

    def turn(self, now_s: float) -> None:
        """Read and follow what has arrived."""

    def next_turn_s(self) -> float:
        """Return when the next turn is due even if nothing arrives."""

    def close(self) -> None:
        """Close the inlet."""


@dataclass
class QuestionConnection:
    """One connection with its question."""

    connection: socket.socket
    endpoint: Endpoint
    until_s: float
    request: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None
    later: Later | None = None  # while it is set, the selector does not wait for the connection


class Admin:
    """All endpoints, and the questions under way.

    Args:
        selector: the master's; everything to wait for is registered there.
        endpoints: open endpoints; `close` closes and unlinks them.
        inlets: open and registered FIFOs, which have no answers.
    """

    def __init__(
        self, selector: selectors.BaseSelector, endpoints: Sequence[Endpoint], inlets: Sequence[Inlet] = ()
    ) -> None:
        self._selector = selector
        self._endpoints = tuple(endpoints)
        self._inlets = tuple(inlets)
        self._questions: list[QuestionConnection] = []
        self._open_again_s = 0.0  # until then nothing is accepted; 0 while it is
        self._register_endpoints(time.monotonic())

    def turn(self, now_s: float) -> None:
        """Accept, read, answer and close, as far as that is possible without waiting."""
        for inlet in self._inlets:
            inlet.turn(now_s)
        for endpoint in self._endpoints:
            if self._accepts(now_s):
                self._accept(endpoint, now_s)
        for question in list(self._questions):
            if now_s >= question.until_s or not self._advance(question, now_s):
                self._end(question)

    def next_turn_s(self) -> float:
        """Return when the next client loses patience, or the next answer is ready."""
        times = [question.later.at_s if question.later else question.until_s for question in self._questions]
        return min([*times, *(inlet.next_turn_s() for inlet in self._inlets), self._open_again_s or inf])

    def close(self) -> None:
        """Close the endpoints, and cut the questions under way."""
        for inlet in self._inlets:
            inlet.close()
        self._inlets = ()
        for question in list(self._questions):
            self._end(question)
        for endpoint in self._endpoints:
            forget(self._selector, endpoint.listener.socket)
            endpoint.listener.close()
        self._endpoints = ()

    def _accept(self, endpoint: Endpoint, now_s: float) -> None:
        while True:
            try:
                connection, _ = endpoint.listener.socket.accept()
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._pause(now_s)
                return
            with suppress(OSError):  # on an error the connection is closed at the end of this block
                if self._make_room(endpoint):
                    connection.setblocking(False)
                    self._selector.register(connection, selectors.EVENT_READ)
                    self._questions.append(QuestionConnection(connection, endpoint, now_s + PATIENCE_S))
                    continue
            with suppress(OSError):
                connection.close()

    def _make_room(self, endpoint: Endpoint) -> bool:
        """Make room for a client: cut the oldest one, unless it waits for the master. Returns whether there is room."""
        here = [question for question in self._questions if question.endpoint is endpoint]
        if len(here) < QUESTIONS_MAX:
            return True
        for question in here:
            if question.later is None:
                self._end(question)
                return True
        return False

    def _pause(self, now_s: float) -> None:
        """Stop accepting for a while: descriptors or memory are used up. The listeners stay readable, and the master
        would spin."""
        self._open_again_s = now_s + PAUSE_S
        for endpoint in self._endpoints:
            forget(self._selector, endpoint.listener.socket)

    def _accepts(self, now_s: float) -> bool:
        if now_s < self._open_again_s:
            return False
        if self._open_again_s:
            self._register_endpoints(now_s)
        return not self._open_again_s

    def _register_endpoints(self, now_s: float) -> None:
        """Wait for clients. If the kernel refuses that, try again after the pause."""
        self._open_again_s = 0.0
        try:
            for endpoint in self._endpoints:
                self._selector.register(endpoint.listener.socket, selectors.EVENT_READ)
        except OSError:  # epoll_ctl(2): ENOMEM, ENOSPC
            self._pause(now_s)

    def _advance(self, question: QuestionConnection, now_s: float) -> bool:
        """Continue with a question. Returns False at its end."""
        try:
            if question.later is not None:
                if now_s < question.later.at_s:
                    return True
                question.answer, question.later = memoryview(question.later.answer()), None
                self._selector.register(question.connection, selectors.EVENT_WRITE)
            if question.answer is None:
                return self._read(question) and (question.answer is None or self._write(question))
            return self._write(question)
        except BlockingIOError:
            return True
        except OSError:  # the client is gone
            return False

    def _read(self, question: QuestionConnection) -> bool:
        response = question.endpoint.respond(bytes(question.request))
        if isinstance(response, Incomplete):
            block = question.connection.recv(_BLOCK_BYTES)
            question.request += block
            if not block or len(question.request) > REQUEST_MAX_BYTES:
                return False
            response = question.endpoint.respond(bytes(question.request))
        if isinstance(response, Delegated):
            response.take(question.connection.fileno())
            return False
        if isinstance(response, bytes):
            question.answer = memoryview(response)
        if isinstance(response, Later):
            question.later = response
            forget(self._selector, question.connection)
        return True

    def _write(self, question: QuestionConnection) -> bool:
        answer = question.answer
        assert answer is not None
        while answer:
            try:
                answer = answer[question.connection.send(answer) :]
            except BlockingIOError:
                question.answer = answer
                self._selector.modify(question.connection, selectors.EVENT_WRITE)
                return True
        return False

    def _end(self, question: QuestionConnection) -> None:
        self._questions.remove(question)
        forget(self._selector, question.connection)
        with suppress(OSError):
            question.connection.close()


def guarded(respond: Responder, name: str) -> Responder:
    """Return a responder whose errors cost only the question, not the server."""

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
