"""What an application may answer (PEP 3333), what it may not answer, and the bytes that nginx gets."""

import gzip
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple
from wsgiref.validate import validator

import pytest

from wsgid.errors import ClientDisconnected, RequestTimeout
from wsgid.wsgi import response
from wsgid.wsgi.environ import base_environ, make_environ
from wsgid.wsgi.filewrapper import FileWrapper, sendable
from wsgid.wsgi.response import Outcome, Served, Transport, serve

pytestmark = pytest.mark.hot

PLAIN = [("Content-Type", "text/plain")]
HEAD_200 = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
ERROR_500 = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain; charset=latin-1\r\n"
    b"Content-Length: 26\r\n\r\n500 Internal Server Error\n"
)


class Recorder(Transport):
    """A transport that keeps the bytes that it gets, and fails at the given send."""

    def __init__(self, fail_at: int = -1, error: BaseException | None = None) -> None:
        self.sends: list[bytes] = []
        self.files: list[tuple[int, int]] = []
        self.shrink_bytes = 0
        self._fail_at = fail_at
        self._error = error or ClientDisconnected("the peer is gone")

    def _record(self, data: bytes) -> None:
        if len(self.sends) == self._fail_at:
            self._fail_at = -1  # only once: an application that goes on after the failure has to be stopped by wsgid
            raise self._error
        self.sends.append(data)

    def send(self, first: bytes, second: bytes = b"") -> None:
        assert type(first) is bytes and type(second) is bytes
        self._record(first + second)

    def give_way(self) -> None:
        pass

    def sendfile(self, fd: int, offset: int, size_bytes: int) -> int:
        data = os.pread(fd, size_bytes - self.shrink_bytes, offset)
        self._record(data)
        self.files.append((offset, size_bytes))
        return len(data)

    @property
    def data(self) -> bytes:
        return b"".join(self.sends)


class Result:
    """An iterable that counts how often it was closed."""

    def __init__(self, blocks: Iterable[Any], close_error: BaseException | None = None) -> None:
        self.blocks = iter(blocks)
        self.closed = 0
        self._close_error = close_error

    def __iter__(self) -> Iterator[Any]:
        return self.blocks

    def close(self) -> None:
        self.closed += 1
        if self._close_error:
            raise self._close_error


def environ_of(method: str = "GET", path: str = "/page", body: bytes = b"", **more: str) -> dict[str, Any]:
    variables = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SERVER_NAME": "example.org",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "QUERY_STRING": "",
        "CONTENT_LENGTH": str(len(body)),
        **more,
    }
    return make_environ(base_environ(io.StringIO(), True, FileWrapper) | variables, io.BytesIO(body))


def app_of(result: Any, headers: Any = PLAIN, status: Any = "200 OK") -> Callable[..., Any]:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, headers)
        return result

    return application


def run(
    application: Callable[..., Any], method: str = "GET", transport: Recorder | None = None, **more: Any
) -> tuple[Served, Recorder]:
    transport = transport or Recorder()
    return serve(application, environ_of(method, **more), transport), transport


def told(served: Served) -> tuple[Outcome, int, int]:
    return served.outcome, served.status, served.sent_bytes


def sent(result: Any, headers: Any = PLAIN, status: Any = "200 OK", method: str = "GET") -> bytes:
    """All bytes of a response, which has to be complete."""
    served, transport = run(app_of(result, headers, status), method)
    assert served.outcome is Outcome.COMPLETE
    return transport.data


def raising(error: BaseException, *blocks: bytes) -> Iterator[bytes]:
    yield from blocks
    raise error


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """The text that was logged since the last call. A log text that a test does not read must be empty."""
    yield lambda: capsys.readouterr().err
    assert capsys.readouterr().err == ""


# --- complete responses -----------------------------------------------------------------------------------------------


def test_head_and_first_block_leave_in_one_send(said: Any) -> None:
    served, transport = run(app_of([b"hello"]))
    assert transport.sends == [HEAD_200 + b"Content-Length: 5\r\n\r\nhello"]
    assert told(served) == (Outcome.COMPLETE, 200, 5)


