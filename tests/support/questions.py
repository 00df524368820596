"""What the decoders and the response do with given input, as values that can be compared: see pure_form.py."""

import io
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from wsgid import compiled
from wsgid.config import ini as ini_file
from wsgid.errors import ClientDisconnected, PeerError
from wsgid.protocol import proxy as proxy_protocol
from wsgid.protocol import target, uwsgi
from wsgid.protocol.chunked import Chunks
from wsgid.protocol.fields import is_plain, parse_length
from wsgid.protocol.http import Decoder, HttpHead, Limits
from wsgid.wsgi.environ import base_environ, complete, make_environ
from wsgid.wsgi.filewrapper import FileWrapper
from wsgid.wsgi.head import render_head
from wsgid.wsgi.input import Body
from wsgid.wsgi.response import Transport, serve


def decode(buffer: bytes, max_vars: int, base: dict[str, str] | None) -> Any:
    head = uwsgi.decode(buffer, max_vars, base)
    return head and (int(head.modifier), head.variables, head.content_length, head.size_bytes)


def http(data: bytes, sizes: list[int]) -> list[Any]:
    """What an HTTP decoder does with these bytes, which arrive in pieces: its events, and its state at each event."""
    decoder = Decoder(Limits(line_bytes=200, headers=10, head_bytes=500), {"wsgi.errors": "ours"})
    answers: list[Any] = []
    for size in [*sizes, len(data)]:
        decoder.feed(data[:size])
        data = data[size:]
        event: Any = ""
        while event is not None:
            answers.append((decoder.is_between, decoder.has_next))
            event = _in_words(decoder.take())
            answers.append(event)
    return [*answers, decoder.beyond]


def _in_words(event: Any) -> Any:
    if isinstance(event, HttpHead):
        return {name: getattr(event, name) for name in HttpHead.__slots__}
    if isinstance(event, PeerError):
        return type(event).__name__, str(event)
    return event if event is None or isinstance(event, bytes) else "end"


def environ(variables: dict[str, str]) -> Any:
    base = base_environ(sys.stderr, True, FileWrapper)
    missing = complete(variables)
    made = make_environ(base | variables, io.BytesIO())
    return missing, {key: value for key, value in made.items() if isinstance(value, str)}


def head(status: Any, headers: Any) -> Any:
    return render_head(status, headers)


def text(value: Any) -> Any:
    return is_plain(value), parse_length(value)


def body(first: bytes, pieces: list[bytes], content_length: int, sizes: list[int]) -> Any:
    """What reads of these sizes return."""
    left = list(pieces)

    class Peer:
        def recv_into(self, target: memoryview) -> int:
            block = left.pop(0)[: len(target)] if left else b""
            target[: len(block)] = block
            return len(block)

    made = Body(first, content_length, Peer())
    answers: list[Any] = []
    for size in sizes:
        try:
            answers.append(made.stream.read(size))
        except ClientDisconnected as error:
            answers.append(str(error))
    return answers, made.unread_bytes


def response(method: str, status: Any, headers: Any, blocks: list[bytes], as_list: bool) -> Any:
    """The bytes that are sent, and the response's own record of them."""
    sent: list[bytes] = []

    class Recorder(Transport):
        def send(self, first: bytes, second: bytes = b"") -> None:
            sent.append(first + second)

        def give_way(self) -> None:
            pass

        def sendfile(self, fd: int, offset: int, size_bytes: int) -> int:
            raise AssertionError("there is no file")

    def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response(status, headers)
        return blocks if as_list else iter(blocks)

    served = serve(application, {"REQUEST_METHOD": method, "PATH_INFO": "/"}, Recorder())
    return served.outcome.name, served.status, served.sent_bytes, sent


def form() -> Any:
    return compiled.described()


def file() -> Any:
    """The file of the module: it shows the form."""
    return uwsgi.__file__


def chunks(data: bytes, sizes: list[int], lines: int, size_bytes: int) -> list[Any]:
    """What the decoder of a chunked body does with these bytes, which arrive in pieces."""
    decoder = Chunks(lines, size_bytes)
    answers: list[Any] = []
    rest = b""
    for size in [*sizes, len(data)]:
        rest, data = rest + data[:size], data[size:]
        end = decoder.decode(rest, 0)
        rest = rest[end:]
        answers.append((end, decoder.take(), decoder.ended, decoder.error and str(decoder.error)))
    return answers


def split_target(text: str, method: str) -> Any:
    return target.split(text, method)


def check_host(text: str) -> Any:
    return target.check_host(text)


def proxy(data: bytes) -> Any:
    return proxy_protocol.decode(data)


def ini(data: bytes) -> Any:
    """What an ini file with these bytes contains."""
    with tempfile.NamedTemporaryFile(suffix=".ini") as written:
        written.write(data)
        written.flush()
        return [(entry.key, entry.value) for entry in ini_file.read([written.name], {"A": "a"}).entries]
