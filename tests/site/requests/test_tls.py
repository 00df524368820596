"""TLS: clients with --https, and nginx's suwsgi:// with --ssl-socket. Certificates and clients are real."""

import hashlib
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from signal import Signals

import pytest
import requests
import trustme

from tests.conftest import Start
from tests.support import another_user, client
from tests.support.certificates import Authority, files
from tests.support.client import TcpAddress
from tests.support.server import Server, eventually, open_to_all
from tools.nginx import Nginx, free_port

pytestmark = pytest.mark.hot

APP = """
import hashlib
from pathlib import Path

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/torn":
        start_response("200 OK", [])
        return torn()
    if path == "/file":
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](open("file", "rb"))
    if path == "/hash":
        hashed, size = hashlib.sha256(), 0
        while block := environ["wsgi.input"].read(100_000):
            hashed.update(block)
            size += len(block)
        body = f"{size} {hashed.hexdigest()}".encode()
    elif path == "/big":
        start_response("200 OK", [])
        return [bytes([number]) * (1 << 20) for number in range(20)]
    else:
        said = {key: value for key, value in environ.items() if isinstance(value, str)}
        body = "\\n".join(f"{key}={value}" for key, value in said.items()).encode("latin-1")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]

def torn():
    yield b"the first half"
    raise ValueError("the second half is missing")
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(trustme.CA(), tmp_path_factory.mktemp("authority"))


@dataclass
class Site:
    """A server with a socket of each kind."""

    server: Server
    plain: TcpAddress
    https: TcpAddress
    guarded: TcpAddress  # https for clients that have a certificate
    uwsgi: TcpAddress
    guarded_uwsgi: TcpAddress


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Site]:
    yield from serving(tmp_path_factory.mktemp("tls"), authority)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Site]:
    """A server with a short time-out, for peers that are slow on purpose. On a busy machine other peers could be too
    slow."""
    yield from serving(tmp_path_factory.mktemp("impatient"), authority, "--http-head-timeout", "3")


def serving(directory: Path, authority: Authority, *options: str) -> Iterator[Site]:
    (directory / "app.py").write_text(APP)
    (directory / "file").write_bytes(os.urandom(3 << 20))
    server = Server(
        directory,
        "--http",
        "127.0.0.1:0",
        "--https",
        files(authority),
        "--https",
        files(authority, "ca.pem"),
        "--ssl-socket",
        files(authority),
        "--ssl-socket",
        files(authority, "ca.pem"),
        "--gevent",
        "4",
        "--drain-timeout",
        "1",
        *options,
        "app:application",
    )
    try:
        server.wait_ready(1)
        yield Site(server, *server.tcp_addresses())
        assert server.stop() == 0
        server.assert_nothing_left()
    finally:
        server.end()


def connect(address: TcpAddress, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(client.connect(address), server_hostname="localhost", suppress_ragged_eofs=False)


def ask(address: TcpAddress, context: ssl.SSLContext, path: str = "/", more: str = "") -> client.Answer:
    """One request with `Connection: close`. The server has to end with close_notify."""
    with connect(address, context) as connected:
        connected.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n{more}\r\n".encode())
        return client.parse(client.read_all(connected))


def environ(answer: client.Answer | requests.Response) -> dict[str, str]:
    body = answer.body if isinstance(answer, client.Answer) else answer.content
    return dict(line.split("=", 1) for line in body.decode("latin-1").split("\n") if "=" in line)


# --- clients ----------------------------------------------------------------------------------------------------------


def test_curl_is_served(site: Site, authority: Authority) -> None:
    done = subprocess.run(
        [
            "curl",
            "--silent",
            "--show-error",
            "--cacert",
            authority.directory / "ca.pem",
            f"https://localhost:{site.https[1]}/?a=b",
        ],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "QUERY_STRING=a=b" in done.stdout and "wsgi.url_scheme=https" in done.stdout


def test_requests_keeps_its_connection(site: Site, authority: Authority) -> None:
    ca = str(authority.directory / "ca.pem")
    with requests.Session() as session:
        said = [environ(session.get(f"https://localhost:{site.https[1]}/{number}", verify=ca)) for number in range(5)]
    assert [answer["PATH_INFO"] for answer in said] == ["/0", "/1", "/2", "/3", "/4"]
    assert len({answer["REMOTE_PORT"] for answer in said}) == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_environ_says_what_was_agreed_upon(site: Site, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.context()
    context.minimum_version = context.maximum_version = version
    with connect(site.https, context) as connected:
        connected.sendall(b"GET / HTTP/1.0\r\nSSL-Client-S-DN: CN=admin\r\n\r\n")
        said = environ(client.parse(client.read_all(connected)))
        assert said["SSL_PROTOCOL"] == connected.version() and said["SSL_CIPHER"] == (connected.cipher() or "?")[0]
    assert (said["HTTPS"], said["wsgi.url_scheme"], said["SERVER_PORT"]) == ("on", "https", str(site.https[1]))
    assert not [name for name in said if name.startswith("SSL_CLIENT")]


def test_http_1_1_is_agreed_upon(site: Site, authority: Authority) -> None:
    context = authority.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect(site.https, context) as connected:
        assert connected.selected_alpn_protocol() == "http/1.1"


def test_older_versions_are_refused(site: Site, authority: Authority) -> None:
    context = authority.context()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        connect(site.https, context)
    site.server.wait_for("the TLS handshake has failed: unsupported protocol")


def test_large_bodies_go_both_ways(site: Site, authority: Authority) -> None:
    ca, data = str(authority.directory / "ca.pem"), os.urandom(20 << 20)
    said = requests.post(f"https://localhost:{site.https[1]}/hash", data=data, verify=ca).text
    assert said == f"{20 << 20} {hashlib.sha256(data).hexdigest()}"
    big = requests.get(f"https://localhost:{site.https[1]}/big", verify=ca).content
    assert big == b"".join(bytes([number]) * (1 << 20) for number in range(20))


def test_a_file_is_sent_without_sendfile(site: Site, authority: Authority) -> None:
    ca = str(authority.directory / "ca.pem")
    whole = (site.server.directory / "file").read_bytes()
    assert requests.get(f"https://localhost:{site.https[1]}/file", verify=ca).content == whole


def test_requests_within_one_record_are_all_answered(site: Site, authority: Authority) -> None:
    """The socket is no longer readable, because OpenSSL already holds the bytes: the server has to ask OpenSSL."""
    with connect(site.https, authority.context()) as connected:
        connected.sendall(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" * 3 + b"GET /2 HTTP/1.0\r\n\r\n")
        answered = client.read_all(connected)
    assert answered.count(b"PATH_INFO=/1") == 3 and answered.count(b"PATH_INFO=/2") == 1


def test_a_handshake_may_come_byte_by_byte(site: Site, authority: Authority) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secured = authority.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with client.connect(site.https) as connected:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                secured.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    connected.send(bytes([byte]))
                incoming.write(connected.recv(1 << 16))
        secured.write(b"GET /slow HTTP/1.0\r\n\r\n")
        for byte in outgoing.read():
            connected.send(bytes([byte]))
        incoming.write(client.read_all(connected))
        incoming.write_eof()
    assert b"PATH_INFO=/slow" in secured.read(1 << 16)


def test_many_at_once(site: Site, authority: Authority) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: ask(site.https, authority.context(), f"/{number}"), range(100)))
    assert [environ(answer)["PATH_INFO"] for answer in answers] == [f"/{number}" for number in range(100)]


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_response_ends_with_close_notify(site: Site, authority: Authority) -> None:
    assert ask(site.https, authority.context()).status == 200  # suppress_ragged_eofs=False


def test_a_torn_response_ends_without_close_notify(site: Site, authority: Authority) -> None:
    with pytest.raises((ssl.SSLEOFError, ConnectionError)):
        ask(site.https, authority.context(), "/torn")


def test_a_quiet_connection_is_closed_with_close_notify(start: Start, authority: Authority) -> None:
    server = start("--https", files(authority), "--http-keepalive", "1.0", "app:application", app=APP).wait_ready(1)
    with connect(server.tcp_addresses()[0], authority.context()) as connected:
        connected.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.read_all(connected).startswith(b"HTTP/1.1 200 ")


# --- client certificates ----------------------------------------------------------------------------------------------


def test_a_client_certificate_is_in_the_environ(site: Site, authority: Authority) -> None:
    said = environ(ask(site.guarded, authority.context("visitor")))
    assert said["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert said["SSL_CLIENT_S_DN"].encode("latin-1").decode().startswith(r"CN=Žofie\, the visitor,OU=")
    assert said["SSL_CLIENT_S_DN"].endswith(",O=Visitors")
    assert said["SSL_CLIENT_I_DN"].endswith(f",O=trustme v{version('trustme')}")
    assert int(said["SSL_CLIENT_M_SERIAL"], 16) and said["SSL_CLIENT_CERT"].startswith("-----BEGIN CERTIFICATE-----")


def test_a_client_without_a_certificate_of_the_authority_is_refused(
    site: Site, authority: Authority, tmp_path: Path
) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(site.guarded, authority.context())
    site.server.wait_for("the TLS handshake has failed: peer did not return a certificate")
    Authority(trustme.CA(), tmp_path)
    context = authority.context()
    context.load_cert_chain(tmp_path / "visitor.crt", tmp_path / "visitor.key")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(site.guarded, context)
    site.server.wait_for("the TLS handshake has failed: certificate verify failed")


# --- other protocols, and silence -------------------------------------------------------------------------------------


def test_plain_http_gets_an_answer_that_says_so(site: Site) -> None:
    answer = client.parse(client.exchange(site.https, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    assert answer.status == 400 and b"ask for https:// here" in answer.body
    site.server.wait_for("refused .* the peer speaks plain HTTP")


def test_plain_uwsgi_gets_an_answer_that_says_so(site: Site) -> None:
    answer = client.get(site.uwsgi)
    assert answer.status == 400 and b"ask for suwsgi:// here" in answer.body


def test_tls_on_a_plain_socket_is_logged(site: Site, authority: Authority) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(site.plain, authority.context())
    site.server.wait_for("the peer speaks TLS, not HTTP")


def hello() -> bytes:
    """The first bytes of a TLS client."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def test_a_handshake_that_does_not_come_holds_up_no_other_client(impatient: Site, authority: Authority) -> None:
    """More such connections than there are places (--gevent 4)."""
    before = len(impatient.server.lines)
    waiting = []
    for number in range(12):
        waiting.append(client.connect(impatient.https))
        waiting[-1].sendall(hello()[: number * 20] if number < 8 else hello())
    assert ask(impatient.https, authority.context()).status == 200
    impatient.server.wait_for("refused .* the TLS handshake did not arrive within --http-head-timeout", 12, before)
    for connection in waiting:
        with connection:
            client.read_all(connection)  # up to its end


