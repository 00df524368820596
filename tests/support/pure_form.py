"""The pure Python form in a process of its own, to be asked beside the compiled one.

    with PureForm() as pure:
        pure.ask("decode", packet)      # what `decode` below says there; ask() itself says it here

A question is the name of a function below with its arguments; the answer is what it returns, or its exception in words.
"""

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tests.support import ROOT
from wsgid import compiled
from wsgid.errors import ClientDisconnected, PeerError
from wsgid.protocol import uwsgi
from wsgid.protocol.fields import is_plain, parse_length
from wsgid.protocol.http import Decoder, HttpHead, Limits
from wsgid.wsgi.environ import base_environ, complete, make_environ
from wsgid.wsgi.filewrapper import FileWrapper
from wsgid.wsgi.head import render_head
from wsgid.wsgi.input import Body
from wsgid.wsgi.response import serve


def decode(buffer: bytes, max_vars: int, base: dict[str, str] | None) -> Any:
    head = uwsgi.decode(buffer, max_vars, base)
    return head and (int(head.modifier), head.variables, head.content_length, head.size_bytes)


def http(data: bytes, sizes: list[int]) -> list[Any]:
    """What a decoder says of these bytes, which arrive in pieces: its events, and what it says of itself at each."""
    decoder = Decoder(Limits(line_bytes=200, headers=10, head_bytes=500), {"wsgi.errors": "ours"})
    said: list[Any] = []
    for size in [*sizes, len(data)]:
        decoder.feed(data[:size])
        data = data[size:]
        told: Any = ""
        while told is not None:
            said.append((decoder.is_between, decoder.has_next))
            told = _told(decoder.take())
            said.append(told)
    return [*said, decoder.beyond]


def _told(event: Any) -> Any:
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
    """What reads of these sizes give."""
    left = list(pieces)

    class Peer:
        def recv(self, size_bytes: int) -> bytes:
            return left.pop(0)[:size_bytes] if left else b""

    made = Body(first, content_length, Peer())
    said: list[Any] = []
    for size in sizes:
        try:
            said.append(made.stream.read(size))
        except ClientDisconnected as error:
            said.append(str(error))
    return said, made.unread_bytes


def response(method: str, status: Any, headers: Any, blocks: list[bytes], as_list: bool) -> Any:
    """What is sent, and what is said of it."""
    sent: list[bytes] = []

    class Transport:
        def send(self, first: bytes, second: bytes = b"") -> None:
            sent.append(first + second)

        def give_way(self) -> None:
            pass

        def sendfile(self, fd: int, offset: int, size_bytes: int) -> int:
            raise AssertionError("there is no file")

    def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response(status, headers)
        return blocks if as_list else iter(blocks)

    served = serve(application, {"REQUEST_METHOD": method, "PATH_INFO": "/"}, Transport())
    return served.outcome.name, served.status, served.sent_bytes, sent


def form() -> Any:
    return compiled.described()


QUESTIONS: dict[str, Callable[..., Any]] = {
    one.__name__: one for one in (decode, http, environ, head, text, body, response, form)
}


def ask(name: str, *arguments: Any) -> Any:
    try:
        return QUESTIONS[name](*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


class PureForm:
    """The process, from `with` to the end of its block."""

    def __enter__(self) -> "PureForm":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.pure_form"],
            cwd=ROOT,
            env={**os.environ, "WSGID_PURE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()

    def ask(self, name: str, *arguments: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        pickle.dump((name, arguments), self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)


if __name__ == "__main__":
    while True:
        try:
            _name, _arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            break
        pickle.dump(ask(_name, *_arguments), sys.stdout.buffer)
        sys.stdout.buffer.flush()
