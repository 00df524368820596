"""What a service manager sees of a server: its pidfile, its start in the background, titles, umask, arguments."""

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import psutil
import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.processes import command_lines, still_runs
from tests.support.server import Server, eventually

APP = """
    import os, sys
    seen = []
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        umask = os.umask(0)
        os.umask(umask)
        return [f"{sys.argv} {umask:03o} {seen}".encode()]
"""
SOCKET = ["--socket", "app.sock"]


def serve(start: Start, *options: str, app: str = APP) -> Server:
    return start(*SOCKET, *options, "app:application", app=app).wait_ready(1)


def body(server: Server) -> str:
    return client.get(server.directory / "app.sock").body.decode()


# --- the pidfile ---


def test_the_pidfile_is_there_while_the_server_is(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--pidfile", "pid", "--umask", "000")
    assert (tmp_path / "pid").read_text() == f"{server.pid}\n"
    assert (tmp_path / "pid").stat().st_mode & 0o777 == 0o644
    server.send_signal(Signals.SIGUSR2)
    server.wait_for(r"worker \d+ \(generation 0, .* exited with code 0")
    assert (tmp_path / "pid").read_text() == f"{server.pid}\n"
    assert "overwritten" not in server.log
    assert server.stop() == 0
    assert not (tmp_path / "pid").exists()
    server.assert_nothing_left()


def test_a_stale_pidfile_is_overwritten_and_that_of_a_live_server_with_a_warning(start: Start, tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("nonsense")
    first = serve(start, "--pidfile", "pid")
    assert (tmp_path / "pid").read_text() == f"{first.pid}\n" and "overwritten" not in first.log
    second = start("--socket", "second.sock", "--pidfile", "pid", "app:application").wait_ready(1)
    second.wait_for(f"WARNING: --pidfile {tmp_path}/pid has the pid of process {first.pid}, a wsgid that still runs")
    assert first.stop() == 0
    # the pidfile of the second server, so the first server leaves it alone
    assert (tmp_path / "pid").read_text() == f"{second.pid}\n"
    assert second.stop() == 0
    assert not (tmp_path / "pid").exists()


def test_a_server_that_cannot_have_its_socket_leaves_the_pidfile_of_the_other(start: Start, tmp_path: Path) -> None:
    first = serve(start, "--pidfile", "pid")
    assert start(*SOCKET, "--pidfile", "pid", "app:application").wait() == 1
    assert (tmp_path / "pid").read_text() == f"{first.pid}\n"


def test_a_pidfile_that_cannot_be_written_is_a_usage_error(start: Start) -> None:
    server = start(*SOCKET, "--pidfile", "none/pid", "app:application", app=APP)
    assert server.wait() == 2
    server.wait_for("--pidfile .*/none/pid cannot be written: No such file or directory; choose another file")
    server.assert_nothing_left()


# --- the background ---


@pytest.fixture
def daemon_pid(tmp_path: Path) -> Iterator[Path]:
    """The pidfile of a daemon. The daemon is ended with the test."""
    yield tmp_path / "pid"
    if (tmp_path / "pid").exists():
        os.kill(int((tmp_path / "pid").read_text()), Signals.SIGKILL)


def test_the_foreground_ends_when_the_application_serves(start: Start, tmp_path: Path, daemon_pid: Path) -> None:
    server = start(*SOCKET, "--daemonize", "log", "--pidfile", "pid", "app:application", app=APP)
    assert server.wait() == 0
    assert server.lines == [] and body(server)
    daemon = psutil.Process(int(daemon_pid.read_text()))
    assert daemon.pid != server.pid and os.getsid(daemon.pid) != os.getsid(0) and daemon.ppid() != os.getpid()
    # no session leader, so the daemon never gets a terminal
    assert os.getsid(daemon.pid) != daemon.pid and daemon.terminal() is None
    assert os.readlink(f"/proc/{daemon.pid}/fd/0") == "/dev/null"
    assert re.search(r"worker 0 \(generation 0, pid \d+\) is ready", (tmp_path / "log").read_text())
    daemon.terminate()
    eventually(lambda: not still_runs(daemon), "the daemon has stopped")
    server.assert_nothing_left()


def test_a_daemon_upgrades_in_the_background_and_reopens_its_log(
    start: Start, tmp_path: Path, daemon_pid: Path
) -> None:
    assert start(*SOCKET, "--daemonize", "log", "--pidfile", "pid", "app:application", app=APP).wait() == 0
    pid = int(daemon_pid.read_text())
    os.kill(pid, Signals.SIGUSR2)
    eventually(lambda: "(generation 0, " in (tmp_path / "log").read_text().partition("starts anew")[2], "upgraded")
    eventually(lambda: "exited with code 0" in (tmp_path / "log").read_text(), "the old worker has left")
    assert int(daemon_pid.read_text()) == pid and psutil.Process(pid).is_running()
    (tmp_path / "log").rename(tmp_path / "log.1")
    os.kill(pid, Signals.SIGUSR1)
    eventually(lambda: (tmp_path / "log").exists() and "is reopened" in (tmp_path / "log").read_text(), "reopened")


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["app:application"], 3, "cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'"),
        (["--socket", "none/x.sock", "app:application"], 1, "create the directory first"),
        (["--pidfile", "none/x", "app:application"], 2, "cannot be written"),
    ],
)
def test_a_daemon_that_does_not_come_up_says_why_in_the_foreground(
    start: Start, tmp_path: Path, options: list[str], code: int, says: str
) -> None:
    (tmp_path / "log").write_text("what was there before\n")
    server = start(*SOCKET, "--daemonize", "log", *options, app="import no_such_thing")
    assert server.wait() == code
    server.wait_for(says)
    server.wait_for(f"the server in the background has ended with code {code}; its log is {tmp_path}/log")
    assert says in (tmp_path / "log").read_text() and "what was there before" not in server.log
    server.assert_nothing_left()


