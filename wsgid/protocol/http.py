"""HTTP/1.1 as the workers read it: bytes in, heads and bodies out, or a typed error.

    feed(bytes) -> take() -> Head, bytes ..., END, Head, bytes ..., END; None: more bytes are needed

Rules
* The grammar is llhttp's (httptools), in its strict form; here are the limits, and the rules of RFC 9112 that a grammar
  does not have: one Host, no Transfer-Encoding but chunked, no HTTP/1.0 with it, no version but 1.0 and 1.1.
* No I/O.  Whatever is refused is a PeerError with its status; nothing that was ambiguous is ever repaired, because the
  proxy before us may have read it otherwise (RFC 9112, 11.2, request smuggling).
* A header whose name has an underscore is dropped, as nginx does: in an environ it could not be told from another's.
* Names and values are latin-1 strings, as PEP 3333 has them.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

from wsgid.errors import (BadRequest, ForeignProtocol, HeadTooLarge, NotImplementedByServer, PeerError, UriTooLong,
                          VersionNotSupported)

_STEP_BYTES = 4096  # of a head; the parser does not say how long a header is that has not ended yet
_NAMES_MAX = 1024  # header names whose variables are remembered
_DROPPED = frozenset({"HTTP_PROXY"})  # httpoxy, CVE-2016-5385
_BARE = {"HTTP_CONTENT_TYPE": "CONTENT_TYPE", "HTTP_CONTENT_LENGTH": "CONTENT_LENGTH"}  # RFC 3875, 4.1.2 and 4.1.3
_ONCE = frozenset({"HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"})
_VERSIONS = {"1.1": "HTTP/1.1", "1.0": "HTTP/1.0"}

_names: dict[bytes, str] = {}


class End(Enum):
    """The request is complete."""

    END = 0


END = End.END


class Part(Enum):
    """Of a request: what the next byte belongs to."""

    BETWEEN = auto()
    HEAD = auto()
    BODY = auto()


_BETWEEN, _HEAD, _BODY = Part


@dataclass
class Head:
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
        limits: of each head.
        base: the server's own variables, which every head gets, and no client replaces.
    """

    def __init__(self, limits: Limits, base: dict[str, Any]) -> None:
        self._line_bytes, self._headers, self._head_bytes = limits.line_bytes, limits.headers, limits.head_bytes
        self._base = base
        self._parser = httptools.HttpRequestParser(self)
        self._events: deque[Head | bytes | End] = deque()
        self._error: PeerError | None = None
        self._part = _BETWEEN
        self._unseen_bytes = 0  # of a header that has not ended yet
        self.beyond = b""  # what came behind a request with Upgrade: of whatever protocol they agree on
        self._raw_bytes = -1  # of the body of a request with Upgrade, which the parser leaves alone; -1: there is none
        self._target = b""
        self._count = self._size_bytes = 0  # headers of this head
        self._variables: dict[str, Any] = {}

    def introduce(self, names: dict[str, str]) -> None:
        """Add to the variables that every head gets, before the first."""
        self._base |= names

    @property
    def is_between(self) -> bool:
        """Whether the last request is complete, and nothing of the next has come."""
        return self._part is _BETWEEN and not self._events

    @property
    def has_next(self) -> bool:
        """Whether something has come of the request behind the one whose head was taken last."""
        return self._part is _HEAD or any(isinstance(event, Head) for event in self._events)

    def feed(self, data: bytes) -> None:
        """Take what has arrived.

        Raises:
            PeerError: it is refused; nothing can be read from this connection any more.
        """
        while len(data) > _STEP_BYTES and self._part is not _BODY and self._raw_bytes < 0:
            self._feed(data[:_STEP_BYTES])
            data = data[_STEP_BYTES:]
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        if self._raw_bytes >= 0:
            self._take_raw(data)
            return
        self._unseen_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._take_raw(data[upgrade.args[0]:])
        except httptools.HttpParserError as error:
            if self._error is None and isinstance(error, httptools.HttpParserCallbackError):
                raise  # a fault of ours, not the peer's
            raise self._error or _refusal(data, error) from None
        if self._part is _HEAD and self._unseen_bytes > self._head_bytes:
            raise HeadTooLarge(f"a request has a header of more than {self._head_bytes} bytes: raise "
                               "--http-head-size if that is wanted")

    def take(self) -> Head | bytes | End | None:
        """The next event."""
        return self._events.popleft() if self._events else None

    def _take_raw(self, data: bytes) -> None:
        """What follows a head with Upgrade, for which the parser has said END at once: first its body."""
        if self._raw_bytes < 0:
            self._events.pop()
            head = self._events[-1]
            assert isinstance(head, Head)
            self._raw_bytes = head.content_length
            if not self._raw_bytes:
                self._events.append(END)
        if self._raw_bytes:
            body, data = data[:self._raw_bytes], data[self._raw_bytes:]
            self._raw_bytes -= len(body)
            self._events += [body] if self._raw_bytes else [body, END]
        self.beyond += data

    # --- what the parser calls ---

    def on_message_begin(self) -> None:
        self._part = _HEAD
        self._target = b""
        self._count = self._size_bytes = 0
        self._variables = self._base.copy()

    def on_url(self, part: bytes) -> None:
        self._target += part
        if len(self._target) > self._line_bytes:
            self._refuse(UriTooLong(f"a request line is longer than {self._line_bytes} bytes: raise "
                                    "--http-line-size if that is wanted"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._part is not _HEAD:  # a trailer: RFC 9110, 6.5.1 lets a recipient discard it
            return
        self._unseen_bytes = 0
        self._count += 1
        self._size_bytes += len(name) + len(value) + 4
        if self._count > self._headers or self._size_bytes > self._head_bytes:
            self._refuse(HeadTooLarge(f"a request has more than {self._headers} headers, or "
                                      f"{self._head_bytes} bytes of them"))
        key = _names.get(name)
        if key is None:
            key = _variable(name)
        if not key:
            return
        text = value.decode("latin-1").strip(" \t")
        known = self._variables.get(key)
        if known is None:
            self._variables[key] = text
        elif key in _ONCE:
            self._refuse(BadRequest(f"a request has {key} twice"))
        else:  # RFC 9110, 5.3; RFC 6265, 5.4
            self._variables[key] = f"{known}{'; ' if key == 'HTTP_COOKIE' else ', '}{text}"

    def on_headers_complete(self) -> None:
        parser, variables = self._parser, self._variables
        version = parser.get_http_version()
        protocol = _VERSIONS.get(version)
        if protocol is None:
            self._refuse(VersionNotSupported(f"HTTP/{version} is not spoken here"))
            return
        variables["SERVER_PROTOCOL"] = protocol
        variables["REQUEST_METHOD"] = parser.get_method().decode("ascii")
        self._split_target(variables)
        length = self._length(variables, version)
        if version == "1.1" and not variables.get("HTTP_HOST"):
            self._refuse(BadRequest("a request has no Host (RFC 9112, 3.2)"))
        upgrade = parser.should_upgrade()
        if upgrade and length < 0:
            self._refuse(NotImplementedByServer("a request has an Upgrade and a chunked body"))
        expects = version == "1.1" and length != 0 and variables.get("HTTP_EXPECT", "").lower() == "100-continue"
        self._part = _BODY
        self._unseen_bytes = 0
        self._events.append(Head(variables, length, parser.should_keep_alive() and not upgrade, expects, upgrade,
                                 len(self._target) + self._size_bytes, self._count))

    def on_body(self, block: bytes) -> None:
        self._events.append(block)

    def on_message_complete(self) -> None:
        self._part = _BETWEEN
        self._events.append(END)

    # --- the parts of a head ---

    def _refuse(self, error: PeerError) -> None:
        """The parser passes on no exception of a callback's: it is remembered, and the parser stopped by another."""
        self._error = error
        raise error

    def _length(self, variables: dict[str, Any], version: str) -> int:
        coding = variables.get("HTTP_TRANSFER_ENCODING")
        if coding is None:
            return int(variables.get("CONTENT_LENGTH") or 0)
        if version == "1.0":
            self._refuse(BadRequest("a request of HTTP/1.0 has a Transfer-Encoding (RFC 9112, 6.1)"))
        if coding.lower() != "chunked":
            self._refuse(NotImplementedByServer(f"the Transfer-Encoding {coding[:40]!r} is not known: only chunked is"))
        return -1

    def _split_target(self, variables: dict[str, Any]) -> None:
        """RFC 9112, 3.2: origin-form, absolute-form (the host there is the one that counts), or the asterisk."""
        target = self._target.decode("latin-1")
        if "#" in target or variables["REQUEST_METHOD"] == "CONNECT":
            self._refuse(BadRequest(f"the request target {target[:80]!r} is none for this server"))
        path = target
        if not target.startswith("/") and target != "*":
            _, slashes, rest = target.partition("://")
            host, slash, path = rest.partition("/")
            if not slashes or not host:
                self._refuse(BadRequest(f"the request target {target[:80]!r} is neither a path nor a URL"))
            query = host.find("?")
            if query >= 0:
                host, path = host[:query], f"{host[query:]}{slash}{path}"
            variables["HTTP_HOST"] = host
            path = path if path.startswith("?") else f"/{path}"
        path, _, query_string = path.partition("?")
        variables["REQUEST_URI"] = target
        variables["QUERY_STRING"] = query_string
        variables["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path or "/"


def _variable(name: bytes) -> str:
    """The name of a header's variable; empty if the header is dropped."""
    text = name.decode("latin-1")
    key = "" if "_" in text else "HTTP_" + text.upper().replace("-", "_")
    key = "" if key in _DROPPED else _BARE.get(key, key)
    if len(_names) < _NAMES_MAX:
        _names[name] = key
    return key


def _refusal(data: bytes, error: Exception) -> PeerError:
    if data.startswith(b"\x16\x03"):
        return ForeignProtocol("the peer speaks TLS, not HTTP: this socket takes plain HTTP only")
    if data[:1] == b"\0":
        return ForeignProtocol("the peer speaks uwsgi, not HTTP: use --socket for nginx's uwsgi_pass")
    return BadRequest(f"a request is not valid HTTP/1.1: {error}")
