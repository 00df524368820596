"""The way of a connection through a worker, from accept to close.

    uwsgi: listener readable -> idle greenlet: accept, recv, decode, call the application, send, close; accept ...
    HTTP:  listener readable -> idle greenlet: accept, park; head complete -> idle greenlet: call, send, park ...

Each part of the way is an object: Acceptor, GreenletPool, UwsgiRequests, HttpRequests, Refusals, Tally.

Rules
* Each of these objects owns its state, and is made once, here in __init__.  docs/decisions/022-the-dispatcher.md has
  the cost of that.
* However a request ends, this module closes or parks its connection, and frees its place.
* Each request begins with an empty context (contextvars).
"""

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial

from gevent.hub import get_hub

from wsgid import log
from wsgid.config.options import Settings
from wsgid.errors import ClientDisconnected
from wsgid.ipc.messages import Spawn
from wsgid.ipc.scoreboard import Word
from wsgid.linux import forked_child
from wsgid.protocol import forwarded
from wsgid.serving import tls_connection
from wsgid.serving.acceptor import Acceptor
from wsgid.serving.access_log import AccessLog
from wsgid.serving.cleanup import Cleanup
from wsgid.serving.completion import Completion
from wsgid.serving.connection import Connection
from wsgid.serving.deadlines import Deadlines
from wsgid.serving.greenlets import GreenletPool, RequestGreenlet, RequestServer
from wsgid.serving.http_connection import HttpConnection
from wsgid.serving.http_requests import HttpRequests
from wsgid.serving.lingering_close import LingeringClose
from wsgid.serving.permits import RequestPermits
from wsgid.serving.refusals import Refusals
from wsgid.serving.syscalls import AcceptSocket
from wsgid.serving.tally import Tally
from wsgid.serving.upgrades import Upgrades
from wsgid.serving.uwsgi_requests import UwsgiRequests
from wsgid.sockets.listen_spec import ListenSocket
from wsgid.wsgi.environ import base_environ, roomy
from wsgid.wsgi.filewrapper import FileWrapper
from wsgid.wsgi.types import Application


