"""--stats: uWSGI's statistics, for programs that read them from uWSGI."""

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import psutil
import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import PATIENCE_S, Server, eventually
from wsgid import __version__

pytestmark = pytest.mark.hot  # the counts of the hot path

APP = """
    import time
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/sleep":
            time.sleep(30)
        if path == "/boom":
            raise RuntimeError("boom")
        if path == "/torn":
            start_response("200 OK", [])
            return torn()
        start_response("200 OK", [])
        return [b"x" * 10]
    def torn():
        yield b"x"
        raise RuntimeError("torn")
"""


def serve(start: Start, *options: str, workers: int = 1) -> Server:
    return start(
        "--socket", "app.sock", "--workers", str(workers), "--stats", "stats.sock", *options, "app:application", app=APP
    ).wait_ready(workers)


def stats(server: Server) -> Any:
    """Read the statistics as uWSGI's readers do: connect, send nothing, read to the end."""
    with client.connect(server.directory / "stats.sock") as connected:
        return json.loads(client.read_all(connected))


def get(server: Server, path: str = "/") -> client.Answer:
    return client.get(server.directory / "app.sock", path)


# From uwsgi_exporter's pkg/collector/stats.go. Go's decoder refuses a number with a point for an int, and a string for
# both. The second part of each shape has the fields of uWSGI 2.0 that are not in the exporter.
CORE = {
    "id": int,
    "requests": int,
    "static_requests": int,
    "routed_requests": int,
    "offloaded_requests": int,
    "write_errors": int,
    "read_errors": int,
    "in_request": int,
    "vars": [str],
    "req_info": dict,
}
APPLICATION = {
    "id": int,
    "modifier1": int,
    "mountpoint": str,
    "startup_time": int,
    "requests": int,
    "exceptions": int,
    "chdir": str,
}
WORKER = {
    "id": int,
    "pid": int,
    "accepting": int,
    "requests": int,
    "delta_requests": int,
    "exceptions": int,
    "harakiri_count": int,
    "signals": int,
    "signal_queue": int,
    "status": str,
    "rss": int,
    "vsz": int,
    "running_time": int,
    "last_spawn": int,
    "respawn_count": int,
    "tx": int,
    "avg_rt": int,
    "apps": [APPLICATION],
    "cores": [CORE],
}
SOCKET = {"name": str, "proto": str, "queue": int, "max_queue": int, "shared": int, "can_offload": int}
STATS = {
    "version": str,
    "listen_queue": int,
    "listen_queue_errors": int,
    "signal_queue": int,
    "load": int,
    "pid": int,
    "uid": int,
    "gid": int,
    "cwd": str,
    "sockets": [SOCKET],
    "workers": [WORKER],
    "locks": [dict],
}


def assert_shape(found: Any, shape: Any, where: str = "stats") -> None:
    if isinstance(shape, dict):
        assert found.keys() == shape.keys(), where
        for name, inner in shape.items():
            assert_shape(found[name], inner, f"{where}.{name}")
    elif isinstance(shape, list):
        for place, item in enumerate(found):
            assert_shape(item, shape[0], f"{where}[{place}]")
    else:
        assert type(found) is shape, where


def test_every_field_of_uwsgi_is_there_with_its_type(start: Start) -> None:
    server = serve(start, "--socket", "127.0.0.1:0", workers=2)
    get(server)
    found = stats(server)
    assert_shape(found, STATS)
    assert len(found["workers"]) == len(found["sockets"]) == 2
    assert [worker["id"] for worker in found["workers"]] == [1, 2]
    assert all(len(worker["apps"]) == len(worker["cores"]) == 1 for worker in found["workers"])


def test_the_statistics_have_the_values_that_wsgid_knows(start: Start) -> None:
    server = serve(start)
    [pid] = server.worker_pids()
    for path in ("/", "/", "/boom", "/torn"):
        get(server, path)
    # A request is counted when it is answered, and its place becomes free a moment later.
    eventually(
        lambda: [stats(server)["workers"][0][name] for name in ("requests", "status")] == [4, "idle"],
        "all requests are counted, and nothing is in flight",
    )
    found = stats(server)
    assert (found["pid"], found["uid"], found["gid"]) == (server.pid, os.getuid(), os.getgid())
    assert found["cwd"] == str(server.directory)
    assert found["sockets"][0]["name"] == str(server.directory / "app.sock")
    [worker] = found["workers"]
    process = psutil.Process(pid)
    assert (worker["pid"], worker["status"], worker["accepting"]) == (pid, "idle", 1)
    assert (worker["requests"], worker["delta_requests"], worker["exceptions"]) == (4, 4, 2)
    assert worker["apps"][0]["requests"] == worker["cores"][0]["requests"] == 4
    assert worker["rss"] == pytest.approx(process.memory_info().rss, rel=0.5)
    assert worker["vsz"] == pytest.approx(process.memory_info().vms, rel=0.5)
    assert worker["last_spawn"] == pytest.approx(process.create_time(), abs=2)
    assert worker["respawn_count"] == 1
    assert worker["running_time"] >= worker["avg_rt"] > 0


def test_a_worker_is_busy_while_it_has_a_request(start: Start) -> None:
    server = serve(start)
    with client.connect(server.directory / "app.sock") as slow:
        slow.sendall(client.packet("/sleep"))
        eventually(lambda: stats(server)["workers"][0]["status"] == "busy", "the request runs")
        assert stats(server)["workers"][0]["cores"][0]["in_request"] == 1


def test_a_full_worker_is_shown_as_not_accepting(start: Start) -> None:
    server = serve(start, "--gevent", "1")
    with client.connect(server.directory / "app.sock") as slow:
        slow.sendall(client.packet("/sleep"))
        eventually(lambda: stats(server)["workers"][0]["accepting"] == 0, "its only place is taken")


