"""The life of an HTTP connection: what a head says about the connection, what follows a refusal, what is lost at the
end.

Each case is run over plain TCP and over TLS.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from textwrap import dedent

import pytest
import trustme

from tests.conftest import Start
from tests.support import client
from tests.support.certificates import Authority, files
from tests.support.client import TcpAddress
from tests.support.http_client import Reader, request
from tests.support.server import Server

pytestmark = pytest.mark.hot

APP = """
    import gevent

    def application(environ, start_response):
        path, query, body = environ["PATH_INFO"], environ["QUERY_STRING"], environ["wsgi.input"]
        if path == "/late":
            start_response("200 OK", [])
            return late(body)
        if path == "/late-length":
            start_response("200 OK", [("Content-Length", "9")])
            return late(body)
        if path == "/late-failure":
            start_response("200 OK", [])
            return closing(body)
        if path == "/torn":
            start_response("200 OK", [])
            return torn()
        if path == "/short":
            start_response("200 OK", [("Content-Length", "100")])
            return [b"a part"]
        if path == "/long":
            start_response("200 OK", [("Content-Length", "4")])
            return [b"four", b" and more"]
        if path == "/large":
            start_response("200 OK", [("Content-Length", "3000000")])
            return [b"x" * 3_000_000]
        if path == "/status":
            start_response(query.replace("%20", " "), [])
            return [b"a body that may not be there"]
        if path == "/headers":
            start_response("200 OK", [tuple(header.split("=", 1)) for header in query.split("&")])
            return [b"fine"]
        if path == "/fail":
            raise ValueError("on purpose")
        if path == "/read":
            answer = body.read()
        elif path == "/read-some":
            answer = body.read(int(query))
        elif path == "/wait":
            gevent.sleep(float(query))
            answer = b"waited"
        elif path == "/refuse":
            start_response("401 Unauthorized", [("Content-Length", "2")])
            return [b"no"]
        else:
            answer = path.encode()
        start_response("200 OK", [("Content-Length", str(len(answer)))])
        return [answer]

    def late(body):
        yield b"[head]"
        yield body.read(3)

    class closing(list):
        def __init__(self, body):
            self.body = body
        def __iter__(self):
            raise ValueError("on purpose")
        def close(self):
            self.body.read(3)

    def torn():
        yield b"a part"
        raise ValueError("torn on purpose")
"""
CHUNKED = {"Transfer_Encoding": "chunked"}
ENOUGH = 256 * 1024  # of a longer unread body, the server does not read the rest


@dataclass
class Site:
    """One server, and how to connect to it."""

    server: Server
    plain: TcpAddress
    https: TcpAddress
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("connection")
    authority = Authority(trustme.CA(), tmp_path_factory.mktemp("authority"))
    (directory / "app.py").write_text(dedent(APP))
    server = Server(
        directory, "--http", "127.0.0.1:0", "--https", files(authority), "--socket-timeout", "5", "app:application"
    )
    try:
        server.wait_ready(1)
        plain, https = server.tcp_addresses()
        yield Site(server, plain, https, authority.context())
        assert server.stop() == 0
        server.assert_nothing_left()
    finally:
        server.end()


class Client:
    """One connection of a client."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._reader = Reader(connection)
        self.response = self._reader.response

    def send(self, *requests: bytes) -> "Client":
        self.socket.sendall(b"".join(requests))
        return self

    def bodies(self, count: int) -> list[bytes]:
        return [self.response().body for _ in range(count)]

    def end(self) -> bytes:
        """All bytes up to the end. Over TLS, a missing close_notify is an end as well."""
        try:
            return self._reader._file.read()
        except ssl.SSLEOFError:
            return b""

    def goes_on(self) -> bool:
        return self.send(request("/again")).response().body == b"/again"


@contextmanager
def connected(site: Site, way: str) -> Iterator[Client]:
    if way == "plain":
        with client.connect(site.plain) as connection:
            yield Client(connection)
    else:
        with client.connect(site.https) as raw:
            with site.context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as secret:
                yield Client(secret)


