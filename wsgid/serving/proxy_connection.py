"""A connection that begins with a PROXY header, in which a load balancer names its client (--proxy-protocol).

Rules
* Untrusted peers are not read. Trusted peers must send a valid header; without one they get no answer.
* After the header, the application and the log see the client's address as the peer's.
"""

from wsgid.errors import BadProxyHeader
from wsgid.protocol.forwarded import Trusted
from wsgid.protocol.proxy import Ends, decode
from wsgid.serving.connection import Connection


class ProxyConnection(Connection):
    """A Connection with a PROXY header.

    Args:
        fd, timeout_s, http: as for Connection.
        trusted: the peers that may send a header; None if no header is expected.
    """

    __slots__ = ("_trusted", "_gathered", "_ends")

    def __init__(self, fd: int, timeout_s: float, http: bool, trusted: Trusted | None) -> None:
        super().__init__(fd, timeout_s, http)
        self._trusted = trusted  # None, once the header has arrived
        self._gathered = b""
        self._ends: Ends | None = None

    def opening(self) -> str:
        return "PROXY header" if self._trusted else super().opening()

    def take(self) -> bytes | None:
        """Return bytes after the header, as Connection.take does.

        Raises:
            BadProxyHeader: the peer is not trusted, or its header is invalid.
        """
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
