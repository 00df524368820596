"""wsgi.input: the request body, streamed from the connection.

Rules
* Never a byte past CONTENT_LENGTH, and never a silently cut body: a peer that leaves early is a ClientDisconnected,
  now and at every later read.
* Nothing is read before the application asks; an upload is never held as a whole.
* read, readline, readlines and iteration are those of `io`.
"""

import io
from collections.abc import Callable
from typing import Any, BinaryIO

from wsgid.errors import ClientDisconnected

_BUFFER_BYTES = 64 * 1024


class Body:
    """The body of one request.

    Args:
        first: what of it arrived with the head; more than `content_length` is ignored.
        content_length: of the whole body, in bytes.
        recv_into: fills a view from the connection, returns the number of bytes, 0 at end-of-file; may raise
            ClientDisconnected.
    """

    __slots__ = ("stream", "_raw")

    stream: BinaryIO  # what the application gets
    _raw: "_RawBody | None"

    def __init__(self, first: bytes, content_length: int, recv_into: Callable[[memoryview], int]) -> None:
        if len(first) >= content_length:
            self._raw = None
            self.stream = io.BytesIO(first[:content_length])
        else:
            self._raw = _RawBody(first, content_length, recv_into)
            self.stream = _Stream(self._raw, _BUFFER_BYTES)

    @property
    def unread_bytes(self) -> int:
        """What of the body is still in the connection."""
        return self._raw.unread_bytes if self._raw else 0


class _RawBody(io.RawIOBase):
    """Reads what has arrived, up to the announced length."""

    def __init__(self, first: bytes, content_length: int, recv_into: Callable[[memoryview], int]) -> None:
        self._first = memoryview(first)
        self._content_length = content_length
        self._recv_into = recv_into
        self._lost = False
        self.unread_bytes = content_length - len(first)

    @property
    def remaining_bytes(self) -> int:
        return len(self._first) + self.unread_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._first:
            size_bytes = min(len(view), len(self._first))
            view[:size_bytes] = self._first[:size_bytes]
            self._first = self._first[size_bytes:]
            return size_bytes
        if not self.unread_bytes:
            return 0
        received = 0 if self._lost else self._recv_into(view[:self.unread_bytes])
        if not received:
            self._lost = True
            raise ClientDisconnected(f"the request body ended after {self._content_length - self.unread_bytes} of "
                                     f"{self._content_length} bytes")
        self.unread_bytes -= received
        return received


class _Stream(io.BufferedReader):
    """io.BufferedReader allocates what it is asked for; a client chooses CONTENT_LENGTH and some applications pass it
    on to read(), so ask for no more than is to come."""

    raw: _RawBody

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _BUFFER_BYTES:
            size = min(size, self.raw.remaining_bytes + _BUFFER_BYTES)
        return super().read(size)
