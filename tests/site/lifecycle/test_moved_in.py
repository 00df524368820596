"""Sites that move in with uWSGI's words, with real servers: what the same line does there, it does here."""

import grp
import pwd
import socket
import stat
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support import another_user, client
from tests.support.server import open_to_all

APP = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "9")])
        return [environ["REMOTE_ADDR"].encode()]
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: inside\r\n\r\n"


def test_the_command_line_of_a_container_serves(start: Start, tmp_path: Path) -> None:
    (tmp_path / "site_app.py").write_text("from app import application\n")
    line = (
        "--master --vacuum --plugin python3 --http-socket 127.0.0.1:0 --module site_app -p 2 --enable-threads -b 32768"
    )
    server = start(*line.split(), app=APP).wait_ready(2)
    raw = client.exchange(server.tcp_addresses()[0], REQUEST.replace(b"1.1", b"1.0"))
    assert client.parse(raw).body == b"127.0.0.1"
    assert server.stop() == 0
    server.assert_nothing_left()


# --- the socket's owner ---


@another_user.as_root
@pytest.mark.parametrize(
    ("arguments", "owner"),
    [
        (["--uid", "nobody", "--gid", "www-data"], "nobody:www-data"),
        (["--uid", "nobody"], "nobody:root"),
        (["--uid", "nobody", "--chown-socket", ":www-data"], "root:www-data"),
    ],
)
def test_the_socket_belongs_to_uid_and_gid_unless_chown_socket_names_another_owner(
    start: Start, tmp_path: Path, arguments: list[str], owner: str
) -> None:
    """The owners were compared with those of uWSGI 2.0.31."""
    open_to_all(tmp_path)
    server = start(
        "--socket", "app.sock", *arguments, "app:application", app=APP, prefix=another_user.prefix()
    ).wait_ready(1)
    status = (tmp_path / "app.sock").stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert f"{pwd.getpwuid(status.st_uid).pw_name}:{grp.getgrgid(status.st_gid).gr_name}" == owner
    assert server.stop() == 0
    server.assert_nothing_left()


# --- http-enable-proxy-protocol ---


