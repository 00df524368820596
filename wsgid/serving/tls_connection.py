"""A TLS connection: OpenSSL between two buffers in memory, and the reads, writes and waits of the plain connection.

    in:  Connection.take -> incoming -> SSLObject -> take, recv
    out: send -> SSLObject -> outgoing -> Connection.send

Rules
* `take` never waits, not even in a handshake. A client with a slow handshake costs no greenlet and no place
  (keepalive.py).
* A peer that sends plain HTTP or uwsgi instead of a handshake gets a plain answer that says so.
* The stream ends with close_notify (RFC 8446, 6.1), or is cut without one, so that nobody takes a part for the whole.
"""

import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Any

import greenlet
from gevent.hub import get_hub

from wsgid.config.options import Settings
from wsgid.errors import BadHandshake, ClientDisconnected, ForeignProtocol, HeadTimeout
from wsgid.protocol.forwarded import Trusted
from wsgid.serving import syscalls
from wsgid.serving.clock import Patience
from wsgid.serving.connection import READ, Connection
from wsgid.serving.proxy_connection import ExpectedHeader, ProxyConnection, expected_header
from wsgid.serving.syscalls import NOTHING, RECV_BYTES
from wsgid.serving.turns import give_way
from wsgid.sockets.listen_spec import ListenSocket, WireProtocol

_HANDSHAKE = b"\x16"  # RFC 8446, 5.1: the content type of a connection's first record
_PIECE_BYTES = 32 * 1024  # encrypted at a time before it is sent: OpenSSL never shrinks its buffers
_RECORD_BYTES = 16 * 1024  # RFC 8446, 5.1
# RFC 4514, 3. Other attributes go by their long names, because no short names are standard.
_SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_ESCAPED = str.maketrans({char: f"\\{char}" for char in '"+,;<>\\'})


class TlsStage(Enum):
    """The progress of a TLS connection."""

    SILENT = auto()  # nothing has arrived
    OPENING = auto()  # the handshake is under way
    OPEN = auto()
    PLAIN = auto()  # the peer speaks no TLS; the answer is sent in plain
    FAILED = auto()  # the handshake has failed; nothing can be sent
    CLOSED = auto()  # the stream has ended on our side; bytes that still arrive are ignored


_UNSHAKEN = (TlsStage.SILENT, TlsStage.OPENING)
_SECRET = (*_UNSHAKEN, TlsStage.OPEN)  # in these stages OpenSSL encrypts and decrypts the bytes on the socket


