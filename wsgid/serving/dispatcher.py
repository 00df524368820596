"""What happens to a connection in a worker: the way from accept to close.

    uwsgi: listener readable -> idle greenlet: accept, recv, decode, call the application, send, close; accept ...
    HTTP:  listener readable -> idle greenlet: accept, park; head has come -> idle greenlet: call, send, park ...

Rules
* A greenlet serves one request at a time, and is reused: a new greenlet that runs Python maps and unmaps its own frame
  stack (CPython 3.11 and newer), and reuse gives thread-locals the life time that thread pools give them, which
  Django's persistent database connections rely on.  contextvars are fresh for each request.
* A greenlet whose request was interrupted, by whatever is no Exception, ends with it: see RequestGreenlet.spend.
* Nothing is accepted beyond --gevent: what waits, waits in the backlog, where siblings find it.
* What needs to be counted is counted in this worker's line of the scoreboard, which nobody else writes.
* What is the same for all requests is made once, here in __init__.
"""

import errno
import math
import select
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import greenlet
from gevent.hub import get_hub

from wsgid import log
from wsgid.config.options import Settings
from wsgid.errors import BadPacket, ClientDisconnected, HeadTimeout, PeerError
from wsgid.ipc.scoreboard import DURATION_BOUNDS_US, Word
from wsgid.linux import forked_child
from wsgid.log.rate_limit import RateLimit
from wsgid.protocol import forwarded
from wsgid.protocol.forwarded import Trusted
from wsgid.protocol.http import Decoder, HttpHead, Limits
from wsgid.protocol.uwsgi import HEADER_SIZE_BYTES, PONG, Modifier, UwsgiHead, decode
from wsgid.protocol.variables import roomy
from wsgid.serving import tls_connection, turns
from wsgid.serving.access_log import AccessLog
from wsgid.serving.cleanup import Cleanup
from wsgid.serving.clock import CLOCK, Patience
from wsgid.serving.connection import READ, Connection
from wsgid.serving.http_connection import Arrival, BodyRate, HttpConnection, Leaving, date_line
from wsgid.serving.keepalive import IdleConnections
from wsgid.serving.syscalls import NOTHING, AcceptSocket, poll
from wsgid.serving.timeouts import RequestGreenlet, set_harakiri
from wsgid.sockets.listen_spec import ListenSocket, WireProtocol
from wsgid.wsgi.environ import base_environ, complete, make_environ
from wsgid.wsgi.filewrapper import FileWrapper
from wsgid.wsgi.input import Body, ChunkedBody
from wsgid.wsgi.response import Outcome, Served, serve
from wsgid.wsgi.types import Application

ACCEPT_BATCH = 16  # connections that a wake-up takes, at most; see docs/decisions/009-accept.md
ACCEPT_SLICE_S = 0.001  # after this, those who wait in this worker have their turn
OUT_OF_FDS_PAUSE_S = 0.1
WARY_S = 5.0  # for so long, who replaces a worker that has died looks whether clients still wait
HTTP_LINGER_S = 2.0  # of --drain-timeout, for clients whom nobody vouches for as one does for nginx
PARKED_GRACE_S = 1.0  # when the worker leaves, HTTP's quiet connections have this long to say something
TRIM_S = 10.0  # how often idle greenlets are let go
REFUSALS_PER_S = 1.0  # refused packets are logged at this rate, however many there are
REFUSALS_BURST = 50

_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# Reading a member through its class costs several times as much, on Python 3.11.
_COMPLETE, _FAILED, _TORN, _DISCONNECTED = Outcome
_COUNTED = {_FAILED: Word.FAILED, _TORN: Word.TORN, _DISCONNECTED: Word.DISCONNECTED}
_IN_FLIGHT, _REQUESTS, _SENT_BYTES = int(Word.IN_FLIGHT), int(Word.REQUESTS), int(Word.SENT_BYTES)
_BUSY_US, _AVERAGE_US, _DURATIONS = int(Word.BUSY_US), int(Word.AVERAGE_US), int(Word.DURATIONS)
_STATUS_0XX = int(Word.STATUS_1XX) - 1
_FIRST_BOUND_US = DURATION_BOUNDS_US[0]
_PING = Modifier.PING
_NO_PACKET = bytes(HEADER_SIZE_BYTES)  # what the access log shows of modifiers in HTTP
_, _, _ARRIVAL_HEAD, _ARRIVAL_END = Arrival
_THE_END = object()  # what an idle greenlet gets instead of a connection

