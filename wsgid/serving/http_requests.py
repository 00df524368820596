"""Requests over HTTP/1.1: one connection has many, and between two of them no greenlet.

    head has come -> idle greenlet: call the application, send -> the next head is here: call ...; it is not: park

Rules
* A parked connection holds no place of --gevent. Its next request takes one, or waits for one in `_ready`.
* A connection that always has a next request gives way to the others after each slice of time.
* A worker that leaves waits for all of them: `is_idle`.
"""

import math
import time
from collections import deque
from typing import Any

from wsgid.config.options import Settings
from wsgid.errors import PeerError
from wsgid.log.request_record import RequestRecord
from wsgid.protocol import forwarded
from wsgid.protocol.forwarded import Trusted
from wsgid.protocol.http import Decoder, HttpHead, Limits
from wsgid.protocol.uwsgi import HEADER_SIZE_BYTES
from wsgid.serving import turns
from wsgid.serving.acceptor import Acceptor
from wsgid.serving.access_log import AccessLog
from wsgid.serving.clock import CLOCK
from wsgid.serving.completion import Completion
from wsgid.serving.connection import Connection
from wsgid.serving.greenlets import GreenletPool, RequestGreenlet
from wsgid.serving.http_connection import Arrival, BodyRate, HttpConnection, Leaving
from wsgid.serving.keepalive import IdleConnections
from wsgid.serving.lingering_close import LingeringClose
from wsgid.serving.refusals import Refusals
from wsgid.wsgi.environ import make_environ
from wsgid.wsgi.input import Body, ChunkedBody
from wsgid.wsgi.response import Outcome, Served, serve
from wsgid.wsgi.types import Application

PARKED_GRACE_S = 1.0  # when the worker leaves, quiet connections have this long to say something

# Reading a member through its class costs several times as much, on Python 3.11.
_COMPLETE, _FAILED, _, _DISCONNECTED = Outcome
_HEAD, _END = Arrival.HEAD, Arrival.END
_NO_PACKET = bytes(HEADER_SIZE_BYTES)  # what the access log shows of modifiers

_monotonic = time.monotonic


