"""HTTP behind a load balancer: PROXY headers, X-Forwarded-* and Forwarded, with a real server."""

import re
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
import yaml

from tests.conftest import Start
from tests.support import DOCS, client
from tests.support.client import Address
from tests.support.server import Server
from tools.nginx import Nginx

pytestmark = pytest.mark.hot

APP = """
def application(environ, start_response):
    said = {key: value for key, value in environ.items() if isinstance(value, str)}
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join(f"{key}={value}" for key, value in said.items()).encode("latin-1")]
"""
REQUEST = b"GET / HTTP/1.0\r\nHost: inside\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


@dataclass
class Site:
    server: Server
    addresses: list[Address]


def addresses(server: Server) -> list[Address]:
    (said,) = server.wait_for(r"listens on (.*) with")
    return [
        Path(address) if address.startswith("/") else (address.split(":")[0], int(address.split(":")[1]))
        for address in said[1].split(", ")
    ]


def environ(raw: bytes) -> dict[str, str]:
    answer = client.parse(raw)
    assert answer.status == 200
    return dict(line.split("=", 1) for line in answer.body.decode("latin-1").split("\n"))


def ask(address: Address, *headers: str, before: bytes = b"") -> dict[str, str]:
    lines = "".join(f"{header}\r\n" for header in headers).encode("latin-1")
    return environ(client.exchange(address, before + REQUEST + lines + b"\r\n"))


# --- PROXY ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Sockets: HTTP on TCP, HTTP on a unix socket, HTTPS."""
    directory = tmp_path_factory.mktemp("proxied")
    (directory / "app.py").write_text(APP)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(directory / "server.pem"))
    server = Server(
        directory,
        "--http",
        "127.0.0.1:0",
        "--http",
        "http.sock",
        "--https",
        "127.0.0.1:0,server.pem,server.pem",
        "--proxy-protocol",
        "app:application",
    )
    try:
        server.wait_ready(1)
        yield Site(server, addresses(server))
        assert server.stop() == 0
        server.assert_nothing_left()
    finally:
        server.end()


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
        SIGNATURE + b"\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb",
    ],
)
@pytest.mark.parametrize("which", [0, 1])
def test_the_client_is_the_address_in_the_header(proxied: Site, header: bytes, which: int) -> None:
    said = ask(proxied.addresses[which], before=header)
    assert (said["REMOTE_ADDR"], said["REMOTE_PORT"], said["SERVER_PORT"]) == ("192.0.2.1", "56324", "443")


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0", SIGNATURE + b"\x21\0\0\0"])
def test_a_health_check_comes_from_the_load_balancer_itself(proxied: Site, header: bytes) -> None:
    address = proxied.addresses[0]
    said = ask(address, before=header)
    assert said["REMOTE_ADDR"] == "127.0.0.1" and isinstance(address, tuple) and said["SERVER_PORT"] == str(address[1])
    with client.connect(address) as connected:  # a client that only connects
        connected.sendall(header)
        connected.shutdown(socket.SHUT_WR)
        assert client.read_all(connected) == b""


def test_the_header_holds_for_all_requests_of_the_connection(proxied: Site) -> None:
    request = b"GET / HTTP/1.1\r\nHost: inside\r\n\r\n"
    raw = client.exchange(
        proxied.addresses[0], b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n" + request + REQUEST + b"\r\n"
    )
    assert raw.count(b"REMOTE_ADDR=2001:db8::1") == 2


def test_the_header_may_come_in_pieces(proxied: Site) -> None:
    with client.connect(proxied.addresses[0]) as connected:
        for byte in b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n" + REQUEST + b"\r\n":
            connected.send(bytes([byte]))
        assert environ(client.read_all(connected))["REMOTE_ADDR"] == "192.0.2.1"