_monotonic = time.monotonic


class Dispatcher:
    """The listeners of one worker, and the greenlets that serve what comes.

    Args:
        settings: the operator's.
        application: the WSGI callable.
        listeners: listening sockets, shared with all siblings, and what is spoken there.
        line: the worker's own words of the scoreboard.
        say_once: takes a key and a sentence, for what the operator has to be told once.
        on_empty: called when it is closed and nothing is in flight any more.
        wary: whether to look, at first, if clients still wait.
        access_log: gets every request; None if nobody wants it.
    """

    def __init__(
        self,
        settings: Settings,
        application: Application,
        listeners: Sequence[ListenSocket],
        line: memoryview,
        say_once: Callable[[str, str], None],
        on_empty: Callable[[], None],
        wary: bool = False,
        access_log: AccessLog | None = None,
    ) -> None:
        self.greenlets: set[RequestGreenlet] = set()  # all, with or without a request
        self.serves_nobody = False  # in a process that the application has forked
        self._spent: set[RequestGreenlet] = set()
        self._application = application
        self._line = line
        self._access_log = access_log
        self._say_once = say_once
        self._on_empty = on_empty
        self._places = settings.gevent
        self._max_vars = settings.max_vars
        self._timeout_s = settings.socket_timeout
        self._harakiri_s = settings.harakiri or math.inf
        self._drain_bytes, self._drain_s = settings.drain_size, settings.drain_timeout
        base = base_environ(log.ErrorStream(), settings.workers > 1, FileWrapper)
        self._base = roomy({**base, "wsgid.harakiri": set_harakiri})
        self._hub = get_hub()
        self._trusted = Trusted(settings.forwarded_allow_ips, settings.forwarded_headers)
        self._wrapping = partial(tls_connection.wrapping, settings=settings, trusted=self._trusted)
        self._doors = [Watched(self._hub, one, self._wrapping(one)) for one in listeners]
        self._shares: dict[int, list[Watched]] = {}  # those among them that are lent to this worker, by number
        self._closed = False
        self._accepts_left = 0  # of this wake-up
        self._slice_ends_s = 0.0
        self._early: list[Connection] = []  # accepted, and their requests had not come yet
        self._in_flight = 0
        self._idle: list[RequestGreenlet] = []
        self._unused = 0  # how many of them were idle at any time since the last trim
        self._trim_at_s = 0.0
        self._cleanup = Cleanup()
        self._wary_until_s = time.monotonic() + WARY_S if wary else 0.0
        self._refusals = RateLimit(REFUSALS_PER_S, REFUSALS_BURST)
        self._http_limits = Limits(settings.http_line_size, settings.max_vars, settings.http_head_size)
        self._http_requests = settings.http_keepalive_requests
        self._body_rate = BodyRate(settings.body_rate, settings.socket_timeout)
        self._parking = IdleConnections(
            self._hub, settings.http_keepalive, settings.http_head_timeout, settings.http_idle, self._resume
        )
        self._resuming = 0  # have their turn soon
        self._leaving = Leaving()
        self._held_s = CLOCK.held_s  # for so much, deadlines have been moved
        self._ready: deque[HttpConnection] = deque()  # parked once; their next requests wait for a place
        self._pause = self._hub.loop.timer(OUT_OF_FDS_PAUSE_S, OUT_OF_FDS_PAUSE_S)

    # --- accepting ---

    def open(self) -> None:
        """Accept, as long as there are places."""
        if not self._closed and self._in_flight < self._places:
            for door in self._doors:
                door.open(self._accept)

    def take_share(self, number: int, listeners: Sequence[ListenSocket]) -> None:
        """Accept from these too (--reuse-port); they are as in __init__, but for this worker."""
        self.leave_share(number)
        doors = [Watched(self._hub, one, self._wrapping(one)) for one in listeners]
        if self._closed:
            for door in doors:
                door.close()
            return
        self._shares[number] = doors
        self._doors += doors
        self.open()

    def leave_share(self, number: int) -> None:
        """Accept from these no more: somebody else does."""
        for door in self._shares.pop(number, ()):
            self._doors.remove(door)
            door.close()

    def _shut(self) -> None:
        for door in self._doors:
            door.shut()

    def has_waiting(self) -> bool:
        """Whether a connection waits in a backlog."""
        return any(door.has_waiting() for door in self._doors)

    def close(self) -> None:
        """Accept nothing any more; what is in flight goes on."""
        self._closed = True
        self._accepts_left = 0
        for door in self._doors:
            door.close()
        self._doors = []
        self._shares = {}
        now_s = _monotonic()
        self._parking.hurry(now_s, PARKED_GRACE_S)
        self._leaving.until_s = now_s + PARKED_GRACE_S
        self._look_whether_empty()

    def _look_whether_empty(self) -> None:
        if self._closed and not (self._in_flight or self._ready or self._resuming or len(self._parking)):
            self._on_empty()

    def _accept(self, listener: AcceptSocket) -> None:
        """A listener is readable. Runs in the hub, and lets idle greenlets take what waits: one takes connection after
        connection, until it has to wait within a request; then it is the next one's turn."""
        self._accepts_left = ACCEPT_BATCH
        self._slice_ends_s = _monotonic() + ACCEPT_SLICE_S
        while self._accepts_left > 0 or self._early:
            one = self._idle.pop() if self._idle else self._new_greenlet()
            one.switch(listener)

    def _next(self, listener: AcceptSocket) -> Connection | None:
        """A connection for the greenlet that runs; None if there is none, or no place for it.

        Between nginx's connect and its write there are some microseconds. Whose request is not there yet comes last:
        by then it may be, and waiting for it in the hub costs as much as a request.
        """
        while self._accepts_left > 0:
            fd = self._accept_one(listener)
            if fd == NOTHING:
                self._accepts_left = 0
                break
            connection = Connection(fd, self._timeout_s, listener.http) if listener.wrap is None else listener.wrap(fd)
            if connection.has_begun():
                return connection
            self._early.append(connection)
        return self._early.pop() if self._early else None

    def _accept_one(self, listener: AcceptSocket) -> int:
        try:
            fd = listener.accept()
        except OSError as error:
            self._accept_failed(error)
            return NOTHING
        if fd != NOTHING:
            self._accepts_left -= 1
            self._take_place()
        return fd

    def _take_place(self) -> None:
        self._in_flight += 1
        self._line[_IN_FLIGHT] = self._in_flight
        if self._in_flight >= self._places:
            self._accepts_left = 0
            self._shut()

    def _accept_failed(self, error: OSError) -> None:
        """Out of descriptors or memory: the listener stays readable, so pause instead of spinning. The peer may also
        have gone between its connect and our accept (accept(2), ECONNABORTED), which is nothing."""
        if error.errno not in _OUT_OF_RESOURCES:
            return
        self._shut()
        self._say_once(
            f"accept-{error.errno}",
            f"a worker cannot accept connections: {error.strerror}; "
            "they wait in the backlog; raise the limit (ulimit -n, LimitNOFILE=) or lower --gevent",
        )
        self._pause.start(self._open_again)

    def _open_again(self) -> None:
        self._pause.stop()  # it repeats: libev waits only for the first start of a timer that does not
        self.open()

    # --- greenlets ---

    def _new_greenlet(self) -> RequestGreenlet:
        made = RequestGreenlet(self._serve_forever, self._hub)
        made.environ = None
        made.all_spent = self._spent
        self.greenlets.add(made)
        return made

    def _serve_forever(self, source: Any) -> None:
        """The life of a greenlet: one connection after the other, or one that was parked."""
        me: Any = greenlet.getcurrent()
        while source is not _THE_END:
            if isinstance(source, HttpConnection):
                self._serve_one(source.connection, source, me)
            else:
                while not self._is_spent(me) and (connection := self._next(source)):
                    self._serve_one(connection, None, me)
            source = _THE_END if self._is_spent(me) else self._park(me)
        self.greenlets.discard(me)
        self._spent.discard(me)
        self._cleanup.add(me)

    def _is_spent(self, me: RequestGreenlet) -> bool:
        return bool(self._spent) and me in self._spent

    def _serve_one(self, connection: Connection, exchange: HttpConnection | None, me: RequestGreenlet) -> None:
        me.gr_context = None  # an empty context, made when the application first sets a variable (PEP 567)
        kept = False
        try:
            if connection.http:
                kept = self._serve_http(exchange or self._new_exchange(connection), me)
            else:
                self._serve(connection, me)
        except ClientDisconnected:
            self._count(Word.DISCONNECTED)
        except BaseException:  # a time-out or kill that the application has left behind; nobody above us could tell
            log.error("a connection was cut by an exception outside of its application call", exc_info=True)
            me.environ = None
            me.spend()
            connection.cut()
        finally:
            if not kept:
                self._close(connection, me)
            self._release()

    def _close(self, connection: Connection, me: RequestGreenlet) -> None:
        try:
            connection.close()
        except BaseException:  # TLS says goodbye, and may wait for that
            log.error("a connection was cut by an exception at its end", exc_info=True)
            me.spend()
            connection.cut()

    def _release(self) -> None:
        self._in_flight -= 1
        self._line[_IN_FLIGHT] = self._in_flight
        if self._in_flight == self._places - 1:
            self.open()
        if self._ready:
            self._resume_soon(self._ready.popleft())
        if self._closed:
            self._look_whether_empty()

    def _park(self, me: RequestGreenlet) -> Any:
        """Wait until there is something to do: a Listener, an Exchange or _THE_END."""
        self._idle.append(me)
        while True:
            try:
                source = self._hub.switch()
            except BaseException as error:  # kill(), say, by what an earlier request has left running
                log.warning("an idle greenlet got %r from an earlier request, and ends", error)
                self._idle.remove(me)
                return _THE_END
            if isinstance(source, (HttpConnection, AcceptSocket)) or source is _THE_END:
                return source
            log.warning(
                "an idle greenlet was called by a timer or callback of an earlier request: stop those that you start"
            )

    def trim(self, now_s: float) -> None:
        """End half of the greenlets that were idle all the time since the last trim: after a crowd, memory comes back.
        The oldest go; the last one used is the next to be used."""
        self._cleanup.clear(now_s, not self._in_flight)
        self._unused = min(self._unused, len(self._idle))
        if now_s < self._trim_at_s:
            return
        unused, self._idle = self._idle[: self._unused // 2], self._idle[self._unused // 2 :]
        for one in unused:
            one.switch(_THE_END)
        self._unused = len(self._idle)
        self._trim_at_s = now_s + TRIM_S

    # --- HTTP ---

    def look_after_parked(self, now_s: float) -> None:
        """Close the connections whose time is over; the time in which the loop was held up does not count."""
        held_s = CLOCK.held_s - self._held_s
        if held_s:
            self._held_s += held_s
            self._leaving.until_s += held_s
            self._parking.delay(held_s)
        for exchange in self._parking.expire(now_s):
            self._refuse_late(exchange)
        if self._closed:
            self._look_whether_empty()

    def _new_exchange(self, connection: Connection) -> HttpConnection:
        return HttpConnection(
            connection, Decoder(self._http_limits, self._base.copy()), self._trusted, self._leaving, self._body_rate
        )

    def _resume_soon(self, exchange: HttpConnection) -> None:
        """In the hub's next turn; until then it is neither in flight nor parked, and yet the worker may not leave."""
        self._resuming += 1
        turns.later(self._resume_now, exchange)

    def _resume_now(self, exchange: HttpConnection) -> None:
        self._resuming -= 1
        self._resume(exchange)

    def _resume(self, exchange: HttpConnection) -> None:
        """The next request of a parked connection is there. Runs in the hub."""
        if self._in_flight >= self._places:
            self._ready.append(exchange)
            return
        self._take_place()
        self._slice_ends_s = _monotonic() + ACCEPT_SLICE_S
        one = self._idle.pop() if self._idle else self._new_greenlet()
        one.switch(exchange)

    def _serve_http(self, exchange: HttpConnection, me: RequestGreenlet) -> bool:
        """The requests of one connection, as long as they are there already. Returns whether it is parked."""
        connection = exchange.connection
        while True:
            arrival = exchange.advance()
            if arrival is _ARRIVAL_END:
                return False
            if arrival is not _ARRIVAL_HEAD:
                self._keep(exchange, arrival)
                return True
            try:
                head = exchange.next_head()
            except PeerError as error:
                self._refuse(connection, error)
                return False
            if not self._answer(exchange, head, me):
                return False
            me.gr_context = None  # for the next request
            if self._is_spent(me) or _monotonic() > self._slice_ends_s:  # others have waited, the heartbeat too
                self._accepts_left = 0
                self._resume_soon(exchange)
                return True

    def _keep(self, exchange: HttpConnection, arrival: Arrival) -> None:
        now_s = _monotonic()
        if now_s > self._slice_ends_s:  # a handshake takes a millisecond or two
            self._accepts_left = 0
        self._parking.keep(exchange, arrival, now_s)

    def _answer(self, exchange: HttpConnection, head: HttpHead, me: RequestGreenlet) -> bool:
        """One request. Returns whether the connection can go on."""
        exchange.keep_alive = head.keep_alive and exchange.served < self._http_requests
        me.started_s = _monotonic()
        if me.started_s > self._slice_ends_s:
            self._accepts_left = 0
        me.deadline_s = me.started_s + self._harakiri_s
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
        if self.serves_nobody:
            forked_child.end_if_one()
        me.environ = None
        if served.interrupted:
            me.spend()
        took_s = _monotonic() - me.started_s
        self._record(served, int(took_s * 1e6))
        if self._access_log is not None:
            self._access_log.note(
                environ, served, me.started_s, took_s, max(length, 0), head.size_bytes, _NO_PACKET, head.count
            )
        return self._settle(exchange, served)

    def _settle(self, exchange: HttpConnection, served: Served) -> bool:
        """After a response. Returns whether the connection can go on."""
        outcome, connection = served.outcome, exchange.connection
        if (outcome is _COMPLETE or outcome is _FAILED) and exchange.settle():
            return True
        if outcome is _DISCONNECTED and exchange.refused and not exchange.head_out:
            self._refuse(connection, exchange.refused)
        elif outcome is not _COMPLETE and outcome is not _FAILED and exchange.close_delimited:
            # Only a reset tells this client that there is more; but it must not destroy what was sent before.
            connection.deliver()
            connection.cut()
        elif outcome is not _DISCONNECTED or exchange.refused:  # the last chunk, or the rest of a length, is missing
            self._drain_and_close(connection)
        return False

    def _serve_upgrade(self, exchange: HttpConnection, environ: dict[str, Any], me: RequestGreenlet) -> Served:
        def used() -> None:
            me.deadline_s = math.inf

        raw = environ["wsgid.socket"] = environ["werkzeug.socket"] = exchange.raw_socket(used)
        try:
            return serve(self._application, environ, exchange.connection, exchange)
        finally:
            raw.close()

    # --- one connection ---

    def _serve(self, connection: Connection, me: RequestGreenlet) -> None:
        """One connection, one request: nginx never keeps uwsgi connections alive."""
        started_s = me.started_s = _monotonic()
        if started_s > self._slice_ends_s:
            self._accepts_left = 0
        try:
            buffer = connection.begin()
            if not buffer:  # a probe, or the next server asking whether we live
                connection.close()
                return
            head = decode(buffer, self._max_vars, self._base)
            if head is None:
                buffer, head = self._read_on(connection, buffer)
        except PeerError as error:
            self._refuse(connection, error)
            return
        if head.modifier is _PING:
            connection.send(PONG)
            connection.close()
            return
        if started_s < self._wary_until_s and connection.is_abandoned():
            # What killed the worker before this one may wait in the backlog many times over, from clients that have
            # given up meanwhile.
            raise ClientDisconnected("the client has left before its request was looked at")
        me.deadline_s = started_s + self._harakiri_s
        self._respond(connection, head, buffer, me)

    def _read_on(self, connection: Connection, buffer: bytes) -> tuple[bytes, UwsgiHead]:
        """The rest of a head that did not come at once. The limit is for all of it: dripping does not extend it.

        Raises:
            PeerError: it is refused, ends early, or takes too long.
        """
        with Patience(self._timeout_s, HeadTimeout(f"the head did not arrive within {self._timeout_s:g} s")):
            gathered = bytearray(buffer)
            while True:
                more = connection.recv()
                if not more:
                    raise BadPacket(f"the packet ends after {len(gathered)} bytes, within its head")
                gathered += more
                buffer = bytes(gathered)
                head = decode(buffer, self._max_vars, self._base)
                if head is not None:
                    return buffer, head

    def _refuse(self, connection: Connection, error: PeerError) -> None:
        """An answer that nginx can show, and one sentence in the log."""
        answer = self._refusal(connection, error)
        if connection.opening():  # what we said would not be understood
            connection.close()
            return
        connection.send(*answer)
        self._drain_and_close(connection)

    def _refuse_late(self, exchange: HttpConnection) -> None:
        """Without a greenlet: nothing of this client is unread, and what the kernel does not take at once is lost."""
        connection = exchange.connection
        answer = self._refusal(connection, exchange.late())
        if not connection.opening():
            connection.try_send(b"".join(answer))
        connection.close()

    def _refusal(self, connection: Connection, error: PeerError) -> tuple[bytes, bytes]:
        """Head and body of the answer; counts and logs that there is one."""
        self._count(Word.REJECTED)
        if self._refusals.admit(time.monotonic()):
            unsaid = self._refusals.take_refused()
            log.warning(
                "refused a packet from %s: %s%s",
                connection.peer(),
                error,
                f" ({unsaid} more were refused without a word)" if unsaid else "",
            )
        text = f"{error}\n".encode("latin-1", "replace")
        last = f"{date_line()}Connection: close\r\n" if connection.http else ""
        head = (
            f"HTTP/1.1 {error.status_hint}\r\nContent-Type: text/plain; charset=latin-1\r\n"
            f"Content-Length: {len(text)}\r\n{last}\r\n"
        )
        return head.encode("ascii"), text

    def _respond(self, connection: Connection, head: UwsgiHead, buffer: bytes, me: RequestGreenlet) -> None:
        variables = len(head.variables)
        missing = complete(head.variables)
        if missing:
            self._say_once(
                "variables",
                f"requests arrive without {', '.join(missing)}: add `include uwsgi_params;` to nginx's location",
            )
        first = buffer[head.size_bytes :] if len(buffer) > head.size_bytes else b""
        body = Body(first, head.content_length, connection)
        environ = me.environ = make_environ(head.variables, body.stream)
        served = serve(self._application, environ, connection)
        if self.serves_nobody:
            forked_child.end_if_one()
        me.environ = None  # now: what follows may wait for the peer, and is no matter of --harakiri
        if served.interrupted:
            me.spend()
        outcome = served.outcome
        took_s = _monotonic() - me.started_s
        self._record(served, int(took_s * 1e6))
        if self._access_log is not None:
            self._access_log.note(
                environ,
                served,
                me.started_s,
                took_s,
                head.content_length,
                head.size_bytes - HEADER_SIZE_BYTES,
                buffer,
                variables - len(self._base),
            )
        if outcome is _TORN:
            connection.cut()
        elif body.unread_bytes and outcome is not _DISCONNECTED:
            self._drain_and_close(connection)
        else:
            connection.close()

    def _record(self, served: Served, duration_us: int) -> None:
        """Count an answer, by its outcome, status, size and duration."""
        line = self._line
        line[_REQUESTS] += 1
        line[_SENT_BYTES] += served.sent_bytes
        line[_BUSY_US] += duration_us
        line[_AVERAGE_US] = (line[_AVERAGE_US] + duration_us) >> 1
        # Most are in the first bucket, and bisect costs more than all the rest here.
        line[_DURATIONS + (bisect_left(DURATION_BOUNDS_US, duration_us) if duration_us > _FIRST_BOUND_US else 0)] += 1
        if served.status:
            line[_STATUS_0XX + served.status // 100] += 1
        if served.outcome is not _COMPLETE:
            self._count(_COUNTED[served.outcome])

    def _drain_and_close(self, connection: Connection) -> None:
        try:
            linger_s = min(self._drain_s, HTTP_LINGER_S) if connection.http else self._drain_s
            if not connection.drain(self._drain_bytes, linger_s) and connection.http:
                connection.deliver()
        finally:
            connection.close()

    def _count(self, word: Word) -> None:
        self._line[word] += 1


class Watched:
    """A listener and its watcher."""

    def __init__(self, hub: Any, shared: ListenSocket, wrap: Callable[[int], Connection] | None) -> None:
        self._listener = AcceptSocket(shared.fd, shared.spoken.protocol is WireProtocol.HTTP, wrap)
        self._watcher = hub.loop.io(shared.fd, READ)

    def open(self, callback: Callable[[AcceptSocket], None]) -> None:
        if not self._watcher.active:
            self._watcher.start(callback, self._listener)

    def shut(self) -> None:
        self._watcher.stop()

    def has_waiting(self) -> bool:
        return bool(poll(self._listener.fd, select.POLLIN))

    def close(self) -> None:
        self._watcher.close()
        self._listener.close()