def test_sums_outlive_a_killed_worker_and_delta_requests_begins_anew(start: Start) -> None:
    server = serve(start)
    get(server), get(server)
    os.kill(server.worker_pids()[0], Signals.SIGKILL)
    server.wait_ready(2)
    get(server)
    [worker] = stats(server)["workers"]
    assert (worker["requests"], worker["delta_requests"], worker["respawn_count"], worker["tx"]) == (3, 1, 2, 30)


def test_a_vacant_slot_is_a_cheap_worker_and_keeps_its_count(start: Start) -> None:
    server = serve(start)
    get(server), get(server)
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"worker 0 .* exited with code 0")
    left, new = stats(server)["workers"]
    assert (left["status"], left["pid"], left["accepting"], left["requests"], left["delta_requests"]) == (
        "cheap",
        0,
        0,
        2,
        0,
    )
    assert (new["status"], new["accepting"], new["requests"]) == ("idle", 1, 0)


def test_an_overdue_request_is_a_harakiri(start: Start) -> None:
    server = serve(start, "--harakiri", "0.2")
    assert get(server, "/sleep").status == 504
    assert stats(server)["workers"][0]["harakiri_count"] == 1


def test_over_http_the_request_is_waited_for(start: Start) -> None:
    server = serve(start, "--stats-http")
    with client.connect(server.directory / "stats.sock") as asker:
        asker.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        asker.settimeout(0.2)
        with pytest.raises(TimeoutError):
            asker.recv(1)
        asker.settimeout(PATIENCE_S)
        asker.sendall(b"\r\n")
        raw = client.read_all(asker)
    assert raw.startswith(b"HTTP/1.0 200 OK\r\n")
    answer = client.parse(raw)
    assert answer.header("content-type") == "application/json" and answer.header("connection") == "close"
    assert_shape(json.loads(answer.body), STATS)


def test_the_stats_socket_is_like_the_others(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--chmod-socket", "666")
    assert (tmp_path / "stats.sock").stat().st_mode & 0o777 == 0o666
    assert server.stop() == 0
    server.assert_nothing_left()


def test_a_removed_directory_does_not_end_the_statistics(start: Start, tmp_path: Path) -> None:
    release = tmp_path / "release"
    release.mkdir()
    (release / "app.py").write_text("def application(environ, start_response): start_response('200 OK', []); return []")
    server = start(
        "--socket",
        str(tmp_path / "app.sock"),
        "--stats",
        str(tmp_path / "stats.sock"),
        "--chdir",
        str(release),
        "app:application",
    ).wait_ready(1)
    shutil.rmtree(release)
    assert stats(server)["cwd"] == ""


# --- uwsgitop ---

FRAME = "\x1b[H\x1b[2J"  # xterm: home, and clear
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()].|\r")


@contextmanager
def uwsgitop(server: Server, address: str) -> Iterator[tuple[Callable[[], str], Callable[[bytes], object]]]:
    """The program from PyPI in a terminal: its last picture, and its keyboard."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    running = subprocess.Popen(
        [sys.executable, str(Path(sys.executable).with_name("uwsgitop")), address],
        cwd=server.directory,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "no_proxy": "127.0.0.1", "COLUMNS": "200", "LINES": "50"},
    )
    os.close(terminal)
    os.set_blocking(screen, False)
    drawn = bytearray()

    def read() -> str:
        """The last complete picture. Escape sequences, which place and colour the words, are replaced by blanks."""
        try:
            while block := os.read(screen, 65536):
                drawn.extend(block)
        except OSError:  # no more text now, or the program has ended
            pass
        *_, whole, _ = ["", *drawn.decode("utf-8", "replace").split(FRAME)]
        return " ".join(ESCAPES.sub(" ", whole).split())

    try:
        yield read, lambda keys: os.write(screen, keys)
        os.write(screen, b"q")
        assert running.wait(PATIENCE_S) == 0, drawn
    finally:
        running.kill()
        running.wait()
        os.close(screen)


def test_uwsgitop_shows_the_workers_and_their_requests(start: Start) -> None:
    server = serve(start, workers=2)
    for _ in range(7):
        get(server)
    with uwsgitop(server, "stats.sock") as (screen, press):
        eventually(lambda: " req: 7 " in screen(), "uwsgitop has drawn the sum")
        shown = screen()
        assert f"uwsgi-{__version__} - " in shown and " lq: 0 " in shown and " tx: 70 " in shown
        assert f"cwd: {server.directory} - uid: {os.getuid()} - gid: {os.getgid()} - masterpid: {server.pid}" in shown
        rows = [re.search(rf" [12] [0-9.]+ {pid} ([0-9]+) [0-9]+ 0 0 idle ", shown) for pid in server.worker_pids()]
        assert sum(int(row[1]) for row in rows if row) == 7, shown
        press(b"a")  # the two views of cores
        eventually(lambda: re.search(r" [12]:0 [0-9.]+ ", screen()), "cores as workers")
        press(b"a")
        eventually(lambda: re.search(r" :0 [0-9.]+ - ", screen()), "cores below their workers")


def test_uwsgitop_reads_the_statistics_over_http_too(start: Start) -> None:
    server = start(
        "--socket", "app.sock", "--stats", "127.0.0.1:0", "--stats-http", "app:application", app=APP
    ).wait_ready(1)
    get(server)
    [port] = [connection.laddr.port for connection in psutil.Process(server.pid).net_connections("tcp")]
    with uwsgitop(server, f"http://127.0.0.1:{port}/") as (screen, _):
        eventually(lambda: " req: 1 " in screen(), "uwsgitop has drawn the sum")