def test_after_the_handshake_a_visitor_may_take_its_time(start: Start, authority: Authority) -> None:
    """Browsers connect before they have a request."""
    server = start("--https", files(authority), "--http-head-timeout", "1", "app:application", app=APP).wait_ready(1)
    with connect(server.tcp_addresses()[0], authority.context()) as connected:
        connected.settimeout(1.5)
        with pytest.raises(TimeoutError):
            connected.recv(1)
        connected.settimeout(20)
        connected.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.read_all(connected).startswith(b"HTTP/1.1 200 ")


def test_a_head_that_does_not_come_is_answered_within_tls(impatient: Site, authority: Authority) -> None:
    with connect(impatient.https, authority.context()) as connected:
        connected.sendall(b"GET / HTTP/1.1\r\nHost: local")
        answer = client.read_all(connected)  # up to close_notify
    assert answer.startswith(b"HTTP/1.1 408 ") and b"Connection: close" in answer


def test_nginx_that_does_not_go_on_with_its_handshake_is_left(impatient: Site) -> None:
    with client.connect(impatient.uwsgi) as silent, client.connect(impatient.uwsgi) as slow:
        slow.sendall(hello()[:50])
        impatient.server.wait_for(r"no TLS handshake and first byte within 3 s \(--http-head-timeout\)", 2)
        assert client.read_all(silent) == client.read_all(slow) == b""