class HttpRequests:
    """The requests of one worker.

    Args:
        settings: the operator's.
        application: the WSGI callable.
        base: of each environ.
        hub: gevent's.
        trusted: the peers who speak for others.
        pool: whose greenlets serve the next requests of parked connections.
        acceptor: whose places and slice of time they share.
        completion: follows each call of the application.
        refusals, lingering: other ends of a connection.
        access_log: gets every request; None if nobody wants it.
    """

    def __init__(
        self,
        settings: Settings,
        application: Application,
        base: dict[str, Any],
        hub: Any,
        trusted: Trusted,
        pool: GreenletPool,
        acceptor: Acceptor,
        completion: Completion,
        refusals: Refusals,
        lingering: LingeringClose,
        access_log: AccessLog | None,
    ) -> None:
        self._application = application
        self._base = base
        self._trusted = trusted
        self._pool = pool
        self._acceptor = acceptor
        self._completion = completion
        self._refusals = refusals
        self._lingering = lingering
        self._access_log = access_log
        self._harakiri_s = settings.harakiri or math.inf
        self._limits = Limits(settings.http_line_size, settings.max_vars, settings.http_head_size)
        self._requests_max = settings.http_keepalive_requests
        self._body_rate = BodyRate(settings.body_rate, settings.socket_timeout)
        self._parking = IdleConnections(
            hub, settings.http_keepalive, settings.http_head_timeout, settings.http_idle, self._resume
        )
        self._ready: deque[HttpConnection] = deque()  # parked once; their next requests wait for a place
        self._resuming = 0  # have their turn soon
        self._leaving = Leaving()
        self._held_s = CLOCK.held_s  # for so much, deadlines have been moved

    # --- between requests ---

    def is_idle(self) -> bool:
        """Whether no connection is parked or has a request that waits."""
        return not (self._ready or self._resuming or len(self._parking))

    def leave(self) -> None:
        """The worker leaves: quiet connections have PARKED_GRACE_S to say something."""
        now_s = _monotonic()
        self._parking.hurry(now_s, PARKED_GRACE_S)
        self._leaving.until_s = now_s + PARKED_GRACE_S

    def look_after_parked(self, now_s: float) -> None:
        """Close the connections whose time is over; the time in which the loop was held up does not count."""
        held_s = CLOCK.held_s - self._held_s
        if held_s:
            self._held_s += held_s
            self._leaving.until_s += held_s
            self._parking.delay(held_s)
        for exchange in self._parking.expire(now_s):
            self._refusals.refuse_late(exchange)

    def resume_waiting(self) -> None:
        """A place is free."""
        if self._ready:
            self._resume_soon(self._ready.popleft())

    def _resume_soon(self, exchange: HttpConnection) -> None:
        """In the hub's next turn; until then it is neither in flight nor parked, and yet the worker may not leave."""
        self._resuming += 1
        turns.later(self._resume_now, exchange)

    def _resume_now(self, exchange: HttpConnection) -> None:
        self._resuming -= 1
        self._resume(exchange)

    def _resume(self, exchange: HttpConnection) -> None:
        """The next request of a parked connection is there. Runs in the hub."""
        if self._acceptor.is_full():
            self._ready.append(exchange)
            return
        self._acceptor.take_place()
        self._acceptor.start_slice()
        self._pool.run(exchange)

    def _keep(self, exchange: HttpConnection, arrival: Arrival) -> None:
        now_s = _monotonic()
        self._acceptor.is_slice_over(now_s)  # a handshake takes a millisecond or two
        self._parking.keep(exchange, arrival, now_s)

    # --- requests ---

    def begin(self, connection: Connection) -> HttpConnection:
        """The state of a connection that was just accepted."""
        return HttpConnection(
            connection, Decoder(self._limits, self._base.copy()), self._trusted, self._leaving, self._body_rate
        )

    def serve(self, exchange: HttpConnection, me: RequestGreenlet) -> bool:
        """The requests of one connection, as long as they are there already. Returns whether it is parked.

        Raises:
            ClientDisconnected: the client has left.
            BaseException: what was thrown into this greenlet outside of its application call.
        """
        while True:
            arrival = exchange.advance()
            if arrival is _END:
                return False
            if arrival is not _HEAD:
                self._keep(exchange, arrival)
                return True
            try:
                head = exchange.next_head()
            except PeerError as error:
                self._refusals.refuse(exchange.connection, error)
                return False
            if not self._answer(exchange, head, me):
                return False
            me.gr_context = None  # for the next request
            # Others have waited, the heartbeat too.
            if self._pool.is_spent(me) or self._acceptor.is_slice_over(_monotonic()):
                self._acceptor.end_batch()
                self._resume_soon(exchange)
                return True

    def _answer(self, exchange: HttpConnection, head: HttpHead, me: RequestGreenlet) -> bool:
        """One request. Returns whether the connection can go on."""
        exchange.keep_alive = head.keep_alive and exchange.served < self._requests_max
        started_s = me.started_s = _monotonic()
        self._acceptor.is_slice_over(started_s)
        me.deadline_s = started_s + self._harakiri_s
        if exchange.is_trusted:
            forwarded.apply(head.variables, self._trusted)
        length = head.content_length
        body = ChunkedBody(exchange) if length < 0 else Body(b"", length, exchange)
        environ = me.environ = make_environ(head.variables, body.stream)
        if head.upgrade:
            served = self._serve_upgrade(exchange, environ, me)
        else:
            served = serve(self._application, environ, exchange.connection, exchange)
        body.end()
        took_s = self._completion.finish(served, me)
        if self._access_log is not None:
            record = RequestRecord(
                environ, served, started_s, took_s, max(length, 0), head.size_bytes, _NO_PACKET, head.count
            )
            self._access_log.note(record)
        return self._settle(exchange, served)

    def _settle(self, exchange: HttpConnection, served: Served) -> bool:
        """After a response. Returns whether the connection can go on."""
        outcome, connection = served.outcome, exchange.connection
        if (outcome is _COMPLETE or outcome is _FAILED) and exchange.settle():
            return True
        if outcome is _DISCONNECTED and exchange.refused and not exchange.head_out:
            self._refusals.refuse(connection, exchange.refused)
        elif outcome is not _COMPLETE and outcome is not _FAILED and exchange.close_delimited:
            # Only a reset tells this client that there is more; but it must not destroy what was sent before.
            connection.deliver()
            connection.cut()
        elif outcome is not _DISCONNECTED or exchange.refused:  # the last chunk, or the rest of a length, is missing
            self._lingering.close(connection)
        return False

    def _serve_upgrade(self, exchange: HttpConnection, environ: dict[str, Any], me: RequestGreenlet) -> Served:
        def used() -> None:
            me.deadline_s = math.inf

        raw = environ["wsgid.socket"] = environ["werkzeug.socket"] = exchange.raw_socket(used)
        try:
            return serve(self._application, environ, exchange.connection, exchange)
        finally:
            raw.close()
