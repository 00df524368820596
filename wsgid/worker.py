"""A worker: one gevent hub that accepts, decodes, calls the application, and drains.

    listener readable -> accept -> idle greenlet: read, decode, call the application, send, close -> idle again

Rules
* One greenlet a request, and reused: a new greenlet that runs Python maps and unmaps its own frame stack (CPython 3.11
  and newer), and reuse gives thread-locals the life time that thread pools give them, which Django's persistent
  database connections rely on.  contextvars are fresh for each request.
* Nothing is accepted beyond --gevent: what waits, waits in the backlog, where siblings find it.
* The state is an Enum; the only way out is through Leaving: no accepts, nothing in flight.
* What needs to be counted is counted in this worker's line of the scoreboard, which nobody else writes.
"""

import _socket
import atexit
import errno
import faulthandler
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

import gevent
import greenlet
from gevent.event import Event
from gevent.hub import get_hub
from gevent.monkey import get_original

from wsgid import log, process
from wsgid.application import Application
from wsgid.channel import Channel
from wsgid.config import Settings
from wsgid.connection import READ, Connection
from wsgid.errors import BadPacket, ClientDisconnected, ExitCode, HeadTimeout, PeerError
from wsgid.fleet import Backlog
from wsgid.limits import RateLimit
from wsgid.protocol import control, uwsgi
from wsgid.retirement import Retirement
from wsgid.scoreboard import Word
from wsgid.timeouts import RequestGreenlet, Timeouts, set_harakiri
from wsgid.watch import Watch
from wsgid.wsgi.environ import base_environ, make_environ, missing_variables
from wsgid.wsgi.filewrapper import FileWrapper
from wsgid.wsgi.input import Body
from wsgid.wsgi.response import Outcome, serve

ACCEPT_BATCH = 4  # connections per wake-up: siblings wait on the same listener and want theirs
ROUND_S = 0.1  # how often requests are looked at: the precision of --harakiri
SETTLE_S = 0.1  # after the sockets are unlinked, a connect(2) that had found them before may still arrive
ORPHAN_ACCEPTS_S = 1.0  # without a master: how long to empty the backlog before the address is given free
OUT_OF_FDS_PAUSE_S = 0.1
YOUNG_S = 5.0  # a worker of this age looks whether clients still wait
TRIM_S = 10.0  # how often idle greenlets are let go
REFUSALS_PER_S = 1.0  # refused packets are logged at this rate, however many there are
REFUSALS_BURST = 50
_HARD_STOP_MARGIN_S = 3

_NOTHING = -1  # no file descriptor

_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_poll = get_original("select", "poll")  # asks the kernel at once; gevent's would go through the hub


class State(Enum):
    SERVING = auto()
    EMPTYING = auto()  # leaves, and first takes all that waits in the backlog
    LEAVING = auto()  # accepts nothing any more; finishes what is in flight


