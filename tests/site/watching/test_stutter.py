"""A loop that stutters is logged once, with the place. A busy worker and a stopped worker are not logged.

The window is one second. Each test that expects silence ends with stops that are logged. An earlier sentence would be
in the log by then.
"""

import os
import re
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from signal import Signals

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.ctl import said, wsgidctl
from tests.support.server import Server, eventually
from tools.databases import Postgres

APP = """
    import ctypes, os, posix, re, time
    import gevent, greenlet
    from gevent import monkey
    from wsgid.serving import standstill
    standstill.WINDOW_S = 1.0

    blocking_sleep = monkey.get_original("time", "sleep")
    libc, holding = ctypes.CDLL(None), ctypes.PyDLL(None)

    def blocks(): blocking_sleep(0.2)
    def in_c(): libc.usleep(200_000)
    def with_the_lock(): holding.usleep(200_000)
    def short(): blocking_sleep(0.05)
    def control(): blocking_sleep(0.1)
    def expression():
        until_s = time.thread_time() + 0.2
        while time.thread_time() < until_s:
            re.match("(a+)+$", "a" * 20 + "b")
    def template():
        until_s = time.thread_time() + 0.1
        while time.thread_time() < until_s:
            str(sorted(range(50)))
    def database():
        import psycopg2.extensions
        psycopg2.extensions.set_wait_callback(None)  # as without psycogreen
        connection = psycopg2.connect(host=os.environ["POSTGRES"], user="postgres")
        connection.cursor().execute("SELECT pg_sleep(0.2)")
        connection.close()
    def in_the_hub():
        gevent.get_hub().loop.run_callback(held)
        gevent.sleep(0)
    def held(): blocking_sleep(0.2)
    def long(): blocking_sleep(1.5)
    def busy():
        until_s = time.thread_time() + 0.018
        while time.thread_time() < until_s:
            pass
    events = []
    def note(event, args):
        events.append(event)
    def traced():
        greenlet.settrace(note)
    def untraced():
        assert events
        greenlet.settrace(None)
    def forks():
        if posix.fork() == 0:
            for _ in range(5):
                blocking_sleep(0.1)
                gevent.sleep(0.001)

    def application(environ, start_response):
        globals()[environ["PATH_INFO"][1:]]()
        start_response("200 OK", [])
        return [b"x"]
"""

STOOD = r"the event loop stood still for (\d+) % of the last 1 s, mostly here: (.*);"


def serve(start: Start, *options: str, **environ: str) -> Server:
    return start("--socket", "app.sock", *options, "app:application", app=APP, environ=environ).wait_ready(1)


def get(server: Server, name: str) -> int:
    return client.get(server.directory / "app.sock", f"/{name}").status


@contextmanager
def visitors(server: Server, name: str, count: int = 2) -> Iterator[None]:
    """Clients that send requests again and again."""
    ended = threading.Event()

    def visit() -> None:
        while not ended.is_set():
            assert get(server, name) == 200

    with ThreadPoolExecutor(count) as pool:
        visiting = [pool.submit(visit) for _ in range(count)]
        try:
            yield
        finally:
            ended.set()
        for future in visiting:
            future.result()


def named(server: Server) -> list[str]:
    """The functions of the application that the log has named."""
    return [re.findall(r"in (\w+)", match[2])[-1] for line in server.lines if (match := re.search(STOOD, line))]