def test_the_head_that_was_sent_is_counted(said: Any) -> None:
    served, transport = run(app_of([b"hello"], PLAIN))
    head, _, _ = transport.data.partition(b"hello")
    assert (served.head_bytes, served.headers) == (len(head), len(PLAIN))
    served, _ = run(app_of([b"hello"]), transport=Recorder(fail_at=0))
    assert served.outcome is Outcome.DISCONNECTED and served.head_bytes == 0
    served, transport = run(app_of(iter([b"a", b"b"])), transport=Recorder(fail_at=1))
    assert served.outcome is Outcome.DISCONNECTED and served.head_bytes == len(transport.data) - 1


def test_blocks_leave_one_by_one_and_empty_ones_do_not_start_the_response(said: Any) -> None:
    seen: list[int] = []
    transport = Recorder()

    def blocks() -> Iterator[bytes]:
        for block in (b"", b"a", b"", b"bc"):
            seen.append(len(transport.sends))
            yield block

    served, _ = run(app_of(blocks()), transport=transport)
    assert transport.sends == [HEAD_200 + b"\r\na", b"bc"]
    assert seen == [0, 0, 1, 1] and served.sent_bytes == 3


@pytest.mark.parametrize("result", [[], (), [b""], [b"", b""], iter([]), b""])
def test_an_empty_body_has_length_zero(result: Any, said: Any) -> None:
    assert sent(result) == HEAD_200 + b"Content-Length: 0\r\n\r\n"


@pytest.mark.parametrize("result", [[b"hello"], (b"hello",), b"hello", {b"hello": 1}])
def test_the_length_of_a_single_block_is_known(result: Any, said: Any) -> None:
    assert sent(result) == HEAD_200 + b"Content-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("blocks", [[b"hel", b"lo"], [b"", b"hello"]])
def test_the_length_of_several_blocks_is_not(blocks: list[bytes], said: Any) -> None:
    assert sent(blocks) == sent(iter(blocks)) == HEAD_200 + b"\r\nhello"


def test_the_application_s_length_is_kept_once(said: Any) -> None:
    headers = [("content-length", "5"), *PLAIN, ("Content-Length", "5")]
    for result in ([b"hello"], [b"hel", b"lo"], iter([b"hello"])):
        assert sent(result, headers) == HEAD_200 + b"Content-Length: 5\r\n\r\nhello"


def test_a_generator_may_start_the_response_late(said: Any) -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"hello"

    assert run(application)[1].data == HEAD_200 + b"\r\nhello"


def test_write_streams_before_the_iterable(said: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"")
        assert transport.sends == []
        write(b"one")
        assert transport.sends == [HEAD_200 + b"\r\none"]
        write(b"two")
        return [b"three"]

    transport = Recorder()
    assert told(run(application, transport=transport)[0]) == (Outcome.COMPLETE, 200, 11)
    assert transport.sends[1:] == [b"two", b"three"]


@pytest.mark.parametrize(
    ("status", "line"),
    [("200 OK", b"200 OK"), ("299", b"299 "), ("404 ", b"404 "), ("599 A \xe9 reason", b"599 A \xe9 reason")],
)
def test_the_status_line(status: str, line: bytes, said: Any) -> None:
    assert sent([], [], status) == b"HTTP/1.1 " + line + b"\r\nContent-Length: 0\r\n\r\n"


class Word(str, Enum):  # noqa: UP042  StrEnum's str() is the value
    """Applications keep their header values in enumerations. str() of a member is its name, not its value."""

    STATUS = "200 OK"
    NAME = "Content-Type"
    VALUE = "text/plain"


class Block(bytes):
    """A subclass that gives other answers than the bytes themselves."""

    def __len__(self) -> int:
        return 1000

    def __bytes__(self) -> bytes:
        return b"something else"


class Header(NamedTuple):
    name: str
    value: str


class Headers(list[Header]):
    pass


