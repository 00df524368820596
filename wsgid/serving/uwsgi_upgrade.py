"""A request with an Upgrade that nginx sends with uwsgi_pass: how its answer ends, and its socket.

    nginx: "Upgrade" and "Connection" reach the application as every header -> 101 -> nginx passes bytes in both
    directions (ngx_http_upstream.c, u->upgrade), as with proxy_pass

Rules
* The answer of an application that does not use the socket is framed as every answer over uwsgi.
"""

from collections.abc import Callable
from typing import Any

from wsgid.serving.client_socket import ClientSocket, raw_socket
from wsgid.serving.connection import Connection


def is_asked(environ: dict[str, Any]) -> bool:
    """Whether a request with the variable HTTP_UPGRADE asks for another protocol (RFC 9110, 7.8)."""
    return bool(environ["HTTP_UPGRADE"]) and "upgrade" in environ.get("HTTP_CONNECTION", "").lower()


class UwsgiUpgrade:
    """The framing of the answer (response.Framing), and the socket.

    Args:
        connection: of nginx.
        body: the request's wsgi.input.
        beyond: bytes that have arrived behind the request.
    """

    chunked = False

    def __init__(self, connection: Connection, body: Any, beyond: bytes) -> None:
        self.taken = False
        self._connection = connection
        self._body = body
        self._beyond = beyond

    def head_lines(self, _code: int, _head: str, _length: int | None, _bodiless: bool) -> str:
        """Add nothing to the head: the connection ends the response."""
        return ""

    def raw_socket(self, timeout_s: float, on_use: Callable[[], None]) -> ClientSocket:
        """Return the client's socket: see upgrades.Upgrade."""

        def used() -> bytes:
            self.taken = True
            on_use()
            while self._body.read(1 << 16):  # the request has to end before the other protocol begins: RFC 9110, 7.8
                pass
            return self._beyond

        return raw_socket(self._connection, timeout_s, used)
