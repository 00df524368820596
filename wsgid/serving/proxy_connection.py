"""A connection that begins with a PROXY header, in which a load balancer names its client (--proxy-protocol).

Rules
* --proxy-protocol: untrusted peers are not read. Trusted peers must send a valid header; without it they get no answer.
* --http-enable-proxy-protocol: any peer may send a header, and bytes that begin no header are a request.
* After the header, the application and the log see the client's address as the peer's.
"""

from wsgid.errors import BadProxyHeader
from wsgid.protocol.forwarded import Trusted
from wsgid.protocol.proxy import Ends, begins_header, decode
from wsgid.records import dataclass
from wsgid.serving.connection import Connection
from wsgid.sockets.listen_spec import ProxyHeader


@dataclass(frozen=True, slots=True)
class ExpectedHeader:
    """Who may send a PROXY header.

    Args:
        trusted: these peers.
        is_optional: whether a connection without a header is served, too.
    """

    trusted: Trusted
    is_optional: bool = False


def expected_header(proxied: ProxyHeader, trusted: Trusted) -> ExpectedHeader | None:
    """Return who may send a PROXY header on a socket; None if no header is expected.

    Args:
        proxied: of the socket.
        trusted: the peers of --forwarded-allow-ips.
    """
    if proxied is ProxyHeader.OPTIONAL:
        return ExpectedHeader(Trusted("*"), is_optional=True)
    return ExpectedHeader(trusted) if proxied is ProxyHeader.REQUIRED else None


class ProxyConnection(Connection):
    """A Connection with a PROXY header.

    Args:
        fd, timeout_s, http: as for Connection.
        expected: None if no header is expected.
    """

    __slots__ = ("_expected", "_gathered", "_ends")

    def __init__(self, fd: int, timeout_s: float, http: bool, expected: ExpectedHeader | None) -> None:
        super().__init__(fd, timeout_s, http)
        self._expected = expected  # None, once the header has arrived
        self._gathered = b""
        self._ends: Ends | None = None

    def opening(self) -> str:
        return "PROXY header" if self._expected else super().opening()

    def take(self) -> bytes | None:
        """Return bytes after the header, as Connection.take does.

        Raises:
            BadProxyHeader: the peer is not trusted, or its header is invalid.
        """
        block = super().take()
        expected = self._expected
        if not block or not expected:
            return block
        if not self._gathered and not expected.trusted.includes(super().names()["REMOTE_ADDR"]):
            raise BadProxyHeader("it is not in --forwarded-allow-ips, which says whose PROXY headers count")
        self._gathered += block
        if expected.is_optional and not begins_header(self._gathered):
            block, self._gathered, self._expected = self._gathered, b"", None
            return block
        header = decode(self._gathered)
        if header is None:
            return None
        block, self._gathered = self._gathered[header.size_bytes :], b""
        self._ends, self._expected = header.ends, None
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
