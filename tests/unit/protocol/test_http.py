"""HTTP/1.1, byte by byte: the requests that are accepted, and the requests that are refused, with their status."""

import gc
import re
import tracemalloc

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.http_refused import CHUNKED, GET, POST, REFUSED
from tests.support.http_streams import streams
from tests.support.profiles import examples
from wsgid.errors import BadRequest, PeerError
from wsgid.protocol.http import END, Decoder, HttpHead, Limits

pytestmark = pytest.mark.hot

LIMITS = Limits(line_bytes=200, headers=20, head_bytes=1000)
BASE = {"wsgi.errors": "ours"}
Event = object


def decoded(data: bytes, size: int | None = None, limits: Limits = LIMITS) -> list[Event]:
    """The events of these bytes, fed in blocks of `size`. The blocks of a body are joined.

    Raises:
        PeerError: a request was refused.
    """
    events = all_events(data, size or len(data), limits)
    if events and isinstance(events[-1], PeerError):
        raise events[-1]
    return events


def all_events(data: bytes, size: int, limits: Limits = LIMITS) -> list[Event]:
    """The same events. If a request was refused, its error is the last event."""
    decoder = Decoder(limits, BASE)
    events: list[Event] = []
    for start in range(0, len(data), size):
        decoder.feed(data[start : start + size])
        while (event := decoder.take()) is not None:
            if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
                events[-1] += event
            else:
                events.append(event)
    return events


def heads(data: bytes) -> list[HttpHead]:
    """The heads of these bytes. They have to be the same in whatever pieces the bytes arrive."""
    whole = decoded(data)
    for size in (1, 2, 7):
        assert decoded(data, size) == whole
    return [event for event in whole if isinstance(event, HttpHead)]


def head(data: bytes) -> HttpHead:
    [found] = heads(data)
    return found


def test_a_request() -> None:
    found = head(b"GET /a%20b/%C3%BC?x=%20&y HTTP/1.1\r\nHost: example.org:80\r\nX-One: 1\r\nAccept: */*\r\n\r\n")
    assert found.variables == {
        "wsgi.errors": "ours",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/a%20b/%C3%BC?x=%20&y",
        "PATH_INFO": "/a b/\xc3\xbc",
        "QUERY_STRING": "x=%20&y",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "example.org:80",
        "HTTP_X_ONE": "1",
        "HTTP_ACCEPT": "*/*",
    }
    assert (found.content_length, found.keep_alive, found.expects, found.upgrade) == (0, True, False, False)


def test_requests_one_after_the_other() -> None:
    data = (
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
        b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2;x=y\r\nde\r\n1\r\nf\r\n0\r\nT: x\r\n\r\n"
    )
    assert [head.variables["PATH_INFO"] for head in heads(data)] == ["/1", "/2", "/3"]
    rest = [event for event in decoded(data) if not isinstance(event, HttpHead)]
    assert rest == [b"abc", END, END, b"def", END]


def test_repeated_headers_are_joined_as_rfc_9110_has_it() -> None:
    found = head(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nCookie: a=1\r\nx-a:  2\t\r\nCookie: b=2\r\n\r\n")
    assert found.variables["HTTP_X_A"] == "1, 2" and found.variables["HTTP_COOKIE"] == "a=1; b=2"


def test_names_that_could_be_taken_for_others_are_dropped() -> None:
    found = head(b"GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: evil\r\nProxy: evil\r\nContent-Type: t\r\n\r\n")
    assert {name for name in found.variables if name.startswith("HTTP_")} == {"HTTP_HOST"}
    assert found.variables["CONTENT_TYPE"] == "t"


@pytest.mark.parametrize(
    ("target", "host", "path", "query"),
    [
        (b"http://b.example/x?y=z", "b.example", "/x", "y=z"),
        (b"http://b.example", "b.example", "/", ""),
        (b"http://b.example?q", "b.example", "/", "q"),
        (b"/x/../y//z", "a", "/x/../y//z", ""),
        (b"/?", "a", "/", ""),
        (b"//x", "a", "//x", ""),
    ],
)
def test_the_forms_of_a_target(target: bytes, host: str, path: str, query: str) -> None:
    found = head(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n").variables
    assert (found["HTTP_HOST"], found["PATH_INFO"], found["QUERY_STRING"]) == (host, path, query)


@pytest.mark.parametrize(
    "host",
    [
        "a",
        "a.example:80",
        "A-b_c.example.",
        "127.0.0.1:8000",
        "[::1]",
        "[2001:db8::1.2.3.4]:443",
        "a:",
        "%41",
        "a!$&'()*+;=~",
    ],
)
def test_hosts(host: str) -> None:
    assert head(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n").variables["HTTP_HOST"] == host


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"CHUNKED", b"chunked\t", b"\t chunked \t"])
def test_chunked_may_be_written_in_several_ways(value: bytes) -> None:
    found = head(POST + b"Transfer-Encoding:" + value + b"\r\n\r\n0\r\n\r\n")
    assert found.content_length == -1


@pytest.mark.parametrize(("value", "length"), [(b"3", 3), (b"003", 3), (b"999999999999999999", 10**18 - 1)])
def test_lengths(value: bytes, length: int) -> None:
    assert head(POST + b"Content-Length: " + value + b"\r\n\r\n").content_length == length


def test_the_asterisk() -> None:
    assert head(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").variables["PATH_INFO"] == "*"


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (b"HTTP/1.1\r\nHost: a\r\n", True),
        (b"HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", False),
        (b"HTTP/1.0\r\n", False),
        (b"HTTP/1.0\r\nConnection: keep-alive\r\n", True),
        (b"HTTP/1.0\r\nConnection: close, keep-alive\r\n", False),
        (b"HTTP/1.0\r\nConnection: Keep-Alive\r\nConnection:x,\tCLOSE\r\n", False),
        (b"HTTP/1.0\r\nProxy-Connection: keep-alive\r\n", False),
        (b"HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n", True),
    ],
)
def test_which_requests_keep_their_connection(lines: bytes, kept: bool) -> None:
    assert head(b"GET / " + lines + b"\r\n").keep_alive is kept


