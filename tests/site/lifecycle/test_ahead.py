"""The first template is forked before the options are read, and is what an executed one would be."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually

# Everything that a process inherits, or gets from its interpreter, and that an application can see.
APP = """
    import json, os, resource, signal, sys
    SEEN = {
        "path": sys.path, "argv": sys.argv, "flags": repr(sys.flags), "main": sys.modules["__main__"].__spec__.name,
        "environ": dict(os.environ), "directory": os.getcwd(), "umask": os.umask(0o22),
        "standard": [[os.fstat(fd).st_dev, os.fstat(fd).st_ino] for fd in (0, 1, 2)],
        "others": sorted(os.readlink(f"/proc/self/fd/{fd}").partition(":")[0] for fd in os.listdir("/proc/self/fd")
                         if int(fd) > 2 and os.path.exists(f"/proc/self/fd/{fd}")),
        "handlers": {signo.name: repr(signal.getsignal(signo)).partition(" at 0x")[0] for signo in signal.Signals},
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "limits": [resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_AS)],
    }
    FORKED = "-P" not in sys.orig_argv
    def application(environ, start_response):
        start_response("200 OK", [])
        return [json.dumps([FORKED, SEEN]).encode()]
"""
EXECUTED = ("--procname-prefix", "other ")  # changes only titles of processes


def serve(start: Start, *options: str, **more: Any) -> Server:
    return start("--socket", "app.sock", *options, "app:application", app=APP, **more).wait_ready(1)


def seen(server: Server) -> tuple[bool, dict[str, Any]]:
    """Return whether the template was forked by the command, and what its application has seen."""
    forked, found = json.loads(client.get(server.directory / "app.sock").body)
    server.stop()
    return forked, found


def untidy() -> None:
    """Leave behind what a shell, nohup or a service manager may leave to a program."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    os.set_inheritable(os.open("/dev/zero", os.O_RDONLY), True)
    os.umask(0o027)


def test_a_forked_template_is_what_an_executed_one_would_be(start: Start, tmp_path: Path) -> None:
    manager = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000", "A": "b"}
    found = {}
    for options in ((), EXECUTED):
        server = serve(start, *options, environ=manager, preexec_fn=untidy)
        forked, found[forked] = seen(server)
        found[forked]["environ"] = {
            name: value for name, value in found[forked]["environ"].items() if name != "TEST_MARK_OF_WSGID"
        }
        found[forked]["standard"][2] = None  # each server has a pipe of its own
    assert found[True] == found[False]
    assert "NOTIFY_SOCKET" not in found[True]["environ"] and found[True]["environ"]["A"] == "b"
    assert "safe_path=True" in found[True]["flags"]


@pytest.mark.parametrize(
    ("options", "more"),
    [
        (["--optimize", "1"], {}),
        (["--env", "A=b"], {}),
        (["--umask", "027"], {}),
        (["--max-fd", "1000"], {}),
        (["--logto", "log"], {}),
        (EXECUTED, {}),
    ],
    ids=["interpreter", "environment", "umask", "limit", "output", "title"],
)
def test_a_process_that_began_otherwise_is_not_used(
    start: Start, options: list[str], more: dict[str, Any], tmp_path: Path
) -> None:
    server = start("--socket", "app.sock", *options, "app:application", app=APP, **more)
    eventually(lambda: client.is_up(tmp_path / "app.sock"), "the server is up")
    forked, found = seen(server)
    assert not forked
    assert found["environ"].get("A") == ("b" if "A=b" in options else None)


@pytest.mark.parametrize(
    "early", ["import threading", "import _thread, time; _thread.start_new_thread(time.sleep, (100,))", "import socket"]
)
def test_a_process_that_is_not_as_python_starts_it_forks_no_template(start: Start, tmp_path: Path, early: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"{early}\n")
    forked, _ = seen(serve(start))
    assert not forked


def test_the_next_template_is_the_spare_of_the_forked_one(start: Start) -> None:
    server = serve(start)
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"worker \d \(generation 0, pid \d+\) exited with code 0")
    forked, _ = seen(server)
    assert forked


@pytest.mark.parametrize(
    "options", [["--nonsense", "app:application"], ["--socket", "/nowhere/app.sock", "app:application"]]
)
def test_a_command_that_fails_leaves_no_process(start: Start, options: list[str]) -> None:
    server = start(*options, app=APP)
    assert server.wait() > 0
    assert len(server.lines) == 1
    server.assert_nothing_left()


def test_a_command_that_is_killed_leaves_no_process(start: Start) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP)
    eventually(lambda: client.is_up(server.directory / "app.sock"), "the socket is bound, and the import goes on")
    server.send_signal(Signals.SIGKILL)
    server.wait()
    eventually(lambda: not server.survivors(), "the end of all processes")
    (server.directory / "app.sock").unlink()


@pytest.mark.parametrize(("options", "forked"), [([], True), (["--env", "A=b"], False)])
def test_the_check_imports_the_application_in_a_forked_process(
    tmp_path: Path, options: list[str], forked: bool
) -> None:
    source = "import sys\nprint('-P' not in sys.orig_argv, sys.flags.safe_path)\napplication = print\n"
    (tmp_path / "app.py").write_text(source)
    command = [sys.executable, "-m", "wsgid", "--check", *options, "app:application"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, f"{forked} True\n")