def test_values_of_subclasses_are_sent_as_what_they_are(said: Any) -> None:
    headers = Headers([Header(Word.NAME, Word.VALUE)])
    for blocks in ([Block(b"hello")], Block(b"hello")):
        assert sent(blocks, headers, Word.STATUS) == HEAD_200 + b"Content-Length: 5\r\n\r\nhello"
    blocks = [Block(b"hel"), Block(b""), Block(b"lo")]
    assert sent(blocks, headers, Word.STATUS) == sent(iter(blocks), headers) == HEAD_200 + b"\r\nhello"

    def application(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response(Word.STATUS, headers)
        for block in blocks:
            write(block)
        return []

    assert run(application)[1].data == HEAD_200 + b"\r\nhello"


def test_headers_keep_order_case_and_repetition(said: Any) -> None:
    headers = [
        ("Set-Cookie", "a=1"),
        ("X-Tab", "a\tb"),
        ("set-cookie", "b=2"),
        ("X-Latin", "\xe9\x80\xa0"),
        ("X-E", ""),
    ]
    assert sent([], headers) == (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-Tab: a\tb\r\nset-cookie: b=2\r\n"
        b"X-Latin: \xe9\x80\xa0\r\nX-E: \r\nContent-Length: 0\r\n\r\n"
    )


def test_hop_by_hop_headers_of_the_application_are_dropped(said: Any) -> None:
    hop = [(name, "x") for name in ("Connection", "KEEP-ALIVE", "Transfer-Encoding", "te", "Trailer")]
    kept = [("Proxy-Authenticate", "Basic"), ("X-Accel-Buffering", "no")]
    assert sent([], hop + kept) == (
        b"HTTP/1.1 200 OK\r\nProxy-Authenticate: Basic\r\nX-Accel-Buffering: no\r\nContent-Length: 0\r\n\r\n"
    )


def test_a_101_keeps_connection_and_upgrade_and_streams_without_a_length(said: Any) -> None:
    headers = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Content-Length", "0"), ("Keep-Alive", "x")]
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert sent([], headers, "101 Switching Protocols") == switch
    assert sent([b"frame"], headers, "101 Switching Protocols") == switch + b"frame"


@pytest.mark.parametrize("result", [[], [b"hello"], [b"he", b"llo"], iter([b"hello"])])
@pytest.mark.parametrize(
    ("method", "status", "length", "expected"),
    [
        ("HEAD", "200 OK", None, b""),
        ("HEAD", "200 OK", "7", b"Content-Length: 7\r\n"),
        ("GET", "204 No Content", None, b""),
        ("GET", "204 No Content", "5", b""),
        ("GET", "304 Not Modified", None, b""),
        ("GET", "304 Not Modified", "5", b"Content-Length: 5\r\n"),
    ],
)
def test_responses_that_have_no_body(
    result: Any, method: str, status: str, length: str | None, expected: bytes, said: Any
) -> None:
    headers = [("Content-Length", length)] if length else []
    assert sent(result, headers, status, method) == b"HTTP/1.1 " + status.encode() + b"\r\n" + expected + b"\r\n"


def test_the_body_of_a_response_to_head_is_not_produced_to_its_end(said: Any) -> None:
    result = Result(b"x" for _ in iter(int, 1))  # without end
    assert told(run(app_of(result), "HEAD")[0]) == (Outcome.COMPLETE, 200, 0)
    assert result.closed == 1


def test_write_to_a_head_request_sends_no_body(said: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        environ["REQUEST_METHOD"] = "GET"  # as a method override does; the client has sent a HEAD nevertheless
        write(b"a")
        write(b"b")
        return [b"c"]

    assert run(application, "HEAD")[1].sends == [HEAD_200 + b"\r\n"]


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_wsgirefs_validator_finds_no_error(method: str, said: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    served, transport = run(validator(application), method, body=b"hello")
    assert served.outcome is Outcome.COMPLETE
    assert transport.data == HEAD_200 + b"Content-Length: 5\r\n\r\n" + (b"" if method == "HEAD" else b"hello")


# --- the application breaks the rules before the head is out ----------------------------------------------------------


def start_twice(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def start_never(environ: Any, start_response: Any) -> list[bytes]:
    return [b"x"]


def start_never_and_say_nothing(environ: Any, start_response: Any) -> list[bytes]:
    return []


def leave(environ: Any, start_response: Any) -> None:
    raise SystemExit(3)


BROKEN: dict[str, tuple[Callable[..., Any], str]] = {
    "None": (app_of(None), "NoneType where PEP 3333 demands bytes"),
    "str": (app_of("hello"), "str where PEP 3333 demands bytes"),
    "empty str": (app_of(""), "str where PEP 3333 demands bytes"),
    "a number": (app_of(5), "'int' object is not iterable"),
    "str block": (app_of(["hello"]), "a str where"),
    "int block": (app_of([1]), "an? int where"),
    "None block": (app_of([None]), "NoneType where"),
    "bytearray block": (app_of([bytearray(b"x")]), "bytearray where"),
    "not callable": (None, "not callable"),  # type: ignore[dict-item]
    "start twice": (start_twice, "a second time"),
    "start never": (start_never, "has to call start_response"),
    "start never, no body": (start_never_and_say_nothing, "did not call start_response"),
    "raises": (lambda environ, start_response: 1 / 0, "ZeroDivisionError"),
    "raises in its iterator": (lambda *arguments: app_of(raising(KeyError("lost")))(*arguments), "KeyError: 'lost'"),
    "exits": (leave, "SystemExit: 3"),
    "interrupt": (lambda *arguments: app_of(raising(KeyboardInterrupt()))(*arguments), "KeyboardInterrupt"),
    "killed": (lambda *arguments: app_of(raising(BaseException("killed")))(*arguments), "BaseException: killed"),
    **{
        f"status {status!r}": (app_of([], [], status), text)
        for status, text in [
            (200, "not a str"),
            (b"200 OK", "not a str"),
            (None, "not a str"),
            ("", "no status"),
            ("OK", "no status"),
            ("20 OK", "no status"),
            ("2000", "no status"),
            ("200OK", "no status"),
            (" 200 OK", "no status"),
            ("100 Continue", "no status"),
            ("103 Early Hints", "no status"),
            ("199 x", "no status"),
            ("600 x", "no status"),
            ("200 O\r\nK", "no status"),
            ("200 OK\n", "no status"),
            ("200 \x00", "no status"),
            ("200 \u20ac", "no status"),
            ("\u0662\u0660\u0660 OK", "no status"),
        ]
    },
    **{
        f"headers {number}": (app_of([], headers), text)
        for number, (headers, text) in enumerate(
            [
                (None, "not a list"),
                ((("A", "b"),), "not a list"),
                ({"A": "b"}, "not a list"),
                (iter(()), "not a list"),
                ([["A", "b"]], "no tuple"),
                (["Ab"], "no tuple"),
                ([("A",)], "no tuple"),
                ([("A", "b", "c")], "no tuple"),
                ([(b"A", "b")], "not a str"),
                ([("A", b"b")], "not a str"),
                ([("A", 5)], "not a str"),
                ([("A", None)], "not a str"),
                ([("", "b")], "no header name"),
                ([("A B", "b")], "no header name"),
                ([("A:", "b")], "no header name"),
                ([("A\n", "b")], "no header name"),
                ([("\xc4", "b")], "no header name"),
                ([("A", "b\r\nSet-Cookie: c")], "control character"),
                ([("A", "b\n")], "control character"),
                ([("A", "\r")], "control character"),
                ([("A", "\x00")], "control character"),
                ([("A", "\x7f")], "control character"),
                ([("Connection", "a\nb")], "control character"),
                ([("A", "\u20ac")], "not latin-1"),
                ([("A", "\u200b")], "not latin-1"),
                ([("Content-Length", "5 ")], "not a number"),
                ([("Content-Length", "-1")], "not a number"),
                ([("Content-Length", "")], "not a number"),
                ([("Content-Length", "\xb2")], "not a number"),
                ([("Content-Length", "1_0")], "not a number"),
                ([("Content-Length", "9" * 19)], "not a number"),
                ([("Content-Length", "5"), ("content-length", "6")], "two Content-Lengths"),
            ]
        )
    },
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_failure_before_the_head_is_a_whole_500(name: str, said: Any) -> None:
    application, text = BROKEN[name]
    for _ in range(2):  # a value that was refused once is not remembered as valid
        served, transport = run(application)
        assert told(served) == (Outcome.FAILED, 500, 26)
        assert transport.sends == [ERROR_500]
        logged = said()
        assert "GET /page: the application failed" in logged and "Traceback" in logged
        assert re.search(text, logged)


def test_the_error_response_to_head_has_no_body(said: Any) -> None:
    assert run(leave, "HEAD")[1].data == ERROR_500.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert "HEAD /page" in said()


@pytest.mark.parametrize(
    ("hint", "status"),
    [
        ("504 Gateway Timeout", b"504 Gateway Timeout"),
        (504, b"500 Internal Server Error"),
        ("nonsense\r\n", b"500 Internal Server Error"),
    ],
)
def test_an_exception_may_say_the_status(hint: Any, status: bytes, said: Any) -> None:
    class Late(BaseException):
        status_hint = hint

    assert run(app_of(raising(Late())))[1].data.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert "Late" in said()


def test_an_error_while_cleaning_up_after_a_time_out_is_a_time_out(said: Any) -> None:
    """urllib3's pool and SQLAlchemy's pool raise such errors."""

    def view(environ: Any, start_response: Any) -> Any:
        try:
            raise RequestTimeout("too long")
        finally:
            raise ValueError("the pool is full")

    served, transport = run(view)
    assert told(served)[:2] == (Outcome.FAILED, 504)
    assert transport.data.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    assert "ValueError: the pool is full" in said()


def test_a_path_cannot_write_log_lines(said: Any) -> None:
    run(leave, path="/a\r\n\x1b[31m\xe9")
    assert "GET /a\\r\\n\\x1b[31m\\xe9: the application failed" in said()


# --- exc_info ---------------------------------------------------------------------------------------------------------


def test_exc_info_replaces_a_head_that_is_not_out(said: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "99"), ("X-Old", "1")])
        try:
            raise ValueError
        except ValueError:
            start_response("503 Busy", PLAIN, sys.exc_info())
        return [b"sorry"]

    assert run(application)[1].data == b"HTTP/1.1 503 Busy\r\n" + HEAD_200[17:] + b"Content-Length: 5\r\n\r\nsorry"


def test_exc_info_is_raised_again_after_the_head(said: Any) -> None:
    reached: list[str] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", PLAIN)(b"part")
        try:
            raise ValueError("in the middle")
        except ValueError:
            try:
                start_response("503 Busy", PLAIN, sys.exc_info())
            except ValueError as error:
                reached.append(str(error))
                raise
        return []

    served, transport = run(application)
    assert told(served) == (Outcome.TORN, 200, 4) and reached == ["in the middle"]
    assert transport.data == HEAD_200 + b"\r\npart"
    assert "ValueError: in the middle" in said()


def test_an_empty_exc_info_does_not_send_a_second_head(said: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", PLAIN)(b"part")
        start_response("503 Busy", PLAIN, sys.exc_info())  # not within an except: (None, None, None)
        return [b"sorry"]

    served, transport = run(application)
    assert served.outcome is Outcome.TORN and transport.data == HEAD_200 + b"\r\npart"
    assert "empty exc_info" in said()


# --- failures after the head ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("late"), SystemExit(), BaseException("kill")])
@pytest.mark.parametrize("headers", [PLAIN, [*PLAIN, ("Content-Length", "99")]])
def test_a_failure_after_the_head_tears_the_response(error: BaseException, headers: Any, said: Any) -> None:
    served, transport = run(app_of(raising(error, b"part"), headers))
    assert told(served) == (Outcome.TORN, 200, 4)
    assert transport.data.endswith(b"\r\n\r\npart")
    logged = said()
    assert "GET /page: the application failed" in logged and type(error).__name__ in logged


@pytest.mark.parametrize("block", ["text", 1, None, bytearray(b"x")])
def test_a_wrong_block_after_the_head_tears_it_too(block: Any, said: Any) -> None:
    assert run(app_of([b"part", block]))[0].outcome is Outcome.TORN
    assert "TypeError" in said()


def test_a_failure_after_a_complete_response_does_not_spoil_it(said: Any) -> None:
    served, _ = run(app_of(raising(ValueError("cleaning up"), b"hello"), [("Content-Length", "5")]))
    assert told(served) == (Outcome.COMPLETE, 200, 5)
    assert "cleaning up" in said()


@pytest.mark.parametrize("blocks", [[b"hello, world"], [b"hel", b"lo, ", b"world"], [b"hello", b", world"]])
def test_more_than_content_length_is_cut_and_logged_once(blocks: list[bytes], said: Any) -> None:
    result = Result([*blocks, b"never asked for"])
    served, transport = run(app_of(result, [("Content-Length", "5")]))
    assert told(served) == (Outcome.COMPLETE, 200, 5)
    assert transport.data.endswith(b"Content-Length: 5\r\n\r\nhello")
    assert said().count("GET /page: the response is longer than its Content-Length of 5 bytes") == 1
    assert b"never asked for" in list(result.blocks) and result.closed == 1


def test_write_is_cut_too_and_logged_once(said: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Length", "5")])
        for block in (b"hel", b"lo, ", b"wor", b"ld"):
            write(block)
        return [b"!"]

    assert run(application)[1].data.endswith(b"\r\n\r\nhello")
    assert said().count("longer than its Content-Length") == 1


def test_a_length_of_zero_allows_nothing(said: Any) -> None:
    assert run(app_of([b"x"], [("Content-Length", "0")]))[1].data == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert "longer than" in said()


@pytest.mark.parametrize("result", [[], [b"hell"], [b"h", b"ell"], iter([b"hell"])])
def test_less_than_content_length_tears_the_response(result: Any, said: Any) -> None:
    assert run(app_of(result, [("Content-Length", "5")]))[0].outcome is Outcome.TORN
    assert "GET /page: the response ends after" in said()


# --- the client leaves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fail_at", [0, 1])
def test_a_client_that_leaves_is_no_error(fail_at: int, said: Any) -> None:
    result = Result([b"a", b"b", b"c"])
    served, transport = run(app_of(result), transport=Recorder(fail_at))
    assert served.outcome is Outcome.DISCONNECTED and len(transport.sends) == fail_at
    assert result.closed == 1


def test_a_body_that_breaks_off_is_no_error_either(said: Any) -> None:
    def application(environ: Any, start_response: Any) -> None:
        raise ClientDisconnected("3 of 5 bytes")

    served, transport = run(application)
    assert served.outcome is Outcome.DISCONNECTED and transport.sends == []


def test_a_client_that_leaves_during_the_error_response(said: Any) -> None:
    assert run(leave, transport=Recorder(0))[0].outcome is Outcome.DISCONNECTED
    assert "SystemExit" in said()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(ClientDisconnected("gone"), Outcome.DISCONNECTED), (TimeoutError("cut in the middle"), Outcome.TORN)],
)
@pytest.mark.parametrize("goes_on", [True, False])
def test_after_a_failed_write_nothing_follows(error: BaseException, outcome: Outcome, goes_on: bool, said: Any) -> None:
    """The application swallows the error. But how much of that block the client has is not known."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        with pytest.raises(type(error)):
            write(b"lost")
        if goes_on:
            write(b"goes on")
            raise AssertionError("not reached")
        return []

    transport = Recorder(0, error)
    served, _ = run(application, transport=transport)
    assert served.outcome is outcome and transport.sends == []
    assert ("an earlier write was interrupted" in said()) is (outcome is Outcome.TORN and goes_on)


def test_an_error_response_that_is_interrupted_is_torn(said: Any) -> None:
    assert run(leave, transport=Recorder(0, TimeoutError("slow")))[0].outcome is Outcome.TORN
    logged = said()
    assert "SystemExit" in logged and "TimeoutError: slow" in logged


# --- close() ----------------------------------------------------------------------------------------------------------

ENDINGS: dict[str, tuple[Iterable[Any], int, Outcome]] = {
    "complete": ([b"a", b"b"], -1, Outcome.COMPLETE),
    "empty": ([], -1, Outcome.COMPLETE),
    "failed": ([1], -1, Outcome.FAILED),
    "torn": ([b"a", 1], -1, Outcome.TORN),
    "disconnected": ([b"a", b"b"], 1, Outcome.DISCONNECTED),
}


@pytest.mark.parametrize("close_error", [None, ValueError("in close"), SystemExit("in close")])
@pytest.mark.parametrize("ending", ENDINGS)
def test_close_is_called_exactly_once(
    ending: str, close_error: BaseException | None, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks, fail_at, outcome = ENDINGS[ending]
    result = Result(blocks, close_error)
    assert run(app_of(result), transport=Recorder(fail_at))[0].outcome is outcome
    assert result.closed == 1
    logged = capsys.readouterr().err
    assert ("GET /page: close() of the response failed" in logged and "in close" in logged) is (close_error is not None)


# --- files ------------------------------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 400  # longer than the part that leaves with the head
FIRST_BYTES = response._FIRST_BLOCK_MAX_BYTES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(CONTENT)
    return made


OPENERS: dict[str, Callable[[Path], Any]] = {
    "buffered": lambda path: path.open("rb"),
    "raw": lambda path: path.open("rb", buffering=0),
    "update": lambda path: path.open("r+b"),
}


@pytest.mark.parametrize("kind", OPENERS)
def test_a_plain_file_is_sent_by_the_kernel_from_where_it_stands(kind: str, path: Path, said: Any) -> None:
    file = OPENERS[kind](path)
    assert file.read(7) == CONTENT[:7]
    served, transport = run(app_of(FileWrapper(file)))
    first, rest = CONTENT[7 : 7 + FIRST_BYTES], CONTENT[7 + FIRST_BYTES :]
    assert transport.files == [(7 + FIRST_BYTES, len(rest))]
    assert transport.sends == [HEAD_200 + b"Content-Length: %d\r\n\r\n" % (len(CONTENT) - 7) + first, rest]
    assert told(served) == (Outcome.COMPLETE, 200, len(CONTENT) - 7)
    assert file.closed


@pytest.mark.parametrize("make", [tempfile.TemporaryFile, tempfile.NamedTemporaryFile])
def test_temporary_files_are_plain(make: Any, said: Any) -> None:
    file = make()
    file.write(CONTENT)
    file.seek(10)
    _, transport = run(app_of(FileWrapper(file)))
    assert transport.files == [(10 + FIRST_BYTES, len(CONTENT) - 10 - FIRST_BYTES)]
    assert transport.data.endswith(b"\r\n\r\n" + CONTENT[10:])


def test_a_change_that_is_not_written_yet_is_sent(path: Path, said: Any) -> None:
    """A read fills the buffer. A write and a seek within the buffer leave the descriptor unchanged."""
    file = path.open("r+b")
    file.read(1)
    file.write(b"CHANGED")
    file.seek(0)
    _, transport = run(app_of(FileWrapper(file)))
    assert transport.files and transport.data.endswith(b"\r\n\r\n" + CONTENT[:1] + b"CHANGED" + CONTENT[8:])


class Reversed(io.FileIO):
    """Reads other bytes than its descriptor has."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size)[::-1]


UNSENDABLE: dict[str, Callable[[Path], Any]] = {
    "memory": lambda path: io.BytesIO(path.read_bytes()),
    "decompressed": lambda path: gzip.open(path),
    "subclass": lambda path: io.BufferedReader(Reversed(path)),
    "text": lambda path: path.open("r", encoding="latin-1"),
    "write only": lambda path: io.FileIO(os.open(path, os.O_WRONLY), "w"),
    "device": lambda path: open(os.devnull, "rb"),
    "proc": lambda path: open("/proc/self/status", "rb"),
    "spooled": lambda path: tempfile.SpooledTemporaryFile(),
}


@pytest.mark.parametrize("kind", UNSENDABLE)
def test_a_descriptor_that_holds_something_else_is_not_sent(kind: str, path: Path) -> None:
    with UNSENDABLE[kind](path) as file:
        assert sendable(FileWrapper(file)) is None


def test_a_pipe_is_not_sent() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as file, open(writer, "wb"):
        assert sendable(FileWrapper(file)) is None


def test_what_the_kernel_cannot_send_is_read(tmp_path: Path, said: Any) -> None:
    """The fileno() of a GzipFile is the descriptor of the compressed file."""
    with gzip.open(tmp_path / "file.gz", "wb") as packed:
        packed.write(CONTENT)
    _served, transport = run(app_of(FileWrapper(gzip.open(tmp_path / "file.gz"), 4096)))
    assert transport.data == HEAD_200 + b"\r\n" + CONTENT and not transport.files
    assert [len(block) for block in transport.sends[1:]] == [4096] * (len(CONTENT) // 4096 - 1)


def test_a_small_file_leaves_with_its_head_in_one_send(path: Path, said: Any) -> None:
    """While nginx has received nothing of a response, it can send the request to another worker."""
    path.write_bytes(b"small")
    _, transport = run(app_of(FileWrapper(path.open("rb"))))
    assert transport.sends == [HEAD_200 + b"Content-Length: 5\r\n\r\nsmall"]


def test_a_closed_file_is_a_failure_of_the_application(path: Path, said: Any) -> None:
    file = path.open("rb")
    file.close()
    assert run(app_of(FileWrapper(file)))[0].outcome is Outcome.FAILED
    assert "closed file" in said()


def test_content_length_limits_the_file(path: Path, said: Any) -> None:
    length = FIRST_BYTES + 5
    _, transport = run(app_of(FileWrapper(path.open("rb")), [("Content-Length", str(length))]))
    assert transport.files == [(FIRST_BYTES, 5)] and transport.data.endswith(b"\r\n\r\n" + CONTENT[:length])
    _, transport = run(app_of(FileWrapper(path.open("rb")), [("Content-Length", "5")]))
    assert not transport.files and transport.data.endswith(b"\r\n\r\n" + CONTENT[:5])
    assert "longer than its Content-Length" in said()


@pytest.mark.parametrize("length", [len(CONTENT) + 1, len(CONTENT), None])
def test_a_file_that_is_too_short_tears_the_response(length: int | None, path: Path, said: Any) -> None:
    transport = Recorder()
    transport.shrink_bytes = 0 if length == len(CONTENT) + 1 else 1
    headers = [("Content-Length", str(length))] if length else []
    assert run(app_of(FileWrapper(path.open("rb")), headers), transport=transport)[0].outcome is Outcome.TORN
    assert "the response ends after" in said()


def test_a_file_after_write(path: Path, said: Any) -> None:
    def application(environ: Any, start_response: Any) -> FileWrapper:
        start_response("200 OK", PLAIN)(b"title\n")
        return FileWrapper(path.open("rb"))

    _served, transport = run(application)
    assert transport.data == HEAD_200 + b"\r\ntitle\n" + CONTENT and transport.files
    transport.shrink_bytes = 1
    assert run(application, transport=transport)[0].outcome is Outcome.TORN
    assert "the response ends after" in said()


def test_a_response_to_head_sends_no_file(path: Path, said: Any) -> None:
    _, transport = run(app_of(FileWrapper(path.open("rb"))), "HEAD")
    assert transport.sends == [HEAD_200 + b"\r\n"]


@pytest.mark.parametrize(
    ("error", "outcome"), [(ClientDisconnected("gone"), Outcome.DISCONNECTED), (OSError("disk"), Outcome.TORN)]
)
def test_a_file_that_does_not_arrive(error: BaseException, outcome: Outcome, path: Path, said: Any) -> None:
    file = path.open("rb")
    assert run(app_of(FileWrapper(file)), transport=Recorder(1, error))[0].outcome is outcome
    assert file.closed and ("disk" in said()) is (outcome is Outcome.TORN)


def test_a_subclass_is_iterated_because_it_may_change_the_blocks(path: Path, said: Any) -> None:
    class Shouting(FileWrapper):
        def __next__(self) -> Any:
            return super().__next__().upper()

    _, transport = run(app_of(Shouting(path.open("rb"))))
    assert not transport.files and transport.data == HEAD_200 + b"\r\n" + CONTENT.upper()


def test_the_wrapper_needs_only_read(said: Any) -> None:
    class Source:
        def __init__(self) -> None:
            self.blocks = [b"a", b"b", b""]

        def read(self, size: int) -> bytes:
            return self.blocks.pop(0)

    assert run(app_of(FileWrapper(Source())))[1].data == HEAD_200 + b"\r\nab"


def test_pep_3333_the_wrapper_closes_its_file(path: Path) -> None:
    wrapper = FileWrapper(path.open("rb"), len(CONTENT))
    assert list(wrapper) == [CONTENT]
    wrapper.close()
    assert wrapper.filelike.closed