def test_a_client_that_waits_for_a_100() -> None:
    assert head(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\nhello").expects
    assert not head(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").expects


def test_an_upgrade_and_what_follows_it() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert head(data).upgrade
    for size in (1, len(data) + 2):
        decoder = Decoder(LIMITS, BASE)
        for start in range(0, len(data) + 2, size):
            decoder.feed((data + b"\x81\x00")[start : start + size])
        assert isinstance(decoder.take(), HttpHead) and decoder.take() is END
        assert decoder.beyond == b"\x81\x00"


@pytest.mark.parametrize(
    "body", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
def test_a_request_with_an_upgrade_keeps_its_body_and_another_request_follows(body: bytes) -> None:
    data = POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" + body + GET + b"\r\n"
    assert [found.upgrade for found in heads(data)] == [True, False]
    assert [event for event in decoded(data) if not isinstance(event, HttpHead)] == [b"hello", END, END]


@pytest.mark.parametrize(
    "lines", [b"HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: x\r\n", b"HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n"]
)
def test_headers_that_are_no_upgrade(lines: bytes) -> None:
    assert not head(b"GET / " + lines + b"\r\n").upgrade


@pytest.mark.parametrize("method", [b"SETUP", b"ANNOUNCE", b"BREW", b"X-!#$%&'*+.^_`|~", b"brew", b"PURGE"])
def test_any_token_is_a_method(method: bytes) -> None:
    assert head(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n").variables["REQUEST_METHOD"] == method.decode()


def test_a_trailer_changes_nothing() -> None:
    for trailer in (b"Connection: close", b"Content-Length: 5", b"Transfer-Encoding: gzip", b"Upgrade: x", b"Host: b"):
        data = CHUNKED + b"1\r\na\r\n0\r\n" + trailer + b"\r\nConnection: Upgrade\r\n\r\n" + GET + b"\r\n"
        first, second = heads(data)
        assert first.keep_alive and not first.upgrade and first.variables["HTTP_HOST"] == "a"
        assert second.keep_alive and second.content_length == 0


def test_trailers_never_reach_the_environ() -> None:
    found = head(CHUNKED + b"0\r\nX-Late: 1\r\nCookie: evil\r\n\r\n").variables
    assert "HTTP_X_LATE" not in found and "HTTP_COOKIE" not in found


@pytest.mark.parametrize("extension", [b";a", b";a=b", b" ; a = b", b'\t;a="q;\\"x";c', b";a;b=1 ;c"])
def test_chunk_extensions_are_dropped(extension: bytes) -> None:
    data = CHUNKED + b"3" + extension + b"\r\nabc\r\n0" + extension + b"\r\n\r\n"
    assert [event for event in decoded(data) if not isinstance(event, HttpHead)] == [b"abc", END]
    heads(data)


def test_all_chunks_that_have_come_are_one_block() -> None:
    decoder = Decoder(LIMITS, BASE)
    decoder.feed(CHUNKED + b"1\r\nx\r\n" * 10_000)
    assert isinstance(decoder.take(), HttpHead)
    assert decoder.take() == b"x" * 10_000 and decoder.take() is None


def test_complete_requests_come_before_the_refusal_of_a_later_request() -> None:
    for bad in (b"GET /bad\r\n\r\n", b"\x16\x03", b"GET / HTTP/1.1\r\nX : y\r\n\r\n"):
        decoder = Decoder(LIMITS, BASE)
        decoder.feed(POST + b"Content-Length: 1\r\n\r\na" + GET + b"\r\n" + bad + GET + b"\r\n")
        events = [decoder.take() for _ in range(7)]
        assert [type(event).__name__ for event in events[:5]] == ["HttpHead", "bytes", "End", "HttpHead", "End"]
        assert isinstance(events[5], PeerError) and events[6] is None
        decoder.feed(GET + b"\r\n")
        assert decoder.take() is None and not decoder.is_between and not decoder.has_next


def test_the_chunks_in_front_of_a_bad_one_are_read() -> None:
    decoder = Decoder(LIMITS, BASE)
    decoder.feed(CHUNKED + b"2\r\nab\r\nx\r\n")
    assert isinstance(decoder.take(), HttpHead) and decoder.take() == b"ab" and isinstance(decoder.take(), BadRequest)


@pytest.mark.parametrize("lines", [b"HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"HTTP/1.0\r\n\r\n"])
def test_bytes_after_the_last_request_are_ignored(lines: bytes) -> None:
    for behind in (GET + b"\r\n", b"\0\n garbage"):
        decoder = Decoder(LIMITS, BASE)
        decoder.feed(b"GET / " + lines + behind)
        assert isinstance(decoder.take(), HttpHead) and not decoder.has_next
        assert decoder.take() is END
        decoder.feed(behind)
        assert decoder.take() is None and decoder.is_between and not decoder.has_next


def test_one_head_is_decoded_and_the_bytes_after_it_stay() -> None:
    gc.collect()
    decoders = []
    for _ in range(20):
        decoders.append(Decoder(LIMITS, BASE))
        decoders[-1].feed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 1500)
    tracemalloc.start()
    try:
        assert all(isinstance(decoder.take(), HttpHead) for decoder in decoders)
        assert tracemalloc.get_traced_memory()[0] < 20 * 5000
    finally:
        tracemalloc.stop()


def state(decoder: Decoder) -> tuple[bool, bool]:
    return decoder.is_between, decoder.has_next


def test_a_decoder_knows_whether_a_head_has_begun() -> None:
    decoder = Decoder(LIMITS, BASE)
    assert state(decoder) == (True, False)
    for part in (b"\r\n", b"GET", b" / HTTP/1.1\r\n", b"Host: a\r\n"):
        decoder.feed(part)
        assert decoder.take() is None and not decoder.is_between
    decoder.feed(b"\r\n")
    assert isinstance(decoder.take(), HttpHead) and state(decoder) == (False, False)
    assert decoder.take() is END and state(decoder) == (True, False)


@pytest.mark.parametrize("size", [1, 1000])
def test_empty_lines_are_no_request_and_begin_a_head(size: int) -> None:
    decoder = Decoder(LIMITS, BASE)
    for empty in (b"\r\n\r\n", b"\r"):
        for start in range(0, len(empty), size):
            decoder.feed(empty[start : start + size])
            assert decoder.take() is None and state(decoder) == (False, False)


@pytest.mark.parametrize(
    "body", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"\r\n"]
)
def test_a_next_request_is_seen_behind_a_body_that_was_not_taken(body: bytes) -> None:
    data = POST + body
    for behind, expected in ((b"", False), (b"\r\n", False), (b"G", True), (b"\r\nGET /2 HTTP/1.1\r\n", True)):
        for cut in range(len(POST), len(data) + len(behind) + 1):
            decoder = Decoder(LIMITS, BASE)
            decoder.feed((data + behind)[:cut])
            found = decoder.take()
            if found is None:
                continue
            whole = cut == len(data) + len(behind)
            assert decoder.has_next is (expected and (whole or (data + behind)[len(data) : cut].strip() != b""))
            decoder.feed((data + behind)[cut:] + b"")
            blocks = []
            while isinstance(event := decoder.take(), bytes):
                blocks.append(event)
            assert event is END and b"".join(blocks) in (b"abc", b"")


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("size", [1, 5, None])
def test_an_ambiguous_request_is_refused(name: str, size: int | None) -> None:
    data, status = REFUSED[name]
    with pytest.raises(PeerError) as refusal:
        decoded(data, size)
    assert int(refusal.value.status_hint[:3]) == status


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"\x16\x03\x01\x02\x00", "the peer speaks TLS"), (b"\x00\x05\x00\x00\x01\x00a", "the peer speaks uwsgi")],
)
def test_a_foreign_protocol_is_named(data: bytes, says: str) -> None:
    with pytest.raises(PeerError, match=says):
        decoded(data)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 200, 414),
        (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (GET + b"X: y\r\n" * 20 + b"\r\n", 431),
        (GET + b"X: " + b"y" * 990 + b"\r\n\r\n", 431),
        (GET + b"X: " + b"y" * 6000, 431),
        (b"\r\n" * 600 + GET + b"\r\n", 431),
        (CHUNKED + b"0\r\n" + b"X: y\r\n" * 21 + b"\r\n", 431),
        (CHUNKED + b"0\r\nX: " + b"y" * 1000, 431),
        (CHUNKED + b"0\r\n" + (b"X: " + b"y" * 200 + b"\r\n") * 6, 431),
        (CHUNKED + b"1;" + b"a" * 1001, 431),
        (CHUNKED + (b"1;" + b"a" * 100 + b"\r\na\r\n") * 10, 431),
        (POST + b"Content-Length: 0\r\n\r\n" + b"\r\n" * 501, 431),
        (GET + b"X" * 6000, 431),
        (GET + (b"X: " + b"y" * 200 + b"\r\n") * 6, 431),
    ],
)
@pytest.mark.parametrize("size", [1, 50, None])
def test_a_head_has_limits_in_whatever_pieces_it_arrives(data: bytes, status: int, size: int | None) -> None:
    with pytest.raises(PeerError) as refusal:
        decoded(data, size)
    assert int(refusal.value.status_hint[:3]) == status


