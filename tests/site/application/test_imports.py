"""What the import of the application leaves behind: some things work in the workers. Other things are lost or shared,
and the log names them."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.conftest import Start
from tests.support import client

HELLO = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"fine"]
"""
SAYS = "the import of the application has "


@pytest.fixture
def listeners(tmp_path: Path) -> Iterator[dict[str, object]]:
    """Servers that only listen, so that an import can connect to them."""
    tcp = socket.create_server(("127.0.0.1", 0))
    six, unix = socket.socket(socket.AF_INET6), socket.socket(socket.AF_UNIX)
    six.bind(("::1", 0))
    unix.bind(str(tmp_path / "db.sock"))
    for listener in (six, unix):
        listener.listen()
    yield {"tcp": tcp.getsockname()[1], "six": six.getsockname()[1], "path": str(tmp_path / "db.sock")}
    for listener in (tcp, six, unix):
        listener.close()


def warnings(place: Path, source: str) -> list[str]:
    """The warnings that `--check` prints about an application."""
    (place / "app.py").write_text(dedent(source) + HELLO)
    done = subprocess.run(
        [sys.executable, "-m", "wsgid", "--check", "-s", "app.sock", "app:application"],
        cwd=place,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(place)},
    )
    assert done.returncode == 0, done.stderr
    return [line.partition(SAYS)[2] for line in done.stderr.splitlines() if SAYS in line]


THREADS = "started threads, which the workers will not have: "
GREENLETS = "started greenlets, which the workers will not have: "
SOCKETS = "connected sockets, which all workers would share and so get each other's answers: "
STARTED = {
    "a thread": (
        """
        import threading, time
        threading.Thread(target=time.sleep, args=(60,), name="poller", daemon=True).start()
        """,
        THREADS + "the thread 'poller'; start them in the worker",
    ),
    "a thread that waits at a line": (
        """
        import threading, time
        def poll():
            while True:
                time.sleep(1)
        threading.Thread(target=poll, daemon=True).start()
        time.sleep(0.01)
        """,
        THREADS + "the thread 'Thread-1 (poll)' at PLACE/app.py:5 in poll; ",
    ),
    "a greenlet that has not begun": (
        "import gevent, time; gevent.spawn(time.sleep, 60)",
        GREENLETS + "the greenlet gevent.hub.sleep; ",
    ),
    "a greenlet": (
        """
        import gevent
        def refresh(): gevent.sleep(60)
        gevent.spawn(refresh)
        gevent.sleep(0)
        """,
        GREENLETS + "the greenlet app.refresh at PLACE/app.py:3 in refresh; ",
    ),
    "a thread of the operating system's": (
        """
        from gevent import monkey
        sleep, begun = monkey.get_original("time", "sleep"), monkey.get_original("_thread", "allocate_lock")()
        begun.acquire()
        def block(): begun.release(); sleep(60)
        monkey.get_original("_thread", "start_new_thread")(block, ())
        begun.acquire()  # CPython shows no frame of a thread before its first line runs
        """,
        THREADS + "a thread at PLACE/app.py:5 in block; ",
    ),
    "a connection": (
        "import socket; db = socket.create_connection(('127.0.0.1', TCP))",
        SOCKETS + "127.0.0.1:TCP (descriptor ",
    ),
    "a connection over IPv6": (
        "import socket; db = socket.create_connection(('::1', SIX))",
        SOCKETS + "[::1]:SIX (descriptor ",
    ),
    "a connection to a unix socket": (
        "import socket; db = socket.socket(socket.AF_UNIX); db.connect('PATH')",
        SOCKETS + "PATH (descriptor ",
    ),
}


@pytest.mark.parametrize("kind", STARTED)
def test_what_the_workers_lose_or_share_is_named(tmp_path: Path, listeners: dict[str, object], kind: str) -> None:
    source, said = STARTED[kind]
    for name, value in listeners.items():
        source, said = source.replace(name.upper(), str(value)), said.replace(name.upper(), str(value))
    (warned,) = warnings(tmp_path, source)
    assert warned.startswith(said.replace("PLACE", str(tmp_path)))
    assert warned.endswith(
        " in the worker, on first use or in wsgid.hooks.on_worker_start (docs/hooks.md); or use --lazy-apps"
    )


