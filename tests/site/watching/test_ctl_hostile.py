"""wsgidctl with a hostile server: another user's socket, endless answers, commands to the terminal."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.ctl import refusal, said, wsgidctl
from tests.support.server import eventually, open_to_all
from wsgid.ctl import client as ctl_client
from wsgid.ctl.main import SUBCOMMANDS

APP = """
    import socket, time
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/sleep":
            with socket.socket(socket.AF_UNIX) as held:
                held.connect("app.sock")  # a connection that is shown
                time.sleep(60)
        start_response("200 OK", [])
        return [b"x"]
"""
EVIL = "\x1b]0;owned\x07\x1b[2J\u202e\u009b31m\r"
# words that decide what wsgidctl does
KEPT = {"ready", "draining", "running", "cpu", "request", "greenlet", "thread", "holder"}
ARGUMENTS = {
    "workers": ["2"],
    "top": ["--once", "--interval", "0.2"],
    "profile": ["--seconds", "1", "--wall"],
    "reload": ["--no-wait"],
    "stop": ["--no-wait"],
}
NUMBERS_ONLY = {"reload", "stop", "workers", "log-reopen"}  # they print no text from the server


@contextmanager
def listening(path: Path, answer: Callable[[socket.socket, bytes], None]) -> Iterator[None]:
    """A control socket of this test: `answer` gets each connection and its request."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):  # the test is over
                while True:
                    threading.Thread(target=serve_one, args=listener.accept()).start()

        def serve_one(connection: socket.socket, _: Any) -> None:
            with connection, suppress(OSError):  # wsgidctl has left
                answer(connection, connection.recv(1 << 16))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def poisoned(value: Any) -> Any:
    """The same answer, with commands to the terminal in each text."""
    match value:
        case dict():
            return {name: poisoned(each) for name, each in value.items()}
        case list():
            return [poisoned(each) for each in value]
        case str() if value not in KEPT:
            return value + EVIL
    return value


@pytest.mark.parametrize("name", [name for name in SUBCOMMANDS if name != "dashboard"])  # that one: test_dashboard.py
def test_nothing_that_a_server_answers_is_a_command_to_the_terminal(start: Start, tmp_path: Path, name: str) -> None:
    limit = ("--limit-req", "key=remote_addr rate=9r/s")
    start("--socket", "app.sock", "--cache", "pages=1m", *limit, "app:application", app=APP).wait_ready(1)

    def answer(connection: socket.socket, request: bytes) -> None:
        honest = client.exchange(tmp_path / "app.ctl", request)
        connection.sendall(json.dumps(poisoned(json.loads(honest))).encode() if honest else b"")

    with client.connect(tmp_path / "app.sock") as sleeping, listening(tmp_path / "fake.ctl", answer):
        sleeping.sendall(client.packet("/sleep"))
        eventually(lambda: said(tmp_path, "--control", "app.ctl", "requests")["total"] == 1, "the request runs")
        arguments = [name, *ARGUMENTS.get(name, [])]
        done = wsgidctl(tmp_path, "--control", "fake.ctl", *arguments)
        assert not [line for line in (done.stdout + done.stderr).split("\n") if not line.isprintable()]
        assert "owned" in done.stdout or name in NUMBERS_ONLY


def test_a_refusal_is_no_command_to_the_terminal_either(tmp_path: Path) -> None:
    def refuse(connection: socket.socket, request: bytes) -> None:
        connection.sendall(json.dumps({"ok": False, "error": f"no{EVIL}"}).encode())

    with listening(tmp_path / "fake.ctl", refuse):
        for name in SUBCOMMANDS:
            said_ = refusal(tmp_path, name, *ARGUMENTS.get(name, []))
            assert said_.startswith("no") and said_.isprintable()


def test_an_answer_without_end_is_cut(tmp_path: Path) -> None:
    def flood(connection: socket.socket, request: bytes) -> None:
        while True:
            connection.sendall(b"x" * (1 << 20))

    with listening(tmp_path / "fake.ctl", flood):
        assert f"more than {ctl_client.ANSWER_MAX_BYTES >> 20} MiB" in refusal(tmp_path, "status")


def test_an_answer_that_drips_has_one_deadline(tmp_path: Path) -> None:
    """Each byte arrives in time, but the whole answer does not."""
    stopped = threading.Event()

    def drip(connection: socket.socket, request: bytes) -> None:
        while not stopped.wait(0.05):
            connection.sendall(b" ")

    with listening(tmp_path / "fake.ctl", drip):
        try:
            with pytest.raises(ctl_client.NoAnswer, match=r"within 0.5 s"):
                ctl_client.Server(tmp_path / "fake.ctl").ask("status", 0.5)
        finally:
            stopped.set()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_server_of_another_user_is_asked_nothing_unless_that_user_is_named(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    tmp_path.chmod(0o777)
    code = """if True:
        import os, socket
        os.setgroups([])
        os.setuid(65534)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("app.ctl")
        listener.listen()
        print("listening", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                try:
                    connection.sendall(b'{"ok": false, "error": "you asked"}')
                except OSError:
                    pass
    """
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE) as server:
        assert server.stdout and server.stdout.readline() == b"listening\n"
        try:
            answer = refusal(tmp_path, "--control", "app.ctl", "status")
            assert answer.endswith("runs as user nobody: be that user, or say --user nobody if it is the right one")
            assert "runs as user nobody" in refusal(tmp_path, "status")  # found in the working directory
            for user in ("nobody", "65534"):
                assert refusal(tmp_path, "--user", user, "status") == "you asked"
            assert "there is no user 'somebody else'" in refusal(tmp_path, "--user", "somebody else", "status")
        finally:
            server.kill()