def test_the_limits_are_of_one_head_and_not_of_the_connection() -> None:
    small = b"GET /" + b"a" * 100 + b" HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 500 + b"\r\n\r\n"
    assert len(heads(small * 20)) == 20


def test_a_body_is_no_part_of_the_head() -> None:
    data = POST + b"Content-Length: 5000\r\n\r\n" + b"x" * 5000
    assert [event for event in decoded(data, 100) if isinstance(event, bytes)] == [b"x" * 5000]


PIECES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /x HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Content-Length: 3\r\n",
        b"\r\n",
        b"abc",
        b"Transfer-Encoding: chunked\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"Connection: close\r\n",
        b"\n",
        b"\r",
        b" ",
        b"Upgrade: x\r\nConnection: upgrade\r\n",
        b"HTTP/1.0\r\n",
        b"X: y\r\n",
    ]
)


@given(st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=15).map(b"".join)), st.integers(1, 20))
def test_anything_is_understood_or_refused_and_always_in_the_same_way(data: bytes, size: int) -> None:
    assert outcome(data, len(data) or 1) == outcome(data, size)


@examples(500)
@given(streams(), st.integers(1, 60))
def test_mutated_requests_are_read_in_the_same_way_however_they_arrive(data: bytes, size: int) -> None:
    assert outcome(data, len(data)) == outcome(data, size)