class Worker:
    """The worker's event loop.

    Args:
        slot, generation: its place in the fleet.
        settings: the operator's.
        application: the WSGI callable.
        listeners: non-blocking listening sockets, as file descriptors; shared with all siblings.
        channel: to the master.
        line: its own words of the scoreboard.
    """

    def __init__(self, slot: int, settings: Settings, application: Application, listeners: Sequence[int],
                 channel: Channel, line: memoryview) -> None:
        self._slot = slot
        self._settings = settings
        self._application = application
        self._channel = channel
        self._line = line
        self._hub = get_hub()
        self._state = State.SERVING
        self._left = Event()
        self._in_flight = 0
        self._idle: list[RequestGreenlet] = []
        self._spare = 0  # how many of them were idle at any time since the last trim
        self._trim_at_s = 0.0
        self._greenlets: set[RequestGreenlet] = set()
        self._accepts = [_Accept(self._hub, fd) for fd in listeners]
        self._empty_until_s = 0.0
        self._said: set[str] = set()
        self._refusals = RateLimit(REFUSALS_PER_S, REFUSALS_BURST)
        self._orders = self._hub.loop.io(channel.fileno(), READ)
        self._term = self._hub.loop.signal(signal.SIGTERM)
        self._pause = self._hub.loop.timer(OUT_OF_FDS_PAUSE_S, OUT_OF_FDS_PAUSE_S)
        self._environ = base_environ(log.ErrorStream(), settings.workers > 1, FileWrapper)
        self._environ["wsgid.harakiri"] = set_harakiri
        self._young_until_s = time.monotonic() + YOUNG_S
        self._harakiri_s = settings.harakiri or math.inf
        self._timeouts = Timeouts(settings, self._hub, line)
        self._retirement = Retirement(settings)
        self._modules = Watch(_module_files()) if settings.py_autoreload else None
        # Several beats within the shortest time that counts, so that a healthy hub never looks stalled.
        self._pulse = self._hub.loop.timer(0.0, min(settings.hub_warn, settings.hub_timeout_s, 1.0) / 4)
        self._round = self._hub.loop.timer(ROUND_S, ROUND_S)

    def run(self) -> None:
        """Serve until told to leave and everything in flight is answered."""
        self._line[Word.HEARTBEAT_NS] = time.monotonic_ns()
        self._pulse.start(self._beat)
        self._round.start(self._look_around)
        signal.signal(signal.SIGXCPU, self._timeouts.on_stall)
        self._orders.start(self._on_orders)
        self._term.start(self.drain, Backlog.EMPTY, self._settings.worker_reload_mercy)
        self._listen()
        self._channel.send(control.Ready(self._slot))
        while not self._left.is_set():
            try:
                self._left.wait()
            # gevent raises these here, in the main greenlet, when a greenlet of the application's has let them out.  In
            # a thread they would have ended the thread; they are no reason to drop everybody's requests.
            except (SystemExit, KeyboardInterrupt, SystemError) as error:
                log.error("a greenlet of the application's has raised %r; the worker goes on", error)

    def _beat(self) -> None:
        self._line[Word.HEARTBEAT_NS] = time.monotonic_ns()

    def _look_around(self) -> None:
        """Each ROUND_S: what is overdue, and whether this worker has done enough. Requests pay nothing for it."""
        now_s = time.monotonic()
        self._timeouts.end_overdue(self._greenlets, now_s)
        self._trim(now_s)
        reason = self._retirement.reason(now_s, self._line[Word.REQUESTS])
        if reason:
            self._channel.send(control.Tired(reason))
        if self._modules:
            for path, stamp in self._modules.changes():
                self._channel.send(control.SourceChanged(path, str(stamp)))
            self._modules.add(_module_files())

    # --- accepting ---

    def _listen(self) -> None:
        if self._state is not State.LEAVING and self._in_flight < self._settings.gevent:
            for accept in self._accepts:
                accept.start(self._accept)

    def _stop_listening(self) -> None:
        for accept in self._accepts:
            accept.stop()

    def _accept(self, listener: "_socket.socket") -> None:
        """A listener is readable. Runs in the hub: hands each connection to a greenlet, which runs until it waits."""
        for _ in range(ACCEPT_BATCH):
            try:
                fd, address = listener._accept()  # type: ignore[attr-defined]  # accept4, without a socket object
            except BlockingIOError:  # a sibling was faster
                return
            except OSError as error:
                self._accept_failed(error)
                return
            os.set_blocking(fd, False)
            self._in_flight += 1
            self._line[Word.IN_FLIGHT] = self._in_flight
            if self._idle:
                self._idle.pop().switch(fd, address)
            else:
                self._new_greenlet().switch(fd, address)
            if self._in_flight >= self._settings.gevent or self._state is State.LEAVING:
                self._stop_listening()
                return

    def _accept_failed(self, error: OSError) -> None:
        """Out of descriptors or memory: the listener stays readable, so pause instead of spinning. The peer may also
        have gone between its connect and our accept (accept(2), ECONNABORTED), which is nothing."""
        if error.errno not in _OUT_OF_RESOURCES:
            return
        self._stop_listening()
        self._say_once(f"accept-{error.errno}", f"worker {self._slot} cannot accept connections: {error.strerror}; "
                       "they wait in the backlog; raise the limit (ulimit -n, LimitNOFILE=) or lower --gevent")
        self._pause.start(self._listen_again)

    def _listen_again(self) -> None:
        self._pause.stop()  # it repeats: libev waits only for the first start of a timer that does not
        self._listen()

    def _new_greenlet(self) -> RequestGreenlet:
        made = RequestGreenlet(self._serve_forever, self._hub)
        made.environ = None
        self._greenlets.add(made)
        return made

    # --- one connection after the other ---

    def _serve_forever(self, fd: int, address: Any) -> None:
        me: Any = greenlet.getcurrent()
        while fd != _NOTHING:
            me.gr_context = None  # an empty context, made when the application first sets a variable (PEP 567)
            connection = Connection(fd, address, self._settings.socket_timeout)
            try:
                self._serve(connection, me)
            except ClientDisconnected:
                self._count(Word.DISCONNECTED)
            except BaseException:  # a time-out or kill that the application has left behind; nobody above us could tell
                log.error("a connection was cut by an exception outside of its application call", exc_info=True)
                connection.cut()
            finally:
                connection.close()
                me.environ = None
                self._release()
            fd, address = self._park(me)
        self._greenlets.discard(me)

    def _park(self, me: RequestGreenlet) -> tuple[int, Any]:
        """Wait for the next connection; without one (_NOTHING) it is time to end."""
        self._idle.append(me)
        while True:
            try:
                accepted: tuple[int, Any] = self._hub.switch()
                return accepted
            except BaseException as error:  # a gevent.Timeout, say, that an earlier request did not cancel
                log.warning("an idle greenlet got %r from an earlier request: cancel time-outs that you start", error)

    def _trim(self, now_s: float) -> None:
        """End half of the greenlets that were idle all the time since the last trim: after a crowd, memory comes back.
        The oldest go; the last one used is the next to be used."""
        self._spare = min(self._spare, len(self._idle))
        if now_s < self._trim_at_s:
            return
        unused, self._idle = self._idle[:self._spare // 2], self._idle[self._spare // 2:]
        for one in unused:
            one.switch(_NOTHING, None)
        self._spare = len(self._idle)
        self._trim_at_s = now_s + TRIM_S

    def _release(self) -> None:
        self._in_flight -= 1
        self._line[Word.IN_FLIGHT] = self._in_flight
        if self._in_flight == self._settings.gevent - 1:
            self._listen()
        if self._state is State.LEAVING and not self._in_flight:
            self._left.set()

    def _serve(self, connection: Connection, me: RequestGreenlet) -> None:
        """One connection, one request: nginx never keeps uwsgi connections alive."""
        me.started_s = time.monotonic()
        buffer = connection.recv()
        if not buffer:  # a probe, or the next server asking whether we live
            connection.close()
            return
        try:
            head = uwsgi.decode(buffer, self._settings.max_vars)
            if head is None:
                buffer, head = self._read_on(connection, buffer)
        except PeerError as error:
            self._refuse(connection, error)
            return
        if head.modifier is uwsgi.Modifier.PING:
            connection.send(uwsgi.PONG)
            connection.close()
            return
        if me.started_s < self._young_until_s and connection.is_abandoned():
            # What killed the worker before this one may wait in the backlog many times over, from clients that have
            # given up meanwhile.
            raise ClientDisconnected("the client has left before its request was looked at")
        self._respond(connection, head, buffer, me)

    def _read_on(self, connection: Connection, buffer: bytes) -> tuple[bytes, uwsgi.Head]:
        """The rest of a head that did not come at once. The limit is for all of it: dripping does not extend it.

        Raises:
            PeerError: it is refused, ends early, or takes too long.
        """
        timeout_s = self._settings.socket_timeout
        with gevent.Timeout(timeout_s, HeadTimeout(f"the head did not arrive within {timeout_s:g} s")):
            gathered = bytearray(buffer)
            while True:
                more = connection.recv()
                if not more:
                    raise BadPacket(f"the packet ends after {len(gathered)} bytes, within its head")
                gathered += more
                head = uwsgi.decode(gathered, self._settings.max_vars)
                if head is not None:
                    return bytes(gathered), head

    def _refuse(self, connection: Connection, error: PeerError) -> None:
        """An answer that nginx can show, and one sentence in the log."""
        self._count(Word.REJECTED)
        if self._refusals.admit(time.monotonic()):
            unsaid = self._refusals.take_refused()
            log.warning("refused a packet from %s: %s%s", connection.peer(), error,
                        f" ({unsaid} more were refused without a word)" if unsaid else "")
        text = f"{error}\n".encode("latin-1", "replace")
        connection.send(f"HTTP/1.1 {error.status_hint}\r\nContent-Type: text/plain; charset=latin-1\r\n"
                        f"Content-Length: {len(text)}\r\n\r\n".encode("ascii"), text)
        self._drain_and_close(connection)

    def _respond(self, connection: Connection, head: uwsgi.Head, buffer: bytes, me: RequestGreenlet) -> None:
        missing = missing_variables(head.variables)
        if missing:
            self._say_once("variables", f"requests arrive without {', '.join(missing)}: add `include uwsgi_params;` to "
                           "nginx's location")
        body = Body(buffer[head.size_bytes:], head.content_length, connection.recv_into)
        me.deadline_s = me.started_s + self._harakiri_s
        environ = me.environ = make_environ(self._environ, head.variables, body.stream)
        outcome = serve(self._application, environ, connection).outcome
        me.environ = None
        self._count(Word.REQUESTS)
        if outcome is not Outcome.COMPLETE:
            self._count(_COUNTED[outcome])
        if outcome is Outcome.TORN:
            connection.cut()
        elif body.unread_bytes and outcome is not Outcome.DISCONNECTED:
            self._drain_and_close(connection)
        else:
            connection.close()

    def _drain_and_close(self, connection: Connection) -> None:
        try:
            connection.drain(self._settings.drain_size, self._settings.drain_timeout)
        finally:
            connection.close()

    def _count(self, word: Word) -> None:
        self._line[word] += 1

    def _say_once(self, key: str, text: str) -> None:
        """Through the master, which says it once for all workers."""
        if key not in self._said:
            self._said.add(key)
            self._channel.send(control.Notice(key, text))

    # --- leaving ---

    def _on_orders(self) -> None:
        """The channel is readable."""
        while True:
            try:
                received = self._channel.receive()
            except BlockingIOError:
                return
            if received is None:
                self._orphaned()
                return
            message, fds = received
            match message:
                case control.Drain(backlog=backlog, mercy_s=mercy_s):
                    self.drain(Backlog(backlog), mercy_s)
                case control.Reopen():
                    log.use(fds[0])

    def _orphaned(self) -> None:
        """The master is gone: answer what is here, then give the address free for the next one."""
        mercy_s = self._settings.worker_reload_mercy
        log.error("the master is gone: finishing the requests in flight, at most %g s", mercy_s)
        signal.alarm(int(mercy_s) + _HARD_STOP_MARGIN_S)  # nobody else would end us if the hub stalls
        self._orders.stop()
        self.drain(Backlog.EMPTY, mercy_s, ORPHAN_ACCEPTS_S)

    def drain(self, backlog: Backlog, mercy_s: float, empty_s: float | None = None) -> None:
        """Leave as soon as everything is answered.

        Args:
            backlog: whether to take what waits there.
            mercy_s: after this, what is still in flight is cut.
            empty_s: how long to go on accepting at the most; as long as the mercy if not said.
        """
        if self._state is not State.SERVING:
            return
        self._mercy = self._hub.loop.timer(mercy_s)
        self._mercy.start(self._cut)
        if backlog is Backlog.LEAVE:
            self._leave()
            return
        self._state = State.EMPTYING
        self._empty_until_s = time.monotonic() + (mercy_s if empty_s is None else empty_s)
        timer = self._hub.loop.timer(SETTLE_S, SETTLE_S)
        timer.start(self._leave_when_empty, timer)

    def _leave_when_empty(self, timer: Any) -> None:
        waiting = any(accept.has_connections() for accept in self._accepts)
        if not waiting or time.monotonic() >= self._empty_until_s:
            timer.close()
            self._leave()

    def _leave(self) -> None:
        self._state = State.LEAVING
        for accept in self._accepts:
            accept.close()
        self._accepts = []
        if not self._in_flight:
            self._left.set()

    def _cut(self) -> None:
        """The mercy time is over: say what is lost, and leave."""
        for one in self._greenlets:
            if one.environ is not None:
                log.error("cut after the mercy time: %s", one.described())
        self._left.set()


_COUNTED = {Outcome.FAILED: Word.FAILED, Outcome.TORN: Word.TORN, Outcome.DISCONNECTED: Word.DISCONNECTED}


class _Accept:
    """A listener and its watcher."""

    def __init__(self, hub: Any, fd: int) -> None:
        self._listener = _socket.socket(fileno=fd)
        # Explicitly: after a socket.setdefaulttimeout() of the application's, accept would wait that long, in C.
        self._listener.setblocking(False)
        self._watcher = hub.loop.io(fd, READ)

    def start(self, callback: Callable[["_socket.socket"], None]) -> None:
        if not self._watcher.active:
            self._watcher.start(callback, self._listener)

    def stop(self) -> None:
        self._watcher.stop()

    def has_connections(self) -> bool:
        poll = _poll()
        poll.register(self._listener.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        self._watcher.close()
        self._listener.close()


def _module_files() -> list[str]:
    return [path for one in list(sys.modules.values()) if (path := getattr(one, "__file__", None))]


def run(slot: int, settings: Settings, load: Callable[[], Application], listeners: Sequence[int], channel: Channel,
        line: memoryview) -> ExitCode:
    """Be a worker: the whole life of a freshly forked process.

    Args:
        load: gives the application; with --lazy-apps this imports it.

    Raises:
        ApplicationImportError: by `load`.
    """
    faulthandler.enable()
    process.ignore(signal.SIGXCPU)  # until there is a hub to look at
    application = load()
    # An application may have reset it; a peer that leaves must be an error of write(2), not the worker's death.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    Worker(slot, settings, application, listeners, channel, line).run()
    signal.alarm(_HARD_STOP_MARGIN_S)
    atexit._run_exitfuncs()
    return ExitCode.OK
