"""wsgidctl stacks: where each request, greenlet and thread is, also in a worker that does not answer."""

import faulthandler
import os
import re
import socket
import sys
import time
from pathlib import Path
from signal import Signals

import psutil
import pytest
from greenlet import greenlet

from tests.conftest import Start
from tests.support import client
from tests.support.busy_site import send
from tests.support.ctl import refusal, said, wsgidctl
from tests.support.processes import open_files
from tests.support.server import Server, eventually
from wsgid.config.options import Settings
from wsgid.ctl.commands.stacks import ALL_THERE_IS
from wsgid.errors import RequestTimeout
from wsgid.ipc import stackdump
from wsgid.ipc.scoreboard import Word
from wsgid.serving.timeouts import Timeouts

APP = """
    import ctypes, os, threading, time
    import gevent
    from gevent import monkey

    # A lock that this thread has already: code in C that never returns, keeps Python's lock, and takes no processor.
    mutex, lock = ctypes.create_string_buffer(64), ctypes.PyDLL(None).pthread_mutex_lock

    def wait_for_ever():
        gevent.sleep(1000)

    def wait_in_a_thread():
        monkey.get_original("time", "sleep")(1000)

    class Lazy:
        @property
        def __class__(self):
            raise RuntimeError("an object that must not be asked")

    kept = []

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/sleep":
            time.sleep(1000)
        elif path == "/spawn":
            kept.append(Lazy())
            for _ in range(3):
                gevent.spawn(wait_for_ever)
            gevent.get_hub().threadpool.spawn(wait_in_a_thread)
        elif path == "/spin":
            until = time.monotonic() + float(environ["QUERY_STRING"])
            while time.monotonic() < until:
                pass
        elif path == "/gate":
            while not os.path.exists("gate"):
                pass
        elif path == "/stuck":
            lock(mutex), lock(mutex)
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]
"""


def serve(start: Start, *options: str, workers: int = 1) -> Server:
    """A server. What holds its event loop is not ended, however long a test takes on a busy machine."""
    always = ("--socket", "app.sock", "--workers", str(workers), "--hub-timeout", "600")
    return start(*always, *options, "app:application", app=APP).wait_ready(workers)


def kinds(worker: dict[str, object], kind: str) -> list[dict[str, object]]:
    return [stack for stack in worker["stacks"] if stack["kind"] == kind]  # type: ignore[attr-defined]


