"""Forks by the application: a child keeps nothing of the worker, and hooks run once."""

import json
import re
import socket
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import Signals

import psutil
import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.processes import unix_sockets
from tests.support.server import Server, eventually

pytestmark = pytest.mark.hot

APP = """
    import gevent, multiprocessing, os, posix, pty, signal, socket, subprocess, sys, threading, time
    from pathlib import Path

    processes = multiprocessing.get_context("fork")
    lock = threading.Lock()

    def live(q):
        pid = os.fork()
        if not pid:
            Path("child").write_text(str(os.getpid()))
            while not Path("end").exists():
                time.sleep(0.005)
        return pid

    def end(q):
        print("a line of the worker's")
        pid = os.fork()
        if not pid:
            print("a line of the child's")
            if "raise" in q:
                raise KeyError("of the child")
            if "exit" in q:
                sys.exit(7)
            return "nobody reads this"
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def generate(q):
        pid = os.fork()
        yield b"of %d " % bool(pid)
        yield b"%d" % os.waitpid(pid, 0)[1] if pid else b""

    def terminate(q):
        child = processes.Process(target=time.sleep, args=(60,))
        child.start()
        child.terminate()
        child.join()
        return child.exitcode

    def use(q):
        ours, theirs = processes.Pipe(False)
        def run():
            gevent.sleep(0.01)
            said = subprocess.check_output(["echo", "hi"])
            threads = []
            thread = threading.Thread(target=threads.append, args=(1,))
            thread.start()
            thread.join()
            before.sendall(b"x")
            theirs.send((said, threads, socket.getaddrinfo("localhost", 80)[0][0].name))
        before, after = socket.socketpair()
        child = processes.Process(target=run)
        child.start()
        child.join()
        return ours.recv(), child.exitcode, after.recv(1)

    def terminal(q):
        pid, fd = pty.fork() if "pty" in q else os.forkpty()
        if not pid:
            os.write(1, b"said")
            os._exit(5)
        return os.read(fd, 4), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def raw(q):
        pid = posix.fork()
        if not pid:
            gevent.sleep(0.01)
        return os.waitpid(pid, 0)[1] if pid else 0

    def spawned(q):
        pids = []
        def run():
            pids.append(os.fork())
            if not pids[0]:
                gevent.sleep(0.01)
        gevent.spawn(run).join()
        return os.waitpid(pids[0], 0)[1]

    def thread(q):
        pid = gevent.get_hub().threadpool.apply(posix.fork)
        try:
            return os.waitpid(pid, 0)[1]
        except ChildProcessError:  # libev has reaped it: if libev watches any child, it reaps all children (ev(3))
            return 0

    def handlers(q):
        ours, theirs = processes.Pipe(False)
        names = ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGXCPU", "SIGUSR1")
        signal.signal(signal.SIGUSR1, handlers)
        def run():
            found = [signal.getsignal(getattr(signal, name)) for name in names]
            theirs.send([getattr(handler, "name", None) or handler.__name__ for handler in found])
        child = processes.Process(target=run)
        child.start()
        child.join()
        return ours.recv()

    def descriptors(q):
        return subprocess.check_output(["ls", "/proc/self/fd"]).split()

    def note(q):
        Path("waits").touch()
        with lock:
            gevent.sleep(0.05)
            with open("noted", "a") as file:
                file.write("once\\n")
        return "noted"

    def doze(q):
        Path("dozes").touch()
        gevent.sleep(0.2)
        with open("noted", "a") as file:
            file.write("slept\\n")
        return "dozed"

    def hold(q):
        with lock:
            Path("held").touch()
            while not (Path("waits").exists() and Path("dozes").exists()):
                gevent.sleep(0.005)
            pid = os.fork()
        gevent.sleep(0.3)
        if pid:
            os.waitpid(pid, 0)
        return "held"

    def slow(q):
        Path("slow" + "".join(q)).touch()
        while not Path("go").exists():
            gevent.sleep(0.005)
        return "slow"

    def application(environ, start_response):
        view = globals()[environ["PATH_INFO"].strip("/") or "descriptors"]
        start_response("200 OK", [])
        answer = view(environ["QUERY_STRING"].split("&"))
        return answer if view is generate else [str(answer).encode()]
"""