class Dispatcher(RequestServer):
    """The listeners of a worker, and the greenlets that serve its connections.

    Args:
        settings: the operator's settings.
        application: the WSGI callable.
        listeners: the listening sockets, which all workers share, with their protocols.
        line: the worker's own words of the scoreboard.
        say_once: takes a key and a sentence that the operator has to be told once.
        on_empty: called when the dispatcher is closed and nothing is in flight.
        order: the master's order: the number of this worker, and whether it has to be wary.
        access_log: gets every request; None without an access log.
        permits: is told when requests end, if it wants to know.
    """

    def __init__(
        self,
        settings: Settings,
        application: Application,
        listeners: Sequence[ListenSocket],
        line: memoryview,
        say_once: Callable[[str, str], None],
        on_empty: Callable[[], None],
        order: Spawn,
        access_log: AccessLog | None = None,
        permits: RequestPermits | None = None,
    ) -> None:
        hub = get_hub()
        trusted = forwarded.trusted(settings.forwarded_allow_ips, settings.forwarded_headers)
        wrapping = partial(tls_connection.wrapping, settings=settings, trusted=trusted)
        lingering = LingeringClose(settings)
        self._on_empty = on_empty
        self._tally = tally = Tally(line)
        self._cleanup = Cleanup()
        self._completion = completion = Completion(tally)
        if permits is not None:
            permits.watch(completion)
        self._pool = pool = GreenletPool(hub, self, (HttpRequests, AcceptSocket), self._cleanup.add)
        self.deadlines = Deadlines(settings.harakiri or math.inf, lambda: pool.greenlets)
        base = base_environ(log.ErrorStream(), settings.workers > 1, FileWrapper)
        base = roomy({**base, "wsgid.harakiri": self.deadlines.set_harakiri, "wsgid.worker": order.seat})
        self._acceptor = acceptor = Acceptor(settings, hub, listeners, wrapping, pool, tally, say_once)
        refusals = Refusals(tally, lingering)
        self._upgrades = Upgrades(settings, tally, self._leave_place, self._take_place)
        ends = (acceptor, completion, refusals, lingering, access_log, self._upgrades)
        self._uwsgi = UwsgiRequests(settings, application, base, *ends, say_once, order.wary)
        self._http = HttpRequests(settings, application, base, hub, trusted, pool, *ends, say_once)

    @property
    def greenlets(self) -> set[RequestGreenlet]:
        """All greenlets, with or without a request."""
        return self._pool.greenlets

    @property
    def idle_greenlets(self) -> int:
        """How many greenlets wait for a request."""
        return self._pool.idle

    # --- called by the worker ---

    def open(self) -> None:
        """Accept connections, as long as there are free places."""
        self._acceptor.open()

    def take_share(self, number: int, listeners: Sequence[ListenSocket]) -> None:
        """Also accept from these sockets (--reuse-port), which are lent to this worker alone.

        Args:
            number: of the share.
            listeners: as in __init__.
        """
        self._acceptor.take_share(number, listeners)

    def leave_share(self, number: int) -> None:
        """Stop accepting from these sockets: another worker does it."""
        self._acceptor.leave_share(number)

    def has_waiting(self) -> bool:
        """Whether a connection waits in a backlog."""
        return self._acceptor.has_waiting()

    def close(self) -> None:
        """Accept nothing any more. Requests in flight go on."""
        self._acceptor.close()
        self._http.leave()
        self._upgrades.leave()
        self._look_whether_empty()

    def serve_nobody(self) -> None:
        """The application has forked this process: it ends with its request."""
        self._completion.at_end.insert(0, lambda _: forked_child.end_if_one())
        self._http.give_up()

    def due_s(self) -> float:
        """Return until when no time limit ends (time.monotonic())."""
        return min(self.deadlines.due_s(), self._http.due_s(), self._upgrades.due_s())

    def trim(self, now_s: float) -> None:
        """Free what a crowd has left behind. Called now and then."""
        self._cleanup.clear(now_s, not self._acceptor.in_flight)
        self._pool.trim(now_s)

    def look_after_parked(self, now_s: float) -> None:
        """Close connections without a request, and end upgraded ones, whose time is over. Called now and then."""
        self._http.look_after_parked(now_s)
        self._upgrades.look(now_s)
        if self._acceptor.is_closed:
            self._look_whether_empty()

    def _look_whether_empty(self) -> None:
        if self._acceptor.is_closed and not self._acceptor.in_flight and not self._upgrades and self._http.is_idle():
            self._on_empty()

    def _leave_place(self) -> None:
        """A connection was upgraded, and holds no place any more."""
        self._acceptor.free_place()
        self._http.resume_waiting()

    def _take_place(self) -> None:
        """An upgraded connection ends. It takes a place, which _release gives back."""
        self._acceptor.take_place()

    # --- run by a greenlet ---

    def serve(self, source: AcceptSocket | HttpRequests, me: RequestGreenlet) -> None:
        """Serve one connection after the other: those of a listener, or those that were parked."""
        if isinstance(source, HttpRequests):
            while not self._pool.is_spent(me) and (exchange := self._http.next_ready()):
                self._serve_one(exchange.connection, exchange, me)
        else:
            while not self._pool.is_spent(me) and (connection := self._acceptor.accept_next(source)):
                self._serve_one(connection, None, me)

    def _serve_one(self, connection: Connection, exchange: HttpConnection | None, me: RequestGreenlet) -> None:
        me.gr_context = None  # an empty context is made when the application first sets a variable (PEP 567)
        parked = False
        try:
            if connection.http:
                parked = self._serve_http(connection, exchange, me)
            else:
                self._uwsgi.serve(connection, me)
        except BaseException:
            self._end_broken(connection, me)
            return
        self._end(connection, parked, me)

    def _serve_http(self, connection: Connection, exchange: HttpConnection | None, me: RequestGreenlet) -> bool:
        return self._http.serve(exchange or self._http.begin(connection), me)

    def _end_broken(self, connection: Connection, me: RequestGreenlet) -> None:
        """As `_break_off`. In a function of its own, because a `finally` takes more of the C stack while a request
        waits."""
        try:
            self._break_off(connection, me)
        finally:
            self._end(connection, False, me)

    def _break_off(self, connection: Connection, me: RequestGreenlet) -> None:
        """Called while an exception that was raised outside of the application call is handled."""
        if isinstance(sys.exc_info()[1], ClientDisconnected):
            self._tally.count(Word.DISCONNECTED)
            return
        try:  # the application has left a time-out or a kill behind; no caller could handle it
            log.error("a connection was cut by an exception outside of its application call", exc_info=True)
            self._completion.run_at_end(me)
        finally:
            me.environ = None
            me.spend()
            connection.cut()

    def _end(self, connection: Connection, parked: bool, me: RequestGreenlet) -> None:
        if not parked:
            self._close(connection, me)
        self._release()

    def _close(self, connection: Connection, me: RequestGreenlet) -> None:
        try:
            connection.close()
        except BaseException:  # TLS sends its close_notify, and may wait for that
            log.error("a connection was cut by an exception at its end", exc_info=True)
            me.spend()
            connection.cut()

    def _release(self) -> None:
        self._acceptor.free_place()
        self._http.resume_waiting()
        if self._acceptor.is_closed:
            self._look_whether_empty()
