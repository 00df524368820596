"""What a server has sent on a WebSocket, followed as far as needed to know where a frame ends (RFC 6455).

    HTTP head -> 101 with "Upgrade: websocket": frames -> a close frame
              -> anything else: no WebSocket, and nothing is known

Rules
* Only heads of frames are looked at. Payloads are skipped, whatever their size.
* A control frame may come between any two frames, also within a fragmented message (RFC 6455, 5.4).
"""

import re
from enum import Enum, auto

GOING_AWAY = b"\x88\x02\x03\xe9"  # a close frame with the code 1001 (RFC 6455, 5.2 and 7.4.1)

_HEAD_MAX_BYTES = 16 * 1024
_ACCEPTED = re.compile(rb"HTTP/1\.1 101\b.*\r\nUpgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE | re.DOTALL)
_OPCODE, _CLOSE = 0x0F, 0x08
_MASKED, _LENGTH = 0x80, 0x7F
_EXTENDED = {126: 2, 127: 8}  # bytes of a length that does not fit in seven bits


class Sent(Enum):
    """How far a server has come."""

    HEAD = auto()  # the answer's head is not complete
    FRAMES = auto()
    CLOSED = auto()  # a close frame was begun
    OTHER = auto()  # the answer is no WebSocket's


class SentFrames:
    """Follows the bytes of one connection."""

    __slots__ = ("stage", "_head", "_left_bytes")

    def __init__(self) -> None:
        self.stage = Sent.HEAD
        self._head = b""  # of the answer, or of a frame, while it is incomplete
        self._left_bytes = 0  # of the payload of a frame

    @property
    def is_between(self) -> bool:
        """Whether a frame of the server's could begin now."""
        return self.stage is Sent.FRAMES and not self._head and not self._left_bytes

    def feed(self, block: memoryview) -> None:
        """The server has sent these bytes."""
        if self.stage is Sent.HEAD:
            block = self._read_answer(block)
        while block and self.stage is Sent.FRAMES:
            if self._left_bytes:
                skipped = min(self._left_bytes, len(block))
                self._left_bytes -= skipped
                block = block[skipped:]
            else:
                block = self._read_head(block)

    def _read_answer(self, block: memoryview) -> memoryview:
        """Take the answer's head. Returns the bytes behind it."""
        before = len(self._head)
        self._head += block[:_HEAD_MAX_BYTES]
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) >= _HEAD_MAX_BYTES:
                self.stage, self._head = Sent.OTHER, b""
            return block[:0]
        self.stage = Sent.FRAMES if _ACCEPTED.match(self._head[: end + 2]) else Sent.OTHER
        self._head = b""
        return block[end + 4 - before :]

    def _read_head(self, block: memoryview) -> memoryview:
        """Take the head of a frame. Returns the bytes behind it."""
        before = len(self._head)
        head = self._head + bytes(block[:14])  # the longest one
        if len(head) < 2:
            self._head = head
            return block[:0]
        length = head[1] & _LENGTH
        extended = _EXTENDED.get(length, 0)
        size = 2 + extended + (4 if head[1] & _MASKED else 0)
        if len(head) < size:
            self._head = head
            return block[:0]
        self._head = b""
        self._left_bytes = int.from_bytes(head[2 : 2 + extended]) if extended else length
        if head[0] & _OPCODE == _CLOSE:
            self.stage = Sent.CLOSED
        return block[size - before :]
