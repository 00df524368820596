"""`wsgid --dev`: the first five minutes of a developer."""

import os
import pty
import re
import socket
import sys
import threading
from pathlib import Path
from signal import Signals
from textwrap import dedent

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually
from wsgid.config import merge
from wsgid.errors import ConfigError

APP = """
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/fail":
            raise ValueError("on purpose")
        start_response("404 Not Found" if environ["PATH_INFO"] == "/none" else "200 OK", [])
        return [b"one"]
"""


def port_of(server: Server) -> int:
    return int(server.wait_for(r"visit http://127\.0\.0\.1:(\d+)/$")[0][1])


def ask(port: int, path: str = "/") -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return client.parse(client.read_all(connection)).body


def test_without_an_application_the_one_of_the_directory_is_served_and_reloaded(start: Start, tmp_path: Path) -> None:
    server = start("--dev", app=APP).wait_ready(1)
    server.wait_for("INFO: --dev serves app and reloads it .* it is for development, not for a site")
    port = port_of(server)
    assert port >= 8000 and ask(port) == b"one"
    ask(port, "/none")
    ask(port, "/fail")
    server.wait_for("^GET / 200 in \\d+ ms$")
    server.wait_for("^GET /none 404 in \\d+ ms$")
    server.wait_for("ValueError: on purpose")
    (tmp_path / "app.py").write_text(dedent(APP).replace("one", "other"))
    eventually(lambda: ask(port) == b"other", "the new code answers")
    assert server.stop(Signals.SIGINT) == 0
    server.assert_nothing_left()


def test_a_port_that_is_taken_is_left_alone_and_an_upgrade_keeps_the_port(start: Start) -> None:
    first = start("--dev", app=APP).wait_ready(1)
    second = start("--dev", "app:application").wait_ready(1)
    assert port_of(first) != port_of(second)  # another program may have ended between, so the second may be lower
    second.send_signal(Signals.SIGUSR2)
    second.wait_for(rf"listens on 127.0.0.1:{port_of(second)} with", 2)
    second.wait_ready(2)
    assert ask(port_of(first)) == ask(port_of(second)) == b"one"


def test_what_is_given_counts_more(start: Start) -> None:
    server = start("--dev", "--socket", "app.sock", "--log-format", "line %(status)", "app.py", app=APP).wait_ready(1)
    server.wait_for("--dev serves .*app.py")
    assert "visit http" not in server.log and (server.directory / "app.sock").exists()


def test_on_a_terminal_the_lines_have_colours(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(dedent(APP))
    ours, theirs = pty.openpty()
    said: list[bytes] = []

    def read() -> None:
        try:
            while block := os.read(ours, 4096):
                said.append(block)
        except OSError:  # the last process has closed the terminal (EIO)
            pass

    reader = threading.Thread(target=read)
    reader.start()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); from wsgid import cli; cli.main()", "--dev"],
        {key: value for key, value in os.environ.items() if key != "NO_COLOR"},
        file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 1), (os.POSIX_SPAWN_DUP2, theirs, 2)],
    )
    os.close(theirs)
    try:
        eventually(lambda: b"is ready" in b"".join(said), "the application serves")
        [port] = re.findall(rb"visit http://127\.0\.0\.1:(\d+)/", b"".join(said))
        ask(int(port), "/none")
        eventually(lambda: b"\x1b[33mGET /none 404 in " in b"".join(said), "the line is yellow")
    finally:
        os.kill(pid, Signals.SIGINT)
        os.waitpid(pid, 0)
        reader.join()
        os.close(ours)


@pytest.mark.parametrize(
    ("files", "application", "settings_module"),
    [
        ({"app.py": ""}, "app", ""),
        ({"wsgi.py": ""}, "wsgi", ""),
        ({"app.py": "", "wsgi.py": ""}, "app", ""),
        (
            {"manage.py": "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')"},
            "mysite.wsgi",
            "mysite.settings",
        ),
        (
            {"manage.py": 'os.environ.setdefault(\n    "DJANGO_SETTINGS_MODULE", "config.settings.local"\n)'},
            "config.wsgi",
            "config.settings.local",
        ),
    ],
)
def test_which_application_a_directory_has(
    tmp_path: Path, files: dict[str, str], application: str, settings_module: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    settings = merge.read(["--dev", "--chdir", str(tmp_path)], {}).settings
    assert settings.application == application
    assert dict(settings.env).get("DJANGO_SETTINGS_MODULE", "") == settings_module


def test_a_directory_without_an_application_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "manage.py").write_text("print('of something else')")
    with pytest.raises(ConfigError, match=f"--dev finds no application in {tmp_path}: there is no app.py or wsgi.py"):
        merge.read(["--dev", "--chdir", str(tmp_path)], {})
