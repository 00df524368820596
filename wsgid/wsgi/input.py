"""wsgi.input: the request body as a file (PEP 3333, "Input and Error Streams").

Rules
* A body that came with its head, or is empty, is an io.BytesIO; any other is read from the peer when the application
  reads, through an io.BufferedReader: both behave as files do, and this module only counts.
* What is read from the peer cannot seek, and says so in seekable(), in seek() and in tell(): an application that asks
  for the position trusts that it can come back to it.
* Never beyond CONTENT_LENGTH.  A body that ends early is a ClientDisconnected, then and at every later read: the
  application never takes a part for the whole.
* `Body.unread_bytes` stays true whatever the application does to the stream.
"""

import io
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Protocol

from wsgid.errors import ClientDisconnected

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER_BYTES = 64 * 1024
_AT_ONCE_BYTES = 1 << 20  # io.BufferedReader allocates what it is asked for before anything has come


class Peer(Protocol):
    """Who sends the body."""

    def recv(self, size_bytes: int) -> bytes:
        """What has come, at most `size_bytes`; empty at end-of-file."""


class _Over:
    """Who sends the body of a request that is over."""

    def recv(self, size_bytes: int) -> bytes:
        raise ClientDisconnected("the request is over, and its body with it: read it before the response ends")


_OVER = _Over()


class Body:
    """The body of one request.

    Args:
        first: what came in the same read as the head; anything beyond `content_length` is ignored.
        content_length: of the whole body, in bytes.
        peer: who sends the rest.
    """

    __slots__ = ("stream", "_wire")

    stream: BinaryIO
    _wire: "_Wire | None"

    def __init__(self, first: bytes, content_length: int, peer: Peer) -> None:
        if len(first) >= content_length:
            self.stream = BytesIO(first[:content_length]) if content_length else BytesIO()
            self._wire = None
        else:
            self._wire = _Wire(first, content_length, peer)
            self.stream = _InputStream(self._wire)

    def end(self) -> None:
        """The request is over. A greenlet that it has left behind must not read what belongs to the next request."""
        if self._wire is not None:
            self._wire.peer = _OVER

    @property
    def unread_bytes(self) -> int:
        """How much of the body has not been taken from the peer yet."""
        return self._wire.unread_bytes if self._wire is not None else 0


class _Wire(io.RawIOBase):
    """The unbuffered body: what came with the head, then what the peer sends."""

    def __init__(self, first: bytes, content_length: int, peer: Peer) -> None:
        self.unread_bytes = content_length - len(first)
        self._first = memoryview(first)
        self.content_length = content_length
        self.peer: Peer = peer
        self._broken = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        if self._first:
            size = min(len(view), len(self._first))
            view[:size] = self._first[:size]
            self._first = self._first[size:]
            return size
        if not view or not self.unread_bytes:
            return 0
        block = self._receive(len(view))
        view[: len(block)] = block
        return len(block)

    def readall(self) -> bytes:
        blocks = [self._first.tobytes()]
        self._first = memoryview(b"")
        while self.unread_bytes:
            blocks.append(self._receive(self.unread_bytes))
        return b"".join(blocks)

    def _receive(self, size_bytes: int) -> bytes:
        if self._broken:
            raise ClientDisconnected(f"the request body broke off: {self._progress()}")
        # Until this read has succeeded.  A time-out, say, may lose bytes that the io classes had gathered: reading on
        # after it would skip them.
        self._broken = True
        block = self.peer.recv(min(size_bytes, self.unread_bytes))
        if not block:
            raise ClientDisconnected(f"the peer closed within the request body: {self._progress()}")
        self._broken = False
        self.unread_bytes -= len(block)
        return block

    def _progress(self) -> str:
        return f"{self.content_length - self.unread_bytes} of {self.content_length} bytes came"


class ChunkedBody:
    """The body of a request that says nothing of its size: HTTP's chunks, without their frames.

    Args:
        peer: who sends it; its `recv` is empty at the end of the body, and raises if the body breaks off.
    """

    __slots__ = ("stream", "_chunks")

    stream: BinaryIO

    def __init__(self, peer: Peer) -> None:
        self._chunks = _ChunkReader(peer)
        self.stream = _InputStream(self._chunks)

    def end(self) -> None:
        """As Body.end."""
        self._chunks.peer = _OVER


class _ChunkReader(io.RawIOBase):
    def __init__(self, peer: Peer) -> None:
        self.peer: Peer = peer
        self._broken = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        if self._broken:
            raise ClientDisconnected("the request body broke off")
        view = memoryview(buffer).cast("B")
        self._broken = True  # until this read has succeeded: see _Wire
        block = self.peer.recv(len(view))
        self._broken = False
        view[: len(block)] = block
        return len(block)


class _InputStream(io.BufferedReader):
    """A BufferedReader that never allocates much more than has come: read(2**40) would try to."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw, _BUFFER_BYTES)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size <= _AT_ONCE_BYTES:
            return super().read(size)
        blocks = []
        while size > 0 and (block := super().read(min(size, _AT_ONCE_BYTES))):
            blocks.append(block)
            size -= len(block)
        return b"".join(blocks)

    def read1(self, size: int = -1, /) -> bytes:
        return super().read1(min(size, _BUFFER_BYTES))

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        if hint is None or hint <= 0:
            return super().readlines()
        lines: list[bytes] = []
        size_bytes = 0
        while size_bytes < hint and (line := self.readline()):  # io.BufferedReader goes on to one byte more
            lines.append(line)
            size_bytes += len(line)
        return lines
