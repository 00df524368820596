"""The first template is forked before the options are read, and is what an executed one would be."""

import fcntl
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
    import gc, json, os, resource, signal, sys, setproctitle
    SEEN = {
        "title": setproctitle.getproctitle(), "collector": gc.isenabled(),
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
EXECUTED = ("--env", "PYTHONNOTHING=1")  # no variable of Python, but one that has to be there from the start
PROCESSES = 4  # master, template, spare, worker
OWN = ("TEST_MARK_OF_WSGID", "PYTHONNOTHING")  # differ in each server


def serve(start: Start, *options: str, **more: Any) -> Server:
    return start("--socket", "app.sock", *options, "app:application", app=APP, **more).wait_ready(1)


def seen(server: Server) -> tuple[bool, dict[str, Any]]:
    """Return whether the template was forked by the command, and what its application has seen."""
    forked, found = json.loads(client.get(server.directory / "app.sock").body)
    server.stop()
    found["environ"] = {name: value for name, value in found["environ"].items() if name not in OWN}
    return forked, found


def directories_of(server: Server) -> set[str]:
    """Return the working directories of all processes, also of the spare."""
    client.get(server.directory / "app.sock")  # so the worker is there
    eventually(lambda: len(server.survivors()) == PROCESSES, "all processes are there")
    return {process.cwd() for process in server.survivors()}


def untidy() -> None:
    """Leave behind what a shell, nohup or a service manager may leave to a program."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
    os.umask(0o027)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--env", "A=c", "--env", "B=d"],
        ["--umask", "077"],
        ["--max-fd", "1000"],
        ["--limit-as", "4000"],
        ["--chdir", "site"],
        ["--logto", "log"],
        ["--procname-prefix", "other "],
    ],
    ids=["none", "environment", "umask", "files", "memory", "directory", "output", "title"],
)
def test_a_forked_template_is_what_an_executed_one_would_be(start: Start, tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "site").mkdir()
    manager = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000", "A": "b"}
    foreign = fcntl.fcntl(0, fcntl.F_DUPFD, 100)  # a descriptor that wsgid inherits by mistake
    found = {}
    for more in ((), EXECUTED):
        arguments = ("--socket", str(tmp_path / "app.sock"), *options, *more, "app:application")
        server = start(*arguments, app=APP, environ=manager, preexec_fn=untidy, pass_fds=[foreign])
        eventually(lambda: client.is_up(tmp_path / "app.sock"), "the socket is bound")
        directories = directories_of(server)
        forked, found[forked] = seen(server)
        found[forked]["directories"] = directories
        if "--logto" not in options:
            found[forked]["standard"][2] = None  # each server has a pipe of its own
    os.close(foreign)
    assert found[True] == found[False]
    assert found[True]["collector"]
    assert "NOTIFY_SOCKET" not in found[True]["environ"]
    assert "safe_path=True" in found[True]["flags"]


@pytest.mark.parametrize("options", [["--optimize", "1"], EXECUTED], ids=["interpreter", "environment"])
def test_a_process_whose_start_was_another_one_is_not_used(start: Start, options: list[str]) -> None:
    forked, _ = seen(serve(start, *options))
    assert not forked


def test_packages_that_are_installed_meanwhile_are_seen(start: Start, tmp_path: Path) -> None:
    """The command waits at its configuration file until the test has installed something."""
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.path.append({str(packages)!r})\n")
    os.mkfifo(tmp_path / "wsgid.ini")
    server = start("--ini", "wsgid.ini", app=APP)
    with open(tmp_path / "wsgid.ini", "w") as file:  # returns when the command has opened the other end
        (packages / "new.pth").write_text("")
        file.write("[uwsgi]\nsocket = app.sock\nmodule = app:application\n")
    server.wait_ready(1)
    forked, _ = seen(server)
    assert not forked


@pytest.mark.parametrize(
    "early",
    [
        "import threading",
        "import _thread, time; _thread.start_new_thread(time.sleep, (100,))",
        "import socket",
        "import sys; sys.settrace(lambda *_: None)",
        "import sys; sys.setprofile(lambda *_: None)",
    ],
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


def test_an_upgraded_master_executes_its_template(start: Start) -> None:
    """Its options are those of its first start, and its template begins while the old workers serve."""
    server = serve(start)
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid starts anew")
    server.wait_for(r"worker \d \(generation 0, pid \d+\) exited with code 0")
    forked, found = seen(server)
    assert not forked and found["main"] == "wsgid.template"


def test_a_daemon_executes_its_template(start: Start, tmp_path: Path) -> None:
    """Its template must not be a child of the foreground, which ends."""
    options = ("--daemonize", "log", "--pidfile", "pid", "app:application")
    server = start("--socket", "app.sock", *options, app=APP)
    assert server.wait() == 0
    daemon = int((tmp_path / "pid").read_text())
    try:
        forked, found = json.loads(client.get(tmp_path / "app.sock").body)
        assert not forked and found["main"] == "wsgid.template"
    finally:
        os.kill(daemon, Signals.SIGTERM)
    eventually(lambda: not server.survivors(), "the daemon has stopped")


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


@pytest.mark.parametrize(("options", "forked"), [([], True), (["--env", "A=b"], True), (EXECUTED, False)])
def test_the_check_imports_the_application_in_a_forked_process(
    tmp_path: Path, options: list[str], forked: bool
) -> None:
    source = "import sys\nprint('-P' not in sys.orig_argv, sys.flags.safe_path)\napplication = print\n"
    (tmp_path / "app.py").write_text(source)
    command = [sys.executable, "-m", "wsgid", "--check", *options, "app:application"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, f"{forked} True\n")


def ignore_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


@pytest.mark.parametrize(("options", "code"), [(["--check"], 0), (["--nonsense"], 2)])
def test_a_parent_that_has_ignored_the_end_of_children_changes_nothing(
    tmp_path: Path, options: list[str], code: int
) -> None:
    """The command waits for the forked process itself (wait(2), NOTES)."""
    (tmp_path / "app.py").write_text("application = print\n")
    command = [sys.executable, "-m", "wsgid", *options, "app:application"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=ignore_children)
    assert done.returncode == code and "Traceback" not in done.stderr
