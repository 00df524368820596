"""HTTP/1.1 as the workers read it: bytes in, heads and bodies out, or an error.

    feed(bytes) -> take() -> Head, bytes ..., END, Head, bytes ..., END, PeerError; None: more bytes are needed

Rules
* `feed` keeps bytes, `take` decodes them: one head at a time. What is pipelined behind a request costs its bytes, and
  the requests in front of a bad one are whole events in front of an error, which is the last event.
* The grammar is RFC 9112's, in its strict form, and nothing that is ambiguous is ever repaired, because the proxy in
  front of us may have read it otherwise (RFC 9112, 11.2).  Decision 19 says why the decoder is our own.
* What is refused, is refused with the same status however the bytes arrive.  So checks are made in the order of the
  bytes: each line's limits, then what it says; what concerns all lines, at the end of the head.
* Only the head says how long a body is, and whether the connection goes on.
* A header whose name has an underscore is dropped, as nginx does: in an environ it could not be told from another's.
* Names and values are latin-1 strings, as PEP 3333 has them.  No I/O.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

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
from wsgid.protocol.target import check_host, split

_NAMES_MAX = 1024  # header names whose variables are remembered,
_NAMES_MAX_CHARACTERS = 64  # if they are not longer
_DROPPED = frozenset({"HTTP_PROXY"})  # httpoxy, CVE-2016-5385
_BARE = {"HTTP_CONTENT_TYPE": "CONTENT_TYPE", "HTTP_CONTENT_LENGTH": "CONTENT_LENGTH"}  # RFC 3875, 4.1.2 and 4.1.3
_ONCE = frozenset({"HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_VERSIONS = {"HTTP/1.1\r": "HTTP/1.1", "HTTP/1.0\r": "HTTP/1.0"}  # with the end of the line

_TOKEN = re.compile(f"{TOKEN}+")
_VERSION = re.compile(r"HTTP/[0-9]\.[0-9]\r")
_PLAIN = bytes(byte for byte in range(256) if (byte >= 0x20 and byte != 0x7F) or byte == 0x09)  # what a value may have

_names: dict[str, str] = {}


class End(Enum):
    """The request is complete."""

    END = 0


END = End.END


class Part(Enum):
    """What the next byte belongs to."""

    BETWEEN = auto()  # a request line, or an empty line in front of it
    FIELDS = auto()  # a head, behind its first line
    BODY = auto()  # as long as Content-Length says
    CHUNKS = auto()
    NOTHING = auto()  # the last request is complete
    REFUSED = auto()


_BETWEEN, _FIELDS, _BODY, _CHUNKS, _NOTHING, _REFUSED = Part


@dataclass
class HttpHead:
    """One request, without its body.

    Args:
        variables: of the environ.
        content_length: of the body, in bytes; -1: chunked.
        keep_alive: whether the client would send another request.
        expects: whether it waits for a 100 before it sends the body.
        upgrade: whether it asks for another protocol.
        size_bytes: of target and headers.
        count: of headers.
    """

    __slots__ = ("variables", "content_length", "keep_alive", "expects", "upgrade", "size_bytes", "count")

    variables: dict[str, Any]
    content_length: int
    keep_alive: bool
    expects: bool
    upgrade: bool
    size_bytes: int
    count: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What a head may be."""

    line_bytes: int
    headers: int
    head_bytes: int