def test_a_probe_that_only_connects_is_not_logged(site: Site, authority: Authority) -> None:
    said = len(site.server.lines)
    client.connect(site.https).close()
    client.connect(site.uwsgi).close()
    assert ask(site.https, authority.context()).status == 200
    assert not [line for line in site.server.lines[said:] if "handshake" in line or "Traceback" in line]


# --- nginx ------------------------------------------------------------------------------------------------------------


def suwsgi(address: TcpAddress, authority: Authority, shows: str = "") -> Nginx:
    here = authority.directory
    own = f"uwsgi_ssl_certificate {here}/{shows}.crt; uwsgi_ssl_certificate_key {here}/{shows}.key;" if shows else ""
    return Nginx(f"""
server {{
    listen 80;
    client_max_body_size 100m;
    location / {{
        include uwsgi_params;
        uwsgi_param SSL_CLIENT_S_DN $ssl_client_s_dn;
        uwsgi_pass suwsgi://127.0.0.1:{address[1]};
        uwsgi_ssl_verify on;
        uwsgi_ssl_name localhost;
        uwsgi_ssl_trusted_certificate {here}/ca.pem;
        {own}
    }}
}}""")


def test_nginx_passes_requests_over_tls(site: Site, authority: Authority) -> None:
    data = os.urandom(5 << 20)
    with suwsgi(site.uwsgi, authority) as nginx:
        said = environ(requests.get(f"{nginx.url}/path?query"))
        assert requests.post(f"{nginx.url}/hash", data=data).text.split()[1] == hashlib.sha256(data).hexdigest()
        assert len(requests.get(f"{nginx.url}/big").content) == 20 << 20
    assert (said["PATH_INFO"], said["QUERY_STRING"], said["REMOTE_ADDR"]) == ("/path", "query", "127.0.0.1")
    # these keys are about the client, not about nginx
    assert said["wsgi.url_scheme"] == "http" and "HTTPS" not in said and said["SSL_CLIENT_S_DN"] == ""


