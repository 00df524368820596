"""A connection that begins with a PROXY header, by which a load balancer says whom it speaks for (--proxy-protocol).

Rules
* Who is not trusted is not read.  Who is has to send the header: without a valid one there is no answer.
* From the header on, the connection is the client's, for the application and for the log.
"""

from wsgid.errors import BadProxyHeader
from wsgid.protocol.forwarded import Trusted
from wsgid.protocol.proxy import Ends, decode
from wsgid.serving.connection import Connection


class ProxyConnection(Connection):
    """As a Connection.

    Args:
        fd, timeout_s, http: as there.
        trusted: whose header counts; None if no header is expected.
    """

    __slots__ = ("_trusted", "_gathered", "_ends")

    def __init__(self, fd: int, timeout_s: float, http: bool, trusted: Trusted | None) -> None:
        super().__init__(fd, timeout_s, http)
        self._trusted = trusted  # until the header is there
        self._gathered = b""
        self._ends: Ends | None = None

    def opening(self) -> str:
        return "PROXY header" if self._trusted else super().opening()

    def take(self) -> bytes | None:
        """Raises BadProxyHeader."""
        block = super().take()
        if not block or not self._trusted:
            return block
        if not self._gathered and not self._trusted.includes(super().names()["REMOTE_ADDR"]):
            raise BadProxyHeader("it is not in --forwarded-allow-ips, which says whose PROXY headers count")
        self._gathered += block
        header = decode(self._gathered)
        if header is None:
            return None
        block, self._gathered = self._gathered[header.size_bytes :], b""
        self._ends, self._trusted = header.ends, None
        return block or super().take()

    def names(self) -> dict[str, str]:
        ends = self._ends
        if ends is None:
            return super().names()
        return {
            "REMOTE_ADDR": ends.client,
            "REMOTE_PORT": str(ends.client_port),
            "SERVER_NAME": "",
            "SERVER_PORT": str(ends.server_port),
        }

    def peer(self) -> str:
        if self._ends is None:
            return super().peer()
        return f"{self._ends.client}:{self._ends.client_port} (by {super().peer()})"