@pytest.fixture(params=["plain", "tls"])
def visitor(site: Site, request: pytest.FixtureRequest) -> Iterator[Client]:
    with connected(site, request.param) as made:
        yield made


def head(path: str, method: str = "POST", length: int | None = None, **more: str) -> bytes:
    """A request without its body."""
    return request(path, method, **({} if length is None else {"Content_Length": str(length)}), **more)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# --- 100 Continue -----------------------------------------------------------------------------------------------------


def test_a_100_comes_when_the_body_is_read_before_the_response(visitor: Client) -> None:
    visitor.send(head("/read", length=3, Expect="100-continue"))
    assert visitor.response().status == 100
    assert visitor.send(b"abc").response().body == b"abc"
    assert visitor.goes_on()


@pytest.mark.parametrize("path", ["/late", "/late-length"])
def test_there_is_no_100_within_a_response(visitor: Client, path: str) -> None:
    visitor.send(head(path, length=3, Expect="100-continue"))
    answer = b""
    while not answer.endswith((b"[head]", b"[head]\r\n")):
        answer += visitor.socket.recv(1000)
    assert b"Connection: close\r\n" in answer and b" 100 " not in answer  # the client may send its body now, or never
    visitor.send(b"abc")
    rest = visitor.end()
    assert rest in (b"abc", b"3\r\nabc\r\n0\r\n\r\n")


def test_there_is_no_100_after_an_error_response(visitor: Client) -> None:
    visitor.send(head("/late-failure", length=3, Expect="100-continue"))
    answer = visitor.response()
    assert answer.status == 500 and answer.header("Connection") == "close"
    assert visitor.send(b"abc").end() == b""


