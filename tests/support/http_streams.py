"""Streams of HTTP requests for hypothesis: valid requests, and mutated requests."""

from hypothesis import strategies as st

_METHODS = st.sampled_from([b"GET", b"POST", b"OPTIONS", b"BREW", b"SETUP", b"get", b"M-SEARCH", b"CONNECT", b""])
_TARGETS = st.sampled_from(
    [
        b"/",
        b"/a%20b?x=%20",
        b"*",
        b"http://b.example:80/x?y",
        b"http://u@b/",
        b"ftp://b/",
        b"http://b?q",
        b"a",
        b"/a b",
        b"/#",
        b"/" + b"a" * 100,
        b"/\xe9",
    ]
)
_VERSIONS = st.sampled_from(
    [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/1.0", b"HTTP/2.0", b"RTSP/1.0", b"http/1.1", b"HTTP/1.2"]
)
_FIELDS = st.sampled_from(
    [
        b"Host: a",
        b"Host: a.example:80",
        b"Host: [::1]",
        b"Host: a b",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: Upgrade",
        b"Upgrade: x",
        b"Expect: 100-continue",
        b"X-A: 1",
        b"x-a:\t2 ",
        b"Cookie: a=1",
        b"X_Y: 1",
        b"Proxy: x",
        b"Content-Type: a",
        b"Proxy-Connection: close",
        b"X: \xe9",
        b"X : y",
        b" folded",
        b"Content-Length: 3",
        b"Content-Length: 03",
        b"Content-Length: 3, 3",
        b"Content-Length: 99999999999999999999",
        b"Content-Length: +3",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: Chunked\t",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: identity",
        b"X: " + b"y" * 150,
    ]
)
_CHUNKS = st.sampled_from(
    [
        b"1\r\na\r\n",
        b"3\r\nabc\r\n",
        b"00A\r\n0123456789\r\n",
        b"2;x\r\nde\r\n",
        b'2 ; x = "y;"\r\nde\r\n',
        b"2;\r\nde\r\n",
        b"ffffffffffffffff\r\n",
        b"-1\r\n",
        b"1\r\nab\r\n",
        b"1\na\r\n",
    ]
)
_TRAILERS = st.sampled_from(
    [b"X: y\r\n", b"Connection: close\r\n", b"Content-Length: 5\r\n", b"X\r\n", b"X: " + b"y" * 300 + b"\r\n"]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Nearly all of these requests have a Host and one framing."""
    framing, body = draw(
        st.sampled_from(
            [(b"", b""), (b"", b""), (b"Content-Length: 3\r\n", b"abc"), (b"Transfer-Encoding: chunked\r\n", b"")]
        )
    )
    if framing.startswith(b"T"):
        body = (
            b"".join(draw(st.lists(_CHUNKS, max_size=4)))
            + b"0\r\n"
            + b"".join(draw(st.lists(_TRAILERS, max_size=2)))
            + b"\r\n"
        )
    fields = b"".join(field + b"\r\n" for field in draw(st.lists(_FIELDS, max_size=3)))
    host = draw(st.sampled_from([b"Host: a\r\n"] * 9 + [b""]))
    line = b" ".join((draw(_METHODS), draw(_TARGETS), draw(_VERSIONS)))
    return line + b"\r\n" + host + framing + fields + b"\r\n" + body


good = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nde\r\n1\r\nf\r\n0\r\nT: x\r\n\r\n",
        b"\r\nGET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ]
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Some requests, one after the other. Some of their bytes are changed, missing or added."""
    data = bytearray(b"".join(draw(st.lists(good | requests(), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(
            st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\x7f", b"0", b";", b",", b"\xe9"])
        )
    return bytes(data)
