"""wsgid.offload in a worker: which requests wait, what the function gets, and what a caller that gives up leaves
behind.

Offloaded functions wait in C: they open a FIFO that has no writer (fifo(7)), until the test opens the FIFO.
"""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.ctl import said, wsgidctl
from tests.support.server import Server, eventually
from tools.databases import Postgres

APP = """
    import contextvars, os, posix, threading, time
    import gevent
    from gevent import monkey
    import wsgid

    number = contextvars.ContextVar("number", default=0)
    local = threading.local()
    begun = []

    def wait(name):
        begun.append(name)
        os.close(os.open("gate", os.O_RDONLY))
        return name

    two = wsgid.offload(wait, threads=2)
    one = wsgid.offload(wait, threads=1)
    short = wsgid.offload(threads=1, timeout_s=0.5)(wait)

    @wsgid.offload(threads=1)
    def fail(text):
        raise ValueError(text)

    @wsgid.offload
    def see(change):
        before = number.get()
        number.set(change)
        return before

    @wsgid.offload(threads=1)
    def nested(depth):
        return 1 + nested(depth - 1) if depth else 0

    @wsgid.offload(threads=1)
    def other_pool():
        return ident() == offloaded_ident()

    ident = monkey.get_original("_thread", "get_ident")
    offloaded_ident = wsgid.offload(ident, threads=3)
    at_import = offloaded_ident() == ident()

    @wsgid.offload(threads=4)
    def ask(sql):
        import psycopg2.extensions
        if not hasattr(local, "connection"):
            psycopg2.extensions.set_wait_callback(None)  # it waits in C
            local.connection = psycopg2.connect(host=os.environ["POSTGRES"], user="postgres")
        cursor = local.connection.cursor()
        cursor.execute(sql)
        return cursor.fetchone()

    def in_a_child():
        pid = posix.fork()
        if pid == 0:
            gevent.sleep(0)
            with open("child", "w") as file:
                file.write(str(offloaded_ident() != ident()))
            os._exit(0)
        posix.waitpid(pid, 0)
        return open("child").read()

    def timed_out(call):
        try:
            call("late")
        except TimeoutError as error:
            return f"{type(error).__name__} {isinstance(error, Exception)} {error}"

    def change_and_see():
        number.set(7)
        return see(8), number.get()

    def in_the_hub():
        found = gevent.event.AsyncResult()
        gevent.get_hub().loop.run_callback(lambda: found.set(offloaded_ident() == ident()))
        return found.get()

    VIEWS = {
        "/two": lambda: two("two"),
        "/one": lambda: one("one"),
        "/short": lambda: timed_out(short),
        "/begun": lambda: begun,
        "/fail": lambda: fail("a failure of the application"),
        "/context": change_and_see,
        "/nested": lambda: nested(5),
        "/other-pool": other_pool,
        "/import": lambda: (at_import, offloaded_ident() != ident()),
        "/fork": in_a_child,
        "/hub": in_the_hub,
        "/sql": lambda: ask("SELECT pg_backend_pid(), pg_sleep(0.01)")[0],
        "/x": lambda: "x",
    }

    def application(environ, start_response):
        if environ["QUERY_STRING"]:
            environ["wsgid.harakiri"](float(environ["QUERY_STRING"]))
        body = VIEWS[environ["PATH_INFO"]]()
        start_response("200 OK", [])
        return [str(body).encode()]
"""


def serve(start: Start, tmp_path: Path, *options: str, **more: Any) -> Server:
    os.mkfifo(tmp_path / "gate")
    return start("--socket", "app.sock", *options, "app:application", app=APP, **more).wait_ready(1)


@contextmanager
def gate_open(directory: Path) -> Iterator[None]:
    """Within this, calls at the gate do not wait. At least one call has to wait when this begins."""
    fd = os.open(directory / "gate", os.O_WRONLY)
    try:
        yield
    finally:
        os.close(fd)


def send(directory: Path, path: str, harakiri_s: str = "") -> socket.socket:
    """Send a request, and do not wait for its answer."""
    connected = client.connect(directory / "app.sock")
    connected.sendall(client.packet(path, QUERY_STRING=harakiri_s))
    return connected