class Reference:
    """One request as llhttp reads it. llhttp is Node's decoder, which has been used with very many clients."""

    def __init__(self, data: bytes) -> None:
        self.target = self.body = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False
        parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            if not self.complete:  # after the end of the message, the error is about the bytes that follow
                raise
        self.line = parser.get_method(), self.target, parser.get_http_version()

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))

    def on_body(self, block: bytes) -> None:
        self.body += block

    def on_message_complete(self) -> None:
        self.complete = True


@examples(500)
@given(streams())
@example(b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n")
def test_what_is_accepted_is_read_as_llhttp_does(data: bytes) -> None:
    """Left out are things that llhttp does not know: other methods, blanks in chunk extensions, and a body beside an
    Upgrade. Left out are also trailers, which steer llhttp."""
    decoder = Decoder(Limits(2000, 100, 10_000), {})
    decoder.feed(data)
    found = decoder.take()
    body = b""
    while isinstance(event := decoder.take(), bytes):
        body += event
    if not isinstance(found, HttpHead) or event is not END or found.upgrade:
        return
    used = data[: len(data) - len(decoder.beyond)] if found.keep_alive else data
    try:
        reference = Reference(used)
    except httptools.HttpParserError as error:
        behind_head = used.partition(b"\r\n\r\n")[2]
        steered = found.content_length < 0 and re.search(rb"(?i)\n(content-length|transfer-encoding):", behind_head)
        known = found.variables["REQUEST_METHOD"] in KNOWN
        assert not known or steered or re.search(rb"[ \t][;=]|[;=][ \t]", used), error
        return
    assert reference.complete and reference.body == body
    assert reference.line == (
        found.variables["REQUEST_METHOD"].encode(),
        found.variables["REQUEST_URI"].encode(),
        found.variables["SERVER_PROTOCOL"][5:],
    )
    for name, value in reference.fields[: found.count]:
        if b"_" not in name and name not in (b"Proxy", b"Host"):
            key = name.decode().upper().replace("-", "_")
            key = key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"
            assert value.decode("latin-1") in found.variables[key]


KNOWN = ("GET", "POST", "OPTIONS")


def outcome(data: bytes, size: int) -> list[Event]:
    """The events, and the status of a request that was refused."""
    events = all_events(data, size)
    if events and isinstance(events[-1], PeerError):
        events[-1] = events[-1].status_hint
    return events
