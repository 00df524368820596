"""Requests that nginx sends with uwsgi_pass: recv, decode, call the application, send, close.

Rules
* One connection has one request: nginx never keeps uwsgi connections open.
* A head has to arrive within --socket-timeout. Sending it slowly does not extend this time.
* The C stack of a request that waits in its application is memory. So `serve` calls the application itself, and what
  comes before and after it is done in other functions.
"""

import math
import time
from collections.abc import Callable
from typing import Any

from wsgid.config.options import Settings
from wsgid.counted import counted
from wsgid.errors import BadPacket, ClientDisconnected, HeadTimeout, PeerError
from wsgid.log.request_record import RequestRecord
from wsgid.protocol.forwarded import parse_headers, take_balancers_scheme
from wsgid.protocol.uwsgi import HEADER_SIZE_BYTES, PONG, Modifier, UwsgiHead, decode
from wsgid.serving.acceptor import Acceptor
from wsgid.serving.access_log import AccessLog
from wsgid.serving.clock import Patience
from wsgid.serving.completion import Completion
from wsgid.serving.connection import Connection
from wsgid.serving.greenlets import RequestGreenlet
from wsgid.serving.lingering_close import LingeringClose
from wsgid.serving.phases import STAMP
from wsgid.serving.refusals import Refusals
from wsgid.serving.syscalls import monotonic
from wsgid.serving.upgrades import Upgrades
from wsgid.serving.uwsgi_upgrade import UwsgiUpgrade, is_asked
from wsgid.wsgi.environ import complete, make_environ
from wsgid.wsgi.input import Body
from wsgid.wsgi.response import Outcome, Served, serve
from wsgid.wsgi.types import Application

WARY_S = 5.0  # how long the successor of a dead worker checks whether clients still wait

_TORN, _DISCONNECTED = Outcome.TORN, Outcome.DISCONNECTED
_PING = Modifier.PING


