"""The listeners of a worker: what is accepted from them, and when.

    listener readable -> `_wake` in the hub -> GreenletPool.run -> the greenlet calls `accept_next` until it is None

Rules
* At most --gevent connections are accepted. Further connections wait in the backlog, where other workers find them.
* A wake-up takes a batch of connections, within a slice of time: see docs/decisions/009-accept.md.
* Connections whose request has arrived are served before the others.
* When descriptors or memory are used up, accepting pauses. Meanwhile connections wait in the backlog.
"""

import errno
import select
from collections.abc import Callable, Sequence
from typing import Any

from wsgid.config.options import Settings
from wsgid.serving.connection import READ, Connection
from wsgid.serving.greenlets import GreenletPool
from wsgid.serving.syscalls import NOTHING, AcceptSocket, monotonic, poll
from wsgid.serving.tally import Tally
from wsgid.sockets.listen_spec import ListenSocket, WireProtocol

ACCEPT_BATCH = 16  # the most connections that a wake-up takes
ACCEPT_SLICE_S = 0.001  # after this time, requests that wait in this worker run
OUT_OF_FDS_PAUSE_S = 0.1

_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


Wrap = Callable[[int], Connection]  # makes the connection of an accepted descriptor, if it is not a plain one


class Acceptor:
    """The listeners of a worker, and its places of --gevent.

    Args:
        settings: the operator's settings.
        hub: gevent's.
        listeners: the sockets that all workers share, with their protocols.
        wrapping: returns for a listener how its connections are made; None: they are plain ones.
        pool: its greenlets serve the connections.
        tally: shows how many places are taken.
        say_once: takes a key and a sentence that the operator has to be told once.
    """

    def __init__(
        self,
        settings: Settings,
        hub: Any,
        listeners: Sequence[ListenSocket],
        wrapping: Callable[[ListenSocket], Wrap | None],
        pool: GreenletPool,
        tally: Tally,
        say_once: Callable[[str, str], None],
    ) -> None:
        self.is_closed = False
        self.in_flight = 0  # connections that hold a place
        self._places = settings.gevent
        self._timeout_s = settings.socket_timeout
        self._hub = hub
        self._wrapping = wrapping
        self._pool = pool
        self._tally = tally
        self._say_once = say_once
        self._listeners = [self._watched(listener) for listener in listeners]
        self._lent: dict[
            int, list[WatchedListener]
        ] = {}  # the listeners that are lent to this worker, by the number of their share
        self._batch_left = 0  # how many connections this wake-up may still take
        self._slice_ends_s = 0.0
        self._early: list[Connection] = []  # accepted connections whose requests had not arrived yet
        self._pause = hub.loop.timer(OUT_OF_FDS_PAUSE_S, OUT_OF_FDS_PAUSE_S)

    # --- listeners ---

    def open(self) -> None:
        """Accept connections, as long as there are free places."""
        if not self.is_closed and self.in_flight < self._places:
            for listener in self._listeners:
                listener.open(self._wake)

    def take_share(self, number: int, listeners: Sequence[ListenSocket]) -> None:
        """Also accept from these sockets (--reuse-port), which are lent to this worker alone.

        Args:
            number: of the share.
            listeners: as in __init__.
        """
        self.leave_share(number)
        lent = [self._watched(listener) for listener in listeners]
        if self.is_closed:
            for watched in lent:
                watched.close()
            return
        self._lent[number] = lent
        self._listeners += lent
        self.open()

    def leave_share(self, number: int) -> None:
        """Stop accepting from these sockets: another worker does it."""
        for listener in self._lent.pop(number, ()):
            self._listeners.remove(listener)
            listener.close()

    def has_waiting(self) -> bool:
        """Whether a connection waits in a backlog."""
        return any(listener.has_waiting() for listener in self._listeners)

    def close(self) -> None:
        """Accept nothing any more. Requests in flight go on."""
        self.is_closed = True
        self._batch_left = 0
        for listener in self._listeners:
            listener.close()
        self._listeners = []
        self._lent = {}

    def _watched(self, listener: ListenSocket) -> "WatchedListener":
        return WatchedListener(self._hub, listener, self._wrapping(listener))

    def _shut(self) -> None:
        for listener in self._listeners:
            listener.shut()

    # --- a wake-up ---

    def _wake(self, listener: AcceptSocket) -> None:
        """A listener is readable: let idle greenlets take its connections. Runs in the hub. A greenlet takes one
        connection after the other, until it has to wait within a request. Then the next greenlet takes over."""
        self._batch_left = ACCEPT_BATCH
        self.start_slice()
        while self._batch_left > 0 or self._early:
            self._pool.run(listener)

    def accept_next(self, listener: AcceptSocket) -> Connection | None:
        """Return a connection for the running greenlet; None if no connection waits, or no place is free.

        nginx needs some microseconds between its connect and its write. So a connection whose request has not arrived
        is served last. By then the request may have arrived. Waiting for it in the hub would cost as much as a request.
        """
        while self._batch_left > 0:
            fd = self._accept(listener)
            if fd == NOTHING:
                self._batch_left = 0
                break
            connection = Connection(fd, self._timeout_s, listener.http) if listener.wrap is None else listener.wrap(fd)
            if connection.has_begun():
                return connection
            self._early.append(connection)
        return self._early.pop() if self._early else None

    def _accept(self, listener: AcceptSocket) -> int:
        try:
            fd = listener.accept()
        except OSError as error:
            self._accept_failed(error)
            return NOTHING
        if fd != NOTHING:
            self._batch_left -= 1
            self.take_place()
        return fd

    def _accept_failed(self, error: OSError) -> None:
        """Handle an error of accept(2). If descriptors or memory are used up, pause: the listener stays readable, and
        the worker would spin. If the peer has left between its connect and our accept (ECONNABORTED), do nothing."""
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
        self._pause.stop()  # a timer that does not repeat would wait only after its first start (libev)
        self.open()

    # --- the slice of time ---

    def start_slice(self) -> None:
        """The hub has just looked at all sockets."""
        self._slice_ends_s = monotonic() + ACCEPT_SLICE_S

    def is_slice_over(self, now_s: float) -> bool:
        """Whether other requests have waited for long enough. If so, this wake-up accepts no more."""
        if now_s > self._slice_ends_s:
            self._batch_left = 0
            return True
        return False

    def end_batch(self) -> None:
        """Let this wake-up accept no more."""
        self._batch_left = 0

    # --- places ---

    def is_full(self) -> bool:
        """Whether all places are taken."""
        return self.in_flight >= self._places

    def take_place(self) -> None:
        """A connection begins to hold a place."""
        self.in_flight += 1
        self._tally.show_in_flight(self.in_flight)
        if self.in_flight >= self._places:
            self._batch_left = 0
            self._shut()

    def free_place(self) -> None:
        """A connection has ended, or waits for its next request."""
        self.in_flight -= 1
        self._tally.show_in_flight(self.in_flight)
        if self.in_flight == self._places - 1:
            self.open()


class WatchedListener:
    """A listener and its watcher."""

    def __init__(self, hub: Any, shared: ListenSocket, wrap: Wrap | None) -> None:
        self._listener = AcceptSocket(shared.fd, shared.spoken.protocol is WireProtocol.HTTP, wrap)
        self._watcher = hub.loop.io(shared.fd, READ)

    def open(self, callback: Callable[[AcceptSocket], None]) -> None:
        """Call `callback` in the hub when a connection waits."""
        if not self._watcher.active:
            self._watcher.start(callback, self._listener)

    def shut(self) -> None:
        """Stop watching."""
        self._watcher.stop()

    def has_waiting(self) -> bool:
        """Whether a connection waits in the backlog."""
        return bool(poll(self._listener.fd, select.POLLIN))

    def close(self) -> None:
        """Stop watching, and close the socket."""
        self._watcher.close()
        self._listener.close()
