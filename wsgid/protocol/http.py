"""The decoder for HTTP/1.1 requests: bytes in, heads and bodies out, or an error.

    feed(bytes), then take() -> HttpHead, bytes ..., END, HttpHead, bytes ..., END, PeerError; None: feed more bytes

Rules
* `feed` stores bytes, and `take` decodes one event at a time. A pipelined request costs only its bytes until it is
  taken. Requests in front of a bad request are decoded in full. An error is the last event.
* The grammar is RFC 9112's in its strict form. Ambiguous input is refused, never repaired, because the proxy in front
  of wsgid may have read it differently (RFC 9112, 11.2).  Decision 19 says why wsgid has a decoder of its own.
* A bad request gets the same status however its bytes are cut into pieces.  So the checks follow the order of the
  bytes: for each line its limits first, then its content; checks that concern all lines come at the end of the head.
* Only the head decides how long a body is, and whether the connection stays open.
* A header with an underscore in its name is dropped, as nginx does. In the environ it would look like the header with
  hyphens.
* Names and values are latin-1 strings, as PEP 3333 demands.  There is no I/O.
"""

import re
import sys
from enum import Enum, auto
from typing import Any

from wsgid.counted import counted
from wsgid.errors import (
    BadRequest,
    ForeignProtocol,
    HeadTooLarge,
    NotImplementedByServer,
    PeerError,
    UriTooLong,
    VersionNotSupported,
)
from wsgid.protocol.chunked import TOKEN, Chunks
from wsgid.protocol.fields import is_plain, parse_length
from wsgid.protocol.plain_lines import take_fields, take_request_line
from wsgid.protocol.target import check_host, split
from wsgid.records import dataclass