def test_a_daemons_log_that_cannot_be_written_is_a_usage_error(start: Start) -> None:
    server = start(*SOCKET, "--daemonize", "none/log", "app:application", app=APP)
    assert server.wait() == 2
    server.wait_for("the daemon's log .*/none/log cannot be written: No such file or directory")


# --- what all processes have ---


def test_titles_begin_with_the_prefix(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--procname-prefix-spaced", "shop")
    expected = ["shop wsgid: spare", "shop wsgid: template", "shop wsgid: worker 0"]
    eventually(
        lambda: expected == sorted(shown.split(",")[0] for shown in command_lines(server.pid).values()),
        "all processes have their titles",
    )
    assert psutil.Process(server.pid).cmdline()[0].startswith("shop wsgid: master [app:application]")


def test_umask_and_arguments_reach_the_application(start: Start) -> None:
    server = serve(start, "--umask", "027", "--pyargv", "quiet  run")
    assert body(server).startswith("['wsgid', 'quiet', 'run'] 027")


@pytest.mark.parametrize("options", [(), ("--lazy-apps",)])
def test_modules_are_imported_after_the_application(start: Start, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "tasks.py").write_text("import app; app.seen.append('tasks')")
    (tmp_path / "more.py").write_text("import app; app.seen.append('more')")
    assert body(serve(start, "--import", "tasks", "--import", "more", *options)).endswith("['tasks', 'more']")


def test_a_module_that_cannot_be_imported_is_named(start: Start) -> None:
    server = start(*SOCKET, "--import", "no_such_tasks", "app:application", app=APP)
    assert server.wait() == 3
    server.wait_for("--import 'no_such_tasks' cannot be imported: ModuleNotFoundError")
    server.assert_nothing_left()


def test_an_abstract_socket_serves(start: Start, tmp_path: Path) -> None:
    name = f"@wsgid-test-{os.getpid()}"
    server = start("--socket", name, "app:application", app=APP).wait_ready(1)
    server.wait_for(f"listens on {name} with 1 worker")
    assert client.get(Path("\0" + name[1:])).status == 200
    second = start("--socket", name, "app:application")
    assert second.wait() == 1
    second.wait_for(f"cannot listen on {name}: Address already in use; stop the other server")
    server.send_signal(Signals.SIGUSR2)
    server.wait_for(r"worker \d+ \(generation 0, .* exited with code 0")
    assert client.get(Path("\0" + name[1:])).status == 200
    assert server.stop() == 0
    server.assert_nothing_left()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_the_socket_gets_the_owner_and_mode_of_its_options(start: Start, tmp_path: Path) -> None:
    (tmp_path / "site.ini").write_text(
        "[uwsgi]\nsocket = app.sock\nchown-socket = daemon:root\nchmod-socket\nmodule = app\ncallable = application\n"
    )
    start("site.ini", app=APP).wait_ready(1)
    status = (tmp_path / "app.sock").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (pwd.getpwnam("daemon").pw_uid, 0, 0o666)


def test_the_daemon_holds_no_stream_of_the_shell_that_has_started_it(tmp_path: Path, daemon_pid: Path) -> None:
    """A shell that waits for its standard output does not have to wait for the daemon."""
    (tmp_path / "app.py").write_text("def application(environ, start_response): pass\n")
    command = [sys.executable, "-m", "wsgid", *SOCKET, "--daemonize", "log", "--pidfile", "pid", "app:application"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    daemon = psutil.Process(int(daemon_pid.read_text()))
    daemon.terminate()
    eventually(lambda: not still_runs(daemon), "the daemon has stopped")