@pytest.mark.parametrize(
    "source",
    [
        # in a thread of gevent's, which is started again when it is needed
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import gevent; gevent.get_hub().threadpool.apply(len, ('x',))",
        "import threading; t = threading.Thread(target=len, args=('x',)); t.start(); t.join()",
        "import gevent; gevent.spawn(len, 'x').join()",
        "import concurrent.futures as f\\nwith f.ThreadPoolExecutor() as pool: pool.submit(len, 'x').result()",
        "import socket; pair = socket.socketpair()",
        "import socket; server = socket.create_server(('127.0.0.1', 0))",
        "import socket; syslog = socket.socket(type=socket.SOCK_DGRAM); syslog.connect(('127.0.0.1', 9))",
        "import socket; socket.create_connection(('127.0.0.1', TCP)).close()",
        "import os; ends = os.pipe()",
    ],
)
def test_what_does_no_harm_is_not_named(tmp_path: Path, listeners: dict[str, object], source: str) -> None:
    assert warnings(tmp_path, source.replace("TCP", str(listeners["tcp"])).replace("\\n", "\n")) == []


def test_a_server_logs_the_warning_too(start: Start, listeners: dict[str, object]) -> None:
    server = start(
        "--socket",
        "app.sock",
        "app:application",
        app=f"import socket; db = socket.create_connection(('127.0.0.1', {listeners['tcp']}))\n{HELLO}",
    )
    server.wait_ready(1).wait_for(f"template 0 WARNING: {SAYS}connected sockets.*: 127.0.0.1:{listeners['tcp']}")


MADE = """
import gevent, gevent.queue, os, queue, socket, time
from concurrent.futures import ThreadPoolExecutor

executor = ThreadPoolExecutor(1)
executor.submit(len, "x").result()  # the thread is lost, and the executor does not notice
fresh = ThreadPoolExecutor(2)
simple, bounded = queue.SimpleQueue(), gevent.queue.Queue(1)
ours, theirs = socket.socketpair()
ran = []
def run(): ran.append(1)
pool = gevent.get_hub().threadpool
pool.apply(len, ("x",))
late = gevent.spawn_later(0.01, run)  # at the end: nothing runs the hub after this

def application(environ, start_response):
    for queue in (simple, bounded):
        getting = gevent.spawn(queue.get)
        gevent.sleep(0)
        queue.put(1)
        assert getting.get(timeout=5) == 1
    jobs = [fresh.submit(len, "x") for _ in range(3)]
    assert [job.result(5) for job in jobs] == [1, 1, 1]
    theirs.sendall(b"x")
    assert ours.recv(1) == b"x"
    assert pool.apply(len, ("x",)) == gevent.get_hub().threadpool.apply(len, ("x",)) == 1
    assert socket.getaddrinfo("localhost", 80)
    time.sleep(0.02)
    start_response("200 OK", [])
    return [b"%d" % len(ran)]
"""


def test_what_the_import_has_made_works_in_the_workers_and_runs_in_none(start: Start, tmp_path: Path) -> None:
    server = start("--socket", "app.sock", "--hub-warn", "60", "app:application", app=MADE).wait_ready(1)
    for _ in range(3):
        assert client.get(tmp_path / "app.sock").body == b"0", server.log
    assert server.stop() == 0 and "ERROR" not in server.log


def test_imports_before_gevent_s_patches_are_named_with_the_file(start: Start, tmp_path: Path) -> None:
    """A sitecustomize runs before every program: ddtrace-run, opentelemetry-instrument and others bring one."""
    early = tmp_path / "early"
    early.mkdir()
    (early / "sitecustomize.py").write_text("import ssl\n")
    environ = {"PYTHONPATH": os.pathsep.join([str(early), str(tmp_path)])}
    server = start("--socket", "app.sock", "app:application", app=HELLO, environ=environ).wait_ready(1)
    server.wait_for(rf"\bssl were imported before gevent could patch them, by {early}/sitecustomize.py: locks")
    assert server.stop() == 0
    assert server.log.count("before gevent could patch") == 1
