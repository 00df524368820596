"""Packets that nginx would not send: refusals, unusual packets and limits, with a real server."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually
from wsgid.protocol import uwsgi

pytestmark = pytest.mark.hot

APP = """
import os
from pathlib import Path
from wsgid.errors import ClientDisconnected

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/read":
        try:
            body = environ["wsgi.input"].read()
        except ClientDisconnected as error:
            Path("cut").write_text(str(error))
            raise
    elif path == "/big":
        body = b"x" * (4 << 20)
    elif path == "/environ":
        body = "\\n".join(f"{key}={environ[key]}" for key in environ["QUERY_STRING"].split("&")).encode("latin-1")
    else:
        body = b"fine"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from serving(tmp_path_factory.mktemp("wire"))


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with short time-outs, for peers that are slow on purpose. On a busy machine other peers could be too
    slow."""
    yield from serving(tmp_path_factory.mktemp("impatient"), "--socket-timeout", "0.5", "--drain-timeout", "1")


def serving(directory: Path, *options: str) -> Iterator[Server]:
    (directory / "app.py").write_text(APP)
    server = Server(
        directory, "--socket", "app.sock", "--socket", "127.0.0.1:0", "--max-vars", "100", *options, "app:application"
    )
    try:
        yield server.wait_ready(1)
        assert server.stop() == 0
        server.assert_nothing_left()
    finally:
        server.end()


@pytest.fixture
def unix(server: Server) -> Path:
    return server.directory / "app.sock"


@pytest.fixture
def tcp(server: Server) -> tuple[str, int]:
    (said,) = server.wait_for(r"listens on \S+, ([\d.]+):(\d+) with")
    return said[1], int(said[2])


def raw_packet(data: bytes, modifier1: int = 0, size_bytes: int | None = None) -> bytes:
    return struct.pack("<BHB", modifier1, len(data) if size_bytes is None else size_bytes, 0) + data


REFUSED = [
    ("overlapping", raw_packet(b"\x05\x00abc"), 400, "the sizes of the variables do not add up"),
    ("rest", raw_packet(b"\x01\x00A\x01\x00B\x00"), 400, "the sizes of the variables do not add up"),
    ("modifier", raw_packet(b"", modifier1=5), 400, "modifier1 is 5"),
    ("length", client.packet(CONTENT_LENGTH="many"), 400, "CONTENT_LENGTH is 'many'"),
    ("negative", client.packet(CONTENT_LENGTH="-1"), 400, "CONTENT_LENGTH is '-1'"),
    ("variables", client.packet(**{f"HTTP_X_{n}": "v" for n in range(100)}), 431, "more than 100 variables"),
    ("http", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "the peer speaks HTTP"),
    ("tls", b"\x16\x03\x01\x02\x00\x01\x00", 400, "the peer speaks TLS"),
]


@pytest.mark.parametrize(("data", "status", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused_gets_an_answer_and_one_sentence_that_names_the_peer(
    server: Server, unix: Path, tcp: tuple[str, int], data: bytes, status: int, says: str
) -> None:
    before = len(server.lines)
    assert client.parse(client.exchange(unix, data)).status == status
    assert client.parse(client.exchange(tcp, data)).status == status
    assert client.get(unix).body == b"fine"
    server.wait_for(rf"refused a packet from process \d+ of user \d+: .*{says}", since=before)
    server.wait_for(rf"refused a packet from 127.0.0.1:\d+: .*{says}", since=before)
    assert len(server.lines) == before + 2


def test_a_packet_that_ends_within_its_head_is_refused(server: Server, unix: Path) -> None:
    with client.connect(unix) as connected:
        connected.sendall(client.packet("/")[:40])
        connected.shutdown(socket.SHUT_WR)
        assert client.parse(client.read_all(connected)).status == 400
    server.wait_for("the packet ends after 40 bytes, within its head")


def test_a_peer_that_sends_half_a_head_is_dropped_after_the_socket_timeout(impatient: Server) -> None:
    with client.connect(impatient.directory / "app.sock") as connected:
        connected.sendall(client.packet("/")[:-1])
        assert client.parse(client.read_all(connected)).status == 408
    impatient.wait_for("the head did not arrive within 0.5 s")


def test_a_head_that_drips_in_byte_by_byte_is_the_same_head(unix: Path) -> None:
    with client.connect(unix) as connected:
        for byte in client.packet("/read", b"whole body"):
            connected.sendall(bytes([byte]))
        assert client.parse(client.read_all(connected)).body == b"whole body"


def test_a_body_shorter_than_announced_never_reaches_the_application_as_whole(server: Server, unix: Path) -> None:
    with client.connect(unix) as connected:
        connected.sendall(client.packet("/read", CONTENT_LENGTH="100") + b"ten bytes.")
        connected.shutdown(socket.SHUT_WR)
        assert client.read_all(connected) == b""
    assert (server.directory / "cut").read_text().endswith("10 of 100 bytes came")
    assert "Traceback" not in server.log


def test_a_body_that_stops_coming_is_a_disconnect_after_the_socket_timeout(impatient: Server) -> None:
    with client.connect(impatient.directory / "app.sock") as connected:
        connected.sendall(client.packet("/read", CONTENT_LENGTH="200") + b"ten bytes.")
        assert client.read_all(connected) == b""
    assert "Traceback" not in impatient.log


def test_an_ignored_body_that_stops_coming_is_given_up_once(impatient: Server) -> None:
    with client.connect(impatient.directory / "app.sock") as connected:
        connected.sendall(client.packet("/", CONTENT_LENGTH="200") + b"ten bytes.")
        assert client.parse(client.read_all(connected)).body == b"fine"
        eventually(lambda: impatient.in_flight() == 0, "the connection is given up")
    assert client.get(impatient.directory / "app.sock").body == b"fine"
    assert "Error" not in impatient.log  # closed once: a second close could close the connection of another client


def test_bytes_behind_the_body_are_not_read_as_body(unix: Path) -> None:
    data = client.packet("/read", CONTENT_LENGTH="4") + b"bodymore"
    assert client.parse(client.exchange(unix, data)).body == b"body"


def test_all_65535_bytes_of_variables_are_accepted(unix: Path) -> None:
    room = 65535 - len(client.packet("/read", HTTP_X_LONG="")) + 4
    data = client.packet("/read", HTTP_X_LONG="x" * room)
    assert len(data) == uwsgi.HEADER_SIZE_BYTES + uwsgi.DATA_MAX_BYTES
    assert client.parse(client.exchange(unix, data)).status == 200


def test_a_ping_is_answered(unix: Path) -> None:
    assert client.exchange(unix, raw_packet(b"", modifier1=100)) == uwsgi.PONG


def test_a_connection_that_says_nothing_is_no_event(server: Server, unix: Path) -> None:
    before = len(server.lines)
    client.connect(unix).close()
    assert client.get(unix).status == 200
    assert len(server.lines) == before


def test_a_reader_that_stands_still_is_dropped_after_the_socket_timeout(impatient: Server) -> None:
    with client.connect(impatient.directory / "app.sock") as connected:
        connected.sendall(client.packet("/big"))
        assert connected.recv(10)
        eventually(lambda: impatient.in_flight() == 0, "the connection is given up")
        assert len(client.read_all(connected)) < 4 << 20
    assert "Traceback" not in impatient.log


def test_a_slow_reader_gets_everything(unix: Path) -> None:
    with client.connect(unix) as connected:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connected.sendall(client.packet("/big"))
        received = 0
        while block := connected.recv(8192):
            received += len(block)
        assert received > 4 << 20


@pytest.mark.parametrize(
    "name",
    [
        "UWSGI_FILE",
        "UWSGI_SCRIPT",
        "UWSGI_MODULE",
        "UWSGI_CALLABLE",
        "UWSGI_SETENV",
        "UWSGI_CHDIR",
        "UWSGI_PYHOME",
        "UWSGI_HOME",
    ],
)
def test_a_peer_cannot_choose_what_runs(server: Server, unix: Path, name: str) -> None:
    evil = server.directory / "evil.py"
    evil.write_text("import pathlib; pathlib.Path('pwned').touch()\ndef application(e, s): s('200 OK', []); return []")
    value = {"UWSGI_MODULE": "evil", "UWSGI_CALLABLE": "evil", "UWSGI_SETENV": "A=B", "UWSGI_CHDIR": "/"}
    assert client.get(unix, **{name: value.get(name, str(evil))}).body == b"fine"
    assert not (server.directory / "pwned").exists()
    assert client.get(unix).body == b"fine"


def test_the_scheme_of_a_balancer_before_nginx_counts_unless_nginx_or_the_operator_says_another(
    unix: Path, start: Start
) -> None:
    """Compared with uWSGI 2.0.31, where UWSGI_SCHEME and HTTPS come first, too."""

    def scheme(path: Path = unix, **more: str) -> str:
        answer = client.get(path, "/environ", QUERY_STRING="wsgi.url_scheme", **more).body.decode()
        return answer.partition("=")[2].strip()

    assert [scheme(), scheme(HTTP_X_FORWARDED_PROTO="https"), scheme(HTTP_X_FORWARDED_SSL="on")] == [
        "http",
        "https",
        "https",
    ]
    assert scheme(HTTP_X_FORWARDED_PROTO="https", UWSGI_SCHEME="http") == "http"
    assert scheme(HTTP_X_FORWARDED_PROTO="http", HTTPS="on") == "https"
    deaf = start("--socket", "deaf.sock", "--forwarded-headers", "x-forwarded-for", "app:application", app=APP)
    assert scheme(deaf.wait_ready(1).directory / "deaf.sock", HTTP_X_FORWARDED_PROTO="https") == "http"


def test_a_peer_cannot_set_the_keys_of_the_server(unix: Path) -> None:
    keys = "wsgi.url_scheme&wsgi.multithread&wsgi.run_once&SCRIPT_NAME"
    answer = client.get(
        unix,
        "/environ",
        QUERY_STRING=keys,
        **{"wsgi.url_scheme": "https", "wsgi.multithread": "no", "wsgi.run_once": "yes"},
    )
    assert answer.body.decode().split("\n") == [
        "wsgi.url_scheme=http",
        "wsgi.multithread=True",
        "wsgi.run_once=False",
        "SCRIPT_NAME=",
    ]