class Decoder:
    """One connection's requests.

    Args:
        limits: of each head; those of headers are also those of trailers, chunk extensions and empty lines.
        base: the server's own variables, which every head gets, and no client replaces.
    """

    def __init__(self, limits: Limits, base: dict[str, Any]) -> None:
        self._line_bytes, self._headers, self._head_bytes = limits.line_bytes, limits.headers, limits.head_bytes
        self._base = base
        self._part = _BETWEEN
        self._data = b""
        self._at = 0  # in it, what has not been decoded begins
        self._variables: dict[str, Any] = {}  # of the head that is being read
        self._authority = ""  # likewise: of its target
        self._target_bytes = self._count = self._size_bytes = 0  # likewise: of its target, headers, and bytes of them
        self._left_bytes = 0  # of the body, if Content-Length says how long it is
        self._chunks: Chunks | None = None  # of the body, if it comes in chunks
        self._last = False  # the client sends no other request: whatever comes is ignored (RFC 9112, 9.6)

    def introduce(self, names: dict[str, str]) -> None:
        """Add to the variables that every head gets, before the first."""
        self._base |= names

    @property
    def is_between(self) -> bool:
        """Whether the last request is complete, and nothing of the next has come, not even an empty line."""
        return (
            self._part is _BETWEEN and not self._size_bytes and self._at == len(self._data)
        ) or self._part is _NOTHING

    @property
    def has_next(self) -> bool:
        """Whether something has come of the request behind the one whose head was taken last. Empty lines are nothing;
        and behind a request that closes the connection, or is refused, there is none."""
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
        """What has come behind a request that was taken to its END: of a protocol to which an Upgrade has led."""
        return self._data[self._at :]

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        if self._part is _NOTHING or self._part is _REFUSED:
            return
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def take(self) -> HttpHead | bytes | End | PeerError | None:
        """The next event; None if more has to come. After a PeerError there are no more."""
        part = self._part
        if part is _BETWEEN and self._at == len(self._data):  # as most often
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
        """So many of the bytes that have come. What has been decoded is not kept."""
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
        if self._part is _BETWEEN and not self._take_request_line():
            return None
        data, at = self._data, self._at
        if data.startswith(b"\r\n", at):  # the end of the head
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

    def _take_request_line(self) -> bool:
        """Returns whether it was there."""
        data, at = self._data, self._at
        if data[at : at + 1] == b"\r":
            at = self._skip_empty_lines()
        if at == len(data) or (data[at] == 0x0D and at + 1 == len(data)):
            return False
        if not 0x20 < data[at] < 0x7F:
            raise _foreign(data[at])
        stop = data.find(b"\n", at)
        if (stop if stop >= 0 else len(data)) - at > self._line_bytes + 1:  # the CR is none of it
            raise UriTooLong(
                f"a request line is longer than {self._line_bytes} bytes: raise --http-line-size if that is wanted"
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
        """RFC 9112, 2.2: old clients send one behind a body. They count as part of the next head. Returns their end."""
        data, at = self._data, self._at
        while at + 1 < len(data) and data[at] == 0x0D and data[at + 1] == 0x0A:
            at += 2
        self._size_bytes += at - self._at
        self._at = at
        if self._size_bytes > self._head_bytes:
            raise HeadTooLarge(f"there are more than {self._head_bytes} bytes of empty lines in front of a request")
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
            raise BadRequest(f"the request line {line.strip()[:80]!r} is no valid one (RFC 9112, 3)")
        variables, target = self._variables, words[1]
        variables["REQUEST_METHOD"] = method
        variables["SERVER_PROTOCOL"] = protocol
        variables["REQUEST_URI"] = target
        variables["PATH_INFO"], variables["QUERY_STRING"], self._authority = split(target, method)
        self._target_bytes = len(target)

    def _take_fields(self, block: bytes) -> None:
        """Whole lines of the head."""
        variables = self._variables
        lines = block.decode("latin-1").split("\r\n")
        # Without all that a value may have, line breaks are left: as many as there are lines, if no CR or LF is alone.
        if block.translate(None, _PLAIN) != b"\r\n" * (len(lines) - 1):
            self._refuse_fields(block)
        lines.pop()  # what is behind the last line break
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
        """One of these lines has what no line may have; but one in front of it may be refused as something else."""
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
        """The head has come whole: what its lines say together."""
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
            f"a request has more than {self._headers} headers (--max-vars), or {self._head_bytes} "
            "bytes of them: raise --http-head-size if that is wanted"
        )


def _length(variables: dict[str, Any], is_new: bool) -> int:
    """Of the body (RFC 9112, 6.3); -1: it comes in chunks."""
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
    """RFC 9110, 9.1: any token.  But frameworks write methods in capitals, so that `post` would become what a proxy has
    forbidden as POST."""
    if not _TOKEN.fullmatch(method) or method.upper() in _METHODS:
        raise BadRequest(f"a request has the method {method[:40]!r}, which is none (RFC 9110, 9.1)")


def _joined(key: str, known: str, value: str) -> str:
    """The value of a header that comes once more (RFC 9110, 5.3; RFC 6265, 5.4)."""
    if key in _ONCE:
        raise BadRequest(f"a request has {key} twice")
    return f"{known}{'; ' if key == 'HTTP_COOKIE' else ', '}{value}"


def _variable(name: str) -> str:
    """The name of a header's variable; empty if the header is dropped."""
    if not _TOKEN.fullmatch(name):
        raise BadRequest(f"a request has a line that is no header: {name[:80]!r} is no name (RFC 9112, 5.1)")
    key = "" if "_" in name else "HTTP_" + name.upper().replace("-", "_")
    key = "" if key in _DROPPED else _BARE.get(key, key)
    if len(_names) < _NAMES_MAX and len(name) <= _NAMES_MAX_CHARACTERS:
        _names[name] = key
    return key


def _foreign(first: int) -> PeerError:
    """What begins with a byte that no request begins with."""
    if first == 0x16:  # a handshake record (RFC 8446, 5.1)
        return ForeignProtocol("the peer speaks TLS, not HTTP: this socket takes plain HTTP only")
    if first == 0:
        return ForeignProtocol("the peer speaks uwsgi, not HTTP: use --socket for nginx's uwsgi_pass")
    return BadRequest(f"a request begins with the byte {first:#04x}, not with a method (RFC 9112, 3)")
