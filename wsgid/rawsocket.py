"""The client's socket itself, for an application that takes up an Upgrade (WebSockets): environ["wsgid.socket"].

Rules
* Whoever uses it answers on it, from the status line on: from then on wsgid sends nothing, and --harakiri is over.
* It is there only in requests with an Upgrade, also as environ["werkzeug.socket"], where simple-websocket and with it
  Flask-Sock and Flask-SocketIO look for it.
* It is closed when the application returns.
"""

import os
from collections.abc import Callable
from typing import Any

from gevent import socket


class RawSocket(socket.socket):  # type: ignore[misc]  # gevent has no types
    """A gevent socket.

    Args:
        fd: the connection's; stays the caller's.
        first: what has been read of it already, behind the request.
        on_use: called when the application first sends or receives.
    """

    def __init__(self, fd: int, first: bytes, on_use: Callable[[], None]) -> None:
        super().__init__(fileno=os.dup(fd))
        self._first = first
        self._on_use = on_use

    def _used(self) -> None:
        on_use, self._on_use = self._on_use, _nothing
        on_use()

    def send(self, data: Any, flags: int = 0, timeout: Any = None) -> int:
        self._used()
        sent: int = super().send(data, flags) if timeout is None else super().send(data, flags, timeout)
        return sent

    def recv(self, size_bytes: int, flags: int = 0) -> bytes:
        self._used()
        if self._first:
            block, self._first = self._first[:size_bytes], self._first[size_bytes:]
            return block
        received: bytes = super().recv(size_bytes, flags)
        return received

    def recv_into(self, buffer: Any, size_bytes: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        block = self.recv(size_bytes or len(view), flags)
        view[:len(block)] = block
        return len(block)


def _nothing() -> None:
    pass