class TlsConnection(ProxyConnection):
    """A Connection with TLS.

    Args:
        fd, timeout_s, http, expected: as for ProxyConnection.
        context: with the server's certificate.
        opening_s: how long `begin` waits for the first bytes, handshake included.
    """

    __slots__ = ("_stage", "_incoming", "_outgoing", "_tls", "_unsent", "_opening_s", "_ended")

    def __init__(
        self,
        fd: int,
        timeout_s: float,
        http: bool,
        expected: ExpectedHeader | None,
        context: ssl.SSLContext,
        opening_s: float,
    ) -> None:
        super().__init__(fd, timeout_s, http, expected)
        self._stage = TlsStage.SILENT
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent = b""  # bytes that the kernel has not taken, where waiting was not possible
        self._opening_s = opening_s
        self._ended = False  # whether the end has arrived in the same block as the bytes before it

    @property
    def is_secret(self) -> bool:
        return True

    def opening(self) -> str:
        return super().opening() or ("TLS handshake" if self._stage in _UNSHAKEN else "")

    # --- reading ---

    def begin(self) -> tuple[bytes, bytes]:
        """Return the first decrypted bytes.

        Raises:
            PeerError: there is no handshake, or it is too late.
            ClientDisconnected: as `recv`.
        """
        late = HeadTimeout(f"no TLS handshake and first byte within {self._opening_s:g} s (--http-head-timeout)")
        with Patience(self._opening_s, late):
            return self.recv(), b""

    def recv(self, size_bytes: int = RECV_BYTES) -> bytes:
        give_way()
        while (block := self._read(size_bytes)) is None:
            self._flush()
            self._wait(READ)
        return block

    def recv_into(self, target: memoryview) -> int:
        """As `recv`. Returns how many bytes were put into `target`."""
        block = self.recv(len(target))
        target[: len(block)] = block
        return len(block)

    def take(self) -> bytes | None:
        """Return everything that one block from the socket contains. The event loop knows nothing of bytes inside
        OpenSSL."""
        if self._ended:
            return b""
        blocks = []
        block = self._read(RECV_BYTES)
        while block:
            blocks.append(block)
            block = self._decrypt(RECV_BYTES)
        if not blocks:
            return block
        self._ended = block == b""
        return b"".join(blocks)

    def _read(self, size_bytes: int) -> bytes | None:
        """Take at most one block from the socket: it may contain many records, or no complete one."""
        if self._stage not in _SECRET:
            return super().take()
        block = self._decrypt(size_bytes)
        if block is not None:
            return block
        raw = super().take()
        if raw is None:
            return None
        if raw:
            if self._stage is TlsStage.SILENT:
                self._look_at(raw)
            self._incoming.write(raw)
        else:
            self._incoming.write_eof()
        return self._decrypt(size_bytes)

    def holds(self) -> bool:
        return self._ended

    def _look_at(self, first: bytes) -> None:
        if first.startswith(_HANDSHAKE):
            self._stage = TlsStage.OPENING
            return
        self._stage = TlsStage.PLAIN
        raise ForeignProtocol(
            f"the peer speaks plain {'HTTP' if self.http else 'uwsgi'}, or something else that is no "
            f"TLS: ask for {'https://' if self.http else 'suwsgi://'} here"
        )

    def _decrypt(self, size_bytes: int) -> bytes | None:
        """Return decrypted bytes; None if more has to arrive first."""
        try:
            if self._stage is not TlsStage.OPEN:
                self._tls.do_handshake()
                self._stage = TlsStage.OPEN
            return self._tls.read(min(size_bytes, _RECORD_BYTES))  # Python allocates the requested size
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except ssl.SSLError as error:
            reason = str(error.reason or error).replace("_", " ").lower()
            if self._stage is TlsStage.OPEN:
                raise ClientDisconnected(f"what came is no valid TLS: {reason}") from None
            self._stage = TlsStage.FAILED
            raise BadHandshake(f"the TLS handshake has failed: {reason}") from None
        finally:
            self._try_flush()

    def drain(self, size_bytes: int, timeout_s: float) -> bool:
        self._say_goodbye()
        return super().drain(size_bytes, timeout_s)

    # --- writing ---

    def send(self, first: bytes, second: bytes = b"") -> None:
        if self._stage is TlsStage.PLAIN:
            super().send(first, second)
        if self._stage is not TlsStage.OPEN:
            return
        if len(first) + len(second) <= _RECORD_BYTES:
            first, second = first + second, b""
        try:
            self._send_pieces(first)
            self._send_pieces(second)
        except ssl.SSLError as error:
            raise ClientDisconnected(f"TLS has failed: {error.reason}") from None

    def _send_pieces(self, block: bytes) -> None:
        for at in range(0, len(block), _PIECE_BYTES):
            if at:
                give_way()
            self._encrypt(memoryview(block)[at : at + _PIECE_BYTES])
            self._flush()

    def _encrypt(self, block: memoryview) -> None:
        while block:
            block = block[self._tls.write(block) :]  # one record at a time

    def try_send(self, block: bytes) -> None:
        if self._stage is TlsStage.OPEN:
            with suppress(ssl.SSLError):
                self._encrypt(memoryview(block))
            self._try_flush()

    def sendfile(self, fd: int, offset: int, size_bytes: int) -> int:
        """Read and send the file. The kernel cannot help: it does not have the keys."""
        start, end = offset, offset + size_bytes
        while offset < end:
            give_way()
            block = os.pread(fd, min(end - offset, _PIECE_BYTES), offset)
            if not block:
                break
            self.send(block)
            offset += len(block)
        return offset - start

    def _flush(self) -> None:
        block = self._unsent + self._outgoing.read()
        self._unsent = b""
        if block:
            super().send(block)

    def _try_flush(self) -> None:
        """Send without waiting. The buffer of a new connection has room for a handshake (tcp(7), tcp_wmem)."""
        block = self._unsent + self._outgoing.read()
        with suppress(OSError):  # a read will notice that the peer has left
            self._unsent = block[syscalls.send(self.fd, block) :] if block else b""

    # --- ending ---

    def close(self) -> None:
        try:
            self._say_goodbye()
        finally:
            super().close()

    def cut(self) -> None:
        self._stage = TlsStage.CLOSED
        super().cut()

    def _say_goodbye(self) -> None:
        stage, self._stage = self._stage, TlsStage.CLOSED
        if stage is not TlsStage.OPEN or self.fd == NOTHING:
            return
        with suppress(ssl.SSLError):  # the peer has not sent its close_notify, or goes on sending
            self._tls.unwrap()
        if greenlet.getcurrent() is get_hub():
            self._try_flush()
            return
        with suppress(ClientDisconnected):
            self._flush()

    # --- for the environ ---

    def names(self) -> dict[str, str]:
        """Add the variables that users of nginx and Apache expect, and those of a client certificate, if one was
        shown."""
        cipher = self._tls.cipher()
        names = {
            **super().names(),
            "HTTPS": "on",
            "REQUEST_SCHEME": "https",
            "SSL_PROTOCOL": self._tls.version() or "",
            "SSL_CIPHER": cipher[0] if cipher else "",
        }
        said: Any = self._tls.getpeercert()
        whole = self._tls.getpeercert(binary_form=True)
        if said and whole:
            names |= {
                "SSL_CLIENT_VERIFY": "SUCCESS",
                "SSL_CLIENT_S_DN": _distinguished_name(said["subject"]),
                "SSL_CLIENT_I_DN": _distinguished_name(said["issuer"]),
                "SSL_CLIENT_M_SERIAL": said["serialNumber"],
                "SSL_CLIENT_CERT": ssl.DER_cert_to_PEM_cert(whole),
            }
        return names


def _distinguished_name(parts: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """Return the name as nginx's $ssl_client_s_dn has it (RFC 4514), with its UTF-8 as latin-1 (PEP 3333)."""
    said = ",".join(
        "+".join(f"{_SHORT.get(name, name)}={_escaped(value)}" for name, value in part) for part in reversed(parts)
    )
    return said.encode().decode("latin-1")


def _escaped(value: str) -> str:
    text = value.translate(_ESCAPED).replace("\0", "\\00")
    if text.startswith((" ", "#")):
        text = f"\\{text}"
    return f"{text[:-1]}\\ " if text.endswith(" ") and len(value) > 1 else text


# --- the class of a socket's connections ---


def wrapping(shared: ListenSocket, settings: Settings, trusted: Trusted) -> Callable[[int], Connection] | None:
    """Return the function that makes a connection of an accepted descriptor; None for a plain Connection."""
    _, what, context = shared
    http, whose = what.protocol is WireProtocol.HTTP, expected_header(what.proxied, trusted)
    timeout_s = settings.socket_timeout
    if context is not None:
        return lambda fd: TlsConnection(fd, timeout_s, http, whose, context, settings.http_head_timeout)
    if whose is not None:
        return lambda fd: ProxyConnection(fd, timeout_s, http, whose)
    return None
