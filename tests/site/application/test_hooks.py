"""wsgid.hooks with real workers: what runs at their start and end, and what runs again and again."""

import itertools
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from signal import Signals

import psutil
import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually

HELPERS = """
    import gevent, os, signal, time
    from gevent import monkey
    from wsgid import hooks

    def note(text):
        with open("notes", "a") as notes:  # a short line is written at once (O_APPEND)
            notes.write(f"{text}\\n")
"""
APP = """
    @hooks.on_worker_start
    def connect():
        gevent.sleep(0.01)  # the event loop runs
        note(f"start {hooks.worker_number()} {os.getpid()}")

    @hooks.on_worker_stop
    def flush():
        note(f"stop {hooks.worker_number()} {os.getpid()}")

    note(f"import {hooks.worker_number()}")

    def application(environ, start_response):
        start_response("200 OK", [])
        return [f"{environ['wsgid.worker']} {hooks.worker_number()} {hooks.worker_slot()}".encode()]
"""
PLAIN = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"done"]
"""


def notes(server: Server, pattern: str) -> list[re.Match[str]]:
    path = server.directory / "notes"
    lines = path.read_text().splitlines() if path.exists() else []
    return [match for line in lines if (match := re.fullmatch(pattern, line))]


def wait_notes(server: Server, pattern: str, count: int) -> list[re.Match[str]]:
    def found() -> list[re.Match[str]]:
        matches = notes(server, pattern)
        return matches if len(matches) >= count else []

    return eventually(found, f"{count} x {pattern} in the notes")


def serve(start: Start, app: str, *options: str, workers: int = 1) -> Server:
    arguments = ["--socket", "app.sock", "--workers", str(workers), *options, "app:application"]
    return start(*arguments, app=textwrap.dedent(HELPERS) + textwrap.dedent(app)).wait_ready(workers)


def test_each_worker_has_its_number_and_runs_its_hooks_once(start: Start, tmp_path: Path) -> None:
    """The number stays when a worker dies and at a reload. A module of --import has hooks, too."""
    (tmp_path / "more.py").write_text(textwrap.dedent(HELPERS) + "hooks.on_worker_start(lambda: note('more'))\n")
    server = serve(start, APP, "--import", "more", workers=2)
    assert [match[0] for match in notes(server, "import .*")] == ["import -1"]
    assert sorted(match[1] for match in notes(server, r"start (\d) \d+")) == ["0", "1"]
    assert len(notes(server, "more")) == 2
    number, again, slot = client.get(tmp_path / "app.sock").body.decode().split()
    assert number == again and {number, slot} <= {"0", "1"}

    [victim] = notes(server, r"start 1 (\d+)")
    os.kill(int(victim[1]), Signals.SIGKILL)
    wait_notes(server, r"start 1 \d+", 2)
    server.wait_ready(3)
    server.send_signal(Signals.SIGHUP)
    server.wait_generation(1, 2)
    assert [len(notes(server, rf"start {number} \d+")) for number in (0, 1)] == [2, 3]
    assert server.stop() == 0
    # Each worker except the one that was killed: once.
    started, stopped = ([match[1] for match in notes(server, rf"{what} \d (\d+)")] for what in ("start", "stop"))
    assert sorted([*stopped, victim[1]]) == sorted(started) and len(set(started)) == 5
    assert len(notes(server, "more")) == 5
    server.assert_nothing_left()


def test_a_start_hook_that_fails_is_a_failed_boot(start: Start, tmp_path: Path) -> None:
    server = serve(start, PLAIN)
    bad = '\n@hooks.on_worker_start\ndef connect():\n    raise LookupError("no database")\n'
    with (tmp_path / "app.py").open("a") as source:
        source.write(bad)
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"the hook app.connect \(on_worker_start\) has failed: LookupError: no database")
    server.wait_for(r'app.py", line \d+, in connect')
    assert client.get(tmp_path / "app.sock").body == b"done"  # the old worker serves
    assert server.stop() == 0
    again = start("--socket", "app.sock", "app:application")
    assert again.wait() == 3
    again.wait_for("LookupError: no database")
    again.assert_nothing_left()


@pytest.mark.parametrize("how", ["time.sleep(60)", "monkey.get_original('time', 'sleep')(60)"], ids=["waits", "holds"])
def test_a_start_hook_that_takes_too_long_is_named_with_its_stack(start: Start, how: str) -> None:
    """By SIGXCPU, the signal of the master after --boot-timeout: a short time may be over before the hook begins."""
    lines = ("@hooks.on_worker_start", "def connect():", "    note(f'begun {os.getpid()}')", f"    {how}\n")
    app = PLAIN + "\n    " + "\n    ".join(lines)
    server = start("--socket", "app.sock", "app:application", app=HELPERS + app)
    [begun] = wait_notes(server, r"begun (\d+)", 1)
    # Between its last statement and the wait in the hub, a signal is noticed after the wait only.
    eventually(lambda: psutil.Process(int(begun[1])).status() == psutil.STATUS_SLEEPING, "the hook takes its time")
    os.kill(int(begun[1]), Signals.SIGXCPU)
    assert server.wait() == 3
    server.wait_for(r"the hook app.connect \(on_worker_start\) takes longer than 60 s \(--boot-timeout\); the stack:")
    server.wait_for(r'app.py", line \d+, in connect')
    server.assert_nothing_left()


def test_a_stop_waits_for_no_start_hook(start: Start) -> None:
    app = f"{PLAIN}\n    @hooks.on_worker_start\n    def connect():\n        note('begun'); time.sleep(60)\n"
    server = start("--socket", "app.sock", "app:application", app=HELPERS + app)
    wait_notes(server, "begun", 1)
    assert server.stop() == 0
    server.assert_nothing_left()


STOPS = """
    @hooks.on_worker_stop
    def last():
        note("last")

    @hooks.on_worker_stop
    def broken():
        raise LookupError("no such queue")

    @hooks.on_worker_stop
    def first():
        time.sleep(0.01)
        note("first")

    def application(environ, start_response):
        note("request")
        while environ["PATH_INFO"] == "/wait" and not os.path.exists("go"):
            time.sleep(0.005)
        note("answered")
        start_response("200 OK", [])
        return [b"done"]