def test_requests_greenlets_and_threads_are_shown_and_the_idle_are_counted(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    client.get(tmp_path / "app.sock", "/spawn")
    with send(server, "/sleep"), send(server, "/sleep"):
        eventually(lambda: said(tmp_path, "requests")["total"] == 2, "the requests run")
        [worker] = said(tmp_path, "stacks")["workers"]
        shown = wsgidctl(tmp_path, "stacks").stdout
    [sleeping] = kinds(worker, "request")
    assert sleeping["count"] == 2 and [named["path"] for named in sleeping["named"]] == ["/sleep"] * 2  # type: ignore
    assert any(frame["function"] == "application" and "time.sleep" in frame["source"] for frame in sleeping["frames"])  # type: ignore[attr-defined]
    [spawned] = kinds(worker, "greenlet")
    assert spawned["count"] == 3 and "wait_for_ever" in str(spawned["named"])
    assert any("wait_in_a_thread" in str(stack["frames"]) for stack in kinds(worker, "thread"))
    assert re.match(r"worker 0: 2 requests in the application, \d+ greenlets? idle", shown)
    assert re.search(r"2 x request:\n    \d+\.\ds  GET /sleep  127.0.0.1\n    \d+\.\ds  GET /sleep  127.0.0.1\n", shown)
    assert re.search(rf'File "{tmp_path}/app.py", line \d+, in application\n +time.sleep\(1000\)', shown)
    assert "an object that must not be asked" not in server.log


def test_every_worker_answers_or_only_the_worker_that_is_named(start: Start, tmp_path: Path) -> None:
    serve(start, workers=3)
    assert [worker["worker"] for worker in said(tmp_path, "stacks")["workers"]] == [0, 1, 2]
    assert [worker["worker"] for worker in said(tmp_path, "stacks", "--worker", "1")["workers"]] == [1]
    assert "there is no worker 3" in refusal(tmp_path, "stacks", "--worker", "3")


def test_an_event_loop_that_is_held_up_in_python_shows_its_holder(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--hub-warn", "300")  # so that only the question interrupts
    before = server.worker_pids()
    with send(server, "/spin", "600"):
        eventually(lambda: said(tmp_path, "status")["workers"][0]["heartbeat_age_s"] > 1, "the event loop is held up")
        found = said(tmp_path, "stacks")
        assert not found["silent"]
        [holder] = kinds(found["workers"][0], "holder")
        assert holder["named"][0]["path"] == "/spin"  # type: ignore[index]
        assert holder["frames"][-1]["function"] == "application"  # type: ignore[index]
        shown = wsgidctl(tmp_path, "stacks").stdout
        assert re.search(r"holds the event loop:\n    \d+\.\ds  GET /spin  127.0.0.1\n", shown)
        [request] = said(tmp_path, "requests")["requests"]
        assert request["path"] == "/spin"
    assert "held up" not in server.log and server.worker_pids() == before


def test_orders_that_come_while_the_loop_is_held_up_are_followed_afterwards(start: Start, tmp_path: Path) -> None:
    """The signal handler reads the orders together with the questions."""
    server = serve(start)
    with send(server, "/gate") as spinning:
        eventually(lambda: said(tmp_path, "status")["workers"][0]["heartbeat_age_s"] > 1, "the event loop is held up")
        assert wsgidctl(tmp_path, "reload").returncode == 0  # the old worker has its order to drain now
        assert said(tmp_path, "stacks", "--worker", "0")["workers"][0]["worker"] == 0
        (tmp_path / "gate").touch()
        assert client.parse(client.read_all(spinning)).status == 200
    server.wait_for(r"worker 0 \(generation 0, pid \d+\) exited with code 0")


def test_a_held_up_loop_is_ended_after_its_time_out_also_while_questions_come(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--hub-timeout", "3")
    with send(server, "/spin", "600") as spinning:
        for _ in range(3):
            wsgidctl(tmp_path, "stacks")
        assert client.parse(client.read_all(spinning)).status == 504
    server.wait_for(r"held up for ([3-9]|\d\d)\.\d s by GET /spin")


def test_a_question_at_the_moment_of_a_time_out_does_not_prevent_the_time_out() -> None:
    """Signals of the same number coalesce: one handler answers the question, and also ends the code that holds the
    hub."""
    line = memoryview(bytearray(8 * 64)).cast("Q")
    line[Word.HEARTBEAT_NS] = time.monotonic_ns() - 5_000_000_000
    asked: list[object] = []

    def answer(frame: object) -> bool:
        asked.append(frame)
        return True

    timeouts = Timeouts(Settings(hub_timeout=3.0), object(), line, answer)
    timeouts._spared = (object(), greenlet())  # this greenlet is no event loop
    with pytest.raises(RequestTimeout):
        timeouts.on_stall(0, None)
    assert asked == [None] and line[Word.TIMED_OUT] == 1


def test_a_worker_that_is_stuck_in_c_shows_what_faulthandler_can(start: Start, tmp_path: Path) -> None:
    server = serve(start, workers=2)
    with send(server, "/stuck"):
        eventually(
            lambda: max(worker["heartbeat_age_s"] for worker in said(tmp_path, "status")["workers"]) > 1.5, "stuck"
        )
        for _ in range(2):  # it works a second time, too
            done = wsgidctl(tmp_path, "stacks")
            assert done.returncode == 0
            assert re.search(
                r"^worker [01] does not answer: its event loop has not run for \d+\.\d s\n"
                rf"  {re.escape(ALL_THERE_IS)}\n",
                done.stdout,
                re.MULTILINE,
            )
            assert done.stdout.count("(most recent call first)") == 1
            assert re.search(rf'File "{tmp_path}/app.py", line \d+ in application', done.stdout)
            assert re.search(r"^worker [01]: 0 requests", done.stdout, re.MULTILINE)
        [silent] = said(tmp_path, "stacks")["silent"]
        assert "in application" in silent["text"]
        assert "does not answer" in wsgidctl(tmp_path, "requests").stderr
        assert "has not run for" in wsgidctl(tmp_path, "status").stdout
        found = said(tmp_path, "memory", "--worker", str(silent["worker"]), code=1)
        assert "its event loop has not run for" in found["silent"][str(silent["worker"])]
        assert all(process["parts"] for process in found["processes"])
    assert wsgidctl(tmp_path, "stop", "--now").returncode == 0
    server.assert_nothing_left()


def test_all_workers_stuck_and_the_master_still_answers_and_reloads(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    with send(server, "/stuck"):
        eventually(lambda: said(tmp_path, "status")["workers"][0]["heartbeat_age_s"] > 1.5, "stuck")
        assert wsgidctl(tmp_path, "reload").returncode == 0
        assert client.get(tmp_path / "app.sock").status == 200
        assert "1 x" not in wsgidctl(tmp_path, "stacks").stdout
    server.send_signal(Signals.SIGQUIT)
    assert server.wait() == 0


def test_questions_to_a_stuck_worker_leave_room_for_orders(start: Start, tmp_path: Path) -> None:
    """Questions wait in the worker's channel, with a descriptor each: the master stops passing them on."""
    server = serve(start)
    control = tmp_path / "app.ctl"
    with send(server, "/stuck"):
        eventually(lambda: said(tmp_path, "status")["workers"][0]["heartbeat_age_s"] > 1.5, "stuck")
        asked = b'{"command": "requests", "worker": 0}\n'
        refused = b""
        waiting: list[socket.socket] = []
        while not refused:
            assert len(waiting) < 1000
            connected = client.connect(control)
            connected.sendall(asked)
            connected.settimeout(0.05)
            try:
                refused = connected.recv(1000)
                connected.close()
            except TimeoutError:
                waiting.append(connected)
        assert b"takes no question: it leaves, or is stuck" in refused
        assert len(waiting) < 100  # the kernel would accept some hundreds, and then no more orders
        for connection in waiting:
            connection.close()
        assert said(tmp_path, "status")["ready"] == 1
    server.send_signal(Signals.SIGQUIT)
    assert server.wait() == 0


def test_after_an_upgrade_in_place_a_worker_of_the_old_image_shows_its_stack(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    [old] = server.worker_pids()
    with send(server, "/stuck"):
        eventually(lambda: said(tmp_path, "status")["workers"][0]["heartbeat_age_s"] > 1.5, "stuck")
        server.send_signal(Signals.SIGUSR2)
        server.wait_for("wsgid starts anew")
        server.wait_for(r"worker \d \(generation 1, pid \d+\) is ready")
        found = said(tmp_path, "stacks", "--worker", "0")
        assert "in application" in found["silent"][0]["text"]
        assert psutil.pid_exists(old)
    server.send_signal(Signals.SIGQUIT)
    assert server.wait() == 0


def test_the_master_keeps_no_descriptor_of_dead_workers(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    before = psutil.Process(server.pid).num_fds()
    for number in range(1, 4):
        assert said(tmp_path, "reload")["generation"] == number
    eventually(lambda: len(server.worker_pids()) == 1, "the old workers have left")
    eventually(
        lambda: sum("wsgid-dump" in path for path in open_files(server.pid).values()) == 1, "the old ones are reaped"
    )
    eventually(lambda: psutil.Process(server.pid).num_fds() <= before + 2, "channels are closed")


@pytest.mark.parametrize("times", [1, 2])
def test_a_dump_is_of_one_moment(times: int) -> None:
    """The process is a child, which has inherited the memfd and the handler."""
    fd = stackdump.prepare()
    outermost = sys._getframe()
    while outermost.f_back:
        outermost = outermost.f_back
    last = f"line {outermost.f_lineno} in {outermost.f_code.co_name}\n"  # a dump that is whole ends so
    pid = os.fork()
    if pid == 0:
        while True:
            time.sleep(60)
    try:
        for _ in range(times):
            stackdump.request(pid, fd)
            eventually(lambda: stackdump.read(fd).endswith(last), "the dump is there")
            assert "test_a_dump_is_of_one_moment" in stackdump.read(fd)
        assert stackdump.read(fd).count("Current thread") == 1
        assert "\0" not in stackdump.read(fd)
    finally:
        os.kill(pid, Signals.SIGKILL)
        os.waitpid(pid, 0)
        faulthandler.unregister(stackdump.SIGNAL)
        os.close(fd)


def test_only_a_memfd_is_read_as_a_dump() -> None:
    """If a FIFO were read there, the reader would wait for ever."""
    read_fd, write_fd = os.pipe()
    memfd = os.memfd_create("any")
    assert stackdump.is_memfd(memfd) and not stackdump.is_memfd(read_fd) and not stackdump.is_memfd(write_fd)
    for fd in (read_fd, write_fd, memfd):
        os.close(fd)