def test_nginx_has_to_show_its_certificate(site: Site, authority: Authority) -> None:
    with suwsgi(site.guarded_uwsgi, authority) as nginx:
        assert requests.get(nginx.url).status_code == 502
    with suwsgi(site.guarded_uwsgi, authority, "visitor") as nginx:
        assert requests.get(nginx.url).status_code == 200


# --- the files --------------------------------------------------------------------------------------------------------


def shown(address: TcpAddress) -> bytes:
    """The certificate that a new connection gets."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connect(address, context) as connected:
        return connected.getpeercert(True) or b""


def test_a_reload_serves_the_renewed_certificate(start: Start, tmp_path: Path) -> None:
    authority = Authority(trustme.CA(), tmp_path)
    server = start("--https", files(authority), "app:application", app=APP).wait_ready(1)
    (address,) = server.tcp_addresses()
    old = shown(address)
    with connect(address, authority.context()) as kept:
        renewed = authority.issue("server", "localhost")
        assert shown(address) == old != renewed
        server.send_signal(Signals.SIGHUP)
        server.wait_generation(1, 1)
        kept.sendall(b"GET / HTTP/1.0\r\n\r\n")  # at once: within PARKED_GRACE_S
        assert client.read_all(kept).startswith(b"HTTP/1.1 200 ")
        eventually(lambda: shown(address) == renewed, "the new certificate is shown")
    (tmp_path / "server.key").write_text("nonsense")
    server.send_signal(Signals.SIGHUP)
    server.wait_for("template 2: --https cannot use the certificate .*; the running workers keep serving")
    assert shown(address) == renewed
    assert server.stop() == 0


def test_an_upgrade_keeps_the_socket_and_may_change_what_is_spoken(start: Start, tmp_path: Path) -> None:
    authority = Authority(trustme.CA(), tmp_path)
    other = authority.issue("other", "localhost")
    address: TcpAddress = "127.0.0.1", free_port("127.0.0.1")
    options = tmp_path / "wsgid.args"
    with_port = files(authority).replace(":0", f":{address[1]}")
    options.write_text(f"--https\n{with_port}\n")
    server = start("@wsgid.args", "app:application", app=APP).wait_ready(1)
    assert ask(address, authority.context()).status == 200
    options.write_text(f"--https\n{with_port.replace('server.', 'other.')}\n")
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid starts anew")
    server.wait_for(r"worker \d+ .* exited with code 0")
    assert shown(address) == other
    options.write_text(f"--https\n{with_port.replace('server.', 'missing.')}\n")
    server.send_signal(Signals.SIGUSR2)
    server.wait_for(r"--https cannot read \S+/missing.crt: No such file")
    server.wait_for("its rehearsal exited with code 2; this server keeps serving")
    assert shown(address) == other
    assert server.stop() == 0
    server.assert_nothing_left()


def test_a_socket_of_systemd_s_may_be_https(start: Start, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        script = 'exec 3<&"$1"; export LISTEN_PID=$$ LISTEN_FDS=1; shift; exec "$@"'
        start(
            "--https",
            files(authority).replace("127.0.0.1:0", "fd://3"),
            "app:application",
            app=APP,
            prefix=["bash", "-c", script, "bash", str(bound.fileno())],
            pass_fds=[bound.fileno()],
        ).wait_ready(1)
        assert ask(bound.getsockname(), authority.context()).status == 200


@pytest.mark.parametrize(
    ("certificate", "key", "ca", "complaint"),
    [
        ("none.crt", "server.key", "", r"--https cannot read \S+/none.crt: No such file or directory"),
        ("server.crt", "none.key", "", r"--https cannot read \S+/none.key: No such file or directory"),
        ("server.crt", "server.key", "none.pem", r"--https cannot read \S+/none.pem: No such file or directory"),
        ("server.crt", "visitor.key", "", r"--https cannot use .*/visitor.key: the key does not belong"),
        (
            "text",
            "server.key",
            "",
            r"--https cannot use the certificate \S+/text with .*: one of them is no valid PEM file",
        ),
        ("server.crt", "text", "", r"--https cannot use .* with the key \S+/text: one of them is no valid PEM file"),
        ("server.crt", "server.key", "text", r"--https finds no certificate in \S+/text"),
        ("server.crt", "locked.key", "", r"--https cannot use the key \S+/locked.key: it has a passphrase"),
    ],
)
def test_a_wrong_file_is_refused_at_the_start(
    start: Start, authority: Authority, certificate: str, key: str, ca: str, complaint: str
) -> None:
    here = authority.directory
    (here / "text").write_text("hello")
    subprocess.run(
        [
            "openssl",
            "pkey",
            "-in",
            here / "server.key",
            "-aes128",
            "-passout",
            "pass:secret",
            "-out",
            here / "locked.key",
        ],
        check=True,
    )
    option = ",".join(["127.0.0.1:0", *(str(here / path) for path in (certificate, key, ca) if path)])
    server = start("--https", option, "app:application", app=APP)
    assert server.wait() == 2
    server.wait_for(complaint)
    assert len(server.lines) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_server_for_another_user_reads_its_key(start: Start, authority: Authority, tmp_path: Path) -> None:
    open_to_all(tmp_path)
    server = start(
        "--https", files(authority), "--uid", "nobody", "app:application", app=APP, prefix=another_user.prefix()
    ).wait_ready(1)
    assert ask(server.tcp_addresses()[0], authority.context()).status == 200
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"worker \d+ \(generation 1, .* is ready")
    assert ask(server.tcp_addresses()[0], authority.context()).status == 200
