"""HTTP/1.1, byte by byte: what is understood, and what is refused with which status."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgid.errors import PeerError
from wsgid.protocol.http import END, Decoder, Head, Limits

LIMITS = Limits(line_bytes=200, headers=20, head_bytes=1000)
BASE = {"wsgi.errors": "ours"}
Event = object


def decoded(data: bytes, size: int | None = None, limits: Limits = LIMITS) -> list[Event]:
    """The events of these bytes, fed in blocks of `size`; a body's blocks are joined."""
    decoder = Decoder(limits, BASE)
    events: list[Event] = []
    for start in range(0, len(data), size or len(data)):
        decoder.feed(data[start:start + (size or len(data))])
        while (event := decoder.take()) is not None:
            if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
                events[-1] += event
            else:
                events.append(event)
    return events


def heads(data: bytes) -> list[Head]:
    """The same however the bytes arrive, else it fails."""
    whole = decoded(data)
    for size in (1, 2, 7):
        assert decoded(data, size) == whole
    return [event for event in whole if isinstance(event, Head)]


def head(data: bytes) -> Head:
    [found] = heads(data)
    return found


def test_a_request() -> None:
    found = head(b"GET /a%20b/%C3%BC?x=%20&y HTTP/1.1\r\nHost: example.org:80\r\nX-One: 1\r\nAccept: */*\r\n\r\n")
    assert found.variables == {
        "wsgi.errors": "ours", "REQUEST_METHOD": "GET", "REQUEST_URI": "/a%20b/%C3%BC?x=%20&y",
        "PATH_INFO": "/a b/\xc3\xbc", "QUERY_STRING": "x=%20&y", "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "example.org:80", "HTTP_X_ONE": "1", "HTTP_ACCEPT": "*/*"}
    assert (found.content_length, found.keep_alive, found.expects, found.upgrade) == (0, True, False, False)


def test_requests_one_after_the_other() -> None:
    data = (b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
            b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2;x=y\r\nde\r\n1\r\nf\r\n0\r\nT: x\r\n\r\n")
    assert [one.variables["PATH_INFO"] for one in heads(data)] == ["/1", "/2", "/3"]
    rest = [event for event in decoded(data) if not isinstance(event, Head)]
    assert rest == [b"abc", END, END, b"def", END]


def test_repeated_headers_are_joined_as_rfc_9110_has_it() -> None:
    found = head(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nCookie: a=1\r\nx-a:  2\t\r\nCookie: b=2\r\n\r\n")
    assert found.variables["HTTP_X_A"] == "1, 2" and found.variables["HTTP_COOKIE"] == "a=1; b=2"


def test_names_that_could_be_taken_for_others_are_dropped() -> None:
    found = head(b"GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: evil\r\nProxy: evil\r\nContent-Type: t\r\n\r\n")
    assert {name for name in found.variables if name.startswith("HTTP_")} == {"HTTP_HOST"}
    assert found.variables["CONTENT_TYPE"] == "t"


@pytest.mark.parametrize(("target", "host", "path", "query"), [
    (b"http://b.example/x?y=z", "b.example", "/x", "y=z"), (b"http://b.example", "b.example", "/", ""),
    (b"http://b.example?q", "b.example", "/", "q"), (b"/x/../y//z", "a", "/x/../y//z", ""), (b"/?", "a", "/", ""),
    (b"//x", "a", "//x", ""),
])
def test_the_forms_of_a_target(target: bytes, host: str, path: str, query: str) -> None:
    found = head(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n").variables
    assert (found["HTTP_HOST"], found["PATH_INFO"], found["QUERY_STRING"]) == (host, path, query)


def test_the_asterisk() -> None:
    assert head(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").variables["PATH_INFO"] == "*"


@pytest.mark.parametrize(("lines", "kept"), [
    (b"HTTP/1.1\r\nHost: a\r\n", True), (b"HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", False),
    (b"HTTP/1.0\r\n", False), (b"HTTP/1.0\r\nConnection: keep-alive\r\n", True),
])
def test_who_wants_to_go_on(lines: bytes, kept: bool) -> None:
    assert head(b"GET / " + lines + b"\r\n").keep_alive is kept


def test_a_client_that_waits_for_a_100() -> None:
    assert head(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\nhello").expects
    assert not head(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").expects


def test_an_upgrade_and_what_follows_it() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00"
    assert head(data).upgrade
    for size in (1, len(data)):
        decoder = Decoder(LIMITS, BASE)
        for start in range(0, len(data), size):
            decoder.feed(data[start:start + size])
        assert isinstance(decoder.take(), Head) and decoder.take() is END and decoder.take() is None
        assert decoder.beyond == b"\x81\x00"


def test_an_upgrade_that_nobody_need_take_up_keeps_its_body() -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello"
    heads(data)
    assert [event for event in decoded(data) if not isinstance(event, Head)] == [b"hello", END]


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

# The request smuggling list (RFC 9112, 11.2 and what it refers to), and its neighbours.
REFUSED = {
    "Content-Length and Transfer-Encoding": (
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "Transfer-Encoding and Content-Length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
    "Content-Length twice": (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "Content-Length twice, differing": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    "Content-Length as a list": (POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "Content-Length with a sign": (POST + b"Content-Length: +3\r\n\r\nabc", 400),
    "negative Content-Length": (POST + b"Content-Length: -3\r\n\r\nabc", 400),
    "hexadecimal Content-Length": (POST + b"Content-Length: 0x3\r\n\r\nabc", 400),
    "empty Content-Length": (POST + b"Content-Length:\r\n\r\nabc", 400),
    "Content-Length beyond 64 bits": (POST + b"Content-Length: 99999999999999999999\r\n\r\nabc", 400),
    "Content-Length with a blank in it": (POST + b"Content-Length: 1 3\r\n\r\nabc", 400),
    "space before the colon": (GET + b"X : y\r\n\r\n", 400),
    "space before Transfer-Encoding's colon": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "folded header": (GET + b"X: y\r\n z\r\n\r\n", 400),
    "space before the first header": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "bare CR in a value": (GET + b"X: a\rb\r\n\r\n", 400),
    "bare CR at the end": (GET + b"X: a\r\r\n\r\n", 400),
    "bare LF": (GET + b"X: a\n\r\n", 400),
    "no header without a name": (GET + b": y\r\n\r\n", 400),
    "NUL in a value": (GET + b"X: a\0b\r\n\r\n", 400),
    "control character in a value": (GET + b"X: a\x01b\r\n\r\n", 400),
    "DEL in a value": (GET + b"X: a\x7fb\r\n\r\n", 400),
    "control character in a name": (GET + b"X\x0bY: a\r\n\r\n", 400),
    "vertical tab before chunked": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501),
    "chunked is not the last": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "another coding before chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "chunked in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "Host missing": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "empty Host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "Host twice": (GET + b"Host: b\r\n\r\n", 400),
    "chunk size with 0x": (CHUNKED + b"0x1\r\na\r\n0\r\n\r\n", 400),
    "chunk size with a sign": (CHUNKED + b"+1\r\na\r\n0\r\n\r\n", 400),
    "chunk size with a blank": (CHUNKED + b"1 \r\na\r\n0\r\n\r\n", 400),
    "chunk size beyond 64 bits": (CHUNKED + b"fffffffffffffffff\r\na\r\n0\r\n\r\n", 400),
    "chunk size of nothing": (CHUNKED + b"\r\na\r\n0\r\n\r\n", 400),
    "chunk size ended by LF": (CHUNKED + b"1\na\r\n0\r\n\r\n", 400),
    "chunk extension with LF": (CHUNKED + b"1;\n\r\na\r\n0\r\n\r\n", 400),
    "chunk longer than its size": (CHUNKED + b"1\r\nab\r\n0\r\n\r\n", 400),
    "chunk ended by LF": (CHUNKED + b"1\r\na\n0\r\n\r\n", 400),
    "chunk not ended": (CHUNKED + b"1\r\na0\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "method in small letters": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 400),
    "fragment in the target": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "target without a slash": (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "blank in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "blank behind the version": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "Upgrade and a chunked body": (CHUNKED[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n0\r\n\r\n", 501),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "uwsgi": (b"\x00\x05\x00\x00\x01\x00a\x00\x00", 400),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("size", [1, 5, None])
def test_what_could_be_read_in_two_ways_is_refused(name: str, size: int | None) -> None:
    data, status = REFUSED[name]
    with pytest.raises(PeerError) as refusal:
        decoded(data, size)
    assert int(refusal.value.status_hint[:3]) == status


@pytest.mark.parametrize(("data", "says"), [
    (b"\x16\x03\x01\x02\x00", "the peer speaks TLS"), (b"\x00\x05\x00\x00\x01\x00a", "the peer speaks uwsgi")])
def test_a_foreign_protocol_is_named(data: bytes, says: str) -> None:
    with pytest.raises(PeerError, match=says):
        decoded(data)


@pytest.mark.parametrize(("data", "status"), [
    (b"GET /" + b"a" * 200, 414), (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (GET + b"X: y\r\n" * 20 + b"\r\n", 431), (GET + b"X: " + b"y" * 990 + b"\r\n\r\n", 431),
    (GET + b"X: " + b"y" * 6000, 431), (GET + b"X" * 6000, 431), (GET + (b"X: " + b"y" * 200 + b"\r\n") * 6, 431),
])
@pytest.mark.parametrize("size", [1, 50, None])
def test_a_head_has_limits_however_it_arrives(data: bytes, status: int, size: int | None) -> None:
    with pytest.raises(PeerError) as refusal:
        decoded(data, size)
    assert int(refusal.value.status_hint[:3]) == status


def test_the_limits_are_of_one_head_and_not_of_the_connection() -> None:
    small = b"GET /" + b"a" * 100 + b" HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 500 + b"\r\n\r\n"
    assert len(heads(small * 20)) == 20


def test_a_body_is_no_part_of_the_head() -> None:
    data = POST + b"Content-Length: 5000\r\n\r\n" + b"x" * 5000
    assert [event for event in decoded(data, 100) if isinstance(event, bytes)] == [b"x" * 5000]


PIECES = st.sampled_from([
    b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\n", b"Host: a\r\n", b"Content-Length: 3\r\n", b"\r\n", b"abc",
    b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"Connection: close\r\n", b"\n", b"\r", b" ",
    b"Upgrade: x\r\nConnection: upgrade\r\n", b"HTTP/1.0\r\n", b"X: y\r\n"])


@given(st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=15).map(b"".join)), st.integers(1, 20))
def test_anything_is_understood_or_refused_and_always_in_the_same_way(data: bytes, size: int) -> None:
    assert outcome(data, len(data) or 1) == outcome(data, size)


def outcome(data: bytes, size: int) -> tuple[list[Event], str]:
    """What is read, up to the first refusal."""
    decoder = Decoder(LIMITS, BASE)
    events: list[Event] = []
    refused = ""
    try:
        for start in range(0, len(data), size):
            decoder.feed(data[start:start + size])
    except PeerError as error:
        refused = error.status_hint
    while (event := decoder.take()) is not None:
        if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
            events[-1] += event
        else:
            events.append(event)
    if refused and events and isinstance(events[-1], bytes):
        events.pop()  # how much of a body came before its fault
    return events, refused
