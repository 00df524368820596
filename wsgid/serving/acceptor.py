"""The listeners of a worker: what is accepted from them, and when.

    listener readable -> `_wake` in the hub -> GreenletPool.run -> the greenlet calls `accept_next` until it is None

Rules
* Nothing is accepted beyond --gevent: what waits, waits in the backlog, where siblings find it.
* A wake-up takes a batch of connections, within a slice of time: see docs/decisions/009-accept.md.
* A connection whose request has not come yet is served after those whose request is there.
* When descriptors or memory are used up, accepting pauses. The connections wait in the backlog.
"""

import errno
import select
import time
from collections.abc import Callable, Sequence
from typing import Any

from wsgid.config.options import Settings
from wsgid.serving.connection import READ, Connection
from wsgid.serving.greenlets import GreenletPool
from wsgid.serving.syscalls import NOTHING, AcceptSocket, poll
from wsgid.serving.tally import Tally
from wsgid.sockets.listen_spec import ListenSocket, WireProtocol

ACCEPT_BATCH = 16  # connections that a wake-up takes, at most
ACCEPT_SLICE_S = 0.001  # after this, those who wait in this worker have their turn
OUT_OF_FDS_PAUSE_S = 0.1

_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_monotonic = time.monotonic

Wrap = Callable[[int], Connection]  # an accepted descriptor -> its connection, where this is no plain one


class Acceptor:
    """The listeners of one worker, and its places of --gevent.

    Args:
        settings: the operator's.
        hub: gevent's.
        listeners: shared with all siblings, and what is spoken there.
        wrapping: says for a listener how its connections are made; None: they are plain ones.
        pool: whose greenlets take what has come.
        tally: where it is shown how many places are taken.
        say_once: takes a key and a sentence, for what the operator has to be told once.
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
        self._lent: dict[int, list[WatchedListener]] = {}  # those among them that are lent to this worker, by number
        self._batch_left = 0  # of this wake-up
        self._slice_ends_s = 0.0
        self._early: list[Connection] = []  # accepted, and their requests had not come yet
        self._pause = hub.loop.timer(OUT_OF_FDS_PAUSE_S, OUT_OF_FDS_PAUSE_S)

    # --- listeners ---

    def open(self) -> None:
        """Accept, as long as there are places."""
        if not self.is_closed and self.in_flight < self._places:
            for listener in self._listeners:
                listener.open(self._wake)

    def take_share(self, number: int, listeners: Sequence[ListenSocket]) -> None:
        """Accept from these too (--reuse-port); they are as in __init__, but for this worker."""
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
        """Accept from these no more: somebody else does."""
        for listener in self._lent.pop(number, ()):
            self._listeners.remove(listener)
            listener.close()

    def has_waiting(self) -> bool:
        """Whether a connection waits in a backlog."""
        return any(listener.has_waiting() for listener in self._listeners)

    def close(self) -> None:
        """Accept nothing any more; what is in flight goes on."""
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
        """A listener is readable. Runs in the hub, and lets idle greenlets take what waits: one takes connection after
        connection, until it has to wait within a request; then it is the next one's turn."""
        self._batch_left = ACCEPT_BATCH
        self.start_slice()
        while self._batch_left > 0 or self._early:
            self._pool.run(listener)

    def accept_next(self, listener: AcceptSocket) -> Connection | None:
        """A connection for the greenlet that runs; None if there is none, or no place for it.

        Between nginx's connect and its write there are some microseconds. Whose request is not there yet comes last:
        by then it may be, and waiting for it in the hub costs as much as a request.
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

    # --- the slice of time ---

    def start_slice(self) -> None:
        """The hub has just looked at all sockets."""
        self._slice_ends_s = _monotonic() + ACCEPT_SLICE_S

    def is_slice_over(self, now_s: float) -> bool:
        """Whether others have waited for long enough; if so, this wake-up accepts no more."""
        if now_s > self._slice_ends_s:
            self._batch_left = 0
            return True
        return False

    def end_batch(self) -> None:
        """This wake-up accepts no more."""
        self._batch_left = 0

    # --- places ---

    def is_full(self) -> bool:
        """Whether all places are taken."""
        return self.in_flight >= self._places

    def take_place(self) -> None:
        """A connection holds a place from now on."""
        self.in_flight += 1
        self._tally.show_in_flight(self.in_flight)
        if self.in_flight >= self._places:
            self._batch_left = 0
            self._shut()

    def free_place(self) -> None:
        """A connection is over, or waits for its next request."""
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
        if not self._watcher.active:
            self._watcher.start(callback, self._listener)

    def shut(self) -> None:
        self._watcher.stop()

    def has_waiting(self) -> bool:
        return bool(poll(self._listener.fd, select.POLLIN))

    def close(self) -> None:
        self._watcher.close()
        self._listener.close()
