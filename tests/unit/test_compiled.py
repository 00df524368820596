"""The compiled form and the pure form: which form is in use, and that both forms behave alike."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.conftest import Start
from tests.support import client
from tests.support.http_streams import streams
from tests.support.profiles import examples
from tests.support.pure_form import PureForm, ask
from wsgid import compiled
from wsgid.protocol.uwsgi import encode


def test_the_compiled_form_is_there() -> None:
    assert compiled.pure() == []


@pytest.mark.parametrize(("pure", "said"), [("", "compiled"), ("0", "compiled"), ("1", "pure Python")])
def test_version_says_which_form_is_in_use(pure: str, said: str) -> None:
    command = [sys.executable, "-m", "wsgid", "--version"]
    done = subprocess.run(command, env={**os.environ, "WSGID_PURE": pure}, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith(f"({said})")


@pytest.mark.parametrize(("pure", "ending"), [("", ".so"), ("1", ".py")])
def test_the_workers_run_the_form_that_is_asked_for(start: Start, pure: str, ending: str) -> None:
    server = start(
        "--socket",
        "app.sock",
        "app:application",
        environ={"WSGID_PURE": pure},
        app="""
        import sys

        def application(environ, start_response):
            start_response("200 OK", [])
            return [" ".join(module.__file__ for name, module in sorted(sys.modules.items()) if name in hot()).encode()]

        import wsgid.limits.limiters  # which loads the table of limits
        from wsgid.compiled import hot
    """,
    ).wait_ready(1)
    files = client.get(server.directory / "app.sock").body.decode().split()
    assert len(files) == len(compiled.hot()) and all(file.endswith(ending) for file in files)


# --- both forms with the same input -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pure() -> Iterator[PureForm]:
    with PureForm() as process:
        assert process.ask("form") == "pure Python"
        yield process


def assert_alike(pure: PureForm, name: str, *arguments: Any) -> None:
    there = pure.ask(name, *arguments)  # the pure form first: `ask` may change the arguments
    assert ask(name, *arguments) == there


names = st.sampled_from(
    [
        "PATH_INFO",
        "REQUEST_METHOD",
        "CONTENT_LENGTH",
        "HTTP_COOKIE",
        "HTTP_HOST",
        "HTTP_ACCEPT",
        "HTTP_PROXY",
        "SCRIPT_NAME",
        "wsgi.errors",
        "A",
        "",
    ]
) | st.text(st.characters(max_codepoint=255), max_size=300)
values = st.sampled_from(["", "5", "0", "1_0", "/app", "/app/x"]) | st.text(
    st.characters(max_codepoint=255), max_size=300
)
packets = st.builds(encode, st.lists(st.tuples(names, values), max_size=30), st.sampled_from([0, 30, 100, 5]))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A packet with some bytes changed, missing or added."""
    data = bytearray(draw(packets))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data) - 1))
        data[at] = draw(st.integers(0, 255))
    end = draw(st.integers(0, len(data)) | st.just(len(data)))
    return bytes(data[:end]) + draw(st.binary(max_size=20))


@examples(1000)
@given(packets | damaged() | st.binary(max_size=300), st.integers(0, 40), st.none() | st.just({"wsgi.errors": "ours"}))
@example(b"\0\x04\0\0\0\0\xff\xff", 10, None)
@example(b"\0\x02\0\0\xff\xff", 10, None)
@example(b"\0\x05\0\0\x01\0A\xff\xff", 0, None)
def test_packets_are_decoded_alike(pure: PureForm, packet: bytes, max_vars: int, base: dict[str, str] | None) -> None:
    assert_alike(pure, "decode", packet, max_vars, base)


@examples(1000)
@given(streams(), st.lists(st.integers(1, 60), max_size=8))
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", [])
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999999\r\n\r\nabc", [70])
@example(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nabc", [70])
@example(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nabc", [70])
@example(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc", [70])
def test_http_is_decoded_alike(pure: PureForm, data: bytes, sizes: list[int]) -> None:
    assert_alike(pure, "http", data, sizes)


@examples(300)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "PATH_INFO",
                "REQUEST_METHOD",
                "QUERY_STRING",
                "SERVER_NAME",
                "SERVER_PORT",
                "SERVER_PROTOCOL",
                "HTTP_HOST",
                "HTTPS",
                "UWSGI_SCHEME",
                "REQUEST_SCHEME",
                "REQUEST_URI",
                "SCRIPT_NAME",
            ]
        ),
        st.text("/?:[]%41ho\xe9s", max_size=8),
    )
)
def test_environs_are_made_alike(pure: PureForm, variables: dict[str, str]) -> None:
    assert_alike(pure, "environ", dict(variables))


