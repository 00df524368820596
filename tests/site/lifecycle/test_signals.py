"""Signals have their documented effect, whatever was done to signals before the start, and whatever workers do."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from signal import Signals

import psutil
import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually

APP = """
    import os, signal, time
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/stall":
            while True:
                pass
        start_response("200 OK", [])
        caught = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
        return [f"{os.getpid()} {caught} {sorted(ignored)}".encode()]
"""

LAZY = """
    import os, time
    slow = os.path.exists("slow")  # before the line below, after which the test removes the file
    with open("imports", "a") as file:
        file.write(f"{os.getpid()}\\n")
    if slow:
        time.sleep(100)
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"done"]
"""


def block_all() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def ignore_all() -> None:
    for signo in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(signo, signal.SIG_IGN)


def say(server: Server) -> str:
    return client.get(server.directory / "app.sock").body.decode()


@pytest.mark.parametrize("inherited", [block_all, ignore_all], ids=["blocked", "ignored"])
def test_signals_that_are_blocked_or_ignored_at_the_start_work_all_the_same(
    start: Start, inherited: Callable[[], None]
) -> None:
    """As a shell's trap or nohup does, or a supervisor that blocks signals and executes the server without unblocking
    them."""
    server = start(
        "--socket",
        "app.sock",
        "--hub-timeout",
        "0.5",
        "--hub-warn",
        "0.2",
        "app:application",
        app=APP,
        preexec_fn=inherited,
    ).wait_ready(1)
    pid, rest = say(server).split(" ", 1)
    # Python itself ignores SIGPIPE and SIGXFSZ.
    assert rest == f"[] {sorted([Signals.SIGPIPE, Signals.SIGXFSZ])}"
    assert client.get(server.directory / "app.sock", "/stall").status == 504  # by SIGXCPU
    assert say(server).split(" ", 1)[0] == pid
    server.send_signal(Signals.SIGHUP)
    server.wait_ready(2)
    server.wait_for(rf"worker \d+ .*pid {pid}\) exited with code 0")
    os.kill(int(say(server).split(" ", 1)[0]), Signals.SIGTERM)
    server.wait_ready(3)
    assert server.stop() == 0
    server.assert_nothing_left()


def test_programs_that_the_application_starts_have_the_usual_signals(start: Start) -> None:
    app = """
        import subprocess
        def application(environ, start_response):
            start_response("200 OK", [])
            return [subprocess.check_output("grep -E 'Sig(Blk|Ign)' /proc/self/status", shell=True)]
    """
    server = start("--socket", "app.sock", "app:application", app=app, preexec_fn=block_all).wait_ready(1)
    reserved = 0b11 << 31  # reserved for the C library, which keeps them from sigprocmask(3) and sigaction(3)
    masks = client.get(server.directory / "app.sock").body.split()[1::2]
    assert [int(mask, 16) & ~reserved for mask in masks] == [0, 0]
    server.stop()


# --- while the application is imported ---


def importing(server: Server, count: int) -> list[int]:
    """The pids of the processes that import, when there are this many."""
    path = server.directory / "imports"

    def pids() -> list[int]:
        found = path.read_text().split() if path.exists() else []
        return [int(pid) for pid in found] if len(found) >= count else []

    return eventually(pids, "the processes import")


@pytest.mark.parametrize("signo", [Signals.SIGTERM, Signals.SIGINT, Signals.SIGQUIT])
@pytest.mark.parametrize("options", [["--lazy-apps"], []], ids=["worker", "template"])
def test_a_stop_waits_for_no_import(start: Start, tmp_path: Path, signo: Signals, options: list[str]) -> None:
    (tmp_path / "slow").touch()
    server = start("--socket", "app.sock", "--workers", "2", *options, "app:application", app=LAZY)
    importing(server, 2 if options else 1)
    assert server.stop(signo) == 0
    assert "SIGABRT" not in server.log and (signo is Signals.SIGQUIT or "ERROR" not in server.log)
    server.assert_nothing_left()


def test_a_stop_that_reaches_all_processes_at_once_waits_for_no_import(start: Start, tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    server = start(
        "--socket", "app.sock", "--workers", "2", "--lazy-apps", "app:application", app=LAZY, start_new_session=True
    )
    importing(server, 2)
    os.killpg(server.pid, Signals.SIGTERM)
    assert server.wait() == 0
    server.assert_nothing_left()


def test_a_reload_does_not_wait_for_imports_that_are_outdated(start: Start) -> None:
    server = start("--socket", "app.sock", "--lazy-apps", "app:application", app=LAZY).wait_ready(1)
    (server.directory / "slow").touch()
    server.send_signal(Signals.SIGHUP)
    slow = importing(server, 2)[1]
    (server.directory / "slow").unlink()
    server.send_signal(Signals.SIGHUP)
    server.wait_ready(2)
    eventually(lambda: not psutil.pid_exists(slow), "the outdated import is over")
    assert client.get(server.directory / "app.sock").body == b"done"
    assert server.stop() == 0


def test_a_term_to_a_worker_that_imports_is_no_failure_of_the_application(start: Start, tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    server = start("--socket", "app.sock", "--lazy-apps", "app:application", app=LAZY)
    first = importing(server, 1)[0]
    (server.directory / "slow").unlink()
    os.kill(first, Signals.SIGTERM)
    server.wait_ready(1)
    assert server.stop() == 0