@pytest.mark.parametrize(("scheme", "which"), [("http", 0), ("https", 2)])
def test_curl_sends_the_proxy_header(proxied: Site, scheme: str, which: int) -> None:
    address = proxied.addresses[which]
    assert isinstance(address, tuple)
    done = subprocess.run(
        [
            "curl",
            "--silent",
            "--show-error",
            "--haproxy-protocol",
            "--cacert",
            proxied.server.directory / "ca.pem",
            f"{scheme}://localhost:{address[1]}/",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "REMOTE_ADDR=127.0.0.1\n" in done.stdout
    assert f"wsgi.url_scheme={scheme}" in done.stdout


def test_the_proxy_header_comes_before_the_handshake(proxied: Site) -> None:
    context = ssl.create_default_context(cafile=str(proxied.server.directory / "ca.pem"))
    connected = client.connect(proxied.addresses[2])
    connected.sendall(SIGNATURE + b"\x21\x11" + struct.pack("!H4s4sHH", 12, b"\xc0\0\x02\x01", b"\1\1\1\1", 5, 443))
    with context.wrap_socket(connected, server_hostname="localhost") as secured:
        secured.sendall(REQUEST + b"\r\n")
        said = environ(client.read_all(secured))
    assert (said["REMOTE_ADDR"], said["SERVER_PORT"], said["HTTPS"]) == ("192.0.2.1", "443", "on")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (REQUEST + b"\r\n", "begins with b'GET / HTTP/1' and not with a PROXY header"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 x\r\n" + REQUEST + b"\r\n", "has 'x' where a port belongs"),
        (SIGNATURE + b"\x99" + REQUEST + b"\r\n", "has the version and command 0x99"),
    ],
)
def test_without_a_valid_header_there_is_no_answer(proxied: Site, data: bytes, complaint: str) -> None:
    before = len(proxied.server.lines)
    try:
        assert client.exchange(proxied.addresses[0], data) == b""
    except ConnectionResetError:
        pass  # some bytes were not read, so the connection is reset
    proxied.server.wait_for(rf"refused a packet from 127.0.0.1:\d+: .*{re.escape(complaint)}", since=before)
    assert len(proxied.server.lines) == before + 1


@pytest.mark.parametrize("data", [b"PROXY TCP4 192.0.2.1", b""])
def test_a_header_that_does_not_come_is_waited_for_only_until_its_time_out(start: Start, data: bytes) -> None:
    server = start(
        "--http", "127.0.0.1:0", "--proxy-protocol", "--http-head-timeout", "0.5", "app:application", app=APP
    ).wait_ready(1)
    assert client.exchange(addresses(server)[0], data) == b""
    server.wait_for(
        r"refused a packet from 127.0.0.1:\d+: .*the PROXY header did not arrive within "
        "--http-head-timeout"
    )


def test_a_refused_request_is_its_client_s(proxied: Site) -> None:
    raw = client.exchange(proxied.addresses[0], b"PROXY TCP4 192.0.2.1 198.51.100.7 5 443\r\nnonsense\r\n\r\n")
    assert client.parse(raw).status == 400
    proxied.server.wait_for(r"refused a packet from 192.0.2.1:5 \(by 127.0.0.1:\d+\): a request has the invalid method")


def test_a_peer_that_is_not_listed_is_refused(start: Start) -> None:
    server = start(
        "--http",
        "127.0.0.1:0",
        "--http",
        "http.sock",
        "--proxy-protocol",
        "--forwarded-allow-ips",
        "10.0.0.0/8",
        "app:application",
        app=APP,
    ).wait_ready(1)
    for address in addresses(server):
        try:
            assert client.exchange(address, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + REQUEST + b"\r\n") == b""
        except ConnectionResetError:
            pass
    server.wait_for("refused a packet from .*: it is not in --forwarded-allow-ips", 2)


def test_a_client_in_the_header_is_not_trusted_for_it(proxied: Site) -> None:
    said = ask(
        proxied.addresses[0], "X-Forwarded-For: 203.0.113.9", before=b"PROXY TCP4 192.0.2.1 198.51.100.7 5 443\r\n"
    )
    assert said["REMOTE_ADDR"] == "192.0.2.1" and said["HTTP_X_FORWARDED_FOR"] == "203.0.113.9"


# --- X-Forwarded-* and Forwarded --------------------------------------------------------------------------------------

FORWARDED = (
    "X-Forwarded-For: 203.0.113.9, 192.0.2.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: example.org",
    "X-Forwarded-Port: 8443",
)


def test_the_loopback_and_unix_sockets_are_believed_by_default_for_address_and_scheme(start: Start) -> None:
    server = start("--http", "127.0.0.1:0", "--http", "http.sock", "app:application", app=APP).wait_ready(1)
    for address in addresses(server):
        said = ask(address, *FORWARDED, "Forwarded: for=192.0.2.7;proto=http;host=evil.test")
        assert (said["REMOTE_ADDR"], said["wsgi.url_scheme"]) == ("192.0.2.1", "https") and "REMOTE_PORT" not in said
        assert said["HTTP_HOST"] == "inside" and said["SERVER_PORT"] != "8443"


def test_the_other_headers_count_if_they_are_named(start: Start) -> None:
    server = start(
        "--http",
        "127.0.0.1:0",
        "--forwarded-headers",
        "x-forwarded-for,x-forwarded-proto,x-forwarded-host,x-forwarded-port",
        "app:application",
        app=APP,
    ).wait_ready(1)
    said = ask(addresses(server)[0], *FORWARDED)
    assert (said["HTTP_HOST"], said["SERVER_NAME"], said["SERVER_PORT"]) == ("example.org", "example.org", "8443")
    server = start("--http", "127.0.0.1:0", "--forwarded-headers", "forwarded", "app:application").wait_ready(1)
    said = ask(addresses(server)[0], "Forwarded: for=192.0.2.1;proto=https;host=a.org", "X-Forwarded-For: 192.0.2.7")
    assert (said["REMOTE_ADDR"], said["wsgi.url_scheme"], said["HTTP_HOST"]) == ("192.0.2.1", "https", "a.org")


def test_an_unknown_name_of_a_header_is_refused_at_the_start(start: Start) -> None:
    server = start("--http", "127.0.0.1:0", "--forwarded-headers", "x-real-ip", "app:application", app=APP)
    assert server.wait() == 2
    server.wait_for("--forwarded-headers 'x-real-ip' cannot be used: expected some of x-forwarded-for")


@pytest.mark.parametrize("listed", ["", "10.0.0.0/8", "192.0.2.1"])
def test_headers_from_other_peers_change_nothing(start: Start, listed: str) -> None:
    server = start(
        "--http", "127.0.0.1:0", "--http", "http.sock", "--forwarded-allow-ips", listed, "app:application", app=APP
    ).wait_ready(1)
    tcp, unix = addresses(server)
    for headers in (FORWARDED, ("Forwarded: for=192.0.2.1;proto=https;host=example.org",)):
        said = ask(tcp, *headers)
        assert (said["REMOTE_ADDR"], said["wsgi.url_scheme"], said["HTTP_HOST"]) == ("127.0.0.1", "http", "inside")
        assert {"HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"} & set(said)
        assert ask(unix, *headers)["REMOTE_ADDR"] == ""
    assert server.stop() == 0 and "does not count" not in server.log  # the operator has said who is trusted


def test_a_load_balancer_that_nobody_has_named_is_named_once(start: Start) -> None:
    """Otherwise each redirect to https:// leads to the next one, and nobody knows why."""
    server = start("--http", "127.0.0.1:0", "--workers", "2", "app:application", app=APP).wait_ready(2)
    (address,) = server.tcp_addresses()

    def from_127_0_0_2(*headers: str) -> dict[str, str]:
        with socket.create_connection(address, timeout=30, source_address=("127.0.0.2", 0)) as balancer:
            balancer.sendall(REQUEST + "".join(f"{header}\r\n" for header in headers).encode() + b"\r\n")
            return environ(client.read_all(balancer))

    from_127_0_0_2("X-Forwarded-For: 192.0.2.1")
    for _ in range(8):
        said = from_127_0_0_2(*FORWARDED)
        assert (said["REMOTE_ADDR"], said["wsgi.url_scheme"]) == ("127.0.0.2", "http")
    ask(address, *FORWARDED)
    server.wait_for(r"WARNING: requests from 127\.0\.0\.2 have X-Forwarded-Proto, which does not count: .*allow-ips")
    assert server.stop() == 0 and server.log.count("which does not count") == 1


def test_every_peer_may_be_trusted(start: Start) -> None:
    server = start("--http", "127.0.0.1:0", "--forwarded-allow-ips", "*", "app:application", app=APP).wait_ready(1)
    assert ask(addresses(server)[0], *FORWARDED)["REMOTE_ADDR"] == "203.0.113.9"


def test_each_request_of_a_connection_has_its_own_client(start: Start) -> None:
    server = start("--http", "127.0.0.1:0", "app:application", app=APP).wait_ready(1)
    request = b"GET / HTTP/1.1\r\nHost: inside\r\nX-Forwarded-For: 192.0.2.%d\r\n\r\n"
    raw = client.exchange(addresses(server)[0], request % 1 + request % 2 + REQUEST + b"\r\n")
    assert re.findall(rb"REMOTE_ADDR=(\S+)", raw) == [b"192.0.2.1", b"192.0.2.2", b"127.0.0.1"]


def test_uwsgi_packets_are_not_touched(start: Start) -> None:
    """In a uwsgi packet, REMOTE_ADDR comes from nginx."""
    server = start(
        "--socket", "app.sock", "--forwarded-allow-ips", "*", "--proxy-protocol", "app:application", app=APP
    ).wait_ready(1)
    said = environ(client.get(server.directory / "app.sock", HTTP_X_FORWARDED_FOR="192.0.2.1").raw)
    assert said["REMOTE_ADDR"] == "127.0.0.1"


def test_a_wrong_list_is_refused_at_the_start(start: Start) -> None:
    server = start("--http", "127.0.0.1:0", "--forwarded-allow-ips", "lb.example.org", "app:application", app=APP)
    assert server.wait() == 2
    server.wait_for("--forwarded-allow-ips 'lb.example.org' cannot be used: expected addresses and networks")


def test_nginx_as_docs_http_md_has_it(start: Start) -> None:
    server = start("--http", "http.sock", "app:application", app=APP).wait_ready(1)
    (site,) = re.findall(r"```nginx\n(#.*?)```", (DOCS / "http.md").read_text(), re.DOTALL)
    with Nginx(site.replace("http://127.0.0.1:8000", f"http://unix:{server.directory}/http.sock:")) as nginx:
        evil = "".join(
            f"{line}\r\n"
            for line in (
                "X-Forwarded-For: 203.0.113.9",
                "X-Forwarded-Proto: https",
                "X-Forwarded-Host: evil.test",
                "X-Forwarded-Port: 1",
                "Forwarded: for=203.0.113.9;host=evil.test",
                "Connection: close",
            )
        )
        for line, host, name in (
            ("/", f"127.0.0.1:{nginx.port}", f"127.0.0.1:{nginx.port}"),
            ("http://good:81/", "evil.test:81", "good:81"),
        ):
            sent = f"GET {line} HTTP/1.1\r\nHost: {host}\r\n{evil}\r\n"
            said = environ(client.exchange(("127.0.0.1", nginx.port), sent.encode()))
            assert (said["REMOTE_ADDR"], said["wsgi.url_scheme"], said["HTTP_HOST"]) == ("127.0.0.1", "http", name)
        old = client.parse(client.exchange(("127.0.0.1", nginx.port), b"GET / HTTP/1.0\r\n\r\n"))
        assert old.status == 200 and "HTTP_HOST=site.example" in old.body.decode().split("\n")


def test_uwsgi_pass_as_the_docs_have_it_says_the_host_that_nginx_has_chosen(start: Start) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    [gunicorn] = re.findall(r"```nginx\n(#.*?)```", (DOCS / "migrating-from-gunicorn.md").read_text(), re.DOTALL)
    gunicorn = gunicorn.replace("\nlocation", "\nserver {\nlisten 80;\nlocation") + "}"
    pod = (DOCS.parent / "examples" / "kubernetes.yaml").read_text()
    kubernetes = next(yaml.safe_load_all(pod))["data"]["default.conf"].replace("listen 8080", "listen 80")
    for site in (gunicorn, kubernetes):
        with Nginx(re.sub(r"unix:/run/\w+/\w+.sock", f"unix:{server.directory}/app.sock", site)) as nginx:
            said = environ(
                client.exchange(("127.0.0.1", nginx.port), b"GET http://good:81/ HTTP/1.0\r\nHost: evil:81\r\n\r\n")
            )
            assert said["HTTP_HOST"] == "good:81"