def test_old_clients_get_no_100(visitor: Client) -> None:
    visitor.send(b"POST /read HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert visitor.send(b"abc").response().body == b"abc"


def test_a_client_that_does_not_wait_for_its_100_keeps_its_connection(visitor: Client) -> None:
    visitor.send(head("/wait?0.05", length=3, Expect="100-continue") + b"abc")
    answer = visitor.response()
    assert answer.body == b"waited" and answer.header("Connection") is None
    assert visitor.goes_on()


@pytest.mark.parametrize("more", [{"Content_Length": "3"}, CHUNKED], ids=["length", "chunked"])
def test_a_body_that_was_announced_and_not_asked_for_ends_the_connection_in_the_head(
    visitor: Client, more: dict[str, str]
) -> None:
    answer = visitor.send(request("/refuse", "POST", Expect="100-continue", **more)).response()
    assert (answer.status, answer.header("Connection")) == (401, "close")
    assert visitor.end() == b""


# --- what the head says about the connection --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 1000, ENOUGH])
def test_an_unread_body_is_thrown_away_if_it_is_short(visitor: Client, size: int) -> None:
    visitor.send(head("/refuse", length=size))
    answer = visitor.response()
    assert answer.status == 401 and answer.header("Connection") is None
    visitor.send(b"x" * size)
    assert visitor.goes_on()


@pytest.mark.parametrize("size", [ENOUGH + 1, 3_000_000])
def test_if_an_unread_body_is_long_the_head_says_that_the_connection_ends(visitor: Client, size: int) -> None:
    visitor.send(head("/refuse", length=size))
    answer = visitor.response()
    assert (answer.status, answer.header("Connection")) == (401, "close")
    visitor.send(b"x" * size)
    assert visitor.end() == b""


def test_what_was_read_of_a_long_body_does_not_count(visitor: Client) -> None:
    visitor.send(head("/read-some?900000", length=1_000_000), b"x" * 1_000_000)
    answer = visitor.response()
    assert len(answer.body) == 900_000 and answer.header("Connection") is None
    assert visitor.goes_on()


def test_a_chunked_body_that_has_come_whole_is_thrown_away(visitor: Client) -> None:
    trailer = b"0\r\nX-Trailer: z\r\n\r\n"
    visitor.send(request("/wait?0.05", "POST", **CHUNKED), chunk(b"x" * 1000), chunk(b"y"), trailer)
    answer = visitor.response()
    assert answer.body == b"waited" and answer.header("Connection") is None
    assert visitor.goes_on()


def test_the_end_of_a_chunked_body_that_is_not_here_ends_the_connection_in_the_head(visitor: Client) -> None:
    visitor.send(request("/refuse", "POST", **CHUNKED), chunk(b"x" * 1000))
    answer = visitor.response()
    assert (answer.status, answer.header("Connection")) == (401, "close")
    visitor.send(chunk(b"y" * 300_000), b"0\r\n\r\n")
    assert visitor.end() == b""


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_a_chunked_body_that_was_read_keeps_the_connection(visitor: Client, size: int) -> None:
    visitor.send(request("/read", "POST", **CHUNKED), chunk(b"x" * size), b"0\r\n\r\n")
    answer = visitor.response()
    assert len(answer.body) == size and answer.header("Connection") is None
    assert visitor.goes_on()


def test_a_response_may_begin_before_the_body_is_read(visitor: Client) -> None:
    visitor.send(head("/late", length=3))
    answer = b""
    while not answer.endswith(b"[head]\r\n"):
        answer += visitor.socket.recv(1000)
    assert b"Connection" not in answer
    visitor.send(b"abc", request("/next", Connection="close"))
    said = visitor.end()
    assert said.startswith(b"3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n") and said.endswith(b"/next")


def test_the_rest_of_a_body_holds_no_place_and_does_not_become_a_request(site: Site, visitor: Client) -> None:
    visitor.send(head("/refuse", length=100))
    assert visitor.response().status == 401
    visitor.send(request("/smuggled").ljust(100, b"x"))
    assert visitor.goes_on()


def test_a_large_body_in_front_of_pipelined_requests_ends_the_connection_before_them(visitor: Client) -> None:
    visitor.send(request("/1"), head("/refuse", length=ENOUGH + 1))
    assert visitor.response().body == b"/1"
    assert visitor.response().header("Connection") == "close"
    visitor.send(b"x" * (ENOUGH + 1), request("/2"))
    assert visitor.end() == b""


# --- requests in front of a refused one -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (request("/", Transfer_Encoding="gzip, chunked"), 501),
    ],
)
def test_good_requests_in_front_of_a_bad_one_are_answered(visitor: Client, bad: bytes, status: int) -> None:
    visitor.send(request("/1"), request("/read", "POST", b"body"), request("/wait?0.05"), bad, request("/smuggled"))
    assert visitor.bodies(3) == [b"/1", b"body", b"waited"]
    answer = visitor.response()
    assert (answer.status, answer.header("Connection")) == (status, "close")
    assert visitor.end() == b""


def test_good_requests_in_front_of_the_last_one_are_answered(visitor: Client) -> None:
    visitor.send(request("/1"), request("/2"), request("/3", Connection="close"), request("/4"))
    assert visitor.bodies(2) == [b"/1", b"/2"]
    answer = visitor.response()
    assert (answer.body, answer.header("Connection")) == (b"/3", "close")
    assert visitor.end() == b""


def test_a_client_that_has_ended_its_side_gets_its_answers(site: Site) -> None:
    with connected(site, "plain") as visitor:
        visitor.send(request("/wait?0.05"), request("/read", "POST", b"body"), request("/1"))
        visitor.socket.shutdown(socket.SHUT_WR)
        assert visitor.bodies(3) == [b"waited", b"body", b"/1"] and visitor.end() == b""


def test_a_client_that_has_said_close_notify_gets_its_answers(site: Site) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = site.context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with client.connect(site.https) as raw:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))
        tls.write(request("/wait?0.05") + request("/last"))
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()  # tells the server that nothing more comes
        raw.sendall(outgoing.read())
        answers = b""
        while not answers.endswith(b"/last"):
            try:
                answers += tls.read(65536)
            except ssl.SSLWantReadError:
                incoming.write(raw.recv(65536))
    assert answers.count(b"HTTP/1.1 200 OK") == 2 and b"waited" in answers