@pytest.mark.parametrize("key", ["http-enable-proxy-protocol", "enable-proxy-protocol"])
def test_with_uwsgis_proxy_protocol_plain_requests_are_served_too(start: Start, tmp_path: Path, key: str) -> None:
    (tmp_path / "u.ini").write_text(f"[uwsgi]\nhttp = 127.0.0.1:0\nmodule = app\n{key} = true\n")
    server = start("u.ini", app=APP).wait_ready(1)
    (address,) = server.tcp_addresses()
    answers = {}
    for before in (b"", b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", b"\r\n"):
        with client.connect(address) as connected:
            for byte in before:
                connected.send(bytes([byte]))
            connected.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            answers[before] = client.parse(client.read_all(connected))
    assert [answer.status for answer in answers.values()] == [200, 200, 200]
    assert [answer.body for answer in answers.values()] == [b"127.0.0.1", b"192.0.2.1", b"127.0.0.1"]
    with client.connect(address) as connected:
        connected.sendall(b"PROXY TCP4 nonsense\r\n" + REQUEST)
        assert client.read_all(connected) == b""
    server.wait_for("the PROXY header .* is not of TCP4, TCP6 or UNKNOWN")
    assert server.stop() == 0


# --- http-keepalive ---


@pytest.mark.parametrize(("value", "stays_open"), [("1", True), ("", True), ("true", True), ("0", False)])
def test_http_keepalive_is_a_switch_as_in_uwsgi(start: Start, tmp_path: Path, value: str, stays_open: bool) -> None:
    (tmp_path / "u.ini").write_text(f"[uwsgi]\nhttp = 127.0.0.1:0\nmodule = app\nhttp-keepalive = {value}\n")
    server = start("u.ini", app=APP).wait_ready(1)
    with client.connect(server.tcp_addresses()[0]) as connected:
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        connected.sendall(REQUEST)
        if stays_open:
            assert b"Connection: close" not in connected.recv(1 << 16)
            connected.sendall(REQUEST)
            assert connected.recv(1 << 16).startswith(b"HTTP/1.1 200")
        else:
            assert b"Connection: close" in client.read_all(connected)
    assert server.stop() == 0


# --- several applications, other files, limits ---

TWO_APPS = """
    import os, resource, sys
    def said(name):
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            here = environ["SCRIPT_NAME"], environ["PATH_INFO"]
            kinds = resource.RLIMIT_NOFILE, resource.RLIMIT_AS
            limits = sys.flags.optimize, *(resource.getrlimit(kind)[0] for kind in kinds)
            return [" ".join(map(str, (name, *here, *limits))).encode()]
        return application
    shop, blog = said("shop"), said("blog")
"""


def test_mounts_optimize_limits_and_protocol_of_a_file(start: Start, tmp_path: Path) -> None:
    (tmp_path / "u.ini").write_text(
        "[uwsgi]\nsocket = 127.0.0.1:0\nprotocol = http\nmount = /=app:blog\nmount = /shop=app:shop\n"
        "manage-script-name = true\noptimize = 2\nmax-fd = 2000\nlimit-as = 4000\n"
        "vhost = true\nlog-maxsize = 10\nreload-on-as = 1\n"
    )
    server = start("u.ini", app=TWO_APPS).wait_ready(1)
    (address,) = server.tcp_addresses()

    def body(path: str) -> str:
        raw = client.exchange(address, f"GET {path} HTTP/1.0\r\nHost: inside\r\n\r\n".encode())
        return client.parse(raw).body.decode()

    assert body("/shop/cart") == f"shop /shop /cart 2 2000 {4000 << 20}"
    assert body("/shopping") == f"blog  /shopping 2 2000 {4000 << 20}"
    assert server.stop() == 0
    server.assert_nothing_left()


def test_a_limit_of_address_space_that_the_kernel_refuses_ends_the_start(start: Start) -> None:
    limited = ["prlimit", "--as=2000000000:2000000000", "setpriv", "--inh-caps=-sys_resource"]
    limited += ["--bounding-set=-sys_resource"]
    server = start("--socket", "app.sock", "--limit-as", "4000", "app:blog", app=TWO_APPS, prefix=limited)
    assert server.wait() == 2
    server.wait_for("--limit-as 4000 cannot be set: .*; raise LimitAS= of the unit, or ulimit -v")


def test_a_limit_that_the_kernel_refuses_is_logged_and_the_site_serves(start: Start) -> None:
    limited = ["prlimit", "--nofile=1000:1000", "setpriv", "--inh-caps=-sys_resource", "--bounding-set=-sys_resource"]
    server = start("--socket", "app.sock", "--max-fd", "5000", "app:blog", app=TWO_APPS, prefix=limited).wait_ready(1)
    server.wait_for("--max-fd 5000 cannot be set: .*; raise LimitNOFILE= of the unit, or ulimit -n")
    assert server.stop() == 0


def test_ini_paste_names_the_application_and_the_options_in_one_file(start: Start, tmp_path: Path) -> None:
    (tmp_path / "site.ini").write_text(
        "[app:main]\npaste.app_factory = app:factory\n[uwsgi]\nsocket = app.sock\nprocesses = 2\n"
        "[loggers]\nkeys = root\n[handlers]\nkeys = err\n[formatters]\nkeys = plain\n"
        "[logger_root]\nlevel = INFO\nhandlers = err\n"
        "[handler_err]\nclass = StreamHandler\nargs = (sys.stderr,)\nformatter = plain\n"
        "[formatter_plain]\nformat = by the file: %(message)s\n"
    )
    more = "\n    import logging\n    def factory(config):\n        logging.info('made')\n        return blog\n"
    server = start("--ini-paste-logged", "site.ini", app=TWO_APPS + more).wait_ready(2)
    server.wait_for("by the file: made")
    assert client.get(tmp_path / "app.sock", "/y").body.decode().startswith("blog  /y")
    assert server.stop() == 0
