"""Requests over HTTP/1.1. A connection has many requests, and no greenlet between two of them.

    heads complete -> `_ready` -> idle greenlet: call the application, send; next connection ... -> park

Rules
* A parked connection holds no place of --gevent. Its next request takes a place, or waits for one in `_ready`.
* The hub lets one idle greenlet serve the connections in `_ready` in turn. Only when a request waits, the next greenlet
  takes over. After a slice of time, the event loop looks at all sockets before the next connection is served.
* A connection that always has a next request gives way to others after each slice of time.
* A leaving worker waits for all connections: `is_idle`.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from wsgid.config.options import Settings
from wsgid.errors import PeerError
from wsgid.log.request_record import RequestRecord
from wsgid.protocol import forwarded
from wsgid.protocol.forwarded import LOCAL_PEERS, Trusted
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
from wsgid.serving.phases import STAMP
from wsgid.serving.refusals import Refusals
from wsgid.serving.syscalls import monotonic
from wsgid.serving.upgrades import Upgrades
from wsgid.wsgi.environ import make_environ
from wsgid.wsgi.input import Body, ChunkedBody
from wsgid.wsgi.response import Outcome, Served, serve
from wsgid.wsgi.types import Application

PARKED_GRACE_S = 1.0  # when the worker leaves, quiet connections may still send a request within this time

# Looking a member up through its class costs several times as much, on Python 3.11.
_COMPLETE, _FAILED, _, _DISCONNECTED = Outcome
_NOTHING, _HEAD, _END = Arrival.NOTHING, Arrival.HEAD, Arrival.END
_NO_PACKET = bytes(HEADER_SIZE_BYTES)  # for modifiers in the access log


class HttpRequests:
    """The requests of a worker.

    Args:
        settings: the operator's settings.
        application: the WSGI callable.
        base: the constant part of each environ.
        hub: gevent's.
        trusted: the peers that may speak for other clients.
        pool: its greenlets serve the next requests of parked connections.
        acceptor: has the places and the slice of time.
        completion: follows each call of the application.
        refusals, lingering: other ends of a connection.
        access_log: gets every request; None without an access log.
        upgrades: serves requests with an Upgrade.
        say_once: takes a key and a sentence that the operator has to be told once.
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
        upgrades: Upgrades,
        say_once: Callable[[str, str], None],
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
        self._upgrades = upgrades
        self._say_once = say_once
        # Who has named the trusted peers knows what the others may say.
        self._looks_for_proxies = (
            settings.forwarded_allow_ips == LOCAL_PEERS and "HTTP_X_FORWARDED_PROTO" in trusted.headers
        )
        self._harakiri_s = settings.harakiri or math.inf
        self._limits = Limits(settings.http_line_size, settings.max_vars, settings.http_head_size)
        self._requests_max = settings.http_keepalive_requests if settings.http_keepalive else 1
        self._body_rate = BodyRate(settings.body_rate, settings.socket_timeout)
        self._parking = IdleConnections(
            hub,
            settings.http_keepalive or settings.http_head_timeout,  # a new connection has to wait for its first byte
            settings.http_head_timeout,
            settings.http_idle,
            self._resume,
        )
        self._ready: deque[HttpConnection] = deque()  # their next requests are here, and wait for their turns
        self._serving_ready = False  # whether the hub goes through them, or will soon
        self._resuming = 0  # connections that the hub resumes soon
        self._leaving = Leaving()
        self._held_s = CLOCK.held_s  # by how much deadlines have been moved

    # --- between requests ---

    def is_idle(self) -> bool:
        """Whether no connection is parked or has a waiting request."""
        return not (self._ready or self._resuming or len(self._parking))

    def leave(self) -> None:
        """The worker leaves: quiet connections may still send a request within PARKED_GRACE_S."""
        now_s = monotonic()
        self._parking.hurry(now_s, PARKED_GRACE_S)
        self._leaving.until_s = now_s + PARKED_GRACE_S

    def look_after_parked(self, now_s: float) -> None:
        """Close connections whose time is over. Time in which the loop was held up does not count."""
        held_s = CLOCK.held_s - self._held_s
        if held_s:
            self._held_s += held_s
            self._leaving.until_s += held_s
            self._parking.delay(held_s)
        for exchange in self._parking.expire(now_s):
            self._refusals.refuse_late(exchange)

    def due_s(self) -> float:
        """Return when a parked connection's time is over; inf if none is parked."""
        return self._parking.due_s()

    def resume_waiting(self) -> None:
        """A place is free: serve waiting connections."""
        if self._ready and not self._serving_ready:
            self._serving_ready = True
            turns.later(self._serve_ready)

    def next_ready(self) -> HttpConnection | None:
        """Return the next waiting connection, with a place for it; None if the running greenlet has to stop."""
        if not self._ready or self._acceptor.is_full() or self._acceptor.is_slice_over(monotonic()):
            return None
        self._acceptor.take_place()
        return self._ready.popleft()

    def give_up(self) -> None:
        """In a process that the application has forked: parked connections are the worker's."""
        self._parking.give_up()

    def _resume_soon(self, exchange: HttpConnection) -> None:
        """Resume in the hub's next turn. Until then the connection is neither in flight nor parked, and the worker must
        not leave."""
        self._resuming += 1
        turns.later(self._resume_now, exchange)

    def _resume_now(self, exchange: HttpConnection) -> None:
        self._resuming -= 1
        self._resume([exchange])

    def _resume(self, arrived: list[HttpConnection]) -> None:
        """The next requests of parked connections have arrived. Runs in the hub."""
        now_s = monotonic()
        for exchange in arrived:
            exchange.ready_s = now_s
        self._ready.extend(arrived)
        if not self._serving_ready:
            self._serve_ready()

    def _serve_ready(self) -> None:
        """Let idle greenlets serve the waiting connections. Runs in the hub, which has just looked at all sockets."""
        self._serving_ready = True
        goes_on = False
        self._acceptor.start_slice()
        try:
            while self._ready and not self._acceptor.is_full() and not goes_on:
                goes_on = self._acceptor.is_slice_over(monotonic())
                if not goes_on:
                    self._pool.run(self)
        finally:
            self._serving_ready = goes_on
        if goes_on:
            turns.later(self._serve_ready)

    def _keep(self, exchange: HttpConnection, arrival: Arrival) -> None:
        now_s = monotonic()
        self._acceptor.is_slice_over(now_s)  # a handshake takes a millisecond or two
        self._parking.keep(exchange, arrival, now_s)

    # --- requests ---

    def begin(self, connection: Connection) -> HttpConnection:
        """Return the state of a connection that was just accepted."""
        return HttpConnection(
            connection, Decoder(self._limits, self._base.copy()), self._trusted, self._leaving, self._body_rate
        )

    def serve(self, exchange: HttpConnection, me: RequestGreenlet) -> bool:
        """Serve the requests of a connection that have arrived already. Returns whether the connection is parked.

        Args:
            exchange: the connection.
            me: the running greenlet.

        Raises:
            ClientDisconnected: the client has left.
            BaseException: whatever was thrown into this greenlet outside of its application call.
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
            if exchange.is_between():
                self._keep(exchange, _NOTHING)
                return True
            me.gr_context = None  # for the next request
            # Other requests have waited, and so has the heartbeat.
            if self._pool.is_spent(me) or self._acceptor.is_slice_over(monotonic()):
                self._acceptor.end_batch()
                self._resume_soon(exchange)
                return True

    def _answer(self, exchange: HttpConnection, head: HttpHead, me: RequestGreenlet) -> bool:
        """Serve one request. Returns whether the connection stays open."""
        exchange.keep_alive = head.keep_alive and exchange.served < self._requests_max
        started_s = me.started_s = monotonic()
        if exchange.ready_s:
            self._completion.note_turn(started_s - exchange.ready_s)
            exchange.ready_s = 0.0
        self._acceptor.is_slice_over(started_s)
        me.allowed_s = self._harakiri_s
        if exchange.is_trusted:
            forwarded.apply(head.variables, self._trusted)
            stamp = head.variables.get(STAMP)
            if stamp is not None:
                self._completion.note_front(stamp, me)
        elif self._looks_for_proxies and "HTTP_X_FORWARDED_PROTO" in head.variables:
            self._name_the_proxy(head.variables["REMOTE_ADDR"])
        length = head.content_length
        body = ChunkedBody(exchange) if length < 0 else Body(b"", length, exchange)
        environ = me.environ = make_environ(head.variables, body.stream)
        if head.upgrade:
            served = self._upgrades.serve(self._application, environ, exchange.connection, exchange, me)
        else:
            served = serve(self._application, environ, exchange.connection, exchange)
        body.end()
        took_s = self._completion.finish(served, me, exchange.connection)
        if self._access_log is not None:
            record = RequestRecord(
                environ, served, started_s, took_s, max(length, 0), head.size_bytes, _NO_PACKET, head.count
            )
            self._access_log.note(record)
        return self._settle(exchange, served)

    def _name_the_proxy(self, peer: str) -> None:
        """Behind a load balancer that nobody has named, each link of an application begins with http://, and a redirect
        to https:// never ends."""
        self._looks_for_proxies = False
        self._say_once(
            "proxy",
            f"requests from {peer} have X-Forwarded-Proto, which does not count: if this is your load balancer, name "
            "its network in --forwarded-allow-ips",
        )

    def _settle(self, exchange: HttpConnection, served: Served) -> bool:
        """Finish a response. Returns whether the connection stays open."""
        outcome, connection = served.outcome, exchange.connection
        if (outcome is _COMPLETE or outcome is _FAILED) and exchange.settle():
            return True
        if outcome is _DISCONNECTED and exchange.refused and not exchange.head_out:
            self._refusals.refuse(connection, exchange.refused)
        elif outcome is not _COMPLETE and outcome is not _FAILED and exchange.close_delimited:
            # Only a reset tells this client that the response is incomplete. It must not destroy bytes that were sent
            # before.
            connection.deliver()
            connection.cut()
        elif outcome is not _DISCONNECTED or exchange.refused:  # the last chunk, or a part of the length, is missing
            self._lingering.close(connection)
        return False