def get(directory: Path, path: str) -> str:
    answer = client.get(directory / "app.sock", path)
    assert answer.status == 200, answer.body
    return answer.body.decode()


def load(directory: Path) -> tuple[int, int]:
    """How many calls run, and how many wait. A worker says so ten times a second."""
    [worker] = [worker for worker in said(directory, "status")["workers"] if worker["state"] == "ready"]
    return worker["offload_running"], worker["offload_waiting"]


def totals(directory: Path) -> tuple[int, int]:
    """How many calls there were, and how many callers gave up."""
    found = said(directory, "status")["totals"]
    return found["offloaded"], found["offload_given_up"]


def test_callers_wait_in_the_event_loop_and_no_more_calls_run_than_there_are_threads(
    start: Start, tmp_path: Path
) -> None:
    serve(start, tmp_path)
    with ExitStack() as stack:
        waiting = [stack.enter_context(send(tmp_path, "/two")) for _ in range(5)]
        eventually(lambda: load(tmp_path) == (2, 3), "two run, three wait")
        assert get(tmp_path, "/x") == "x"  # no other request waits
        assert get(tmp_path, "/begun") == "['two', 'two']"
        with gate_open(tmp_path):
            assert [client.parse(client.read_all(each)).body for each in waiting] == [b"two"] * 5
    eventually(lambda: load(tmp_path) == (0, 0), "nothing runs any more")
    assert totals(tmp_path) == (5, 0)


def test_each_function_has_threads_of_its_own(start: Start, tmp_path: Path) -> None:
    serve(start, tmp_path)
    with send(tmp_path, "/one") as first, send(tmp_path, "/two") as second:
        eventually(lambda: load(tmp_path) == (2, 0), "a call of each function runs")
        with gate_open(tmp_path):
            assert client.parse(client.read_all(first)).body + client.parse(client.read_all(second)).body == b"onetwo"


def test_an_exception_reaches_the_caller_with_its_traceback_and_is_logged_once(start: Start, tmp_path: Path) -> None:
    server = serve(start, tmp_path)
    assert client.get(tmp_path / "app.sock", "/fail").status == 500
    server.wait_for("ValueError: a failure of the application")
    assert server.log.count("ValueError: a failure of the application") == 1
    assert "in fail" in server.log and "raise ValueError(text)" in server.log


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/context", "(7, 7)"),  # the function sees the caller's variables, and changes none of them
        ("/nested", "5"),
        ("/other-pool", "True"),
        ("/import", "(True, True)"),
        ("/fork", "True"),
        ("/hub", "True"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--lazy-apps",)], ids=["template", "lazy"])
def test_an_offloaded_function_works_wherever_it_is_called(
    start: Start, tmp_path: Path, path: str, answer: str, options: tuple[str, ...]
) -> None:
    server = serve(start, tmp_path, *options)
    for _ in range(2):
        assert get(tmp_path, path) == answer
    eventually(lambda: load(tmp_path) == (0, 0), "nothing runs any more")
    assert "Traceback" not in server.log


def test_a_forked_process_does_not_count_for_its_worker(start: Start, tmp_path: Path) -> None:
    serve(start, tmp_path)
    assert get(tmp_path, "/fork") == "True" and totals(tmp_path) == (0, 0)
    assert get(tmp_path, "/import") == "(True, True)" and totals(tmp_path) == (1, 0)


def test_a_caller_gives_up_and_a_call_that_runs_keeps_its_thread(start: Start, tmp_path: Path) -> None:
    serve(start, tmp_path)
    assert (
        get(tmp_path, "/short")
        == "OffloadTimeout True wait did not return within 0.5 s (offload): it goes on in its thread"
    )
    eventually(lambda: load(tmp_path) == (1, 0), "the call runs")
    assert (
        get(tmp_path, "/short")
        == "OffloadTimeout True wait did not return within 0.5 s (offload): all its threads are busy"
    )
    eventually(lambda: load(tmp_path) == (1, 0), "no call waits any more")
    assert totals(tmp_path) == (2, 2)
    with gate_open(tmp_path):
        eventually(lambda: load(tmp_path) == (0, 0), "the call has ended")
        assert get(tmp_path, "/short") == "None"
    assert get(tmp_path, "/begun") == "['late', 'late']"  # a call that had not begun never begins


def test_a_request_that_is_ended_while_it_waits_leaves_the_threads_right(start: Start, tmp_path: Path) -> None:
    serve(start, tmp_path)
    with ExitStack() as stack:
        ended = []
        for number in range(4):
            ended.append(stack.enter_context(send(tmp_path, "/one", "0.5")))
            eventually(lambda count=number: sum(load(tmp_path)) == count + 1 or totals(tmp_path)[1] > 0, "calls arrive")  # type: ignore[misc]
        assert [client.parse(client.read_all(each)).status for each in ended] == [504] * 4
    eventually(lambda: load(tmp_path) == (1, 0), "no call waits any more")
    assert totals(tmp_path) == (4, 4)
    with send(tmp_path, "/one") as later:
        eventually(lambda: load(tmp_path) == (1, 1), "the call waits for the thread")
        with gate_open(tmp_path):
            assert client.parse(client.read_all(later)).body == b"one"
    assert get(tmp_path, "/begun") == "['one', 'one']"


def test_a_leaving_worker_finishes_calls_in_flight(start: Start, tmp_path: Path) -> None:
    server = serve(start, tmp_path)
    with send(tmp_path, "/one") as running, send(tmp_path, "/one") as waiting:
        eventually(lambda: load(tmp_path) == (1, 1), "one call runs, one call waits")
        server.send_signal(Signals.SIGHUP)
        server.wait_generation(1, 1)
        with gate_open(tmp_path):
            assert [client.parse(client.read_all(each)).body for each in (running, waiting)] == [b"one"] * 2
            server.wait_for(r"worker 0 .* exited with code 0")
    assert totals(tmp_path) == (2, 0)  # the counts outlive the worker


def test_a_leaving_worker_waits_for_a_call_whose_request_has_ended(start: Start, tmp_path: Path) -> None:
    server = serve(start, tmp_path)
    get(tmp_path, "/short")
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"waiting for what requests have left behind.*: app.wait in a thread of gevent's at \S+/app.py")
    with gate_open(tmp_path):
        server.wait_for(r"worker 0 .* exited with code 0")


