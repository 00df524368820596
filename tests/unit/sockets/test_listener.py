"""Sockets: which are bound, replaced, refused and unlinked."""

import os
import pwd
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support import client
from wsgid.errors import ListenerError
from wsgid.sockets import listener, nginx_access
from wsgid.sockets.listener import Listener, Ownership, open_listener


@pytest.fixture
def opened() -> Iterator[list[Listener]]:
    listeners: list[Listener] = []
    yield listeners
    for listening in listeners:
        listening.socket.close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_relative_path_is_bound_in_the_working_directory(place: Path, opened: list[Listener]) -> None:
    opened.append(open_listener("app.sock", 10, Ownership()))
    assert (place / "app.sock").is_socket()
    opened[0].unlink()
    assert not (place / "app.sock").exists()


def test_a_stale_socket_file_is_replaced(place: Path, opened: list[Listener]) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind("app.sock")
    opened.append(open_listener("app.sock", 10, Ownership()))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("app.sock")


def test_a_live_socket_is_an_error_that_names_it_and_its_holder(place: Path, opened: list[Listener]) -> None:
    opened.append(open_listener("app.sock", 10, Ownership()))
    with pytest.raises(ListenerError, match=rf"{place}/app.sock: process {os.getpid()} listens on it; stop that"):
        open_listener("app.sock", 10, Ownership())


def test_a_live_socket_with_a_full_backlog_is_not_taken_for_a_stale_one(place: Path, opened: list[Listener]) -> None:
    opened.append(open_listener("app.sock", 0, Ownership()))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("app.sock")
        with pytest.raises(ListenerError, match="listens on it"):
            open_listener("app.sock", 10, Ownership())


def test_any_other_file_is_left_alone(place: Path) -> None:
    (place / "app.sock").write_text("precious")
    with pytest.raises(ListenerError, match="is no socket; move it away"):
        open_listener("app.sock", 10, Ownership())
    assert (place / "app.sock").read_text() == "precious"


def test_a_socket_that_another_server_has_put_there_is_not_unlinked(place: Path, opened: list[Listener]) -> None:
    opened.append(open_listener("app.sock", 10, Ownership()))
    (place / "app.sock").rename(place / "old.sock")
    opened.append(open_listener("app.sock", 10, Ownership()))
    opened[0].unlink()
    assert (place / "app.sock").exists()


def test_mode_and_owner(place: Path, opened: list[Listener]) -> None:
    uid, gid = (1234, 5678) if os.getuid() == 0 else (-1, os.getgid())
    opened.append(open_listener("app.sock", 10, Ownership(0o620, uid, gid)))
    status = (place / "app.sock").stat()
    assert stat.S_IMODE(status.st_mode) == 0o620
    assert status.st_gid == gid and uid in (-1, status.st_uid)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", ":0", "[::1]:0"])
def test_tcp(address: str, opened: list[Listener]) -> None:
    opened.append(open_listener(address, 10, Ownership()))
    name = opened[0].socket.getsockname()
    host = "127.0.0.1" if address.startswith(":") else name[0]
    socket.create_connection((host, name[1])).close()
    assert opened[0].address.endswith(f":{name[1]}")
    assert opened[0].socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_tcp_port_in_use_is_an_error_with_a_remedy(opened: list[Listener]) -> None:
    opened.append(open_listener("127.0.0.1:0", 10, Ownership()))
    port = opened[0].socket.getsockname()[1]
    with pytest.raises(ListenerError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use; stop the"):
        open_listener(f"127.0.0.1:{port}", 10, Ownership())


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("no/such/app.sock", "create the directory first"),
        ("x" * 200, "longer than 107 bytes"),
        ("127.0.0.1:99999", "cannot listen on 127.0.0.1:99999"),
        ("fd://99", "fd://99 cannot be used"),
        ("fd://x", "fd://x cannot be used"),
        ("192.0.2.1:80", "not of this machine"),
    ],
)
def test_an_address_that_cannot_be_bound_is_one_sentence(place: Path, address: str, says: str) -> None:
    with pytest.raises(ListenerError, match=says):
        open_listener(address, 10, Ownership())


def test_an_inherited_socket_is_used_and_never_unlinked(place: Path, opened: list[Listener]) -> None:
    with socket.socket(socket.AF_UNIX) as outer:
        outer.bind("app.sock")
        opened.append(open_listener(f"fd://{os.dup(outer.fileno())}", 10, Ownership()))
        opened[0].unlink()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("app.sock")


def test_an_inherited_datagram_socket_is_refused(place: Path) -> None:
    outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with pytest.raises(ListenerError, match="no stream socket"):
        listener.inherit(str(outer.detach()), 10)


def test_systemds_sockets_are_those_for_this_process() -> None:
    for_another = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    assert listener.from_systemd(for_another, 10) == []
    assert listener.from_systemd({}, 10) == []
    mine = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0", "LISTEN_FDNAMES": "x", "HOME": "/"}
    assert listener.from_systemd(mine, 10) == []
    assert mine == {"HOME": "/"}  # the application must not take these sockets for its own
    with pytest.raises(ListenerError, match="LISTEN_FDS is 'many', not a number of sockets"):
        listener.from_systemd({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}, 10)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")
