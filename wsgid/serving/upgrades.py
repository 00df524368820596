"""Connections that an application has upgraded to another protocol, such as WebSocket, and their limits.

    a request with an Upgrade -> the application uses its socket: no place of --gevent, no --harakiri -> it returns

Rules
* An upgraded connection holds no place of --gevent: a few thousand quiet visitors must not stop a site. --websockets is
  the limit for them. Beyond it, a request with an Upgrade gets a 503.
* When the worker leaves, each client is told: by a close frame, if it is a WebSocket. If the client does not answer, or
  the application speaks another protocol, the application reads the end of the stream. At most TOLD_PER_ROUND
  connections are told in a round, so that not all clients connect again at the same moment.
* After --websocket-idle without a byte, a connection ends in the same way.
"""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Protocol

from wsgid.config.options import Settings
from wsgid.ipc.scoreboard import Word
from wsgid.serving import gevent_websocket
from wsgid.serving.client_socket import ClientSocket
from wsgid.serving.greenlets import RequestGreenlet
from wsgid.serving.tally import Tally
from wsgid.wsgi.response import Framing, Served, Transport, serve
from wsgid.wsgi.types import Application

TOLD_PER_ROUND = 100  # a round comes ten times a second
ANSWER_S = 5.0  # how long a client may take to answer a close frame
LOOK_S = 1.0  # how often --websocket-idle is checked

_FULL = b"this worker has as many upgraded connections as --websockets allows, or no descriptor is left\n"


class Upgrade(Framing, Protocol):
    """A request with an Upgrade."""

    def raw_socket(self, timeout_s: float, on_use: Callable[[], None]) -> ClientSocket:
        """Return the client's socket. `on_use` is called when the application uses it. Raises OSError."""


class Upgrades:
    """The upgraded connections of a worker.

    Args:
        settings: the operator's settings.
        tally: counts them.
        leave_place: called when a connection is upgraded: it holds no place of --gevent any more.
        take_place: called when it ends: what follows gives a place back.
    """

    def __init__(
        self, settings: Settings, tally: Tally, leave_place: Callable[[], None], take_place: Callable[[], None]
    ) -> None:
        self._open: dict[ClientSocket, None] = {}  # in the order of their upgrade
        self._tally = tally
        self._leave_place = leave_place
        self._take_place = take_place
        self._most = settings.websockets
        self._timeout_s = settings.socket_timeout
        self._idle_s = settings.websocket_idle or math.inf
        self._answer_s = min(ANSWER_S, settings.worker_reload_mercy / 2)
        self._leaves = False
        self._told: dict[ClientSocket, None] = {}  # that were told the end, in this order
        self._look_at_s = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def serve(
        self,
        application: Application,
        environ: dict[str, Any],
        transport: Transport,
        upgrade: Upgrade,
        me: RequestGreenlet,
    ) -> Served:
        """Call the application with the client's socket in its environ.

        Args:
            application: the WSGI callable.
            environ: of the request.
            transport: to the client.
            upgrade: the request.
            me: the running greenlet.
        """

        def used() -> None:
            assert raw is not None
            me.deadline_s = math.inf
            self._open[raw] = None
            self._leave_place()
            self._tally.count(Word.UPGRADED)
            self._show()

        try:
            raw = upgrade.raw_socket(self._timeout_s, used) if len(self._open) < self._most else None
        except OSError:
            raw = None
        if raw is None:
            return serve(_refuse, environ, transport, upgrade)
        environ["wsgid.socket"] = environ["werkzeug.socket"] = raw
        gevent_websocket.offer(environ, raw)
        try:
            return serve(application, environ, transport, upgrade)
        finally:
            raw.close()
            self._end(raw)

    def _end(self, raw: ClientSocket) -> None:
        if raw in self._open:
            del self._open[raw]
            self._told.pop(raw, None)
            self._take_place()
            self._show()

    def _show(self) -> None:
        self._tally.show(Word.UPGRADED_NOW, len(self._open))

    # --- called by the worker ---

    def leave(self) -> None:
        """The worker leaves: tell the clients, from now on and in each round."""
        self._leaves = True

    def due_s(self) -> float:
        """Return when `look` may have something to do (time.monotonic()); -inf if it has now."""
        if self._leaves and len(self._told) < len(self._open):
            return -math.inf
        answer_s = next((raw.told_s + self._answer_s for raw in self._told), math.inf)
        return min(answer_s, self._look_at_s if self._open and self._idle_s < math.inf else math.inf)

    def look(self, now_s: float) -> None:
        """Tell the end to those who have to end. Called in each round."""
        if not self._open:
            return
        ended = list(islice(self._to_end(now_s), TOLD_PER_ROUND))
        for raw in ended:
            self._tell(raw, now_s)
        self._end_reading(now_s)

    def _to_end(self, now_s: float) -> Iterator[ClientSocket]:
        """Yield the connections that have to end and were not told so."""
        if self._leaves:
            yield from (raw for raw in self._open if raw not in self._told)
        elif self._idle_s < math.inf and now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_S
            quiet_s = now_s - self._idle_s
            yield from (raw for raw in self._open if raw.active_s <= quiet_s and raw not in self._told)

    def _end_reading(self, now_s: float) -> None:
        """End the connections whose clients have not answered in time."""
        for raw in list(self._told):
            if now_s - raw.told_s < self._answer_s:
                break
            raw.end_reading()
            del self._told[raw]
            self._told[raw] = None  # again after the others, if the application goes on to read
            raw.told_s = now_s

    def _tell(self, raw: ClientSocket, now_s: float) -> None:
        self._told[raw] = None
        raw.told_s = now_s
        if raw.is_websocket:
            raw.say_goodbye()
        else:
            raw.end_reading()


def _refuse(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer a request with an Upgrade for which there is no room."""
    start_response("503 Service Unavailable", [("Content-Type", "text/plain"), ("Retry-After", "5")])
    return [_FULL]
