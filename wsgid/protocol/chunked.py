"""The body of an HTTP request that comes in chunks (RFC 9112, 7.1).

        decode(bytes, at) -> the position of the first byte that is not decoded; take() -> the decoded bytes of the body

Rules
* All chunks that have arrived are decoded in one go and returned as one block. A client that sends a chunk for each
  byte does not cause an event for each byte.
* Chunk extensions and trailers are checked and dropped. Trailers never reach the environ, and never change the framing
  or the connection (RFC 9110, 6.5.1).
* The extensions of one body have a common limit, as RFC 9112, 7.1.1 demands. Trailers have the limits of a head.
* The bytes in front of an error are decoded before the error is raised. Nothing is decoded after an error.
"""

import re

from wsgid.counted import counted
from wsgid.errors import BadRequest, HeadTooLarge, PeerError

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"  # one character of a token: RFC 9110, 5.6.2

_SIZE_MAX_DIGITS = 16
_SIZE_HIGH = 1 << 56  # a size with one more hexadecimal digit still fits into 64 bits
_DIGITS = bytes(int(chr(byte), 16) if chr(byte) in "0123456789abcdefABCDEF" else 99 for byte in range(256))
# Possessive quantifiers (++, *+) never try a second way to match, so the time is linear in the length of the input.
_TOKENS = f"{TOKEN}++"
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_EXTENSIONS = re.compile(
    rf"(?:[ \t]*+;[ \t]*+{_TOKENS}(?:[ \t]*+=[ \t]*+(?:{_TOKENS}|{_QUOTED}))?)++\r\n".encode("latin-1")
)
_TRAILER = re.compile(rf"{_TOKENS}:[\t -~\x80-\xff]*+\r\n".encode("latin-1"))


class Chunks:
    """Decodes one body.

    Args:
        lines: the largest number of trailers.
        size_bytes: the limit for the bytes of all trailers, and for the bytes of all chunk extensions.
    """

    def __init__(self, lines: int, size_bytes: int) -> None:
        self.ended = False  # the last chunk and the trailers have arrived
        self.error: PeerError | None = None
        self._lines_left = lines
        self._size_bytes = size_bytes
        self._trailers_left = self._extensions_left = size_bytes
        self._chunk_left = 0  # bytes of the present chunk, with the line break after the chunk
        self._trailing = False  # the last chunk has arrived; trailers follow
        self._blocks: list[bytes] = []

    def take(self) -> bytes:
        """Return the bytes of the body that were decoded since the last call."""
        blocks = self._blocks
        if not blocks:
            return b""
        self._blocks = []
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def decode(self, data: bytes, at: int) -> int:
        """Decode `data` from the position `at` on. Returns the position of the first byte that is not decoded.

        Raises:
            BadRequest: the bytes are no valid chunks.
            HeadTooLarge: there are too many extensions or trailers.
        """
        if self.error is not None:
            return at
        try:
            if not self._trailing:
                at = self._decode_chunks(data, at)
            if self._trailing and not self.ended:
                at = self._skip_trailers(data, at)
        except PeerError as error:
            self.error = error
        return at

    def _decode_chunks(self, data: bytes, at: int) -> int:
        """Decode chunks, up to the size of the last chunk."""
        end = len(data)
        while True:
            left = self._chunk_left
            if left > 2:
                size = min(left - 2, end - at)
                self._blocks.append(data[at : at + size])
                at += size
                left -= size
            while left and left <= 2 and at < end:
                if data[at] != (0x0D if left == 2 else 0x0A):
                    raise BadRequest("a chunk of a request body is not as long as it says (RFC 9112, 7.1)")
                at += 1
                left -= 1
            self._chunk_left = left
            if left:
                return at
            start, at = at, self._read_size(data, at)
            if at < 0:  # the line is incomplete: it is read again from its start
                return start
            if self._trailing:
                return at

    def _read_size(self, data: bytes, at: int) -> int:
        """Read the line in front of a chunk. Returns where the line ends; -1 if the line is incomplete."""
        start, end = at, len(data)
        digits = _DIGITS
        size = 0
        while at < end and at - start < _SIZE_MAX_DIGITS and size < _SIZE_HIGH and digits[data[at]] < 16:
            size = size << 4 | digits[data[at]]
            at += 1
        if at == end or (data[at] == 0x0D and at + 1 == end):
            return -1
        if at == start or digits[data[at]] < 16:
            raise BadRequest("the size of a chunk is no hexadecimal number, or too large (RFC 9112, 7.1)")
        if data[at] == 0x0D and data[at + 1] == 0x0A:
            at += 2
        else:
            at = self._extensions_end(data, at)
            if at < 0:
                return -1
        self._trailing = not size
        self._chunk_left = size + 2 if size else 0
        return at

    def _extensions_end(self, data: bytes, at: int) -> int:
        """Return where the line of a chunk's size with extensions ends; -1 if the line is incomplete."""
        stop = data.find(b"\n", at) + 1
        if (stop or len(data)) - at > self._extensions_left:
            raise HeadTooLarge(
                f"a request body has more than {counted(self._size_bytes, 'byte')} of chunk extensions (RFC 9112, "
                "7.1.1): raise --http-head-size if that is wanted"
            )
        if not stop:
            return -1
        if not _EXTENSIONS.fullmatch(data, at, stop):
            raise BadRequest("there is no valid chunk extension behind the size of a chunk (RFC 9112, 7.1.1)")
        self._extensions_left -= stop - at
        return stop

    def _skip_trailers(self, data: bytes, at: int) -> int:
        while True:
            stop = data.find(b"\n", at) + 1
            line_bytes = (stop or len(data)) - at
            if line_bytes <= 2 and data[at : at + line_bytes] in (b"\r\n", b"\r", b""):
                self.ended = stop > 0
                return stop or at
            if line_bytes > self._trailers_left or not self._lines_left:
                raise HeadTooLarge(
                    "a request has too many trailers: more than --max-vars, or more than "
                    f"{counted(self._size_bytes, 'byte')} of them (--http-head-size)"
                )
            if not stop:
                return at
            if not _TRAILER.fullmatch(data, at, stop):
                raise BadRequest("a request has a trailer that is no header field (RFC 9112, 7.1.2)")
            self._trailers_left -= line_bytes
            self._lines_left -= 1
            at = stop
