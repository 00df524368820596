"""HTTP connections between two requests. Each has a watcher in the hub, but no greenlet and no place of --gevent.

Rules
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
from operator import itemgetter
from typing import Any

from wsgid.serving.connection import READ
from wsgid.serving.http_connection import Arrival, HttpConnection

_NOTHING, _PART, _HEAD, _END = Arrival  # see http_connection.py


class IdleConnections:
    """The connections of one worker that wait for a request.

    Args:
        hub: gevent's.
        quiet_s: the value of --http-keepalive.
        head_s: the value of --http-head-timeout.
        places: the most connections that are kept.
        resume: called in the hub with a connection, when its next request or its end has arrived.
    """

    def __init__(
        self, hub: Any, quiet_s: float, head_s: float, places: int, resume: Callable[[HttpConnection], None]
    ) -> None:
        self._hub = hub
        self._quiet_s = quiet_s
        self._head_s = head_s
        self._places = places
        self._resume = resume
        # Each with the time of its end.
        self._quiet: dict[HttpConnection, float] = {}
        self._begun: dict[HttpConnection, float] = {}  # a head has begun, or what has to come before a head

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
        if connection.watcher is None:  # one watcher for all its requests: restarting it costs no epoll_ctl(2)
            connection.watcher = self._hub.loop.io(connection.fd, READ)
        if arrival is _PART:
            self._begun[exchange] = now_s + self._head_s
        else:
            self._quiet[exchange] = now_s + self._quiet_s
        connection.watcher.start(self._wake, exchange)
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

    def _wake(self, exchange: HttpConnection) -> None:
        arrival = exchange.advance()
        if arrival is _PART:
            if self._quiet.pop(exchange, None) is not None:
                self._begun[exchange] = time.monotonic() + self._head_s
            return
        if arrival is _NOTHING:
            if self._begun.pop(exchange, None) is not None:  # a TLS handshake has ended
                self._quiet[exchange] = time.monotonic() + self._quiet_s
            return
        if arrival is _END:
            self._close(exchange)
            return
        self._forget(exchange)
        self._resume(exchange)

    def _kept_longest(self) -> HttpConnection:
        """Return the connection that is in its state for the longest time."""
        first = [(until_s - self._quiet_s, exchange) for exchange, until_s in islice(self._quiet.items(), 1)]
        first += [(until_s - self._head_s, exchange) for exchange, until_s in islice(self._begun.items(), 1)]
        return min(first, key=itemgetter(0))[1]

    def _forget(self, exchange: HttpConnection) -> None:
        if self._quiet.pop(exchange, None) is None:
            del self._begun[exchange]
        exchange.connection.watcher.stop()

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