@pytest.mark.parametrize(
    ("mode", "owner", "says"),
    [
        (0o666, "root", None),
        (0o660, "root", "mode 660, so nginx's user www-data cannot connect"),
        (0o660, "www-data", None),
        (0o755, "root", "--chmod-socket 660"),
        (0o446, "www-data", "--chmod-socket 666"),
    ],
)
def test_a_mode_that_keeps_nginx_out_is_named_with_the_remedy(
    opened: list[Listener], mode: int, owner: str, says: str | None
) -> None:
    path = Path(f"/tmp/wsgid-test-{os.getpid()}.sock")
    account = pwd.getpwnam(owner)
    opened.append(open_listener(str(path), 10, Ownership(mode, account.pw_uid, account.pw_gid)))
    try:
        trouble = nginx_access.keeps_out(path, "www-data")
        assert (trouble is None) if says is None else (trouble is not None and says in trouble)
    finally:
        opened[0].unlink()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")
def test_a_directory_that_keeps_nginx_out_is_named(place: Path, opened: list[Listener]) -> None:
    place.chmod(0o700)
    opened.append(open_listener("app.sock", 10, Ownership(0o666)))
    assert "is closed to nginx's user www-data" in (nginx_access.keeps_out(place / "app.sock", "www-data") or "")


def test_nginx_runs_as_its_configuration_says(tmp_path: Path) -> None:
    config = tmp_path / "nginx.conf"
    config.write_text("# user nobody;\nuser root root;\n")
    assert nginx_access.nginx_user(config) == "root"


# --- [::] ---

ADDRESSES = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["REMOTE_ADDR"].encode()]
"""


def ask(host: str, port: int, *lines: str) -> bytes:
    with socket.create_connection((host, port), 20) as connection:
        head = "".join(f"{line}\r\n" for line in ("GET / HTTP/1.1", "Host: a", "Connection: close", *lines, ""))
        connection.sendall(head.encode())
        return client.parse(client.read_all(connection)).body


@pytest.fixture
def port() -> Iterator[int]:
    """A port that no other program gets: a socket of the test has it, and does not listen. A server gets it all the
    same, because both have SO_REUSEADDR (socket(7))."""
    with socket.socket(socket.AF_INET6) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        holder.bind(("::", 0))
        yield holder.getsockname()[1]


@pytest.mark.parametrize(
    "options", [[], ["--reuse-port", "--workers", "2"]], ids=["one socket", "a socket for each worker"]
)
def test_a_listener_on_all_ipv6_addresses_serves_ipv4_too(start: Start, options: list[str]) -> None:
    """As with gunicorn and uWSGI. The log and --forwarded-allow-ips have the peer's real IPv4 address."""
    server = start(
        "--http", "[::]:0", "--access-log", "--log-format", "from %(addr)", *options, "app:application", app=ADDRESSES
    ).wait_ready(1)
    port = int(server.wait_for(r"listens on \[::\]:(\d+)")[0][1])
    for _ in range(4):
        assert ask("127.0.0.1", port) == b"127.0.0.1"
        assert ask("::1", port) == b"::1"
    server.wait_for("^from 127.0.0.1$")
    assert ask("127.0.0.1", port, "X-Forwarded-For: 192.0.2.7") == b"192.0.2.7"  # 127.0.0.1 is trusted
    assert ask("127.0.0.1", port, "X-Forwarded-For: ::ffff:192.0.2.7") == b"192.0.2.7"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert client.parse(client.read_all(connection)).status == 400
    server.wait_for(r"refused a packet from 127\.0\.0\.1:\d+")
    assert server.stop() == 0


def test_a_proxy_header_of_a_mapped_address_is_one_of_ipv4(start: Start) -> None:
    server = start("--http", "[::]:0", "--proxy-protocol", "app:application", app=ADDRESSES).wait_ready(1)
    port = int(server.wait_for(r"listens on \[::\]:(\d+)")[0][1])
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(b"PROXY TCP6 ::ffff:192.0.2.9 ::1 1000 80\r\nGET / HTTP/1.0\r\n\r\n")
        assert client.parse(client.read_all(connection)).body == b"192.0.2.9"
    server.stop()


@pytest.mark.parametrize("other", ["0.0.0.0", "", "127.0.0.1", "localhost"])
def test_if_both_addresses_are_named_each_has_its_own_socket(start: Start, port: int, other: str) -> None:
    server = start("--http", f"[::]:{port}", "--http", f"{other}:{port}", "app:application", app=ADDRESSES)
    server.wait_ready(1)
    assert ask("127.0.0.1", port) == b"127.0.0.1" and ask("::1", port) == b"::1"
    assert server.stop() == 0


def test_an_endpoint_on_all_ipv6_addresses_serves_ipv4_too(start: Start, port: int) -> None:
    server = start("--http", "[::]:0", "--metrics", f"[::]:{port}", "app:application", app=ADDRESSES).wait_ready(1)
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, port), 20) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert client.parse(client.read_all(connection)).status == 200
    server.stop()


def test_an_address_of_ipv6_leaves_ipv4_alone(opened: list[Listener]) -> None:
    opened.append(open_listener("[::1]:0", 10, Ownership()))
    assert opened[0].socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_a_name_with_both_addresses_is_its_ipv4_address(opened: list[Listener]) -> None:
    """As with gunicorn and uWSGI, because nginx's upstream names 127.0.0.1."""
    opened.append(open_listener("localhost:0", 10, Ownership()))
    assert opened[0].socket.getsockname()[0] == "127.0.0.1"