# --- torn responses ---------------------------------------------------------------------------------------------------


def rest(visitor: Client) -> bytes:
    """All bytes up to the end of the connection, whatever kind of end it is."""
    data = b""
    try:
        while block := visitor.socket.recv(65536):
            data += block
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return data


@pytest.mark.parametrize(
    "torn", [request("/torn"), request("/short"), b"GET /torn HTTP/1.0\r\n\r\n"], ids=["chunked", "length", "old"]
)
def test_a_torn_response_leaves_the_one_before_it_whole(site: Site, visitor: Client, torn: bytes) -> None:
    before = len(site.server.lines)
    visitor.send(request("/large"), torn, request("/more") * 100)
    data = b""
    while not any("GET /torn: " in line or "GET /short: " in line for line in site.server.lines[before:]):
        data += visitor.socket.recv(1000)  # the server's kernel has most of it
        time.sleep(0.001)
    whole, _, part = (data + rest(visitor)).partition(b"\r\n\r\n")[2].partition(b"HTTP/1.1 200 OK\r\n")
    assert len(whole) == 3_000_000 and part.endswith((b"a part", b"a part\r\n"))


@pytest.mark.parametrize("path", ["/torn", "/short"])
def test_a_torn_response_lacks_its_end_and_the_connection_is_not_reset(visitor: Client, path: str) -> None:
    visitor.send(request(path))
    assert visitor.end().endswith((b"\r\n\r\n6\r\na part\r\n", b"\r\n\r\na part"))  # and no reset


def test_a_torn_response_that_ends_with_its_connection_is_reset(visitor: Client) -> None:
    visitor.send(b"GET /torn HTTP/1.0\r\n\r\n")
    with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
        while visitor.socket.recv(1000):
            pass


def test_a_response_that_ends_with_its_connection_is_reset_if_the_body_of_its_request_breaks_off(site: Site) -> None:
    with connected(site, "plain") as visitor:
        visitor.send(b"POST /late HTTP/1.0\r\nContent-Length: 3\r\n\r\nab")
        visitor.socket.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            while visitor.socket.recv(1000):
                pass


def test_a_response_is_cut_at_its_length_and_the_connection_goes_on(visitor: Client) -> None:
    assert visitor.send(request("/long")).response().body == b"four"
    assert visitor.goes_on()


# --- bodies that must not be there ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["204%20No%20Content", "304%20Not%20Modified"])
@pytest.mark.parametrize("old", [False, True])
def test_a_status_without_a_body_has_none(visitor: Client, status: str, old: bool) -> None:
    keep = {"Connection": "keep-alive"} if old else {}
    asked = request(f"/status?{status}", **keep)
    visitor.send(asked.replace(b"HTTP/1.1", b"HTTP/1.0") if old else asked)
    answer = visitor.response("HEAD")
    assert answer.status == int(status[:3]) and answer.header("Connection") == ("keep-alive" if old else None)
    assert answer.header("Transfer-Encoding") is answer.header("Content-Length") is None
    assert visitor.goes_on()


def test_after_a_101_the_connection_speaks_no_http(visitor: Client) -> None:
    visitor.send(request("/status?101%20Switching%20Protocols"), request("/smuggled"))
    answer = rest(visitor)
    assert answer.startswith(b"HTTP/1.1 101 ") and b"/smuggled" not in answer


@pytest.mark.parametrize("path", ["/large", "/torn", "/long", "/fail"])
def test_head_is_answered_without_a_body_and_the_connection_goes_on(visitor: Client, path: str) -> None:
    answer = visitor.send(request(path, "HEAD")).response("HEAD")
    assert answer.header("Connection") is None
    assert visitor.goes_on()


