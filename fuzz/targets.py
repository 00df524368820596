"""The decoders of what comes from outside, and the questions that each decoder gets about any bytes.

Rules
* A question is a function of tests/support/questions.py: the tests ask the same questions.
* Other arguments of a question, such as the sizes of the pieces in which the bytes arrive, are computed from the bytes.
  So a file of the corpus is the whole finding.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Question = tuple[Any, ...]  # a name, and arguments


@dataclass(frozen=True, slots=True)
class Target:
    """A decoder.

    Args:
        ask: the questions about these bytes.
        compiled: whether there is a compiled form that has to give the same answers.
        words: a dictionary of useful words for the mutations.
    """

    ask: Callable[[bytes], list[Question]]
    compiled: bool
    words: tuple[bytes, ...] = ()


def pieces(data: bytes) -> list[int]:
    """Sizes of pieces, computed from the bytes: the same bytes always give the same sizes."""
    number, left = zlib.crc32(data), len(data)
    sizes: list[int] = []
    while left > 0 and len(sizes) < 20:
        number = number * 1103515245 + 12345 & 0x7FFFFFFF  # as rand(3) does
        sizes.append(1 + (number >> 8) % max(left, 1))
        left -= sizes[-1]
    return sizes


def _uwsgi(data: bytes) -> list[Question]:
    return [("decode", data, 20, None), ("decode", data, 20, {"wsgi.errors": "ours"})]


def _http(data: bytes) -> list[Question]:
    return [("http", data, []), ("http", data, pieces(data))]


def _chunks(data: bytes) -> list[Question]:
    return [("chunks", data, [], 3, 100), ("chunks", data, pieces(data), 3, 100)]


def _target(data: bytes) -> list[Question]:
    """The decoder of HTTP passes only printable ASCII without blanks to the decoder of the target."""
    text = "".join(character for character in data.decode("latin-1") if "!" <= character <= "~")
    return [("split_target", text, "GET"), ("split_target", text, "OPTIONS"), ("check_host", text)]


def _fields(data: bytes) -> list[Question]:
    return [("text", data.decode("latin-1"))]


def _proxy(data: bytes) -> list[Question]:
    return [("proxy", data)]


def _ini(data: bytes) -> list[Question]:
    return [("ini", data)]


TARGETS = {
    "uwsgi": Target(_uwsgi, True, (b"CONTENT_LENGTH", b"PATH_INFO", b"wsgi.errors", b"\xff\xff", b"HTTP_HOST")),
    "http": Target(
        _http,
        True,
        (
            b"GET / HTTP/1.1\r\n",
            b"HTTP/1.0\r\n",
            b"Host: a\r\n",
            b"Content-Length: ",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: ",
            b"close",
            b"keep-alive",
            b"Upgrade: x\r\n",
            b"Expect: 100-continue\r\n",
            b"\r\n",
            b"\r\n\r\n",
            b"0\r\n\r\n",
            b"1\r\na\r\n",
        ),
    ),
    "chunks": Target(_chunks, True, (b"\r\n", b"0\r\n", b"1\r\na\r\n", b';x="y"', b"T: x\r\n", b"ffffffffffffffff")),
    "target": Target(_target, True, (b"http://", b"https://", b"[::1]", b":80", b"%2f", b"/", b"?", b"#", b"@", b"*")),
    "fields": Target(_fields, True, (b"0123456789", b"999999999999999999", b"\x7f", b"\x1f", b"\xb2")),
    "proxy": Target(
        _proxy,
        False,
        (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", b"192.0.2.1 ", b"::1 ", b"80\r\n", b"\r\n\r\n\0\r\nQUIT\n"),
    ),
    "ini": Target(
        _ini,
        False,
        (
            b"[uwsgi]\n",
            b"[wsgid]\n",
            b"ini = :x\n",
            b"workers = 2\n",
            b"if-env = A\n",
            b"endif =\n",
            b"for = a b\n",
            b"endfor =\n",
            b"%(a)",
            b"%(a 1 +)",
            b"$(A)",
            b"@(a)",
            b"set-placeholder = a=b\n",
            b"harakiri = 3\n",
            b"print = x\n",
        ),
    ),
}
