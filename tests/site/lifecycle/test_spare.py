"""The spare in a running server: it becomes the next template, forks its successor, and may die at any time."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from signal import Signals
from textwrap import dedent

import psutil
import pytest

import wsgid
from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually, halt

APP = """
    import atexit, os, pathlib, sys
    atexit.register(lambda: pathlib.Path(f"left-{os.getpid()}").touch())
    def application(environ, start_response):
        start_response("200 OK", [])
        return [getattr(sys, "environment_at_start", "none").encode()]
"""


def serve(start: Start, *options: str) -> Server:
    server = start("--socket", "app.sock", *options, "app:application", app=APP).wait_ready(1)
    the_spare(server)
    return server


def the_spare(server: Server) -> int:
    """The pid of the spare, as the kernel has it. Waits until the spare has told the master its pid: an earlier spare
    is not used."""

    def found() -> int:
        status = json.loads(client.exchange(server.directory / "app.ctl", b'{"command": "status"}\n'))
        return int(status["spare_pid"]) if server.spare_pids() == [status["spare_pid"]] else 0

    return eventually(found, "there is a spare")


def the_template(server: Server) -> int:
    def found() -> int:
        pids = server.template_pids()
        return pids[0] if len(pids) == 1 else 0

    return eventually(found, "there is one template")


def reload(server: Server, generation: int) -> None:
    server.send_signal(Signals.SIGHUP)
    server.wait_generation(generation, 1)
    server.wait_for(rf"generation {generation - 1}, pid \d+\) exited with code 0")


def answers(server: Server) -> str:
    return client.get(server.directory / "app.sock").body.decode()


def memory_kb(pid: int, key: str) -> int:
    """A line of smaps_rollup (proc(5))."""
    found = re.search(rf"^{key}: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def test_the_spare_becomes_the_next_template_and_forks_its_successor(start: Start) -> None:
    server = serve(start)
    for generation in range(1, 6):
        old, next_template = the_template(server), the_spare(server)
        reload(server, generation)
        assert the_template(server) == next_template and the_spare(server) not in (old, next_template)
        eventually((server.directory / f"left-{old}").exists, "the old template has run what atexit has")
    assert answers(server)
    assert server.stop() == 0
    server.assert_nothing_left()


def test_the_spare_shares_its_memory_and_holds_nothing_of_the_server(start: Start) -> None:
    server = serve(start)
    reload(server, 1)
    spare = the_spare(server)
    assert memory_kb(spare, "Shared_Dirty") > memory_kb(spare, "Private_Dirty")
    assert psutil.Process(spare).num_fds() == 4  # the three standard descriptors, and its channel
    assert psutil.Process(spare).nice() == psutil.Process(server.pid).nice()
    assert server.stop() == 0


def test_a_killed_template_is_replaced_by_the_spare(start: Start) -> None:
    server = serve(start)
    spare = the_spare(server)
    os.kill(the_template(server), Signals.SIGKILL)
    server.wait_for("template 0 was killed by SIGKILL")
    assert the_template(server) == spare and the_spare(server) != spare
    os.kill(server.worker_pids()[0], Signals.SIGKILL)
    server.wait_generation(1, 1)
    assert answers(server)


def test_without_the_spare_a_reload_executes_a_template_which_forks_a_spare(start: Start) -> None:
    server = serve(start)
    spare = the_spare(server)
    os.kill(spare, Signals.SIGKILL)
    eventually(lambda: not psutil.pid_exists(spare), "the spare is reaped")
    reload(server, 1)
    assert answers(server)
    the_spare(server)
    reload(server, 2)
    assert answers(server)
    assert server.stop() == 0
    server.assert_nothing_left()


def test_the_template_and_the_spare_may_die_together(start: Start) -> None:
    server = serve(start)
    for pid in (the_spare(server), the_template(server)):
        os.kill(pid, Signals.SIGKILL)
    server.wait_for("template 0 was killed by SIGKILL")
    the_template(server)
    the_spare(server)
    os.kill(server.worker_pids()[0], Signals.SIGKILL)
    # If the master takes the dead spare before it is reaped, template 1 cannot be started, and 2 is the next one.
    server.wait_for(r"worker 0 \(generation [12], pid \d+\) is ready")
    assert answers(server)


def test_a_spare_that_does_not_react_does_not_hold_up_the_stop(start: Start) -> None:
    server = serve(start)
    halt(the_spare(server))
    assert server.stop() == 0
    server.assert_nothing_left()


def test_a_killed_master_leaves_no_spare(start: Start) -> None:
    server = serve(start)
    server.send_signal(Signals.SIGKILL)
    eventually(lambda: not server.survivors(), "all processes are gone")


def test_an_upgrade_ends_the_spare_of_the_old_image(start: Start) -> None:
    server = serve(start)
    spare = the_spare(server)
    server.send_signal(Signals.SIGUSR2)
    server.wait_generation(1, 1)
    eventually(lambda: not psutil.pid_exists(spare), "the spare has left")
    the_spare(server)
    reload(server, 2)
    assert server.stop() == 0
    server.assert_nothing_left()


@pytest.mark.parametrize("generation", [1, 2])
def test_a_reload_follows_a_symlink_to_another_virtual_environment(
    start: Start, tmp_path: Path, generation: int
) -> None:
    """Also if templates have been forked before, and not executed."""
    wanted = f"{Path(wsgid.__file__).parent.parent}\n{sysconfig.get_path('purelib')}\nimport sys; "
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / name], check=True)
        next((tmp_path / name).glob("lib/python3*/site-packages")).joinpath("wsgid.pth").write_text(
            f"{wanted}sys.environment_at_start = {name!r}\n"
        )
    (tmp_path / "venv").symlink_to("one")
    (tmp_path / "app.py").write_text(dedent(APP))
    program = [str(tmp_path / "venv" / "bin" / "python"), "-m", "wsgid"]
    server = start("--socket", "app.sock", "app:application", program=program).wait_ready(1)
    for before in range(1, generation):
        reload(server, before)
    the_spare(server)
    assert answers(server) == "one"
    (tmp_path / "other").symlink_to("two")
    (tmp_path / "other").rename(tmp_path / "venv")
    reload(server, generation)
    assert answers(server) == "two"
    assert server.stop() == 0
