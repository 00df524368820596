"""The client's own socket for an application that accepts an Upgrade (WebSockets): environ["wsgid.socket"].

Rules
* An application that uses the socket writes the whole answer to it, from the status line on. From then on wsgid sends
  nothing, and --harakiri no longer counts.
* The socket exists only in requests with an Upgrade. It is also environ["werkzeug.socket"], where simple-websocket (and
  so Flask-Sock and Flask-SocketIO) looks for it.
* The socket is closed when the application returns.
"""

import errno
import os
from collections.abc import Callable
from typing import Any

from gevent import socket
from gevent.lock import Semaphore

from wsgid.serving.connection import Connection
from wsgid.serving.turns import give_way


class ClientSocket(socket.socket):  # type: ignore[misc]  # gevent has no types
    """A gevent socket for the client's connection.

    Args:
        fd: of the connection; the caller keeps it.
        on_use: called when the application first sends or receives. Returns bytes that were read after the request.
    """

    def __init__(self, fd: int, on_use: Callable[[], bytes]) -> None:
        super().__init__(fileno=os.dup(fd))
        self._first = b""
        self._on_use: Callable[[], bytes] | None = on_use

    def _used(self) -> None:
        if self._on_use is not None:
            on_use, self._on_use = self._on_use, None
            self._first = on_use()

    def send(self, data: Any, flags: int = 0, timeout: Any = None) -> int:
        self._used()
        give_way()
        sent: int = super().send(data, flags) if timeout is None else super().send(data, flags, timeout)
        return sent

    def recv(self, size_bytes: int, flags: int = 0) -> bytes:
        self._used()
        if self._first:
            block, self._first = self._first[:size_bytes], self._first[size_bytes:]
            return block
        give_way()
        received: bytes = super().recv(size_bytes, flags)
        return received

    def recv_into(self, buffer: Any, size_bytes: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        block = self.recv(size_bytes or len(view), flags)
        view[: len(block)] = block
        return len(block)


class TlsClientSocket(ClientSocket):
    """The same over TLS. Only the connection object can encrypt and decrypt.

    Args:
        connection: of the client.
        on_use: as for ClientSocket.
    """

    def __init__(self, connection: Connection, on_use: Callable[[], bytes]) -> None:
        super().__init__(connection.fd, on_use)
        self._connection = connection
        self._sending = Semaphore()  # records of different greenlets must not mix

    def send(self, data: Any, flags: int = 0, timeout: Any = None) -> int:
        self._used()
        give_way()
        block = bytes(data)
        with self._sending:
            self._connection.send(block)
        return len(block)

    def recv(self, size_bytes: int, flags: int = 0) -> bytes:
        self._used()
        give_way()
        while not self._first:
            if self.fileno() < 0:
                raise OSError(errno.EBADF, "the application has returned, and the socket is closed")
            block = self._connection.take()
            if block == b"":
                return b""
            if block is None:
                self._wait(self._read_event)  # gevent's wait: with its timeout, ended by its close
            else:
                self._first = block
        received, self._first = self._first[:size_bytes], self._first[size_bytes:]
        return received


def raw_socket(connection: Connection, on_use: Callable[[], bytes]) -> ClientSocket:
    """Return the socket of a connection for an application. `on_use` is as for ClientSocket."""
    if connection.is_secret:
        return TlsClientSocket(connection, on_use)
    return ClientSocket(connection.fd, on_use)