def serve(start: Start, *options: str, app: str = APP) -> Server:
    return start("--socket", "app.sock", "--hub-warn", "60", *options, "app:application", app=app).wait_ready(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it unchanged."""
    place = tmp_path_factory.mktemp("forks")
    (place / "app.py").write_text(textwrap.dedent(APP))
    with open(place / "out", "w") as out:
        server = Server(
            place,
            "--socket",
            "app.sock",
            "--access-log",
            "access.log",
            "app:application",
            stdout=out,
            environ={"PYTHONUNBUFFERED": ""},
        )
    try:
        yield server.wait_ready(1)
        assert server.stop() == 0
        server.assert_nothing_left()
    finally:
        server.end()


def ask(server: Server, path: str, query: str = "") -> str:
    answer = client.get(server.directory / "app.sock", path, QUERY_STRING=query)
    assert answer.status == 200, server.log
    return answer.body.decode()


# --- while a child lives on ---


def http_get(port: int, path: str) -> bytes:
    return client.exchange(("127.0.0.1", port), f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())


def test_a_child_serves_no_request_and_keeps_no_port(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--http", "127.0.0.1:0")
    port = server.tcp_addresses()[0][1]
    (worker,) = server.worker_pids()
    with ThreadPoolExecutor(4) as visitors:
        # This answer ends with its connection. The child has no copy of the connection.
        slow = visitors.submit(ask, server, "/slow", "1"), visitors.submit(http_get, port, "/slow?2")
        eventually(lambda: len(list(tmp_path.glob("slow?"))) == 2, "the slow requests are in flight")
        forked = visitors.submit(ask, server, "/live")
        eventually(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text(), "there is a child")
        child = psutil.Process(int((tmp_path / "child").read_text()))
        assert forked.result() == str(child.pid) and child.cmdline()[0] == "wsgid: child of worker 0"
        answers = list(visitors.map(lambda n: http_get(port, "/") if n % 2 else ask(server, "/").encode(), range(80)))
        assert len(answers) == 80 and all(answers)
        (tmp_path / "go").touch()
        assert slow[0].result() == "slow" and slow[1].result().endswith(b"\r\nslow")
    assert not [connection for connection in child.net_connections("tcp") if connection.laddr.port == port]
    assert unix_sockets(child.pid, tmp_path / "app.sock") == 0
    assert not [file for file in child.open_files() if "wsgid" in file.path]

    server.send_signal(Signals.SIGHUP)
    server.wait_for(rf"worker 0 \(generation 0, pid {worker}\) exited with code 0")
    assert ask(server, "/") and http_get(port, "/") and child.is_running()
    assert server.stop() == 0
    assert [process.pid for process in server.survivors()] == [child.pid]
    with socket.socket() as again:
        # binds despite TIME-WAIT, but not if a process listens
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
    (tmp_path / "end").touch()
    server.assert_nothing_left()
    assert "ERROR" not in server.log


def test_a_child_keeps_no_port_that_is_lent(start: Start, tmp_path: Path) -> None:
    server = start("--http", "127.0.0.1:0", "--reuse-port", "app:application", app=APP).wait_ready(1)
    port = server.tcp_addresses()[0][1]
    child = psutil.Process(int(http_get(port, "/live").rpartition(b"\r\n")[2]))
    assert all(http_get(port, "/") for _ in range(20))
    assert not [connection for connection in child.net_connections("tcp") if connection.laddr.port == port]
    assert server.stop() == 0
    child.terminate()
    server.assert_nothing_left()


# --- how a child ends ---


@pytest.mark.parametrize("lazy", [(), ("--lazy-apps",)])
def test_a_child_that_ends_at_once_is_waited_for(start: Start, lazy: tuple[str, ...]) -> None:
    """Also at the first fork of a process. Before that fork, gevent does not handle SIGCHLD."""
    app = """
        import os
        from gevent import monkey

        sleep = monkey.get_original("time", "sleep")
        os.register_at_fork(after_in_parent=lambda: sleep(0.3))  # longer than the child lives

        def code():
            pid = os.fork()
            if not pid:
                os._exit(5)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        imported = code()

        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"%d %d" % (imported, code())]
    """
    server = serve(start, *lazy, app=app)
    assert [ask(server, "/"), ask(server, "/")] == ["5 5"] * 2
    assert server.stop() == 0


@pytest.mark.parametrize(("query", "code"), [("", 0), ("exit", 7), ("raise", 1)])
def test_a_child_ends_where_the_application_returns(shared: Server, query: str, code: int) -> None:
    def printed() -> list[int]:
        text = (shared.directory / "out").read_text()
        return [text.count("a line of the child's"), text.count("a line of the worker's")]

    seen, before = len(shared.lines), printed()
    assert ask(shared, "/end", query) == str(code)
    assert printed() == [count + 1 for count in before]
    said = [line.partition(" wsgid child of worker 0 ")[2] for line in shared.lines[seen:]]
    assert [text for text in said if text] == [
        "ERROR: a process that the application has forked ends by an exception"
    ] * (query == "raise")
    assert ("KeyError: 'of the child'" in shared.lines[seen:]) == (query == "raise")


@pytest.mark.parametrize(
    ("path", "query", "answer"),
    [
        ("/terminate", "", str(-Signals.SIGTERM)),
        ("/generate", "", "of 1 0"),
        ("/terminal", "pty", "(b'said', 5)"),
        ("/terminal", "os", "(b'said', 5)"),
        ("/raw", "", "0"),
        ("/spawned", "", "0"),
        ("/thread", "", "0"),
    ],
)
def test_a_child_works_in_whatever_way_it_was_forked(shared: Server, path: str, query: str, answer: str) -> None:
    assert ask(shared, path, query) == answer


def test_a_child_keeps_what_has_the_number_of_a_descriptor_that_wsgid_has_closed(start: Start) -> None:
    """The first descriptor that a worker opens gets the number of the template's channel."""
    server = serve(start)
    answer = ask(server, "/use")
    assert re.fullmatch(r"\(\(b'hi\\n', \[1\], 'AF_INET6?'\), 0, b'x'\)", answer), answer


