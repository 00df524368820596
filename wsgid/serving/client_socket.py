"""The client's own socket for an application that accepts an Upgrade (WebSockets): environ["wsgid.socket"].

Rules
* An application that uses the socket writes the whole answer to it, from the status line on. From then on wsgid sends
  nothing of its own, except for the last frame: see `say_goodbye`.
* The socket exists only in requests with an Upgrade. It is also environ["werkzeug.socket"], where simple-websocket (and
  so Flask-Sock and Flask-SocketIO) looks for it.
* A peer that takes nothing for --socket-timeout is given up: the send raises TimeoutError. A read waits as long as the
  application wants (settimeout).
* The socket is closed when the application returns.
"""

import _socket
import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
from gevent import socket
from gevent.lock import Semaphore

from wsgid.serving.clock import Patience
from wsgid.serving.connection import Connection
from wsgid.serving.syscalls import monotonic
from wsgid.serving.turns import give_way
from wsgid.serving.websocket_frames import GOING_AWAY, Sent, SentFrames


class ClientSocket(socket.socket):  # type: ignore[misc]  # gevent has no types
    """A gevent socket for the client's connection.

    Args:
        fd: of the connection; the caller keeps it.
        timeout_s: how long a send may make no progress.
        on_use: called when the application first sends or receives. Returns bytes that were read after the request.
    """

    def __init__(self, fd: int, timeout_s: float, on_use: Callable[[], bytes]) -> None:
        super().__init__(fileno=os.dup(fd))
        self.active_s = monotonic()  # when bytes last went in either direction
        self.told_s = 0.0  # when the client or the application was told that this is the end; 0: not yet
        self._timeout_s = timeout_s
        self._first = bytearray()  # what has arrived, and the application has not received yet
        self._on_use: Callable[[], bytes] | None = on_use
        self._sent = SentFrames()
        self._sending = Semaphore()  # bytes of different greenlets must not mix
        self._goodbye = False  # whether the close frame waits for the end of a frame
        self._mute = False  # whether wsgid has sent the close frame, and nothing may follow

    def _used(self) -> None:
        if self._on_use is not None:
            on_use, self._on_use = self._on_use, None
            self._first += on_use()

    # --- called by the application ---

    def send(self, data: Any, flags: int = 0, timeout: Any = None) -> int:
        """Send all bytes, as a blocking socket does: libraries such as simple-websocket rely on it. With settimeout(0),
        send what the kernel takes."""
        self._used()
        if timeout is None:
            timeout = self._timeout_s if self.timeout is None else self.timeout
        view = memoryview(data).cast("B")
        with self._sending:
            sent = 0
            while sent < len(view) and not self._mute:
                give_way()
                sent += self._send_some(view[sent:], flags, timeout)
                if timeout == 0:
                    return sent
            return len(view)

    def _send_some(self, view: memoryview, flags: int, timeout_s: float) -> int:
        """Send a part, at least a byte."""
        sent = self._send(view, flags, timeout_s)
        self.active_s = monotonic()
        self._sent.feed(view[:sent])
        if self._goodbye and self._sent.is_between:
            self._end_sending()
        return sent

    def _send(self, view: memoryview, flags: int, timeout_s: float) -> int:
        while True:
            try:
                sent: int = self._sock.send(view, flags)
                return sent
            except BlockingIOError:
                if timeout_s == 0:
                    raise
            with Patience(timeout_s, TimeoutError("timed out")):  # gevent's send waits for settimeout's time alone
                self._wait(self._write_event)

    def recv(self, size_bytes: int, flags: int = 0) -> bytes:
        self._used()
        give_way()
        if self._first:
            return self._take_first(size_bytes, flags)
        received = self._recv(size_bytes, flags)
        self.active_s = monotonic()
        return received

    def _take_first(self, size_bytes: int, flags: int) -> bytes:
        taken = bytes(self._first[:size_bytes])
        if not flags & _socket.MSG_PEEK:
            del self._first[:size_bytes]
        return taken

    def _recv(self, size_bytes: int, flags: int) -> bytes:
        received: bytes = super().recv(size_bytes, flags)
        return received

    def recv_into(self, buffer: Any, size_bytes: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        block = self.recv(size_bytes or len(view), flags)
        view[: len(block)] = block
        return len(block)

    # --- called by the worker; nothing here waits ---

    @property
    def is_websocket(self) -> bool:
        """Whether the application has accepted a WebSocket, or may still do so."""
        return self._sent.stage is not Sent.OTHER

    def say_goodbye(self) -> None:
        """Send the client a close frame: "going away" (1001). What the application sends after that is dropped, as RFC
        6455, 5.5.1 demands. The client answers with a close frame, which the application reads. In the middle of a
        frame, the close frame comes after it. If the application has sent a close frame already, nothing is sent."""
        if self._sent.is_between and not self._sending.locked():
            self._end_sending()
        else:
            self._goodbye = True

    def _end_sending(self) -> None:
        if not self._mute:
            self._mute = True
            self._send_goodbye()

    def _send_goodbye(self) -> None:
        with suppress(OSError):  # the client is gone, or takes nothing: end_reading follows
            self._sock.send(GOING_AWAY, _socket.MSG_DONTWAIT)

    def end_reading(self) -> None:
        """Let the application read the end of the stream, at once or when it reads next."""
        with suppress(OSError):  # closed already
            self._sock.shutdown(_socket.SHUT_RD)


class TlsClientSocket(ClientSocket):
    """The same over TLS. Only the connection object can encrypt and decrypt.

    Args:
        connection: of the client.
        timeout_s, on_use: as for ClientSocket.
    """

    def __init__(self, connection: Connection, timeout_s: float, on_use: Callable[[], bytes]) -> None:
        super().__init__(connection.fd, timeout_s, on_use)
        self._connection = connection

    def _send(self, view: memoryview, flags: int, timeout_s: float) -> int:
        self._connection.send(bytes(view))
        return len(view)

    def _send_goodbye(self) -> None:
        def send() -> None:
            with suppress(OSError):
                self._connection.send(GOING_AWAY)

        gevent.spawn(send)

    def _recv(self, size_bytes: int, flags: int) -> bytes:
        while True:
            if self.fileno() < 0:
                raise OSError(errno.EBADF, "the application has returned, and the socket is closed")
            block = self._connection.take()
            if block is not None:
                self._first += block
                return self._take_first(size_bytes, flags)
            self._wait(self._read_event)  # gevent's wait: with its timeout, ended by its close


def raw_socket(connection: Connection, timeout_s: float, on_use: Callable[[], bytes]) -> ClientSocket:
    """Return the socket of a connection for an application. The arguments are those of ClientSocket.

    Raises:
        OSError: no descriptor is left.
    """
    if connection.is_secret:
        return TlsClientSocket(connection, timeout_s, on_use)
    return ClientSocket(connection.fd, timeout_s, on_use)