_NAMES_MAX = 1024  # so many header names are remembered with their variables,
_NAMES_MAX_CHARACTERS = 64  # if they are not longer than this
_DROPPED = frozenset({"HTTP_PROXY"})  # httpoxy, CVE-2016-5385
_BARE = {"HTTP_CONTENT_TYPE": "CONTENT_TYPE", "HTTP_CONTENT_LENGTH": "CONTENT_LENGTH"}  # RFC 3875, 4.1.2 and 4.1.3
_ONCE = frozenset({"HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_VERSIONS = {"HTTP/1.1\r": "HTTP/1.1", "HTTP/1.0\r": "HTTP/1.0"}  # the keys end with the CR of the line

_TOKEN = re.compile(f"{TOKEN}+")
_VERSION = re.compile(r"HTTP/[0-9]\.[0-9]\r")
_PLAIN = bytes(byte for byte in range(256) if (byte >= 0x20 and byte != 0x7F) or byte == 0x09)  # bytes of a value

_names: dict[str, str] = {}


class End(Enum):
    """The request is complete."""

    END = 0


END = End.END


class Part(Enum):
    """The part of a request that the next byte belongs to."""

    BETWEEN = auto()  # a request line, or an empty line in front of a request line
    FIELDS = auto()  # the header lines of a head
    BODY = auto()  # a body whose length Content-Length gives
    CHUNKS = auto()
    NOTHING = auto()  # the last request of the connection is complete
    REFUSED = auto()


_BETWEEN, _FIELDS, _BODY, _CHUNKS, _NOTHING, _REFUSED = Part


class HttpHead:
    """One request without its body.

    Args:
        variables: the request's part of the environ.
        content_length: of the body, in bytes; -1 for a body in chunks.
        keep_alive: whether the client is ready to send another request on this connection.
        expects: whether the client waits for a 100 before it sends the body.
        upgrade: whether the client asks for another protocol.
        size_bytes: of the request target and the headers.
        count: number of headers.
    """

    __slots__ = ("variables", "content_length", "keep_alive", "expects", "upgrade", "size_bytes", "count")

    def __init__(
        self,
        variables: dict[str, Any],
        content_length: int,
        keep_alive: bool,
        expects: bool,
        upgrade: bool,
        size_bytes: int,
        count: int,
    ) -> None:
        self.variables = variables
        self.content_length = content_length
        self.keep_alive = keep_alive
        self.expects = expects
        self.upgrade = upgrade
        self.size_bytes = size_bytes
        self.count = count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HttpHead) and _values(self) == _values(other)


def _values(head: HttpHead) -> tuple[object, ...]:
    sizes = (head.content_length, head.size_bytes, head.count)
    return (head.variables, head.keep_alive, head.expects, head.upgrade, *sizes)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a head."""

    line_bytes: int
    headers: int
    head_bytes: int


class Decoder:
    """Decodes the requests of one connection.

    Args:
        limits: of each head. The limits of headers also hold for trailers, chunk extensions and empty lines.
        base: the server's own variables. Every head gets them, and no client can replace them.
    """

    def __init__(self, limits: Limits, base: dict[str, Any]) -> None:
        self._line_bytes, self._headers, self._head_bytes = limits.line_bytes, limits.headers, limits.head_bytes
        self._base = base
        self._part = _BETWEEN
        self._data = b""
        self._at = 0  # the position in _data of the first byte that is not decoded
        self._variables: dict[str, Any] = {}  # of the head that is being read
        self._authority = ""  # the host in the target of that head
        self._target_bytes = self._count = self._size_bytes = 0  # the sizes of that head: target, headers
        self._left_bytes = 0  # bytes of the body that are still to come, if Content-Length gives its length
        self._chunks: Chunks | None = None  # decodes the body, if it comes in chunks
        self._last = False  # the client sends no other request: later bytes are ignored (RFC 9112, 9.6)

    def introduce(self, names: dict[str, str]) -> None:
        """Add variables for every head of this connection. Called before the first head is read.

        Args:
            names: environ variables and their values.
        """
        self._base |= names

    @property
    def is_between(self) -> bool:
        """Whether the last request is complete and no byte of the next request has arrived, not even an empty line."""
        return (
            self._part is _BETWEEN and not self._size_bytes and self._at == len(self._data)
        ) or self._part is _NOTHING

    @property
    def has_next(self) -> bool:
        """Whether a byte has arrived of the request after the head that was taken last. Empty lines do not count. False
        after a request that closes the connection, and after a request that was refused."""
        at = self._at
        if self._part is _BODY:
            at += self._left_bytes
        elif self._part is _CHUNKS:
            assert self._chunks is not None
            at = self._at = self._chunks.decode(self._data, at)
            if not self._chunks.ended:
                return False
        elif self._part is not _BETWEEN:
            return self._part is _FIELDS
        return not self._last and self._data[at:].lstrip(b"\r\n") != b""

    @property
    def beyond(self) -> bytes:
        """Return the bytes that have arrived after the END of a request. After an Upgrade they belong to the new
        protocol."""
        return self._data[self._at :]

    def feed(self, data: bytes) -> None:
        """Store bytes that have arrived."""
        if self._part is _NOTHING or self._part is _REFUSED:
            return
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def take(self) -> HttpHead | bytes | End | PeerError | None:
        """Return the next event, or None if more bytes are needed. After a PeerError there are no more events."""
        part = self._part
        if part is _BETWEEN and self._at == len(self._data):  # the most frequent case
            return None
        try:
            if part is _BODY:
                return self._take_body()
            if part is _CHUNKS:
                return self._take_chunks()
            if part is _BETWEEN or part is _FIELDS:
                return self._take_head()
        except PeerError as error:
            self._part = _REFUSED
            self._data, self._at = b"", 0
            return error
        return None

    # --- a body ---

    def _take_body(self) -> bytes | End | None:
        if not self._left_bytes:
            return self._end()
        size = min(self._left_bytes, len(self._data) - self._at)
        if not size:
            return None
        self._left_bytes -= size
        return self._cut(size)

    def _take_chunks(self) -> bytes | End | None:
        chunks = self._chunks
        assert chunks is not None
        self._at = chunks.decode(self._data, self._at)
        block = chunks.take()
        if block:
            return block
        if chunks.error is not None:
            raise chunks.error
        return self._end() if chunks.ended else None

    def _cut(self, size_bytes: int) -> bytes:
        """Return the next `size_bytes` of the bytes that have arrived, and forget all decoded bytes."""
        data, at = self._data, self._at
        if at + size_bytes < len(data):
            self._at = at + size_bytes
            return data[at : self._at]
        self._data, self._at = b"", 0
        return data[at:] if at else data

    def _end(self) -> End:
        self._part = _NOTHING if self._last else _BETWEEN
        self._chunks = None
        self._count = self._size_bytes = 0
        if self._last or self._at == len(self._data):
            self._data, self._at = b"", 0
        return END

    # --- a head ---

    def _take_head(self) -> HttpHead | None:
        if self._part is _BETWEEN and not self._take_plain_request_line() and not self._take_request_line():
            return None
        self._take_plain_fields()
        data, at = self._data, self._at
        if data.startswith(b"\r\n", at):  # the empty line ends the head
            whole, stop = True, at
        else:
            stop = data.find(b"\r\n\r\n", at) + 2
            whole = stop > 1
            if not whole:
                stop = max(data.rfind(b"\n", at) + 1, at)
        if stop > at:
            self._take_fields(data[at:stop])
        if whole:
            self._at = stop + 2
            return self._complete()
        self._at = stop
        left_bytes = len(data) - stop
        if left_bytes > 1 and self._size_bytes + left_bytes > self._head_bytes:
            raise self._too_large()
        return None

    def _take_plain_request_line(self) -> bool:
        """Read the request line if it is one as nearly all are. Returns False if _take_request_line has to read it."""
        variables = take_request_line(self._data, self._at, self._line_bytes, self._base)
        if variables is None:
            return False
        self._variables = variables
        self._authority = ""
        self._target_bytes = len(variables["REQUEST_URI"])
        self._size_bytes = 0
        self._part = _FIELDS
        self._at += len(variables["REQUEST_METHOD"]) + self._target_bytes + len("  HTTP/1.1\r\n")
        return True

    def _take_plain_fields(self) -> None:
        """Read header lines as nearly all are; the first other one is left, and all that follow it."""
        lines = self._headers - self._count
        before = len(self._variables)
        stop = take_fields(self._data, self._at, lines, self._head_bytes - self._size_bytes, _names, self._variables)
        self._count += len(self._variables) - before
        self._size_bytes += stop - self._at
        self._at = stop

    def _take_request_line(self) -> bool:
        """Read the request line. Returns False if the line is incomplete."""
        data, at = self._data, self._at
        if data[at : at + 1] == b"\r":
            at = self._skip_empty_lines()
        if at == len(data) or (data[at] == 0x0D and at + 1 == len(data)):
            return False
        if not 0x20 < data[at] < 0x7F:
            raise _foreign(data[at])
        stop = data.find(b"\n", at)
        if (stop if stop >= 0 else len(data)) - at > self._line_bytes + 1:  # the CR does not count
            raise UriTooLong(
                f"a request line is longer than {counted(self._line_bytes, 'byte')}: "
                "raise --http-line-size if that is wanted"
            )
        if stop < 0:
            return False
        self._variables = self._base.copy()
        self._read_request_line(data[at:stop].decode("latin-1"))
        self._size_bytes = 0
        self._part = _FIELDS
        self._at = stop + 1
        return True

    def _skip_empty_lines(self) -> int:
        """Skip empty lines: old clients send one after a body (RFC 9112, 2.2). They count for the limits of the next
        head. Returns where they end."""
        data, at = self._data, self._at
        while at + 1 < len(data) and data[at] == 0x0D and data[at + 1] == 0x0A:
            at += 2
        self._size_bytes += at - self._at
        self._at = at
        if self._size_bytes > self._head_bytes:
            raise HeadTooLarge(
                f"there are more than {counted(self._head_bytes, 'byte')} of empty lines in front of a request"
            )
        return at

    def _read_request_line(self, line: str) -> None:
        words = line.split(" ")
        method = words[0]
        if method not in _METHODS:
            _check_method(method)
        if len(words) == 2 and words[1].startswith("/"):
            raise VersionNotSupported("HTTP/0.9 is not spoken here")
        protocol = _VERSIONS.get(words[-1])
        if protocol is None and _VERSION.fullmatch(words[-1]):
            raise VersionNotSupported(f"{words[-1].strip()} is not spoken here")
        if len(words) != 3 or protocol is None or not is_plain(words[1]):
            raise BadRequest(f"the request line {line.strip()[:80]!r} is invalid (RFC 9112, 3)")
        variables, target = self._variables, words[1]
        variables["REQUEST_METHOD"] = method
        variables["SERVER_PROTOCOL"] = protocol
        variables["REQUEST_URI"] = target
        variables["PATH_INFO"], variables["QUERY_STRING"], self._authority = split(target, method)
        self._target_bytes = len(target)

    def _take_fields(self, block: bytes) -> None:
        """Read header lines; `block` holds complete lines only."""
        variables = self._variables
        lines = block.decode("latin-1").split("\r\n")
        # Deleting every byte that a value may have leaves the line breaks: one per line, unless a CR or LF stands
        # alone.
        if block.translate(None, _PLAIN) != b"\r\n" * (len(lines) - 1):
            self._refuse_fields(block)
        lines.pop()  # the text after the last line break is empty
        left, left_bytes = self._headers - self._count, self._head_bytes - self._size_bytes
        for line in lines:
            left -= 1
            left_bytes -= len(line) + 2
            if left < 0 or left_bytes < 0:
                raise self._too_large()
            colon = line.find(":")
            if colon < 0:
                raise BadRequest("a request has a line without a colon where a header is expected (RFC 9112, 5)")
            name = line[:colon]
            key = _names.get(name)
            if key is None:
                key = _variable(name)
            if key:
                value = line[colon + 1 :].strip(" \t")
                known = variables.get(key)
                variables[key] = value if known is None else _joined(key, known, value)
        self._count, self._size_bytes = self._headers - left, self._head_bytes - left_bytes

    def _refuse_fields(self, block: bytes) -> None:
        """Raise the error for a block with a forbidden byte. A line in front of that byte may have to be refused for
        another reason first."""
        for line in block.split(b"\n"):
            if line.translate(None, _PLAIN) == b"\r" == line[-1:]:
                self._take_fields(line + b"\n")
                continue
            if self._count == self._headers or self._size_bytes + len(line) + 1 > self._head_bytes:
                raise self._too_large()
            raise BadRequest(
                "a request has a control character in a header, or a line that does not end with CR LF "
                "(RFC 9112, 2.2; RFC 9110, 5.5)"
            )

    def _complete(self) -> HttpHead:
        """Check what the lines of the complete head say together, and return the head."""
        variables = self._variables
        is_new = variables["SERVER_PROTOCOL"] == "HTTP/1.1"
        host = variables.get("HTTP_HOST")
        if host is not None:
            check_host(host)
        elif is_new:
            raise BadRequest("a request has no Host (RFC 9112, 3.2)")
        if self._authority:
            variables["HTTP_HOST"] = self._authority
        length = _length(variables, is_new)
        keep_alive, upgrade = is_new, False
        if "HTTP_CONNECTION" in variables:
            said = variables["HTTP_CONNECTION"].lower()
            options = [option.strip(" \t") for option in said.split(",")] if "," in said else [said]
            keep_alive = "close" not in options and (is_new or "keep-alive" in options)  # RFC 9112, 9.3
            upgrade = is_new and "upgrade" in options and "HTTP_UPGRADE" in variables  # RFC 9110, 7.8
        expects = (
            is_new and length != 0 and "HTTP_EXPECT" in variables and variables["HTTP_EXPECT"].lower() == "100-continue"
        )
        self._last = not keep_alive and not upgrade
        if length < 0:
            self._part = _CHUNKS
            self._chunks = Chunks(self._headers, self._head_bytes)
        else:
            self._part = _BODY
            self._left_bytes = length
        size_bytes = self._target_bytes + self._size_bytes
        return HttpHead(variables, length, keep_alive, expects, upgrade, size_bytes, self._count)

    def _too_large(self) -> HeadTooLarge:
        return HeadTooLarge(
            f"a request has more than {counted(self._headers, 'header')} (--max-vars), or more than "
            f"{counted(self._head_bytes, 'byte')} of them: raise --http-head-size if that is wanted"
        )


def _length(variables: dict[str, Any], is_new: bool) -> int:
    """Return the length of the body in bytes (RFC 9112, 6.3); -1 for a body in chunks."""
    coding = variables.get("HTTP_TRANSFER_ENCODING")
    said = variables.get("CONTENT_LENGTH")
    if coding is None:
        if said is None:
            return 0
        length = parse_length(said)
        if length < 0:
            raise BadRequest(f"a request has the Content-Length {said[:40]!r}: no number of 18 digits or fewer")
        return length
    if said is not None:
        raise BadRequest("a request has both Transfer-Encoding and Content-Length (RFC 9112, 6.3)")
    if not is_new:
        raise BadRequest("a request of HTTP/1.0 has a Transfer-Encoding (RFC 9112, 6.1)")
    codings = [name.strip(" \t") for name in coding.lower().split(",")]
    if codings[-1] != "chunked" or codings.count("chunked") > 1 or "" in codings:
        raise BadRequest(f"the Transfer-Encoding {coding[:40]!r} does not end with one chunked (RFC 9112, 6.3)")
    if len(codings) > 1:
        raise NotImplementedByServer(f"the Transfer-Encoding {coding[:40]!r} is not known: only chunked is")
    return -1


def _check_method(method: str) -> None:
    """Check the method. RFC 9110, 9.1 allows any token; wsgid refuses lower-case letters.  Frameworks turn methods into
    upper case, so that `post` would reach a page for which a proxy has forbidden POST."""
    if not _TOKEN.fullmatch(method) or method.upper() in _METHODS:
        raise BadRequest(f"a request has the invalid method {method[:40]!r} (RFC 9110, 9.1)")


def _joined(key: str, known: str, value: str) -> str:
    """Join the values of a header that comes twice (RFC 9110, 5.3; RFC 6265, 5.4)."""
    if key in _ONCE:
        raise BadRequest(f"a request has {key} twice")
    return f"{known}{'; ' if key == 'HTTP_COOKIE' else ', '}{value}"


def _variable(name: str) -> str:
    """Return the environ variable of a header; empty if the header is dropped."""
    if not _TOKEN.fullmatch(name):
        raise BadRequest(f"a request has a line that is no header: {name[:80]!r} is no name (RFC 9112, 5.1)")
    key = "" if "_" in name else "HTTP_" + name.upper().replace("-", "_")
    key = "" if key in _DROPPED else _BARE.get(key, key)
    if len(_names) < _NAMES_MAX and len(name) <= _NAMES_MAX_CHARACTERS:
        key = sys.intern(key)  # lookups of interned names are faster; so many may stay for ever
        _names[name] = key
    return key


def _foreign(first: int) -> PeerError:
    """Return the error for a connection whose first byte begins no request."""
    if first == 0x16:  # a handshake record (RFC 8446, 5.1)
        return ForeignProtocol("the peer speaks TLS, not HTTP: this socket takes plain HTTP only")
    if first == 0:
        return ForeignProtocol("the peer speaks uwsgi, not HTTP: use --socket for nginx's uwsgi_pass")
    return BadRequest(f"a request begins with the byte {first:#04x}, not with a method (RFC 9112, 3)")