def test_gevent_works_in_a_child(shared: Server) -> None:
    answer = ask(shared, "/use")
    assert re.fullmatch(r"\(\(b'hi\\n', \[1\], 'AF_INET6?'\), 0, b'x'\)", answer), answer


def test_a_child_has_the_default_signal_handlers_and_those_of_the_application(shared: Server) -> None:
    assert ask(shared, "/handlers") == str(
        ["SIG_DFL", "SIG_DFL", "default_int_handler", "SIG_DFL", "SIG_DFL", "handlers"]
    )


def test_a_program_that_the_application_starts_inherits_nothing(shared: Server) -> None:
    # the last descriptor is the descriptor of the listing
    assert ask(shared, "/descriptors") == "[b'0', b'1', b'2', b'3']"


def test_greenlets_that_wait_in_the_worker_do_not_go_on_in_the_child(start: Start, tmp_path: Path) -> None:
    """Neither by its time-out, nor by the lock that the child releases: otherwise their work would be done twice."""
    server = serve(start)
    with ThreadPoolExecutor(3) as visitors:
        held = visitors.submit(ask, server, "/hold")
        eventually((tmp_path / "held").exists, "the lock is held")
        noted, dozed = visitors.submit(ask, server, "/note"), visitors.submit(ask, server, "/doze")
        assert (held.result(), noted.result(), dozed.result()) == ("held", "noted", "dozed")
    assert sorted((tmp_path / "noted").read_text().split()) == ["once", "slept"]


