"""HTTP connections between two requests: each has a watcher in the hub, and neither a greenlet nor a place.

Rules
* A client that is quiet, or sends its head drop by drop (slowloris), costs a descriptor and some bytes.
* At most so many are kept: beyond that, the one that has been here longest is closed.
* A quiet one is closed without a word after --http-keepalive; one that has begun a head is late after
  --http-head-timeout, and is told so.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wsgid.serving.connection import READ
from wsgid.serving.http_connection import Arrival, HttpConnection

_NOTHING, _PART, _HEAD, _END = Arrival  # see exchange.py


@dataclass
class _Parked:
    __slots__ = ("until_s", "begun")

    until_s: float
    begun: bool  # a head, or what has to come before


class IdleConnections:
    """The quiet connections of one worker.

    Args:
        hub: gevent's.
        quiet_s: --http-keepalive.
        head_s: --http-head-timeout.
        places: how many are kept at most.
        resume: called in the hub with a connection whose next request, or whose end, is there.
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
        """Wait for the next request of this connection; `arrival` is NOTHING or PART."""
        begun = arrival is _PART
        connection = exchange.connection
        if connection.watcher is None:  # one for all its requests: stopped and started again, libev tells epoll nothing
            connection.watcher = self._hub.loop.io(connection.fd, READ)
        self._parked[exchange] = _Parked(now_s + (self._head_s if begun else self._quiet_s), begun)
        connection.watcher.start(self._wake, exchange)
        if len(self._parked) > self._places:
            self._close(next(iter(self._parked)))

    def expire(self, now_s: float) -> list[HttpConnection]:
        """Close those whose time is over; but for the late ones, which are the caller's from now on."""
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
        """Each has this much longer."""
        for parked in self._parked.values():
            parked.until_s += more_s

    def hurry(self, now_s: float, grace_s: float) -> None:
        """The worker leaves: from now on, who has something to say has this long to say it."""
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
            if parked.begun:  # a handshake, which is over
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
