"""What docs/applications.md says of an application in a gevent worker, as far as no other test shows it."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import Signals

from tests.conftest import Start
from tests.support import client

APP = """
    import asyncio, atexit, gevent, os, signal, subprocess, sys, time
    from pathlib import Path

    async def wait():
        await asyncio.sleep(0.05)
        return Path("awaited").write_text("") or 1

    def both(run):
        first = gevent.spawn(run)
        gevent.sleep(0)
        try:
            return run()
        finally:
            first.join()

    def trace(*_):
        return None

    def set_trace():
        sys.settrace(trace)
        try:
            return sys.gettrace() is trace
        finally:
            sys.settrace(None)

    VIEWS = {
        "alone": lambda: asyncio.run(wait()),
        "both": lambda: both(lambda: asyncio.run(wait())),
        "thread": lambda: both(lambda: gevent.get_hub().threadpool.apply(asyncio.run, (wait(),))),
        "signal": lambda: signal.signal(signal.SIGTERM, lambda *_: Path("term").touch()) and 1,
        "child": lambda: (signal.signal(signal.SIGCHLD, lambda *_: None), subprocess.run("true").returncode)[1],
        "chdir": lambda: (os.chdir("/"), os.getcwd())[1],
        "where": os.getcwd,
        "trace": set_trace,
    }
    atexit.register(lambda: Path(f"exit-{os.getpid()}").touch())
    cwd = os.getcwd()
    atexit.register(lambda: os.chdir(cwd))

    def application(environ, start_response):
        answer = VIEWS[environ["PATH_INFO"].strip("/")]()
        start_response("200 OK", [])
        return [str(answer).encode()]
"""


def test_asyncio_run_works_alone_and_in_a_thread_and_two_at_once_get_a_hint(start: Start, tmp_path: Path) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    assert client.get(tmp_path / "app.sock", "/alone").body == client.get(tmp_path / "app.sock", "/thread").body == b"1"
    for _ in range(2):
        assert client.get(tmp_path / "app.sock", "/both").status == 500
    server.wait_for("RuntimeError: asyncio.run.. cannot be called from a running event loop", 2)
    server.wait_for("WARNING: asyncio has one running event loop in a thread, .*threadpool.apply")
    assert len(re.findall("asyncio has one running event loop", server.log)) == 1


def test_what_belongs_to_the_process_is_changed_for_all_its_requests(start: Start, tmp_path: Path) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    (worker,) = server.worker_pids()
    assert client.get(tmp_path / "app.sock", "/trace").body == b"True"
    assert client.get(tmp_path / "app.sock", "/child").body == b"0"
    assert client.get(tmp_path / "app.sock", "/where").body == str(tmp_path).encode()
    assert client.get(tmp_path / "app.sock", "/chdir").body == client.get(tmp_path / "app.sock", "/where").body == b"/"
    client.get(tmp_path / "app.sock", "/signal")
    with ThreadPoolExecutor() as visitors:
        answers = visitors.map(lambda _: client.get(tmp_path / "app.sock", "/trace"), range(9))
        assert {answer.status for answer in answers} == {200}
    # The master's orders are messages, so a handler of the application for SIGTERM changes nothing.
    server.send_signal(Signals.SIGHUP)
    server.wait_for(rf"worker 0 \(generation 0, pid {worker}\) exited with code 0")
    assert (tmp_path / f"exit-{worker}").exists() and not (tmp_path / "term").exists()
    pids = server.worker_pids()
    assert server.stop() == 0 and os.getpid() not in pids
    assert all((tmp_path / f"exit-{pid}").exists() for pid in pids)
