"""RFC 9112, section by section, and the parts of RFC 9110 that it needs: the bytes that are sent, and the answers.

Each row is sent to a real server, in both forms, over TCP and over TLS. PROBE is sent behind the bytes of a row. PROBE
is answered if the connection goes on, and not answered if the connection is closed. If the section of a row names no
RFC, it is a section of RFC 9112.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import pytest
import trustme

from tests.support import client
from tests.support.certificates import Authority
from tests.support.server import Server

APP = """
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/ignored":
            said = "ignored"
        else:
            body = environ["wsgi.input"].read().decode("latin-1")
            names = "REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_HOST", "SERVER_PROTOCOL", "HTTP_X"
            said = "|".join([*(environ.get(name, "-") for name in names), body])
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(said)))])
        return [said.encode("latin-1")]
"""

LIMITS = "--http-line-size", "500", "--http-head-size", "2000", "--max-vars", "30"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
PROBE = b"GET /probe HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
PROBED = "GET|/probe||probe|HTTP/1.1|-|"
KEPT, CLOSED = True, False


@dataclass(frozen=True)
class Row:
    """One rule.

    Args:
        section: the section, of RFC 9112 if no other RFC is named.
        rule: the rule in words.
        sent: these bytes, followed by PROBE.
        answers: the statuses; for answers with 200 the bodies, as `application` writes them.
        kept: whether the connection goes on.
        bodiless: whether the answers are answers to HEAD.
    """

    section: str
    rule: str
    sent: bytes
    answers: list[int | str]
    kept: bool = CLOSED
    bodiless: bool = field(default=False, kw_only=True)


def said(
    method: str = "GET",
    path: str = "/",
    query: str = "",
    host: str = "a",
    x: str = "-",
    body: str = "",
    protocol: str = "HTTP/1.1",
) -> str:
    return f"{method}|{path}|{query}|{host}|{protocol}|{x}|{body}"


ROWS = [
    # --- 2: the message ---
    Row("2.1", "a request with a body of nothing", GET + b"\r\n", [said()], KEPT),
    Row("2.2", "an empty line in front of a request is ignored", b"\r\n" + GET + b"\r\n", [said()], KEPT),
    Row(
        "2.2",
        "an empty line behind a body is ignored",
        POST + b"Content-Length: 1\r\n\r\nb\r\n",
        [said("POST", body="b")],
        KEPT,
    ),
    Row("2.2", "empty lines have a limit", b"\r\n" * 1001 + GET + b"\r\n", [431]),
    Row("2.2", "LF alone ends no line", b"GET / HTTP/1.1\nHost: a\n\n", [400]),
    Row("2.2", "LF alone ends no header", GET + b"X: y\n\r\n", [400]),
    Row("2.2", "CR alone in a header", GET + b"X: a\rb\r\n\r\n", [400]),
    Row("2.2", "CR alone in a request line", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("2.2", "a blank between request line and first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", [400]),
    Row("2.2", "a byte above 127 in a value is latin-1", GET + b"X: \xe9\r\n\r\n", [said(x="\xe9")], KEPT),
    Row("2.3", "the name of the protocol has capitals", b"GET / http/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("2.3", "RTSP is no HTTP", b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", [400]),
    Row("2.3", "ICE is no HTTP", b"SOURCE / ICE/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("2.3", "one digit on each side of the point", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", [400]),
    # RFC 9112 says: SHOULD be served as 1.1. It is refused: no client sends 1.2, and another reader could read other
    # lengths.
    Row("2.3", "a minor version that does not exist", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", [505]),
    Row("RFC 9110, 15.6.6", "another major version", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", [505]),
    Row("RFC 9113, 3.4", "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
    Row("2.3", "HTTP/0.9", b"GET /\r\n\r\n", [505]),
    # --- 3: the request line ---
    Row("3", "two blanks between the words", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("3", "a tab between the words", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("3", "a blank behind the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", [400]),
    Row("3", "a blank in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("3", "a request line that is too long", b"GET /" + b"a" * 500 + b" HTTP/1.1\r\nHost: a\r\n\r\n", [414]),
    Row(
        "3.1",
        "a method that is not known reaches the application",
        b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
        [said("BREW")],
        KEPT,
    ),
    Row(
        "3.1",
        "so do RTSP's",
        b"SETUP / HTTP/1.1\r\nHost: a\r\n\r\nANNOUNCE / HTTP/1.1\r\nHost: a\r\n\r\n",
        [said("SETUP"), said("ANNOUNCE")],
        KEPT,
    ),
    Row(
        "3.1",
        "any token is a method",
        b"a!#$%&'*+-.^_`|~9 / HTTP/1.1\r\nHost: a\r\n\r\n",
        [said("a!#$%&'*+-.^_`|~9")],
        KEPT,
    ),
    Row("3.1", "what is no token is no method", b"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("RFC 9110, 9.1", "methods have capitals: get is not GET", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("RFC 9110, 9.3.2", "HEAD", b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", [200], KEPT, bodiless=True),
    Row("3.2", "no Host", b"GET / HTTP/1.1\r\n\r\n", [400]),
    Row("3.2", "an empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", [400]),
    Row("3.2", "two Hosts", GET + b"Host: a\r\n\r\n", [400]),
    Row("3.2", "no Host in HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", [said(host="-", protocol="HTTP/1.0")]),
    Row("3.2", "two Hosts in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", [400]),
    *(
        Row("3.2", f"the Host {host!r} is none", b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", [400])
        for host in (
            b"a b",
            b"a/b",
            b"a,b",
            b"a, b",
            b"a:b",
            b"a:1:2",
            b"a:99999",
            b":80",
            b"u@a",
            b"u:p@a",
            b"[::1",
            b"::1",
            b"[x]",
            b"a?b",
            b"a#b",
            b"a\\b",
            b"\xe9",
            b"a%zz",
            b"<a>",
        )
    ),
    *(
        Row(
            "3.2",
            f"the Host {host!r} is one",
            b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n",
            [said(host=host)],
            KEPT,
        )
        for host in ("a.example:80", "a_b-c.example.", "127.0.0.1", "[::1]:8000", "%41", "a:")
    ),
    Row("3.2", "a fragment", b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("3.2", "bytes above 127 in a target", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("3.2", "a target without a slash", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    Row(
        "3.2.1",
        "a path with a query",
        b"GET /a%20b?c=%20 HTTP/1.1\r\nHost: a\r\n\r\n",
        [said(path="/a b", query="c=%20")],
        KEPT,
    ),
    Row(
        "3.2.1",
        "a path that begins with two slashes",
        b"GET //b/c HTTP/1.1\r\nHost: a\r\n\r\n",
        [said(path="//b/c")],
        KEPT,
    ),
    Row(
        "3.2.2",
        "a URL: its host counts",
        b"GET http://b:8/c?d HTTP/1.1\r\nHost: a\r\n\r\n",
        [said(path="/c", query="d", host="b:8")],
        KEPT,
    ),
    Row(
        "3.2.2",
        "a URL without a path",
        b"GET HTTP://b?d HTTP/1.1\r\nHost: a\r\n\r\n",
        [said(query="d", host="b")],
        KEPT,
    ),
    Row("3.2.2", "a URL in HTTP/1.0", b"GET http://b/ HTTP/1.0\r\n\r\n", [said(host="b", protocol="HTTP/1.0")]),
    Row("3.2", "a URL without Host", b"GET http://a/ HTTP/1.1\r\n\r\n", [400]),
    Row("3.2", "a URL and a bad Host", b"GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", [400]),
    Row("RFC 9110, 4.2.4", "a user in a URL", b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("RFC 9110, 4.2.1", "a URL without a host", b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("3.2.2", "a URL of another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    Row("3.2.3", "CONNECT is for proxies", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", [400]),
    Row("3.2.3", "an authority with another method", b"GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", [400]),
    Row("3.2.4", "the asterisk with OPTIONS", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", [said("OPTIONS", "*")], KEPT),
    Row("3.2.4", "the asterisk with GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    # --- 5: fields ---
    Row("5", "a line without a colon", GET + b"X\r\n\r\n", [400]),
    Row("5", "a header without a name", GET + b": y\r\n\r\n", [400]),
    Row("5", "no blank is needed behind the colon, nor a value", GET + b"X:y\r\nY:\r\n\r\n", [said(x="y")], KEPT),
    Row("5.1", "a blank before the colon", GET + b"X : y\r\n\r\n", [400]),
    Row("5.1", "a tab before the colon", GET + b"X\t: y\r\n\r\n", [400]),
    Row("5.1", "a name that is no token", GET + b"X(: y\r\n\r\n", [400]),
    Row("5.1", "blanks around a value are no part of it", GET + b"X: \t y z\t \r\n\r\n", [said(x="y z")], KEPT),
    Row("5.2", "a folded header", GET + b"X: y\r\n z\r\n\r\n", [400]),
    Row("RFC 9110, 5.3", "a header twice is a list", GET + b"X: y\r\nx: z\r\n\r\n", [said(x="y, z")], KEPT),
    Row("RFC 9110, 5.4", "too many headers", GET + b"X: y\r\n" * 30 + b"\r\n", [431]),
    Row("RFC 9110, 5.4", "headers of too many bytes", GET + b"X: " + b"y" * 2000 + b"\r\n\r\n", [431]),
    *(
        Row("RFC 9110, 5.5", f"the byte {byte!r} in a value", GET + b"X: a" + byte + b"b\r\n\r\n", [400])
        for byte in (b"\0", b"\x01", b"\x0b", b"\x7f")
    ),
    # --- 6: the body ---
    Row("6", "a body of GET", GET + b"Content-Length: 1\r\n\r\nb", [said(body="b")], KEPT),
    Row("6.1", "chunks", CHUNKED + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", [said("POST", body="abc")], KEPT),
    Row(
        "6.1",
        "chunked has no capitals and no small letters",
        POST + b"Transfer-Encoding: ChunkeD\r\n\r\n0\r\n\r\n",
        [said("POST")],
        KEPT,
    ),
    Row(
        "6.1",
        "a tab behind chunked",
        POST + b"Transfer-Encoding: chunked\t\r\n\r\n1\r\na\r\n0\r\n\r\n",
        [said("POST", body="a")],
        KEPT,
    ),
    Row("6.1", "chunked in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400]),
    Row("6.1", "another coding, then chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", [501]),
    Row("6.1", "chunked twice", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", [400]),
    Row(
        "6.1",
        "chunked in two headers",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [400],
    ),
    Row("6.3", "chunked is not the last", POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", [400]),
    Row("6.3", "a coding that is not known, and no chunked", POST + b"Transfer-Encoding: x\r\n\r\n", [400]),
    Row("6.3", "identity", POST + b"Transfer-Encoding: identity\r\n\r\n", [400]),
    Row("6.3", "an empty Transfer-Encoding", POST + b"Transfer-Encoding:\r\n\r\n", [400]),
    Row("6.1", "a vertical tab before chunked", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", [400]),
    Row("6.3", "both headers", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400]),
    Row(
        "6.3",
        "both headers, the other way round",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        [400],
    ),
    Row("6.2", "a Content-Length", POST + b"Content-Length: 3\r\n\r\nabc", [said("POST", body="abc")], KEPT),
    Row("6.2", "zeros in front", POST + b"Content-Length: 003\r\n\r\nabc", [said("POST", body="abc")], KEPT),
    Row("6.2", "no body but a Content-Length", POST + b"Content-Length: 0\r\n\r\n", [said("POST")], KEPT),
    *(
        Row(
            "RFC 9110, 8.6", f"the Content-Length {value!r}", POST + b"Content-Length: " + value + b"\r\n\r\nabc", [400]
        )
        for value in (
            b"",
            b"+3",
            b"-3",
            b"0x3",
            b"3 3",
            b"3,",
            b"3, 3",
            b"3.0",
            b"1_0",
            b"\xb2",
            b"9223372036854775807",
            b"9223372036854775808",
            b"99999999999999999999",
            b"000000000000000000003",
        )
    ),
    Row("RFC 9110, 8.6", "two lengths that are the same", POST + b"Content-Length: 3\r\n" * 2 + b"\r\nabc", [400]),
    Row("6.3", "two lengths that differ", POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", [400]),
    Row(
        "6.3",
        "a body that is not read is no request",
        b"POST /ignored HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(PROBE), PROBE),
        ["ignored"],
        KEPT,
    ),
    # --- 7: chunks ---
    Row(
        "7.1",
        "sizes are hexadecimal, in both cases",
        CHUNKED + b"a\r\n0123456789\r\n0A\r\n0123456789\r\n0\r\n\r\n",
        [said("POST", body="0123456789" * 2)],
        KEPT,
    ),
    Row(
        "7.1",
        "zeros in front of a size",
        CHUNKED + b"0000000000000001\r\na\r\n00\r\n\r\n",
        [said("POST", body="a")],
        KEPT,
    ),
    *(
        Row("7.1", f"the size {size!r}", CHUNKED + size + b"\r\na\r\n0\r\n\r\n", [400])
        for size in (b"", b"x", b"0x1", b"+1", b"-1", b" 1", b"1 ", b"1_", b"ffffffffffffffff", b"00000000000000001")
    ),
    Row("7.1", "LF behind a size", CHUNKED + b"1\na\r\n0\r\n\r\n", [400]),
    Row("7.1", "LF behind a chunk", CHUNKED + b"1\r\na\n0\r\n\r\n", [400]),
    Row("7.1", "a chunk that is longer than its size", CHUNKED + b"1\r\nab\r\n0\r\n\r\n", [400]),
    Row("7.1", "LF behind the last chunk", CHUNKED + b"0\r\n\n", [400]),
    Row(
        "7.1.1",
        "extensions are ignored",
        CHUNKED + b'1;x\r\na\r\n1;y=z;q="\\";"\r\nb\r\n0;x\r\n\r\n',
        [said("POST", body="ab")],
        KEPT,
    ),
    Row(
        "7.1.1",
        "blanks around the parts of an extension",
        CHUNKED + b"1 ;\tx = y ; z\r\na\r\n0\r\n\r\n",
        [said("POST", body="a")],
        KEPT,
    ),
    Row("7.1.1", "an extension without a name", CHUNKED + b"1;\r\na\r\n0\r\n\r\n", [400]),
    Row("7.1.1", "a quoted value that does not end", CHUNKED + b'1;x="\r\na\r\n0\r\n\r\n', [400]),
    Row("7.1.1", "LF in an extension", CHUNKED + b"1;x\n\r\na\r\n0\r\n\r\n", [400]),
    Row("7.1.1", "an extension that is too long", CHUNKED + b"1;" + b"x" * 2000 + b"\r\na\r\n0\r\n\r\n", [431]),
    Row("7.1.1", "too many extensions", CHUNKED + (b"1;" + b"x" * 500 + b"\r\na\r\n") * 5 + b"0\r\n\r\n", [431]),
    Row(
        "7.1.2",
        "trailers are dropped",
        CHUNKED + b"1\r\na\r\n0\r\nX: y\r\nHost: b\r\n\r\n",
        [said("POST", body="a")],
        KEPT,
    ),
    Row(
        "RFC 9110, 6.5.1",
        "a trailer says nothing of the connection",
        CHUNKED + b"0\r\nConnection: close\r\n\r\n",
        [said("POST")],
        KEPT,
    ),
    Row(
        "RFC 9110, 6.5.1",
        "a trailer says nothing of the framing",
        CHUNKED + b"0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nUpgrade: x\r\n\r\n",
        [said("POST")],
        KEPT,
    ),
    Row("7.1.2", "a trailer that is no header", CHUNKED + b"0\r\nX : y\r\n\r\n", [400]),
    Row("7.1.2", "a trailer that is too long", CHUNKED + b"0\r\nX: " + b"y" * 2000 + b"\r\n\r\n", [431]),
    Row("7.1.2", "too many trailers", CHUNKED + b"0\r\n" + b"X: y\r\n" * 31 + b"\r\n", [431]),
    # --- 9: the connection ---
    Row("9.3", "HTTP/1.1 goes on", GET + b"\r\n", [said()], KEPT),
    Row("9.3", "close", GET + b"Connection: close\r\n\r\n", [said()]),
    Row("9.3", "close among others, in capitals", GET + b"Connection: x,\tCLOSE\r\n\r\n", [said()]),
    Row("9.3", "close in another header", GET + b"Connection: keep-alive\r\nConnection: close\r\n\r\n", [said()]),
    Row("9.3", "HTTP/1.0 ends", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", [said(protocol="HTTP/1.0")]),
    Row(
        "9.3",
        "HTTP/1.0 with keep-alive goes on",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n",
        [said(protocol="HTTP/1.0")],
        KEPT,
    ),
    Row(
        "9.3",
        "close decides",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n",
        [said(protocol="HTTP/1.0")],
    ),
    Row(
        "C.2.2",
        "Proxy-Connection means nothing",
        b"GET / HTTP/1.0\r\nHost: a\r\nProxy-Connection: keep-alive\r\n\r\n",
        [said(protocol="HTTP/1.0")],
    ),
    Row(
        "C.2.2", "Proxy-Connection means nothing in HTTP/1.1", GET + b"Proxy-Connection: close\r\n\r\n", [said()], KEPT
    ),
    Row(
        "9.3.2",
        "pipelined requests are answered in order",
        GET + b"\r\n" + CHUNKED + b"1\r\nb\r\n0\r\n\r\n" + GET + b"\r\n",
        [said(), said("POST", body="b"), said()],
        KEPT,
    ),
    Row(
        "9.3.2",
        "good requests in front of a bad one are answered",
        (GET + b"\r\n") * 3 + b"GET / HTTP/1.1\r\n\r\n",
        [said(), said(), said(), 400],
    ),
    Row(
        "9.3.2",
        "good requests in front of one that closes are answered",
        (GET + b"\r\n") * 3 + GET + b"Connection: close\r\n\r\n",
        [said()] * 4,
    ),
    Row(
        "9.6", "what follows close is not even read", GET + b"Connection: close\r\n\r\n\0\0 garbage \r\n\r\n", [said()]
    ),
    Row(
        "RFC 9110, 7.8",
        "an Upgrade that the application does not accept",
        GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        [said()],
        KEPT,
    ),
    Row(
        "RFC 9110, 7.8",
        "an Upgrade with a body",
        POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nb",
        [said("POST", body="b")],
        KEPT,
    ),
    Row(
        "RFC 9110, 7.8",
        "an Upgrade with a body in chunks",
        CHUNKED[:-2] + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n1\r\nb\r\n0\r\n\r\n",
        [said("POST", body="b")],
        KEPT,
    ),
    Row(
        "RFC 9110, 7.8",
        "an Upgrade in HTTP/1.0",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade, keep-alive\r\nUpgrade: h2c\r\n\r\n",
        [said(protocol="HTTP/1.0")],
        KEPT,
    ),
    Row(
        "RFC 9110, 10.1.1",
        "a client that expects a 100 and sends the body at once",
        POST + b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nb",
        [said("POST", body="b")],
        KEPT,
    ),
    Row(
        "RFC 9110, 10.1.1",
        "Expect in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nb",
        [said("POST", body="b", protocol="HTTP/1.0")],
    ),
]


@dataclass
class Site:
    """One server, in one form."""

    server: Server
    plain: tuple[str, int]
    tls: tuple[str, int]
    authority: Authority

    def ask(self, transport: str, data: bytes) -> bytes:
        """Send these bytes, and read to the end."""
        with client.connect(self.plain if transport == "tcp" else self.tls) as connection:
            if transport == "tls":
                with self.authority.context().wrap_socket(connection, server_hostname="localhost") as wrapped:
                    return asked(wrapped, data)
            return asked(connection, data)


def asked(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return client.read_all(connection)


@pytest.fixture(scope="module", params=["compiled", "pure"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    authority = Authority(trustme.CA(), tmp_path_factory.mktemp("authority"))
    directory: Path = tmp_path_factory.mktemp(request.param)
    (directory / "app.py").write_text(dedent(APP))
    pair = ",".join(str(authority.directory / name) for name in ("server.crt", "server.key"))
    server = Server(
        directory,
        "--http",
        "127.0.0.1:0",
        "--https",
        f"127.0.0.1:0,{pair}",
        "--workers",
        "1",
        *LIMITS,
        "app:application",
        environ={"WSGID_PURE": "1" if request.param == "pure" else "0"},
    )
    try:
        [listens] = server.wait_ready(1).wait_for(r"listens on 127.0.0.1:(\d+).* 127.0.0.1:(\d+)")
        yield Site(server, ("127.0.0.1", int(listens[1])), ("127.0.0.1", int(listens[2])), authority)
    finally:
        server.end()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.rule}")
def test_rfc_9112(site: Site, transport: str, row: Row) -> None:
    expected = [*row.answers, PROBED] if row.kept else row.answers
    found = answers(site.ask(transport, row.sent + PROBE), row.bodiless)
    assert [
        answer.body.decode("latin-1") if isinstance(wanted, str) else answer.status
        for answer, wanted in zip(found, expected)
    ] == expected
    assert len(found) == len(expected)
    assert [answer.header("Connection") == "close" for answer in found] == [False] * (len(found) - 1) + [True]


def answers(raw: bytes, bodiless: bool) -> list[client.Answer]:
    """All final responses, one after the other."""
    found: list[client.Answer] = []
    while raw:
        assert raw.startswith(b"HTTP/1.1 ")
        answer = client.parse(raw)
        raw = answer.body
        length = 0 if answer.status < 200 or (bodiless and not found) else int(answer.header("Content-Length") or 0)
        answer.body, raw = raw[:length], raw[length:]
        if answer.status >= 200:
            found.append(answer)
    return found