class Text(str):
    """A subclass of str."""


statuses = st.sampled_from(
    [
        "200 OK",
        "204 No Content",
        "304",
        "101 Switching Protocols",
        "100 Continue",
        "2000",
        "",
        200,
        "200 \n",
        "299 \xe9",
        "200 \u20ac",
        Text("200 OK"),
    ]
)
header_names = st.sampled_from(
    [
        "Content-Type",
        "content-length",
        "Content-Length",
        "Connection",
        "Transfer-Encoding",
        "X-A",
        "",
        "X A",
        "X-\xe9",
        b"X",
        None,
        Text("X-B"),
    ]
)
header_values = st.text(max_size=20) | st.sampled_from(
    [
        "text/plain",
        "5",
        "05",
        "12",
        "\xb2",
        "-1",
        "x\r\ny",
        "\x7f",
        "\t",
        "\xe9",
        "\u20ac",
        "",
        b"x",
        5,
        None,
        Text("5"),
    ]
)
headers = st.lists(st.tuples(header_names, header_values) | st.sampled_from([(), ("a",), ["a", "b"], "ab"]), max_size=5)


@examples(1000)
@given(statuses, headers | st.just(()) | st.none())
def test_heads_are_made_alike(pure: PureForm, status: Any, headers: Any) -> None:
    assert_alike(pure, "head", status, headers)


@examples(300)
@given(
    st.text()
    | st.text(st.characters(max_codepoint=0x9F))
    | st.integers(-5, 10**20).map(str)
    | st.builds(Text, st.text())
    | st.text("0123456789_+ \xb2\u0663", max_size=20)
)
def test_values_are_read_alike(pure: PureForm, value: str) -> None:
    assert_alike(pure, "text", value)


@examples(300)
@given(
    st.binary(max_size=20),
    st.lists(st.binary(min_size=1, max_size=20), max_size=5),
    st.integers(0, 60),
    st.lists(st.integers(-1, 40), max_size=6),
)
def test_bodies_are_read_alike(
    pure: PureForm, first: bytes, pieces: list[bytes], content_length: int, sizes: list[int]
) -> None:
    assert_alike(pure, "body", first, pieces, content_length, sizes)


@examples(500)
@given(
    st.sampled_from(["GET", "HEAD", "POST"]),
    statuses,
    headers,
    st.lists(st.binary(max_size=8) | st.sampled_from(["str", None, bytearray(b"x")]), max_size=4),
    st.booleans(),
)
def test_responses_are_sent_alike(
    pure: PureForm, method: str, status: Any, headers: Any, blocks: list[Any], as_list: bool
) -> None:
    question = (method, status, headers, blocks, as_list)
    assert_alike(pure, "response", *question)


@examples(500)
@given(
    st.lists(
        st.sampled_from([b"1\r\na\r\n", b"3;x=y\r\nabc\r\n", b"0\r\n", b"\r\n", b"T: x\r\n", b"fffffffffffffffff"])
        | st.binary(max_size=4),
        max_size=8,
    ).map(b"".join),
    st.lists(st.integers(1, 10), max_size=5),
    st.integers(0, 3),
    st.integers(0, 30),
)
def test_chunks_are_decoded_alike(pure: PureForm, data: bytes, sizes: list[int], lines: int, size_bytes: int) -> None:
    assert_alike(pure, "chunks", data, sizes, lines, size_bytes)


@examples(500)
@given(
    st.text("/a%20?#:@.[]*", max_size=12)
    | st.builds(
        "{}://{}{}".format, st.sampled_from(["http", "HTTPS", "ftp"]), st.text("a.:1[]@", max_size=6), st.text("/?a%4")
    ),
    st.sampled_from(["GET", "OPTIONS", "CONNECT"]),
)
def test_targets_are_read_alike(pure: PureForm, target: str, method: str) -> None:
    assert_alike(pure, "split_target", target, method)
    assert_alike(pure, "check_host", target)


# --- on sockets, and in the hub ---

blocks = st.binary(max_size=20) | st.just(b"x" * 20_000)
sizes = st.integers(0, 50)
by_client = st.one_of(
    st.tuples(st.just("client_sends"), blocks),
    st.tuples(st.just("client_reads")),
    st.tuples(st.just("client_ends")),
    st.tuples(st.just("client_leaves")),
)