class UwsgiRequests:
    """The requests of a worker.

    Args:
        settings: the operator's settings.
        application: the WSGI callable.
        base: the constant part of each environ.
        acceptor: has the slice of time.
        completion: follows each call of the application.
        refusals, lingering: other ends of a connection.
        access_log: gets every request; None without an access log.
        upgrades: serves requests with an Upgrade.
        say_once: takes a key and a sentence that the operator has to be told once.
        wary: whether to check, for a while, that clients still wait for their answers.
    """

    def __init__(
        self,
        settings: Settings,
        application: Application,
        base: dict[str, Any],
        acceptor: Acceptor,
        completion: Completion,
        refusals: Refusals,
        lingering: LingeringClose,
        access_log: AccessLog | None,
        upgrades: Upgrades,
        say_once: Callable[[str, str], None],
        wary: bool,
    ) -> None:
        self._application = application
        self._base = base
        self._acceptor = acceptor
        self._completion = completion
        self._refusals = refusals
        self._lingering = lingering
        self._access_log = access_log
        self._upgrades = upgrades
        self._say_once = say_once
        self._reads_scheme = "HTTP_X_FORWARDED_PROTO" in parse_headers(settings.forwarded_headers)
        self._max_vars = settings.max_vars
        self._timeout_s = settings.socket_timeout
        self._harakiri_s = settings.harakiri or math.inf
        self._wary_until_s = time.monotonic() + WARY_S if wary else 0.0

    def serve(self, connection: Connection, me: RequestGreenlet) -> None:
        """Serve the request of this connection.

        Args:
            connection: just accepted.
            me: the running greenlet.

        Raises:
            ClientDisconnected: the client has left.
            BaseException: whatever was thrown into this greenlet outside of its application call.
        """
        head = self._receive(connection, me)
        if head is None:
            return
        environ = head.variables
        body = self._begin(head, connection, me)
        if "HTTP_UPGRADE" in environ and self._asks_for_upgrade(environ):
            served = self._upgrade(head, connection, me)
        else:
            if self._access_log is None:
                head = None  # it would take memory as long as the request lasts
            served = serve(self._application, environ, connection)
        self._end(served, head, body, connection, me)

    def _receive(self, connection: Connection, me: RequestGreenlet) -> UwsgiHead | None:
        """Return the packet; None if the connection has no request, and is closed."""
        started_s = me.started_s = monotonic()
        self._acceptor.is_slice_over(started_s)
        try:
            buffer, rest = connection.begin()
            if not buffer:  # a probe, or another server that checks whether this one is alive
                connection.close()
                return None
            head = decode(buffer, self._max_vars, self._base)
            if head is None:
                buffer, head = self._read_on(connection, buffer)
        except PeerError as error:
            self._refusals.refuse(connection, error)
            return None
        if head.modifier is _PING:
            connection.send(PONG)
            connection.close()
            return None
        if started_s < self._wary_until_s and connection.is_abandoned():
            # The request that killed the previous worker may be in the backlog many times, from clients that have given
            # up meanwhile.
            raise ClientDisconnected("the client has left before its request was looked at")
        me.allowed_s = self._harakiri_s
        # Only these parts are kept: the packet would take memory as long as the request lasts.
        head.rest = buffer[head.size_bytes :] if len(buffer) > head.size_bytes else rest
        if self._access_log is not None:
            head.header = buffer[:HEADER_SIZE_BYTES]
        return head

    def _read_on(self, connection: Connection, buffer: bytes) -> tuple[bytes, UwsgiHead]:
        """Read the rest of a head that did not arrive at once. The time-out holds for the whole head.

        Raises:
            PeerError: the head is refused, ends early, or takes too long.
        """
        with Patience(self._timeout_s, HeadTimeout(f"the head did not arrive within {self._timeout_s:g} s")):
            gathered = bytearray(buffer)
            while True:
                more = connection.recv()
                if not more:
                    raise BadPacket(f"the packet ends after {counted(len(gathered), 'byte')}, within its head")
                gathered += more
                buffer = bytes(gathered)
                head = decode(buffer, self._max_vars, self._base)
                if head is not None:
                    return buffer, head

    def _begin(self, head: UwsgiHead, connection: Connection, me: RequestGreenlet) -> Body | None:
        """Make the environ of the variables. Returns the body; None if it has arrived, because it would take memory as
        long as the request lasts."""
        head.received = len(head.variables)
        missing = complete(head.variables)
        if missing:
            self._say_once(
                "variables",
                f"requests arrive without {', '.join(missing)}: add `include uwsgi_params;` to nginx's location",
            )
        body = Body(head.rest, head.content_length, connection)
        stamp = head.variables.get(STAMP)
        if stamp is not None:
            self._completion.note_front(stamp, me)
        if self._reads_scheme and (
            "HTTP_X_FORWARDED_PROTO" in head.variables or "HTTP_X_FORWARDED_SSL" in head.variables
        ):
            take_balancers_scheme(head.variables)
        me.environ = make_environ(head.variables, body.stream)
        return body if body.unread_bytes else None

    def _asks_for_upgrade(self, environ: dict[str, Any]) -> bool:
        # Not in the caller: its temporary values would lie on the stack that a waiting request keeps (decision 43).
        return is_asked(environ)

    def _upgrade(self, head: UwsgiHead, connection: Connection, me: RequestGreenlet) -> Served:
        upgrade = UwsgiUpgrade(connection, head.variables["wsgi.input"], head.rest[head.content_length :])
        return self._upgrades.serve(self._application, head.variables, connection, upgrade, me)

    def _end(
        self, served: Served, head: UwsgiHead | None, body: Body | None, connection: Connection, me: RequestGreenlet
    ) -> None:
        """The application has answered: count the request, write it to the log, and end the connection."""
        took_s = self._completion.finish(served, me, connection)
        if self._access_log is not None and head is not None:
            record = RequestRecord(
                head.variables,
                served,
                me.started_s,
                took_s,
                head.content_length,
                head.size_bytes - HEADER_SIZE_BYTES,
                head.header,
                head.received - len(self._base),
            )
            self._access_log.note(record)
        outcome = served.outcome
        if outcome is _TORN:
            connection.cut()
        elif body is not None and body.unread_bytes and outcome is not _DISCONNECTED:
            self._lingering.close(connection)
        else:
            connection.close()
