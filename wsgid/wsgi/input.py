"""wsgi.input: the request body as a file (PEP 3333, "Input and Error Streams").

Rules
* An empty body, or a body that arrived with its head, is an io.BytesIO. Any other body is read from the peer when the
  application reads, through an io.BufferedReader. Both behave as files do; this module only counts bytes.
* A body that is read from the peer cannot seek. seekable(), seek() and tell() say so: an application that calls tell()
  expects to be able to seek back.
* Never read beyond CONTENT_LENGTH.  A body that ends early raises ClientDisconnected, also at every later read. The
  application must never take a part of a body for the whole body.
* `Body.unread_bytes` stays correct whatever the application does to the stream.
"""

import io
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Protocol

from wsgid.counted import counted
from wsgid.errors import ClientDisconnected

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER_BYTES = 64 * 1024
_AT_ONCE_BYTES = 1 << 20  # io.BufferedReader allocates the requested size before any byte has arrived


class Peer(Protocol):
    """The sender of the body."""

    def recv_into(self, target: memoryview) -> int:
        """Put bytes that have arrived into `target`. Returns how many; 0 at end-of-file."""


class _Over:
    """Takes the place of the peer when the request is over."""

    def recv_into(self, target: memoryview) -> int:
        raise ClientDisconnected("the request is over, and its body with it: read it before the response ends")


_OVER = _Over()


class Body:
    """The body of one request.

    Args:
        first: bytes that arrived together with the head; bytes beyond `content_length` are ignored.
        content_length: of the whole body, in bytes.
        peer: the sender of the rest.
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
        """The request is over. A greenlet that the request has left behind must not read bytes of the next request."""
        if self._wire is not None:
            self._wire.peer = _OVER

    @property
    def unread_bytes(self) -> int:
        """How many bytes of the body have not been taken from the peer yet."""
        return self._wire.unread_bytes if self._wire is not None else 0


class _Wire(io.RawIOBase):
    """The unbuffered body: first the bytes that arrived with the head, then what the peer sends."""

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
        return self._receive_into(view[: self.unread_bytes])

    def _receive_into(self, view: memoryview) -> int:
        if self._broken:
            raise ClientDisconnected(f"the request body broke off: {self._progress()}")
        # Broken, until this read has succeeded. If a time-out interrupts the read, bytes that the io classes have
        # gathered may be lost; a later read would skip them.
        self._broken = True
        size_bytes = self.peer.recv_into(view)
        if not size_bytes:
            raise ClientDisconnected(f"the peer closed within the request body: {self._progress()}")
        self._broken = False
        self.unread_bytes -= size_bytes
        return size_bytes

    def most_bytes(self) -> int:
        """Return how many bytes the stream can still give: exactly before the first read, and at most after it, when
        some may be in the stream's buffer."""
        left_bytes = len(self._first) + self.unread_bytes
        return left_bytes if left_bytes == self.content_length else left_bytes + _BUFFER_BYTES

    def _progress(self) -> str:
        return f"{self.content_length - self.unread_bytes} of {counted(self.content_length, 'byte')} came"


class ChunkedBody:
    """The body of a request without a length: HTTP's chunks, already decoded.

    Args:
        peer: the sender. Its `recv_into` returns 0 at the end of the body, and raises if the body breaks off.
    """

    __slots__ = ("stream", "_chunks")

    stream: BinaryIO

    def __init__(self, peer: Peer) -> None:
        self._chunks = _ChunkReader(peer)
        self.stream = _InputStream(self._chunks)

    def end(self) -> None:
        """The same as Body.end."""
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
        size_bytes = self.peer.recv_into(view)
        self._broken = False
        return size_bytes


class _InputStream(io.BufferedReader):
    """A BufferedReader that never allocates much more than has arrived. An io.BufferedReader would try read(2**40).

    A read of a certain size goes straight into the bytes that the application gets (Modules/_io/bufferedio.c,
    _bufferedreader_read_generic). So does a read of all bytes, if their number is known.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw, _BUFFER_BYTES)

    def read(self, size: int | None = -1, /) -> bytes:
        if (size is None or size < 0) and isinstance(self.raw, _Wire):
            size = self.raw.most_bytes()
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
        while size_bytes < hint and (line := self.readline()):  # io.BufferedReader reads one byte further
            lines.append(line)
            size_bytes += len(line)
        return lines