def test_the_hooks_know_the_locks_that_are_older_than_the_import(start: Start) -> None:
    """Those of the standard library. The collector does not list them any more (gc.freeze)."""
    app = """
        import gc, threading
        from wsgid.application import forks
        lock = threading._active_limbo_lock
        def application(environ, start_response):
            start_response("200 OK", [])
            known = [each for each in forks._frozen if each is lock]
            return [f"{len(known)} {any(each is lock for each in gc.get_objects())}".encode()]
    """
    assert ask(serve(start, app=app), "/") == "1 False"


def test_each_request_is_counted_once_and_has_one_line_in_the_access_log(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--access-log", "access.log", "--log-format", "%(uri)", "--stats", "stats.sock")
    for _ in range(20):
        ask(server, "/descriptors")
        ask(server, "/end")
    with client.connect(tmp_path / "stats.sock") as connected:
        (worker,) = json.loads(client.read_all(connected))["workers"]
    assert worker["requests"] == 40
    assert server.stop() == 0
    assert sorted((tmp_path / "access.log").read_text().split()) == ["/descriptors"] * 20 + ["/end"] * 20


# --- while the application is imported ---

AT_IMPORT = """
    import os, signal, time
    from pathlib import Path
    pid = os.fork()
    if not pid:
        Path(f"child-{os.getpid()}").touch()
        while not Path("end").exists():
            time.sleep(0.005)
        raise SystemExit(3)
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"%d" % pid]
"""


@pytest.mark.parametrize("options", [(), ("--lazy-apps",)])
def test_a_child_of_the_import_has_no_socket_of_wsgid_and_lives_on(
    start: Start, tmp_path: Path, options: tuple[str, ...]
) -> None:
    server = serve(start, *options, app=AT_IMPORT)
    child = psutil.Process(int(ask(server, "/")))
    eventually((tmp_path / f"child-{child.pid}").exists, "the child runs")
    named = "worker 0" if options else "template"
    assert child.cmdline()[0].startswith(f"wsgid: child of {named}")
    assert unix_sockets(child.pid, tmp_path / "app.sock") == 0
    assert server.stop() == 0
    assert [process.pid for process in server.survivors()] == [child.pid] and "ERROR" not in server.log
    child.terminate()
    server.assert_nothing_left()


# --- hooks ---

HOOKS = """
    import os, threading, time
    def note(what):
        with open("hooks", "a") as file:
            file.write(f"{what} {os.getpid()}\\n")
    alive = []
    def live():
        alive.append(1)
        time.sleep(60)
    def in_child():
        note("child")
        threading.Thread(target=live, daemon=True).start()
    os.register_at_fork(before=lambda: note("before"), after_in_parent=lambda: note("parent"), after_in_child=in_child)
    def application(environ, start_response):
        time.sleep(0.01)
        start_response("200 OK", [])
        return [f"{os.getpid()} {len(alive)}".encode()]
"""


def test_hooks_run_once_for_each_worker_and_what_they_start_lives_once(start: Start, tmp_path: Path) -> None:
    server = start("--socket", "app.sock", "--workers", "2", "app:application", app=HOOKS).wait_ready(2)
    (template,) = server.template_pids()
    expected = [f"before {template}", f"parent {template}"] * 2 + [f"child {pid}" for pid in server.worker_pids()]
    noted = tmp_path / "hooks"
    # The template may run its last hook after the worker is ready.
    eventually(lambda: len(noted.read_text().splitlines()) >= len(expected), "all hooks have run")
    assert sorted(noted.read_text().splitlines()) == sorted(expected)
    for _ in range(4):
        pid, alive = ask(server, "/").split()
        assert int(pid) in server.worker_pids() and alive == "1"
    assert server.stop() == 0