def test_old_clients_may_keep_their_connection(visitor: Client) -> None:
    old = b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    for path in (b"/1", b"/fail", b"/2"):
        answer = visitor.send(old % path).response()
        assert answer.header("Connection") == "keep-alive" and answer.header("Content-Length")
    assert visitor.send(old % b"/torn").response("HEAD").header("Connection") == "close"


# --- headers of the application ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["date", "Date", "DATE", "dAtE"])
def test_there_is_one_date_however_it_is_spelled(visitor: Client, name: str) -> None:
    raw = visitor.send(request(f"/headers?{name}=now")).response().raw
    assert raw.lower().count(b"\r\ndate: ") == 1 and b"\r\nDate: now\r\n" in raw


def test_there_is_one_server_however_it_is_spelled(visitor: Client) -> None:
    raw = visitor.send(request("/headers?server=mine")).response().raw
    assert raw.lower().count(b"\r\nserver: ") == 1


@pytest.mark.parametrize(
    "header",
    [
        "connection=close",
        "CONNECTION=keep-alive",
        "Keep-alive=timeout=5",
        "transfer-encoding=gzip",
        "TE=trailers",
        "trailer=X-A",
        "proxy-connection=close",
    ],
)
def test_the_application_cannot_set_hop_by_hop_headers(visitor: Client, header: str) -> None:
    answer = visitor.send(request(f"/headers?{header}")).response()
    assert answer.body == b"fine" and answer.header(header.partition("=")[0]) is None
    assert visitor.goes_on()


def test_a_content_length_may_be_spelled_in_any_case(visitor: Client) -> None:
    answer = visitor.send(request("/headers?content-LENGTH=4")).response()
    assert answer.raw.lower().count(b"content-length") == 1 and answer.body == b"fine"
    assert visitor.goes_on()


# --- bodies that arrive slowly ---

SUM = """
    def application(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", "4")])
        return [b"%4d" % len(body)]
"""


@pytest.mark.parametrize("framing", ["Content-Length: 10000\r\n", "Transfer-Encoding: chunked\r\n"])
def test_a_body_that_drips_is_a_408(start: Start, framing: str) -> None:
    """Each byte arrives within --socket-timeout. Without --body-rate, the request would never end."""
    server = start(
        "--http", "http.sock", "--socket-timeout", "2", "--body-rate", "1000", "app:application", app=SUM
    ).wait_ready(1)
    with client.connect(server.directory / "http.sock") as dripping:
        dripping.sendall(f"POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n".encode())
        dripping.settimeout(0.05)
        answer = b""
        while not answer:
            with suppress(BrokenPipeError, ConnectionResetError):  # the server has answered and closed
                dripping.sendall(b"x" if "Length" in framing else b"1\r\nx\r\n")
            with suppress(TimeoutError):
                answer = dripping.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"fewer than --body-rate 1000 a second" in answer
    server.wait_for(r"refused a packet from .* bytes of a request's body came in \d+ s: fewer than --body-rate 1000")


def test_the_application_s_own_slowness_is_not_the_client_s(start: Start) -> None:
    server = start(
        "--http",
        "http.sock",
        "--socket-timeout",
        "0.5",
        "--body-rate",
        "9999",
        "app:application",
        app="""
        import time
        def application(environ, start_response):
            time.sleep(1)
            start_response("200 OK", [])
            return [environ["wsgi.input"].read()]
    """,
    ).wait_ready(1)
    with client.connect(server.directory / "http.sock") as connected:
        connected.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
        assert client.parse(client.read_all(connected)).body == b"hello"


def test_without_a_rate_a_body_may_take_its_time(start: Start) -> None:
    server = start(
        "--http", "http.sock", "--socket-timeout", "2", "--body-rate", "0", "app:application", app=SUM
    ).wait_ready(1)
    with client.connect(server.directory / "http.sock") as connected:
        connected.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 8\r\n\r\n")
        connected.settimeout(0.3)
        for _ in range(8):
            with pytest.raises(TimeoutError):
                connected.recv(1)
            connected.sendall(b"x")
        connected.settimeout(20)
        assert client.parse(client.read_all(connected)).body == b"   8"
