"""--master-fifo: uWSGI's letters, as scripts write them."""

import os
import re
import selectors
import stat
import subprocess
import time
from pathlib import Path
from signal import Signals
from types import SimpleNamespace

import psutil
import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.processes import open_files
from tests.support.server import Server, eventually
from wsgid.admin.fifo import Fifo

APP = """
    import time
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/sleep":
            time.sleep(30)
        start_response("200 OK", [])
        return [b""]
"""


def serve(start: Start, *options: str, workers: int = 1) -> Server:
    return start(
        "--socket", "app.sock", "--master-fifo", "fifo", "--workers", str(workers), *options, "app:application", app=APP
    ).wait_ready(workers)


def echo(directory: Path, letters: str, name: str = "fifo") -> None:
    """Write letters as a script does. The write must not have to wait."""
    subprocess.run(["sh", "-c", f"echo {letters} > {name}"], cwd=directory, check=True, timeout=10)


def test_the_fifo_is_the_owners_alone_and_is_gone_at_the_end(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--master-fifo", "second")
    for name in ("fifo", "second"):
        mode = (tmp_path / name).stat().st_mode
        assert stat.S_ISFIFO(mode) and stat.S_IMODE(mode) == 0o600
        [fd] = [fd for fd, target in open_files(server.pid).items() if target == str(tmp_path / name)]
        flags = re.search(r"flags:\s+(\d+)", Path(f"/proc/{server.pid}/fdinfo/{fd}").read_text())
        # otherwise the end of each writer would wake the master
        assert flags and int(flags[1], 8) & os.O_ACCMODE == os.O_RDWR
    echo(tmp_path, "q", "second")
    server.wait_for("FIFO q: wsgid stops")
    assert server.wait() == 0
    assert not (tmp_path / "fifo").exists() and not (tmp_path / "second").exists()
    server.assert_nothing_left()


@pytest.mark.parametrize("letter", list("crRwW"))
def test_letters_that_reload(start: Start, tmp_path: Path, letter: str) -> None:
    server = serve(start)
    for generation in (1, 2):  # the FIFO works again and again
        echo(tmp_path, letter)
        server.wait_for(f"FIFO {letter}: reloading the application", generation)
        server.wait_for(rf"worker \d+ \(generation {generation}, pid \d+\) is ready")


def test_q_finishes_what_is_in_flight_and_capital_q_does_not(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    with client.connect(tmp_path / "app.sock") as slow:
        slow.sendall(client.packet("/sleep"))
        eventually(lambda: server.in_flight() == 1, "the request is in flight")
        echo(tmp_path, "q")
        server.wait_for("FIFO q: wsgid stops; requests in flight have")
        assert server.worker_pids()
        echo(tmp_path, "Q")
        assert server.wait() == 0
    server.wait_for("FIFO Q: wsgid stops now")


def test_workers_come_and_go_by_plus_and_minus(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    echo(tmp_path, "++")
    server.wait_for(r"FIFO \+: 3 workers from now on")
    server.wait_ready(3)
    echo(tmp_path, "-")
    server.wait_for("FIFO -: 2 workers from now on")
    eventually(lambda: len(server.worker_pids()) == 2, "one worker has left")


def test_s_writes_the_status_into_the_log_and_l_reopens_it(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    echo(tmp_path, "sl")
    server.wait_for(r'FIFO s: \{"version": .*"workers": \[\{"slot": 0, "state": "ready"')
    server.wait_for("FIFO l: ")


@pytest.mark.parametrize(
    ("letter", "remedy"),
    [
        ("p", "stop it"),
        ("L", "logrotate"),
        ("f", "SIGUSR2"),
        ("C", "-"),
        ("E", "a service for each"),
        ("x", "no command"),
    ],
)
def test_a_letter_that_is_not_followed_is_named_once(start: Start, tmp_path: Path, letter: str, remedy: str) -> None:
    server = serve(start)
    for _ in range(3):
        echo(tmp_path, letter)
        time.sleep(0.15)  # three blocks instead of one
    echo(tmp_path, "s")
    server.wait_for("FIFO s")
    [line] = [line for line in server.lines if f"the letter '{letter}'" in line]
    assert remedy in line


def test_a_flood_costs_little_and_stops_nothing(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    master = psutil.Process(server.pid)
    before = sum(master.cpu_times()[:2])
    with subprocess.Popen(["sh", "-c", "yes sss > fifo"], cwd=tmp_path, start_new_session=True) as flood:
        try:
            server.wait_for("FIFO s", 5)
            assert client.get(tmp_path / "app.sock").status == 200
        finally:
            os.killpg(flood.pid, Signals.SIGKILL)
    assert sum(master.cpu_times()[:2]) - before < 1
    assert server.stop() == 0


def test_a_letter_is_followed_once_for_each_block(tmp_path: Path) -> None:
    followed: list[str] = []
    operator = SimpleNamespace(
        reload=followed.append,
        stop=followed.append,
        snapshot=lambda: SimpleNamespace(wanted=2),
        resize=lambda workers, who: followed.append(f"{who} {workers}"),
    )
    fifo = Fifo(str(tmp_path / "fifo"), operator, selectors.DefaultSelector())
    with open(tmp_path / "fifo", "w") as writer:
        writer.write("rq\n" * 500 + "+" * 3 + "r" * 5000)
    for now_s in (0.0, 0.01):  # the second letter comes too early
        fifo.turn(now_s)
        assert followed == ["FIFO r", "FIFO q", "FIFO + 5"]
    fifo.turn(0.2)
    assert followed[3:] == ["FIFO r"]
    fifo.close()
    assert not (tmp_path / "fifo").exists()


def test_the_fifo_survives_an_upgrade_in_place(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    before = (tmp_path / "fifo").stat().st_ino
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid starts anew")
    echo(tmp_path, "r")  # this write ends, whatever the master is doing now
    server.wait_for("FIFO r: reloading the application")
    assert (tmp_path / "fifo").stat().st_ino == before  # a writer that waited in open(2) was served
    server.wait_for(r"worker \d+ \(generation [23], pid \d+\) is ready")
    echo(tmp_path, "q")
    assert server.wait() == 0
    assert not (tmp_path / "fifo").exists()


def test_the_fifo_of_a_killed_server_is_taken_over(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    server.send_signal(Signals.SIGKILL)
    server.wait()
    eventually(lambda: not server.survivors(), "its workers have left")
    (tmp_path / "fifo").chmod(0o666)
    server = serve(start)
    assert stat.S_IMODE((tmp_path / "fifo").stat().st_mode) == 0o600
    echo(tmp_path, "q")
    assert server.wait() == 0


def test_no_regular_file_and_no_fifo_of_another_server_is_taken(start: Start, tmp_path: Path) -> None:
    first = serve(start)
    second = start(
        "--socket",
        "b.sock",
        "--master-fifo",
        "fifo",
        "--master-fifo",
        "file",
        "--master-fifo",
        "no/where",
        "app:application",
    )
    second.wait_ready(1)
    second.wait_for(r"--master-fifo: \S+/fifo is read by another process: stop that server or choose another path")
    second.wait_for(r"--master-fifo: \S+/no/where cannot be opened: No such file or directory")
    assert second.stop() == 0
    (tmp_path / "regular").write_text("precious")
    third = start("--socket", "c.sock", "--master-fifo", "regular", "app:application").wait_ready(1)
    third.wait_for(r"--master-fifo: \S+/regular is no FIFO: move it away")
    assert third.stop() == 0 and (tmp_path / "regular").read_text() == "precious"

    echo(tmp_path, "q")
    assert first.wait() == 0


def test_a_fifo_that_was_replaced_is_not_removed(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    (tmp_path / "fifo").unlink()
    (tmp_path / "fifo").write_text("mine")
    assert server.stop() == 0
    assert (tmp_path / "fifo").read_text() == "mine"
    assert re.search("wsgid stops with code 0", server.log)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_fifo_of_another_user_is_not_taken(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "foreign")
    os.chown(tmp_path / "foreign", 4321, -1)
    server = start("--socket", "d.sock", "--master-fifo", "foreign", "app:application", app=APP).wait_ready(1)
    server.wait_for(r"--master-fifo: \S+/foreign belongs to user 4321: move it away")
    assert server.stop() == 0 and (tmp_path / "foreign").exists()
