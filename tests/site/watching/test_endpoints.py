"""The master's endpoints: clients never make the master wait, and counts stay when workers die."""

import json
import os
import socket
from pathlib import Path
from signal import Signals
from typing import Any

from faults.measure import scoreboard_of
from tests.conftest import Start
from tests.support import client
from tests.support.processes import unix_sockets
from tests.support.server import Server, eventually
from wsgid.admin import server as admin
from wsgid.ipc.scoreboard import COUNTERS, DURATION_BOUNDS_US, LINE_BYTES, DeathCause, Scoreboard, Word, create

APP = """
    import time
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/sleep":
            time.sleep(30)
        start_response("200 OK", [])
        return [b"x" * 10]
"""


def serve(start: Start, *options: str, workers: int = 1) -> Server:
    return start("--socket", "app.sock", "--workers", str(workers), *options, "app:application", app=APP).wait_ready(
        workers
    )


def ask(server: Server, path: str = "app.ctl", **request: Any) -> Any:
    answer = client.exchange(server.directory / path, json.dumps(request).encode() + b"\n")
    return json.loads(answer)


def test_the_control_socket_lies_beside_the_first_socket_and_is_the_owners_alone(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    assert (tmp_path / "app.ctl").stat().st_mode & 0o777 == 0o600
    assert ask(server, command="reload") == {"ok": True, "generation": 1}
    server.wait_for("wsgidctl: reloading the application")
    server.wait_for(r"worker \d+ \(generation 1, pid \d+\) is ready")
    assert ask(server, command="stop") == {"ok": True}
    assert server.wait() == 0
    server.assert_nothing_left()


def test_the_control_socket_can_be_elsewhere_or_not_at_all(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--control", "other.sock")
    assert ask(server, "other.sock", command="settings")["settings"]["workers"] == 1
    assert not (tmp_path / "app.ctl").exists()
    assert server.stop() == 0
    server = serve(start, "--control", "off")
    assert [path.name for path in tmp_path.iterdir() if path.is_socket()] == ["app.sock"]


def test_a_server_serves_also_without_its_control_socket(start: Start) -> None:
    server = serve(start, "--control", "no/such/directory.ctl")
    server.wait_for(r"--control: cannot listen on \S+directory.ctl: .*create the directory first")
    assert client.get(server.directory / "app.sock").status == 200


def test_a_worker_answers_the_question_for_its_requests(start: Start) -> None:
    server = serve(start)
    with client.connect(server.directory / "app.sock") as slow:
        slow.sendall(client.packet("/sleep"))
        eventually(lambda: ask(server, command="requests", worker=0)["requests"], "the request runs")
        found = ask(server, command="requests", worker=0)["requests"]
        assert [(request["method"], request["path"], request["peer"]) for request in found] == [
            ("GET", "/sleep", "127.0.0.1")
        ]
    assert ask(server, command="requests", worker=7) == {"ok": False, "error": "there is no worker 7"}


def test_a_wrong_question_gets_an_error(start: Start) -> None:
    server = serve(start)
    control = server.directory / "app.ctl"
    assert json.loads(client.exchange(control, b"hello\n")) == {"ok": False, "error": "the request is no JSON"}
    for request in (b"[]\n", b'{"command": []}\n', b'{"command": "fly"}\n'):
        said = json.loads(client.exchange(control, request))
        assert said["ok"] is False


def test_silent_endless_and_too_many_clients_hold_up_no_other_client(start: Start) -> None:
    server = serve(start)
    control = server.directory / "app.ctl"
    silent = [client.connect(control) for _ in range(admin.QUESTIONS_MAX)]
    eventually(lambda: server_connections(server) >= admin.QUESTIONS_MAX, "all silent clients are accepted")
    # a client that sends a request takes the place of the oldest silent client
    assert ask(server, command="settings")["ok"]
    assert closed(silent[0])
    assert client.get(server.directory / "app.sock").status == 200
    for connection in silent:
        connection.close()
    eventually(lambda: server_connections(server) == 0, "the silent clients are gone")
    with client.connect(control) as endless:
        try:
            endless.sendall(b"x" * (admin.REQUEST_MAX_BYTES + 100_000))
        except OSError:
            pass
        assert closed(endless)
    assert ask(server, command="reload") == {"ok": True, "generation": 1}


def test_each_endpoint_has_places_of_its_own(start: Start) -> None:
    """An endpoint may be open to a network. Silent clients there do not keep an operator from the control socket."""
    server = serve(start, "--metrics", "metrics.sock")
    silent = []
    for _ in range(2 * admin.QUESTIONS_MAX):
        silent.append(client.connect(server.directory / "metrics.sock"))
        assert client.exchange(server.directory / "metrics.sock", b"GET /healthz HTTP/1.0\r\n\r\n")
    assert ask(server, command="settings")["ok"]
    for connection in silent:
        connection.close()


def server_connections(server: Server) -> int:
    """How many connections the master has on its control socket: the sockets of that name, without the listener."""
    return unix_sockets(server.pid, server.directory / "app.ctl") - 1


def closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_the_counts_of_dead_workers_are_kept() -> None:
    fds = create("live"), create("past")
    board = Scoreboard(*fds)
    for fd in fds:
        os.close(fd)
    line = board.line(3)
    line[Word.REQUESTS], line[Word.IN_FLIGHT], line[Word.DURATIONS + 14], line[Word.HEARTBEAT_NS] = 5, 2, 4, 99
    board.clear(3)
    line[Word.REQUESTS] = 1
    board.note_death(3, DeathCause.CRASH)
    assert board.total(3, Word.REQUESTS) == 6 and board.total(3, Word.DURATIONS + 14) == 4
    assert line[Word.IN_FLIGHT] == line[Word.HEARTBEAT_NS] == 0
    assert board.deaths(3)[DeathCause.CRASH] == 1 and sum(board.deaths(3).values()) == 1
    assert board.total(2, Word.REQUESTS) == board.total(4, Word.REQUESTS) == 0


def test_the_words_do_not_overlap_and_fit_a_line() -> None:
    assert Word.STATUS_1XX + 5 == Word.DURATIONS
    assert Word.DURATIONS + len(DURATION_BOUNDS_US) + 1 == Word.HUB_LATE_US
    assert Word.COLLECTOR_US + 1 == Word.SPAWNS == COUNTERS.stop
    assert Word.DEATHS + len(DeathCause) <= Word.HELD_US and max(Word) < LINE_BYTES // 8


def test_a_killed_worker_is_counted_by_cause(start: Start) -> None:
    server = serve(start)
    for _ in range(3):
        client.get(server.directory / "app.sock")
    [pid] = server.worker_pids()
    os.kill(pid, Signals.SIGKILL)
    server.wait_ready(2)
    client.get(server.directory / "app.sock")
    board = scoreboard_of(server.pid)
    assert board.total(0, Word.REQUESTS) == 4 and board.line(0)[Word.REQUESTS] == 1
    assert board.total(0, Word.SENT_BYTES) == 40 and board.total(0, Word.STATUS_1XX + 1) == 4
    assert board.past(0)[Word.SPAWNS] == 2 and board.deaths(0)[DeathCause.CRASH] == 1