def test_threads_do_not_hinder_the_end(start: Start, tmp_path: Path) -> None:
    server = serve(start, tmp_path, "--worker-reload-mercy", "1")
    with send(tmp_path, "/one") as running:
        eventually(lambda: load(tmp_path) == (1, 0), "the call runs")
        assert server.stop() == 0
        assert client.parse(client.read_all(running)).status == 504
    server.wait_for(r"worker 0 .* exited with code 0")
    server.assert_nothing_left()


def test_a_thread_keeps_its_connection_so_a_c_driver_has_at_most_as_many(start: Start, tmp_path: Path) -> None:
    with Postgres() as database:
        serve(start, tmp_path, environ={"POSTGRES": str(database.directory)})
        with ThreadPoolExecutor(30) as clients:
            found = list(clients.map(lambda _: get(tmp_path, "/sql"), range(60)))
        assert 1 <= len(set(found)) <= 4

        def idle() -> bool:
            [row] = said(tmp_path, "connections")["connections"]
            return (row["peer"], row["count"], row["in_use"]) == (str(database.socket_path), len(set(found)), 0)

        eventually(idle, "each connection is known, and none is in use")


def test_the_queue_is_in_the_metrics(start: Start, tmp_path: Path) -> None:
    serve(start, tmp_path, "--metrics", "metrics.sock")

    def lines() -> list[str]:
        request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        text = client.parse(client.exchange(tmp_path / "metrics.sock", request)).body.decode()
        return [line for line in text.splitlines() if line.startswith("wsgid_offload")]

    get(tmp_path, "/short")
    with send(tmp_path, "/one"), send(tmp_path, "/one"):
        expected = [
            'wsgid_offloaded_total{worker="0"} 3',
            'wsgid_offload_given_up_total{worker="0"} 1',
            'wsgid_offload_running{worker="0"} 2',
            'wsgid_offload_waiting{worker="0"} 1',
        ]
        eventually(lambda: lines() == expected, "all calls are counted")
        assert wsgidctl(tmp_path, "status").returncode == 0
        with gate_open(tmp_path):
            eventually(lambda: load(tmp_path) == (0, 0), "all calls have ended")
