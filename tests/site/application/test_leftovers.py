"""Work that answered requests have left behind: a leaving worker waits for it within its mercy time, and names the work
that it cuts."""

from pathlib import Path
from signal import Signals

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually

APP = """
    import atexit, gevent, multiprocessing, threading, time
    from concurrent.futures import ThreadPoolExecutor
    from gevent import monkey
    from pathlib import Path

    executor = ThreadPoolExecutor(2)
    processes = multiprocessing.get_context("fork")
    atexit.register(lambda: Path("atexit").touch())

    def work():
        Path("begun").touch()
        while not Path("go").exists():
            time.sleep(0.005)
        Path("done").touch()

    def block():
        Path("begun").touch()
        while not Path("go").exists():
            monkey.get_original("time", "sleep")(0.005)
        Path("done").touch()

    def loop():
        Path("begun").touch()
        while True:
            time.sleep(0.01)

    def spawn_more(): gevent.spawn(work)
    LEAVE = {
        "thread": lambda: threading.Thread(target=work, name="mailer").start(),
        "daemon": lambda: threading.Thread(target=loop, daemon=True).start(),
        "job": lambda: executor.submit(work),
        "idle": lambda: executor.submit(Path("begun").touch),
        "greenlet": lambda: gevent.spawn(work),
        "later": lambda: gevent.spawn_later(0.01, work),
        "child": lambda: gevent.spawn(spawn_more),
        "pool": lambda: gevent.get_hub().threadpool.spawn(block),
        "process": lambda: processes.Process(target=work, name="resizer").start(),
        "daemonic": lambda: processes.Process(target=work, daemon=True).start(),
        "loop": lambda: gevent.spawn(loop),
        "older": lambda: time.sleep(1.1),
        "exit": lambda: atexit.register(work),
    }

    def application(environ, start_response):
        LEAVE[environ["PATH_INFO"].strip("/")]()
        start_response("200 OK", [])
        return [b"done"]
"""


def serve(start: Start, mercy_s: float) -> Server:
    return start(
        "--socket", "app.sock", "--worker-reload-mercy", f"{mercy_s:g}", "--hub-warn", "60", "app:application", app=APP
    ).wait_ready(1)


def leave(server: Server, kind: str) -> None:
    """A request leaves this behind, and then the worker is told to leave."""
    assert client.get(server.directory / "app.sock", f"/{kind}").body == b"done"
    eventually((server.directory / "begun").exists, "the work has begun")
    server.send_signal(Signals.SIGTERM)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("thread", r"the thread 'mailer' at .*/app.py:\d+ in work"),
        ("job", "the thread 'ThreadPoolExecutor-0_0' at"),
        ("greenlet", r"the greenlet app.work at .*/app.py:\d+ in work"),
        ("later", "the greenlet app.work at"),
        ("child", "the greenlet app.work at"),
        ("process", r"the process 'resizer', pid \d+"),
        ("pool", r"app.block in a thread of gevent's at .*/app.py:\d+ in block"),
    ],
)
def test_a_worker_that_leaves_waits_for_work_that_requests_have_left_behind(
    start: Start, tmp_path: Path, kind: str, named: str
) -> None:
    server = serve(start, 60)
    leave(server, kind)
    server.wait_for(f"waiting for what requests have left behind, at most [0-9.]+ s: {named}")
    (tmp_path / "go").touch()
    assert server.wait() == 0
    assert (tmp_path / "done").exists() and (tmp_path / "atexit").exists() and "ERROR" not in server.log
    server.assert_nothing_left()


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("thread", r"the thread 'mailer' at .*/app.py:\d+ in work"),
        ("job", "the thread 'ThreadPoolExecutor-0_0' at"),
        ("greenlet", "the greenlet app.work at"),
        ("process", "the process 'resizer'"),
        ("pool", "app.block in a thread"),
    ],
)
def test_what_is_cut_after_the_mercy_time_is_named(start: Start, tmp_path: Path, kind: str, named: str) -> None:
    server = serve(start, 3)
    leave(server, kind)
    server.wait_for(f"ERROR: cut after the mercy time, left behind by a request: {named}")
    server.wait_for(r"worker 0 .* exited with code 0")
    assert server.wait() == 0 and (tmp_path / "atexit").exists() and not (tmp_path / "done").exists()
    (tmp_path / "go").touch()  # for the process, which lives on
    server.assert_nothing_left()


@pytest.mark.parametrize("kind", ["daemon", "idle", "daemonic"])
def test_work_without_an_end_is_not_waited_for(start: Start, kind: str) -> None:
    server = serve(start, 60)
    leave(server, kind)
    assert server.wait() == 0
    assert "waiting for" not in server.log and "ERROR" not in server.log
    server.assert_nothing_left()


def test_a_greenlet_that_is_older_than_the_mercy_time_is_a_loop_in_the_background(start: Start, tmp_path: Path) -> None:
    """A young greenlet may still end, so the worker waits for it."""
    server = serve(start, 1)
    assert client.get(tmp_path / "app.sock", "/loop").body == b"done"
    assert client.get(tmp_path / "app.sock", "/older").body == b"done"
    server.send_signal(Signals.SIGTERM)
    assert server.wait() == 0
    assert "waiting for" not in server.log and "ERROR" not in server.log


def test_an_atexit_function_that_takes_too_long_is_cut_and_named(start: Start, tmp_path: Path) -> None:
    server = serve(start, 1)
    assert client.get(tmp_path / "app.sock", "/exit").body == b"done"
    server.send_signal(Signals.SIGTERM)
    eventually((tmp_path / "begun").exists, "the atexit function has begun")
    assert server.wait() == 0