@examples(200)
@given(
    st.lists(
        by_client
        | st.tuples(st.just("recv"), st.integers(1, 50))
        | st.tuples(st.just("recv_packet"))
        | st.tuples(st.just("send"), blocks)
        | st.tuples(st.just("poll"), st.sampled_from([select.POLLIN, select.POLLOUT, 0])),
        max_size=12,
    ),
    st.integers(0, 3),
    st.booleans(),
)
def test_system_calls_are_made_alike(pure: PureForm, steps: list[Any], clients: int, http: bool) -> None:
    assert_alike(pure, "system_calls", steps)
    assert_alike(pure, "accepted", clients, http)


@examples(200)
@given(
    st.lists(
        by_client
        | st.tuples(
            st.sampled_from(["has_begun", "begin", "take", "close", "cut", "is_abandoned", "holds", "opening", "names"])
        )
        | st.tuples(st.just("recv"), st.integers(1, 50))
        | st.tuples(st.just("send"), blocks, blocks)
        | st.tuples(st.just("try_send"), blocks)
        | st.tuples(st.just("drain"), sizes, st.just(0.003)),
        max_size=12,
    )
)
@example([("close",), ("is_abandoned",)])
def test_connections_behave_alike(pure: PureForm, steps: list[Any]) -> None:
    assert_alike(pure, "connection", steps)


@examples(500)
@given(
    streams(),
    st.lists(st.integers(1, 60), max_size=4),
    st.lists(st.integers(1, 10), max_size=3),
    st.none() | st.just(5),
    st.booleans(),
)
def test_http_connections_behave_alike(
    pure: PureForm, data: bytes, sizes: list[int], reads: list[int], length: int | None, leaves: bool
) -> None:
    assert_alike(pure, "http_connection", data, sizes, reads, length, leaves)


moments_s = st.sampled_from([0.0, 50.0, 150.0, 1500.0])


@examples(100)
@given(
    st.lists(
        st.tuples(
            st.just("says"),
            st.integers(0, 4),
            st.sampled_from([b"\r\n", b"GET / HT", b"TP/1.1\r\nHost: a\r\n\r\n", b"\0"]),
        )
        | st.tuples(st.just("leaves"), st.integers(0, 4))
        | st.tuples(st.sampled_from(["expire", "delay"]), moments_s)
        | st.tuples(st.just("hurry"), moments_s, moments_s),
        max_size=8,
    ),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_idle_connections_are_kept_alike(pure: PureForm, steps: list[Any], count: int, places: int) -> None:
    there = pure.ask("idle_connections", steps, count, places)
    assert ask("idle_connections", steps, count, places) == there
    assert there[-1] is True  # the worker knows when it has to look at them


@examples(20)
@given(st.lists(st.integers(1, 4), max_size=4))
def test_turns_are_taken_alike(pure: PureForm, spins: list[int]) -> None:
    there = pure.ask("turns_taken", spins)
    assert ask("turns_taken", spins) == there
    assert there == [list(range(len(spins))), [[True] * times for times in spins]]


logged = st.tuples(
    st.dictionaries(st.sampled_from(["REQUEST_URI", "REQUEST_METHOD", "REMOTE_ADDR"]), st.text(max_size=5) | st.none()),
    st.tuples(st.integers(1, 4), st.sampled_from([0, 200, 404, 500]), sizes, sizes, sizes, st.booleans()),
    st.sampled_from([0.0, 0.001, 0.5]),
    sizes,
    sizes,
    st.just(b"\0abc"),
    sizes,
)


@examples(200)
@given(
    st.sampled_from(
        [
            "%(status)",
            "%(method) %(uri) %(status) %(rsize) %(micros) %(vars) %(cl)",
            '{"uri": "%(uri)"} %(request)',
            "%(addr)%%",
        ]
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "log_4xx": st.booleans(),
            "log_5xx": st.booleans(),
            "log_slow": st.just(100),
            "disable_logging": st.booleans(),
        },
    ),
    st.lists(logged, max_size=6),
    st.booleans(),
)
def test_access_logs_are_written_alike(
    pure: PureForm, text: str, options: dict[str, Any], requests: list[Any], drops: bool
) -> None:
    assert_alike(pure, "access_log", text, options, requests, drops)
