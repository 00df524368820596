"""HTTP connections between two requests. All of them have one watcher in the hub, no greenlet and no place of --gevent.

    keep -> clients send -> `_wake` in the hub reads from all that have sent -> resume(connections with a whole head)

Rules
* The connections are in an epoll(7) of their own, and the hub watches only that. A connection enters it once, for all
  its requests: between two requests there is no system call and no watcher. The kernel gives the connections that have
  sent in the order of their bytes, ARRIVED_MAX at a time, and turns to the others before it comes back to one.
* A connection stays in the epoll while its request is served. If something arrives meanwhile (a part of the body, or
  the next request), it leaves the epoll until it is kept again. Otherwise the hub would be woken again and again.
* A descriptor leaves the epoll before it is closed: a copy of it in a process that the application has forked would
  keep it there (epoll(7), Q6).
* A quiet client, or a client that sends its head very slowly (slowloris), costs a descriptor and some bytes.
* Only so many connections are kept. Beyond that, the connection that has been kept longest is closed.
* A quiet connection is closed without an answer after --http-keepalive. A connection whose head has begun is late after
  --http-head-timeout, and gets an answer.
* All connections of a state have the same time. So each state's dict has them in the order of their ends, and only the
  first ones are looked at, however many are kept.
"""

import time
from collections.abc import Callable
from itertools import islice
from math import inf
from operator import itemgetter
from typing import Any

from gevent.monkey import get_original

from wsgid.serving.connection import READ
from wsgid.serving.http_connection import Arrival, HttpConnection

ARRIVED_MAX = 16  # so many connections are read before their requests are served

_NOTHING, _PART, _HEAD, _END = Arrival  # see http_connection.py
_EPOLLIN = 0x001  # <sys/epoll.h>
_epoll = get_original("select", "epoll")  # gevent removes it from the module


class IdleConnections:
    """The connections of one worker that wait for a request.

    Args:
        hub: gevent's.
        quiet_s: the value of --http-keepalive.
        head_s: the value of --http-head-timeout.
        places: the most connections that are kept.
        resume: called in the hub with the connections whose next requests have arrived.
    """

    def __init__(
        self, hub: Any, quiet_s: float, head_s: float, places: int, resume: Callable[[list[HttpConnection]], None]
    ) -> None:
        self._hub = hub
        self._quiet_s = quiet_s
        self._head_s = head_s
        self._places = places
        self._resume = resume
        # Each with the time of its end.
        self._quiet: dict[HttpConnection, float] = {}
        self._begun: dict[HttpConnection, float] = {}  # a head has begun, or what has to come before a head
        self._epoll: Any = None  # made for the first connection
        self._watcher: Any = None  # of the epoll
        self._watched: dict[int, HttpConnection] = {}  # the connections in the epoll, by descriptor

    def __len__(self) -> int:
        return len(self._quiet) + len(self._begun)

    def keep(self, exchange: HttpConnection, arrival: Arrival, now_s: float) -> None:
        """Keep a connection until its next request arrives.

        Args:
            exchange: the connection.
            arrival: NOTHING or PART.
            now_s: by the worker's clock.
        """
        connection = exchange.connection
        if connection.watcher is None:
            self._watch(exchange)
            connection.watcher = self
        if arrival is _PART:
            self._begun[exchange] = now_s + self._head_s
        else:
            self._quiet[exchange] = now_s + self._quiet_s
        if len(self._quiet) + len(self._begun) > self._places:
            self._close(self._kept_longest())

    def expire(self, now_s: float) -> list[HttpConnection]:
        """Close quiet connections whose time is over. Returns the late ones, which the caller has to answer."""
        for exchange in _over(self._quiet, now_s):
            self._close(exchange)
        late = _over(self._begun, now_s)
        for exchange in late:
            self._forget(exchange)
        return late

    def due_s(self) -> float:
        """Return when the time of the first connection is over; inf if no connection is kept."""
        return min(next(iter(parked.values()), inf) for parked in (self._quiet, self._begun))

    def delay(self, more_s: float) -> None:
        """Give each connection this many seconds more."""
        for parked in (self._quiet, self._begun):
            for exchange in parked:
                parked[exchange] += more_s

    def hurry(self, now_s: float, grace_s: float) -> None:
        """The worker leaves: from now on, each client has `grace_s` to send a request."""
        self._quiet_s, self._head_s = min(self._quiet_s, grace_s), min(self._head_s, grace_s)
        for parked in (self._quiet, self._begun):
            for exchange in parked:
                parked[exchange] = min(parked[exchange], now_s + grace_s)

    def leave(self, fd: int) -> None:
        """Watch this descriptor no longer. Called before it is closed."""
        del self._watched[fd]
        if self._epoll is not None:
            self._epoll.unregister(fd)

    def give_up(self) -> None:
        """In a process that the application has forked: the epoll is the worker's, and nothing may be changed in it."""
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    # --- arrivals ---

    def _watch(self, exchange: HttpConnection) -> None:
        if self._epoll is None:
            self._epoll = _epoll()
            self._watcher = self._hub.loop.io(self._epoll.fileno(), READ)
            self._watcher.start(self._wake)
        fd = exchange.connection.fd
        self._epoll.register(fd, _EPOLLIN)
        self._watched[fd] = exchange

    def _wake(self) -> None:
        """Something has arrived on some connections. Runs in the hub."""
        ready = []
        for fd, _ in self._epoll.poll(0, ARRIVED_MAX):
            exchange = self._watched.get(fd)
            if exchange is None:  # closed by the handler of an event before this one
                continue
            if exchange not in self._quiet and exchange not in self._begun:  # its request is being served
                exchange.connection.watcher = None
                self.leave(fd)
            elif self._has_request(exchange):
                ready.append(exchange)
        if ready:
            self._resume(ready)

    def _has_request(self, exchange: HttpConnection) -> bool:
        """Read from a connection. Returns whether a whole head is here; then the connection is kept no longer."""
        arrival = exchange.advance()
        if arrival is _HEAD:
            self._forget(exchange)
            return True
        if arrival is _PART:
            if self._quiet.pop(exchange, None) is not None:
                self._begun[exchange] = time.monotonic() + self._head_s
        elif arrival is _NOTHING:
            if self._begun.pop(exchange, None) is not None:  # a TLS handshake has ended
                self._quiet[exchange] = time.monotonic() + self._quiet_s
        else:
            self._close(exchange)
        return False

    def _kept_longest(self) -> HttpConnection:
        """Return the connection that is in its state for the longest time."""
        first = [(until_s - self._quiet_s, exchange) for exchange, until_s in islice(self._quiet.items(), 1)]
        first += [(until_s - self._head_s, exchange) for exchange, until_s in islice(self._begun.items(), 1)]
        return min(first, key=itemgetter(0))[1]

    def _forget(self, exchange: HttpConnection) -> None:
        if self._quiet.pop(exchange, None) is None:
            del self._begun[exchange]

    def _close(self, exchange: HttpConnection) -> None:
        self._forget(exchange)
        exchange.connection.close()


def _over(parked: dict[HttpConnection, float], now_s: float) -> list[HttpConnection]:
    """Return the connections whose time is over, the first ones."""
    over = []
    for exchange, until_s in parked.items():
        if now_s < until_s:
            break
        over.append(exchange)
    return over
