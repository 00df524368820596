"""HTTP connections between two requests. Each has a watcher in the hub, but no greenlet and no place of --gevent.

Rules
* A quiet client, or a client that sends its head very slowly (slowloris), costs a descriptor and some bytes.
* Only so many connections are kept. Beyond that, the connection that has been kept longest is closed.
* A quiet connection is closed without an answer after --http-keepalive. A connection whose head has begun is late after
  --http-head-timeout, and gets an answer.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wsgid.serving.connection import READ
from wsgid.serving.http_connection import Arrival, HttpConnection

_NOTHING, _PART, _HEAD, _END = Arrival  # see http_connection.py


@dataclass
class _Parked:
    __slots__ = ("until_s", "begun")

    until_s: float
    begun: bool  # whether a head has begun, or what has to come before a head


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
        self._parked: dict[HttpConnection, _Parked] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def keep(self, exchange: HttpConnection, arrival: Arrival, now_s: float) -> None:
        """Keep a connection until its next request arrives.

        Args:
            exchange: the connection.
            arrival: NOTHING or PART.
            now_s: by the worker's clock.
        """
        begun = arrival is _PART
        connection = exchange.connection
        if connection.watcher is None:  # one watcher for all its requests: restarting it costs no epoll_ctl(2)
            connection.watcher = self._hub.loop.io(connection.fd, READ)
        self._parked[exchange] = _Parked(now_s + (self._head_s if begun else self._quiet_s), begun)
        connection.watcher.start(self._wake, exchange)
        if len(self._parked) > self._places:
            self._close(next(iter(self._parked)))

    def expire(self, now_s: float) -> list[HttpConnection]:
        """Close quiet connections whose time is over. Returns the late ones, which the caller has to answer."""
        late = []
        for exchange, parked in list(self._parked.items()):
            if now_s < parked.until_s:
                continue
            if parked.begun:
                self._forget(exchange)
                late.append(exchange)
            else:
                self._close(exchange)
        return late

    def delay(self, more_s: float) -> None:
        """Give each connection this many seconds more."""
        for parked in self._parked.values():
            parked.until_s += more_s

    def hurry(self, now_s: float, grace_s: float) -> None:
        """The worker leaves: from now on, each client has `grace_s` to send a request."""
        self._quiet_s, self._head_s = min(self._quiet_s, grace_s), min(self._head_s, grace_s)
        for parked in self._parked.values():
            parked.until_s = min(parked.until_s, now_s + grace_s)

    def _wake(self, exchange: HttpConnection) -> None:
        parked = self._parked[exchange]
        arrival = exchange.advance()
        if arrival is _PART:
            if not parked.begun:
                parked.begun = True
                parked.until_s = time.monotonic() + self._head_s
            return
        if arrival is _NOTHING:
            if parked.begun:  # a TLS handshake has ended
                parked.begun = False
                parked.until_s = time.monotonic() + self._quiet_s
            return
        if arrival is _END:
            self._close(exchange)
            return
        self._forget(exchange)
        self._resume(exchange)

    def _forget(self, exchange: HttpConnection) -> None:
        del self._parked[exchange]
        exchange.connection.watcher.stop()

    def _close(self, exchange: HttpConnection) -> None:
        self._forget(exchange)
        exchange.connection.close()