"""


def test_stop_hooks_run_after_the_last_request_in_the_opposite_order(start: Start, tmp_path: Path) -> None:
    server = serve(start, STOPS)
    with client.connect(tmp_path / "app.sock") as asking:
        asking.sendall(client.packet("/wait"))
        wait_notes(server, "request", 1)
        server.send_signal(Signals.SIGTERM)
        server.wait_for("SIGTERM: wsgid stops")
        (tmp_path / "go").touch()
        assert server.wait() == 0
    assert [match[0] for match in notes(server, ".*")] == ["request", "answered", "first", "last"]
    server.wait_for(r"the hook app.broken \(on_worker_stop\) has failed")
    server.wait_for("LookupError: no such queue")


def test_a_stop_hook_has_the_rest_of_the_mercy_time(start: Start) -> None:
    app = (
        PLAIN
        + """
    @hooks.on_worker_stop
    def last():
        note("last")

    @hooks.on_worker_stop
    def hangs():
        time.sleep(60)
    """
    )
    server = serve(start, app, "--worker-reload-mercy", "1.5")
    assert server.stop() == 0
    server.wait_for(r"the hook app.hangs \(on_worker_stop\) has not ended within the mercy time, and is cut; the stack")
    server.wait_for(r'app.py", line \d+, in hangs')
    server.wait_for(r"no time was left for the hook app.last \(on_worker_stop\)")
    assert not notes(server, "last")
    assert "wsgid itself" not in server.log
    server.assert_nothing_left()


def test_timers_run_in_each_worker_and_an_exception_stops_nothing(start: Start) -> None:
    app = (
        PLAIN
        + """
    @hooks.every(0.02)
    def refresh():
        note(f"refresh {hooks.worker_number()}")
        raise LookupError("stale")

    @hooks.every(0.05)
    def slow():
        gevent.sleep(0.2)

    @hooks.every(0.02)
    def leave():
        raise SystemExit(1)
    """
    )
    server = serve(start, app, workers=2)
    for number in (0, 1):
        wait_notes(server, f"refresh {number}", 3)
    server.wait_for(r"the hook app.refresh \(every\) has failed")
    server.wait_for(r"the hook app.leave \(every\) has failed", 3)
    server.wait_for(r"every\(0.05\): app.slow missed \d+ beats?: a call took \d+\.\d s")
    assert server.stop() == 0
    server.assert_nothing_left()


ONE = (
    PLAIN
    + """
    @hooks.every(0.05, in_one_worker=True)
    def expire():
        note(f"begin {os.getpid()} {time.monotonic()}")
        if os.path.exists("hold"):
            os.rename("hold", "held")
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.01)
        note(f"end {os.getpid()} {time.monotonic()}")
    """
)


def assert_never_two_at_once(server: Server) -> None:
    """A call that was killed has no end."""
    spans = []
    for begin in notes(server, r"begin (\d+) ([\d.]+)"):
        ends = [float(end[2]) for end in notes(server, r"end (\d+) ([\d.]+)") if end[1] == begin[1]]
        spans.append((float(begin[2]), min((end for end in ends if end > float(begin[2])), default=float(begin[2]))))
    spans.sort()
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans)), spans


def test_a_timer_in_one_worker_moves_when_its_worker_dies_leaves_or_hangs(start: Start, tmp_path: Path) -> None:
    server = serve(start, ONE, "--hub-timeout", "1", workers=3)
    first = wait_notes(server, r"begin (\d+) .*", 3)
    assert len({match[1] for match in first}) == 1
    leader = first[0][1]

    def moved(since: str) -> str:
        return eventually(
            lambda: next((match[1] for match in notes(server, r"end (\d+) .*")[-2:] if match[1] != since), ""),
            "another worker leads",
        )

    os.kill(int(leader), Signals.SIGKILL)
    second = moved(leader)
    server.wait_ready(4)
    server.send_signal(Signals.SIGHUP)
    server.wait_generation(1, 3)
    third = moved(second)
    eventually(lambda: len(server.worker_pids()) == 3, "the old workers have left")
    (tmp_path / "hold").touch()
    eventually((tmp_path / "held").exists, "the leader hangs")
    hung = notes(server, r"begin (\d+) .*")[-1][1]
    moved(hung)
    server.wait_for(rf"every\(0.05\): app.expire missed 1 beat: process {hung} has not ended its call")
    assert third in {match[1] for match in notes(server, r"end (\d+) .*")}
    assert server.stop() == 0
    assert_never_two_at_once(server)
    server.assert_nothing_left()


def test_hooks_that_a_request_registers_run_at_once(start: Start, tmp_path: Path) -> None:
    """Django imports the views with the first request."""
    app = """
    def application(environ, start_response):
        hooks.on_worker_start(connect)
        hooks.every(0.02)(refresh)
        start_response("200 OK", [])
        return [b"done"]

    def connect():
        note("connect")
        raise LookupError("late")

    def refresh():
        note("refresh")
    """
    server = serve(start, app)
    for _ in range(2):
        assert client.get(tmp_path / "app.sock").body == b"done"
    wait_notes(server, "refresh", 3)
    assert len(notes(server, "connect")) == 1
    server.wait_for(r"the hook app.connect \(on_worker_start\) was registered after the worker had started")
    server.wait_for(r"the hook app.connect \(on_worker_start\) has failed")
    assert server.stop() == 0


def test_a_child_of_the_application_runs_no_hooks(start: Start) -> None:
    app = (
        PLAIN
        + """
    @hooks.every(0.02)
    def refresh():
        note(f"refresh {os.getpid()}")

    @hooks.on_worker_stop
    def stop():
        note(f"stop {os.getpid()}")

    @hooks.every(0.02)
    def fork():
        if not os.path.exists("forked"):
            open("forked", "w").close()
            if os.fork() == 0:
                hooks.on_worker_start(lambda: note("late"))  # this process is no worker
                hooks.every(0.01)(lambda: note("late"))
                time.sleep(0.2)
                note(f"child {os.getpid()} {hooks.worker_number()}")
    """
    )
    server = serve(start, app)
    [child] = wait_notes(server, r"child (\d+) 0", 1)
    wait_notes(server, r"refresh \d+", 3)
    assert server.stop() == 0
    assert child[1] not in {match[1] for match in notes(server, r"(?:refresh|stop) (\d+)")}
    assert len(notes(server, r"stop \d+")) == 1 and not notes(server, "late")
    server.assert_nothing_left()


def test_in_another_program_nothing_is_called_and_a_note_says_so(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(HELPERS + APP))
    code = """