def is_named(server: Server, name: str) -> str:
    """Let clients send requests until the function is named. Returns the sentence."""
    with visitors(server, name):
        return server.wait_for(rf"{STOOD[:-1]}.* in {name};")[0][0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("stutter")
    (directory / "app.py").write_text(textwrap.dedent(APP))
    with Postgres() as postgres:
        server = Server(
            directory, "--socket", "app.sock", "app:application", environ={"POSTGRES": str(postgres.directory)}
        )
        try:
            yield server.wait_ready(1)
        finally:
            server.end()


# A function that computes needs a processor: the time in which it waits for one does not count.
@pytest.mark.parametrize(
    "name", ["blocks", "in_c", "with_the_lock", "short", pytest.param("template", marks=pytest.mark.alone), "database"]
)
def test_what_holds_the_loop_again_and_again_is_named(shared: Server, name: str) -> None:
    sentence = is_named(shared, name)
    match = re.search(STOOD, sentence)
    assert match and 34 <= int(match[1]) <= 100
    assert re.search(rf"{shared.directory}/app\.py:\d+ in {name};", sentence)


@pytest.mark.alone
def test_a_library_is_named_with_its_caller(shared: Server) -> None:
    with visitors(shared, "expression"):
        shared.wait_for(rf"re/__init__\.py:\d+ in match, called at {shared.directory}/app\.py:\d+ in expression;")


def test_a_callback_of_the_hub_is_named(shared: Server) -> None:
    with visitors(shared, "in_the_hub"):
        shared.wait_for(rf"{STOOD[:-1]}.* in held;")


def test_a_place_is_named_once_and_another_place_again(start: Start) -> None:
    server = serve(start)
    for name in ("blocks", "in_c", "blocks"):
        is_named(server, name)
    is_named(server, "control")
    assert named(server) == ["blocks", "in_c", "control"]


def test_a_busy_worker_and_a_stopped_worker_are_not_named(start: Start) -> None:
    server = serve(start, "--hub-warn", "30")
    get(server, "blocks")  # wsgid begins to look
    with visitors(server, "busy", 20):
        eventually(lambda: said(server.directory, "status")["totals"]["requests"], "the requests are served")
        [pid] = server.worker_pids()
        for _ in range(3):
            os.kill(pid, Signals.SIGSTOP)
            eventually(
                lambda: said(server.directory, "status")["workers"][0]["heartbeat_age_s"] > 0.6, "the worker is stopped"
            )
            os.kill(pid, Signals.SIGCONT)
            serves_more(server)
        for _ in range(4):
            serves_more(server)
    is_named(server, "control")
    assert named(server) == ["control"]


def serves_more(server: Server, count: int = 20) -> None:
    served = said(server.directory, "status")["totals"]["requests"]
    eventually(
        lambda: said(server.directory, "status")["totals"]["requests"] > served + count, f"{count} more are served"
    )


def test_a_stop_that_hub_warn_has_shown_is_not_said_twice(start: Start) -> None:
    server = serve(start, "--hub-warn", "0.4")
    for _ in range(3):
        get(server, "long")
    server.wait_for(r"the event loop has been held up for \d+\.\d s by GET /long")
    is_named(server, "control")
    assert named(server) == ["control"]


def test_the_tracer_of_an_application_is_left_alone(start: Start) -> None:
    server = serve(start)
    get(server, "traced")
    for _ in range(5):
        get(server, "blocks")
    assert get(server, "untraced") == 200
    is_named(server, "control")


def test_a_child_of_the_application_has_no_witness(start: Start) -> None:
    server = serve(start)
    get(server, "blocks")
    with visitors(server, "blocks"):
        assert get(server, "forks") == 200
    is_named(server, "control")
    server.send_signal(Signals.SIGTERM)
    assert server.wait() == 0
    assert not re.search("Traceback|witness", server.log)


def test_status_and_top_show_the_share(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    assert said(tmp_path, "status")["workers"][0]["stood_still"] == 0
    with visitors(server, "blocks", 3):
        eventually(lambda: said(tmp_path, "status")["workers"][0]["stood_still"] > 0.6, "the share is large")
        shown = eventually(
            lambda: re.findall("! .*stood still.*", wsgidctl(tmp_path, "status").stdout), "it is a trouble"
        )
        assert re.fullmatch(
            r"! worker 0's event loop stood still for \d+ % of the last 10 s: the server's log says where", shown[0]
        )
        assert re.search(r"stands\s+heartbeat.*\n.* \d+ % ", wsgidctl(tmp_path, "status").stdout)
        assert said(tmp_path, "top", "--once", "--interval", "0.2")["workers"][0]["stood_still"] > 0
        frame = wsgidctl(tmp_path, "top", "--once", "--interval", "0.2", env={**os.environ, "COLUMNS": "200"}).stdout
        assert "stands" in frame and re.search(r" \d+ % ", frame)
        assert "thread" not in wsgidctl(tmp_path, "stacks").stdout  # the witness is no thread of the application
    eventually(lambda: said(tmp_path, "status")["workers"][0]["stood_still"] == 0, "the stutter is over")
