"""The commands of --attach-daemon: started, started again, and ended with the server. Real servers and real daemons."""

import os
import pwd
import re
import subprocess
import sys
from pathlib import Path
from signal import Signals
from textwrap import dedent

import pytest

from tests.conftest import Start
from tests.support import another_user, client
from tests.support.ctl import said, wsgidctl
from tests.support.server import eventually, open_to_all

APP = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"fine"]
"""
# Writes a line when it starts, and one when it is told to end.
DAEMON = """
import os, signal, sys, time
name = sys.argv[1]
def note(text):
    with open(name, "a") as file:
        file.write(f"{text} {os.getuid()}\\n")
def end(*_):
    note("ended")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("started")
while True:
    time.sleep(60)
"""


def notes(place: Path, name: str = "notes") -> list[str]:
    path = place / name
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def pid_in(path: Path) -> str:
    """The pid in a pidfile; empty as long as there is none."""
    return path.read_text().strip() if path.exists() else ""


def command(place: Path, name: str = "notes") -> str:
    (place / "daemon.py").write_text(DAEMON)
    return f"exec {sys.executable} daemon.py {name}"


def test_a_daemon_is_started_beside_the_workers_again_when_it_dies_and_ends_with_the_server(
    start: Start, tmp_path: Path
) -> None:
    server = start("--socket", "app.sock", "--attach-daemon", command(tmp_path), "app:application", app=APP)
    server.wait_ready(1)
    (first,) = server.wait_for(r"daemon '.*' is started, pid (\d+)")
    ready = next(number for number, line in enumerate(server.lines) if "is ready" in line)
    assert ready < next(number for number, line in enumerate(server.lines) if "is started" in line)
    eventually(lambda: notes(tmp_path) == ["started"], "the daemon runs")
    os.kill(int(first[1]), Signals.SIGKILL)
    server.wait_for(rf"WARNING: daemon '.*' \(pid {first[1]}\) was killed by SIGKILL; it is started again")
    server.wait_for(r"daemon '.*' is started", 2)
    eventually(lambda: notes(tmp_path) == ["started", "started"], "the daemon runs again")
    assert client.get(tmp_path / "app.sock").body == b"fine"
    status = said(tmp_path, "status")
    assert status["daemons"][0]["starts"] == 2 and status["daemons"][0]["pid"] > 0
    shown = wsgidctl(tmp_path, "status").stdout
    assert re.search(r"daemon +pid +starts\nexec .*daemon.py notes +\d+ +2", shown)
    assert server.stop() == 0
    assert notes(tmp_path) == ["started", "started", "ended"]
    server.assert_nothing_left()


def test_a_reload_starts_a_daemon_again_and_an_upgrade_leaves_it(start: Start, tmp_path: Path) -> None:
    server = start("--socket", "app.sock", "--attach-daemon", command(tmp_path), "app:application", app=APP)
    server.wait_ready(1)
    eventually(lambda: notes(tmp_path) == ["started"], "the daemon runs")
    server.send_signal(Signals.SIGUSR2)
    server.wait_for(r"worker \d+ \(generation 0, .* exited with code 0")
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"worker \d+ \(generation 1, .* exited with code 0")
    eventually(lambda: notes(tmp_path) == ["started", "ended", "started"], "the daemon runs anew")
    assert server.stop() == 0
    server.assert_nothing_left()


def test_a_daemon_that_cannot_run_does_not_stop_the_site(start: Start, tmp_path: Path) -> None:
    server = start("--socket", "app.sock", "--attach-daemon", "exit 7", "app:application", app=APP).wait_ready(1)
    server.wait_for(r"daemon 'exit 7' \(pid \d+\) exited with code 7; it is started again in 1 s", 2)
    assert client.get(tmp_path / "app.sock").body == b"fine"
    assert server.stop() == 0
    server.assert_nothing_left()


def test_all_processes_of_a_shell_command_end_also_if_they_ignore_it(start: Start, tmp_path: Path) -> None:
    stubborn = "trap '' TERM; sleep 1000 & echo started > notes; wait"
    server = start("--socket", "app.sock", "--attach-daemon", stubborn, "app:application", app=APP).wait_ready(1)
    eventually(lambda: notes(tmp_path) == ["started"], "the daemon runs")
    server.send_signal(Signals.SIGTERM)
    server.wait_for("wsgid stops")
    server.wait_for(r"worker 0 .* exited with code 0")
    server.send_signal(Signals.SIGQUIT)
    server.wait_for("it is killed")
    assert server.wait() == 0
    server.assert_nothing_left()


def test_a_smart_daemon_is_found_by_its_pidfile(start: Start, tmp_path: Path) -> None:
    backgrounded = f"{command(tmp_path)} & echo $! > daemon.pid".replace("exec ", "")
    server = start(
        "--socket", "app.sock", "--smart-attach-daemon", f"daemon.pid {backgrounded}", "app:application", app=APP
    ).wait_ready(1)
    (found,) = server.wait_for(r"daemon '.*' runs, with the pid (\d+) of .*/daemon.pid")
    eventually(lambda: notes(tmp_path) == ["started"], "the daemon runs")
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"worker \d+ \(generation 0, .* exited with code 0")
    assert notes(tmp_path) == ["started"]
    os.kill(int(found[1]), Signals.SIGKILL)
    server.wait_for(r"daemon '.*' runs, with the pid", 2)
    eventually(lambda: notes(tmp_path) == ["started", "started"], "the daemon runs again")
    assert server.stop() == 0
    assert notes(tmp_path) == ["started", "started", "ended"]
    server.assert_nothing_left()


def test_the_master_writes_the_pidfile_of_a_smart_daemon_that_stays_in_the_foreground(
    start: Start, tmp_path: Path
) -> None:
    daemon = f"daemon.pid,5 {command(tmp_path)}"
    server = start("--socket", "app.sock", "--smart-attach-daemon2", daemon, "app:application", app=APP).wait_ready(1)
    (first,) = server.wait_for(r"daemon '.*' is started, pid (\d+)")
    eventually(lambda: notes(tmp_path) == ["started"], "the daemon runs")
    eventually(lambda: pid_in(tmp_path / "daemon.pid") == first[1], "its pidfile is there")
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"worker \d+ \(generation 0, .* exited with code 0")
    assert notes(tmp_path) == ["started"]
    os.kill(int(first[1]), Signals.SIGKILL)
    second = server.wait_for(r"daemon '.*' is started, pid (\d+)", 2)[1]
    eventually(lambda: pid_in(tmp_path / "daemon.pid") == second[1], "its pidfile is new")
    eventually(lambda: notes(tmp_path) == ["started", "started"], "the daemon runs again")
    assert server.stop() == 0
    assert notes(tmp_path) == ["started", "started", "ended"] and not (tmp_path / "daemon.pid").exists()
    server.assert_nothing_left()


def test_the_keys_of_attach_daemon2_choose_signals_and_directory(start: Start, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    shell = "trap 'echo hup >> notes' HUP; trap 'echo int >> notes; exit' INT; echo started >> notes; "
    shell += "while :; do sleep 0.1; done"
    (tmp_path / "uwsgi.ini").write_text(
        "[uwsgi]\nmodule = app\nsocket = app.sock\n"
        f'attach-daemon2 = cmd="{shell}",chdir=elsewhere,stopsignal=2,reloadsignal=1\n'
    )
    server = start("uwsgi.ini", app=APP).wait_ready(1)
    eventually(lambda: notes(tmp_path / "elsewhere") == ["started"], "the daemon runs")
    server.send_signal(Signals.SIGHUP)
    eventually(lambda: notes(tmp_path / "elsewhere") == ["started", "hup"], "the daemon knows of the reload")
    server.wait_for(r"worker \d+ \(generation 0, .* exited with code 0")
    assert server.stop() == 0
    assert notes(tmp_path / "elsewhere") == ["started", "hup", "int"]
    server.assert_nothing_left()


@another_user.as_root
@pytest.mark.parametrize("is_link", [False, True])
def test_a_pidfile_of_the_application_cannot_name_a_process_of_root(
    start: Start, tmp_path: Path, is_link: bool
) -> None:
    """The master, which is root, ends the process that a pidfile names."""
    (tmp_path / "app.py").write_text(dedent(APP))
    with subprocess.Popen(["sleep", "1000"]) as victim:
        try:
            (tmp_path / "real.pid").write_text(f"{victim.pid}\n")
            if is_link:
                (tmp_path / "daemon.pid").symlink_to("real.pid")
            else:
                (tmp_path / "real.pid").rename(tmp_path / "daemon.pid")
                os.chown(tmp_path / "daemon.pid", 4321, -1)
            daemon = ("--smart-attach-daemon", f"daemon.pid {command(tmp_path)}")
            server = start("--socket", "app.sock", *daemon, "app:application").wait_ready(1)
            server.wait_for(
                r"daemon '.*': the pidfile \S+/daemon.pid is a link, and is not used: name the file itself"
                if is_link
                else rf"the pidfile \S+/daemon.pid of user 4321 names process {victim.pid} of user 0, and is not used: "
            )
            assert client.get(tmp_path / "app.sock").body == b"fine"
            assert server.stop() == 0
            assert victim.poll() is None and notes(tmp_path) == []  # nor was the daemon started beside another one
        finally:
            victim.kill()
    server.assert_nothing_left()


@another_user.as_root
def test_a_daemon_runs_as_the_user_of_the_application(start: Start, tmp_path: Path) -> None:
    open_to_all(tmp_path)
    tmp_path.chmod(0o777)
    server = start(
        "--socket",
        "app.sock",
        "--uid",
        "nobody",
        "--attach-daemon",
        command(tmp_path),
        "app:application",
        app=APP,
        prefix=another_user.prefix(),
    ).wait_ready(1)
    eventually(lambda: notes(tmp_path) == ["started"], "the daemon runs")
    assert (tmp_path / "notes").read_text().split()[1] == str(pwd.getpwnam("nobody").pw_uid)
    assert server.stop() == 0
    server.assert_nothing_left()