import logging; logging.basicConfig(level="INFO", format="%(name)s %(message)s")
import app, sys, wsgid
assert (app.hooks.worker_number(), app.hooks.worker_slot()) == (-1, -1) and app.connect.__name__ == "connect"
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "wsgid.hooks no worker of wsgid runs in this process: the hooks of wsgid.hooks are not called, "
        "such as app.connect\n"
    )
    assert (tmp_path / "notes").read_text() == "import -1\n"


METRICS = """
    from prometheus_client import CollectorRegistry, Counter, generate_latest, multiprocess, values
    from wsgid import hooks

    values.ValueClass = values.MultiProcessValue(process_identifier=hooks.worker_slot)
    HITS = Counter("hits", "Requests.")

    def application(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/metrics":
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
            return [generate_latest(registry)]
        HITS.inc()
        return [b"fine"]
"""


def test_the_files_of_prometheus_client_have_the_numbers_of_slots_and_count_over_workers_and_reloads(
    start: Start, tmp_path: Path
) -> None:
    """As docs/hooks.md has it, with the real package: a worker that comes later goes on with the file of its slot."""
    place = tmp_path / "metrics"
    place.mkdir()
    server = start(
        "--socket", "a.sock", "--workers", "2", "app", app=METRICS, environ={"PROMETHEUS_MULTIPROC_DIR": str(place)}
    ).wait_ready(2)

    def ask(path: str) -> str:
        return client.get(tmp_path / "a.sock", path).body.decode()

    for _ in range(20):
        ask("/")
    for generation in range(2):
        server.send_signal(Signals.SIGHUP)
        server.wait_for(rf"worker \d+ \(generation {generation}, .* exited with code 0", 2)
    for _ in range(5):
        ask("/")
    assert "hits_total 25.0" in ask("/metrics")
    names = {path.name for path in place.iterdir()}
    assert names <= {f"counter_{slot}.db" for slot in range(-1, 4)} and len(names) <= 5
    assert server.stop() == 0
    server.assert_nothing_left()
