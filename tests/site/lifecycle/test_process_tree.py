"""The master, the template and the workers: start, death, reload and stop."""

import os
import re
import resource
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import Signals
from textwrap import dedent

import psutil
import pytest

from tests.conftest import Start
from tests.support import another_user, client
from tests.support.processes import open_files
from tests.support.server import Server, eventually, halt, open_to_all

HELLO = """
    import os, time
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            time.sleep(float(environ["QUERY_STRING"]))
        if environ["PATH_INFO"] == "/held":
            with open("held", "ab") as held:
                held.write(b"x")
        while environ["PATH_INFO"] in ("/held", "/gate") and not os.path.exists("go"):
            time.sleep(0.01)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""


def serve(start: Start, *options: str, workers: int = 2, app: str = HELLO, **more: object) -> Server:
    return start(
        "--socket", "app.sock", "--workers", str(workers), *options, "app:application", app=app, **more
    ).wait_ready(workers)


def pid_of(server: Server, path: str = "/", **more: str) -> int:
    return int(client.get(server.directory / "app.sock", path, **more).body)


class Slow:
    """Requests that are in flight. Each request sleeps in the application, and a thread of this object reads its
    answer."""

    def __init__(self, server: Server, count: int, seconds: str, path: str = "/slow") -> None:
        self._pool = ThreadPoolExecutor(count)
        data = client.packet(path, QUERY_STRING=seconds)
        self.sockets = [client.connect(server.directory / "app.sock") for _ in range(count)]
        for connection in self.sockets:
            connection.sendall(data)
        self.answers = [self._pool.submit(client.read_all, connection) for connection in self.sockets]

    def statuses(self) -> list[int]:
        statuses = [client.parse(answer.result()).status if answer.result() else 0 for answer in self.answers]
        self._pool.shutdown()
        for connection in self.sockets:
            connection.close()
        return statuses


class Held(Slow):
    """Requests that are in flight until `go_on`. All of them are in the application when this object has been made."""

    def __init__(self, server: Server, count: int) -> None:
        super().__init__(server, count, "", "/held")
        self._directory = server.directory
        held = server.directory / "held"
        eventually(lambda: held.exists() and held.stat().st_size == count, f"{count} requests are in flight")

    def go_on(self) -> "Held":
        (self._directory / "go").touch()
        return self


# --- the tree ---


def test_the_tree_is_as_documented(start: Start) -> None:
    server = serve(start)
    master = psutil.Process(server.pid)
    assert master.cmdline()[0].startswith("wsgid: master [app:application]")
    eventually(lambda: len(server.template_pids()) == 1, "the processes that forked the workers have ended")
    workers = server.worker_pids()
    assert len(workers) == 2
    eventually(lambda: {psutil.Process(pid).ppid() for pid in workers} == {server.pid}, "the master is their parent")
    titles = {psutil.Process(pid).cmdline()[0].strip() for pid in workers}
    assert titles == {"wsgid: worker 0, generation 0", "wsgid: worker 1, generation 0"}
    assert master.num_threads() == 1
    assert "gevent" not in {Path(mapping.path).name.split(".")[0] for mapping in master.memory_maps()}
    assert server.stop() == 0
    server.assert_nothing_left()


def test_the_application_is_imported_once(start: Start, tmp_path: Path) -> None:
    server = serve(start, workers=3, app=f"open('imports', 'a').write('once ')\n{dedent(HELLO)}")
    os.kill(server.worker_pids()[0], Signals.SIGKILL)
    server.wait_ready(4)
    assert (tmp_path / "imports").read_text() == "once "


def test_the_template_keeps_no_program_text_that_only_its_start_has_run(start: Start) -> None:
    """The template has imported all that the worker has, and more: without this, it has more than the worker."""

    def text_bytes(pid: int) -> int:
        return sum(mapping.rss for mapping in psutil.Process(pid).memory_maps(grouped=False) if mapping.perms == "r-xp")

    server = serve(start, workers=1)
    pid_of(server)
    [template], [worker] = server.template_pids(), server.worker_pids()
    assert text_bytes(template) < text_bytes(worker)
    os.kill(worker, Signals.SIGKILL)
    server.wait_ready(2)  # the template still forks
    assert pid_of(server) != worker


def test_lazy_apps_import_in_each_worker(start: Start) -> None:
    app = """
        import os
        home = os.getpid()
        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"own" if home == os.getpid() else b"shared"]
    """
    server = serve(start, "--lazy-apps", app=app)
    assert client.get(server.directory / "app.sock").body == b"own"
    server.stop()
    server = serve(start, app=app)
    assert client.get(server.directory / "app.sock").body == b"shared"


def test_monkey_patching_comes_before_the_application(start: Start) -> None:
    app = """
        import socket, threading, time
        from gevent import monkey
        def application(environ, start_response):
            start_response("200 OK", [])
            return [str(all(map(monkey.is_module_patched, ("socket", "threading", "time", "ssl")))).encode()]
    """
    assert client.get(serve(start, app=app).directory / "app.sock").body == b"True"


def test_a_driver_that_blocks_in_c_is_made_to_wait_in_the_hub(start: Start) -> None:
    app = """
        import psycopg2.extensions
        def application(environ, start_response):
            start_response("200 OK", [])
            return [str(psycopg2.extensions.get_wait_callback().__module__).encode()]
    """
    assert client.get(serve(start, app=app).directory / "app.sock").body == b"psycogreen.gevent"


def test_an_import_that_ran_the_hub_is_fine(start: Start) -> None:
    server = serve(start, app="import time, gevent; time.sleep(0.01); gevent.sleep(0)\n" + dedent(HELLO))
    # Workers with the hub of the import would take each other's events out of one epoll instance.
    assert Slow(server, 40, "0.2").statuses() == [200] * 40


def test_a_default_timeout_for_sockets_does_not_slow_down_the_listener(start: Start) -> None:
    server = serve(start, app=f"import socket; socket.setdefaulttimeout(30)\n{dedent(HELLO)}")
    assert {pid_of(server) for _ in range(100)} <= set(server.worker_pids())


def test_threads_that_the_import_has_started_are_named(start: Start) -> None:
    thread = "import threading; threading.Thread(target=threading.Event().wait, name='poller', daemon=True).start()"
    server = serve(start, app=f"{thread}\n{dedent(HELLO)}")
    server.wait_for(r"template 0 WARNING: the import of the application has started threads.*poller.*--lazy-apps")
    assert pid_of(server) in server.worker_pids()


# --- options that reach the application ---


def test_environment_directory_and_path(start: Start, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "helper.py").write_text("value = 'helped'")
    (tmp_path / "site" / "home.py").write_text("""
import os, helper
def app(environ, start_response):
    start_response("200 OK", [])
    return [f"{os.environ['COLOUR']} {os.getcwd()} {helper.value}".encode()]
""")
    server = start(
        "--socket",
        str(tmp_path / "app.sock"),
        "--chdir",
        "site",
        "--env",
        "COLOUR=green=ish",
        "--pythonpath",
        "../library",  # from the directory of --chdir, as in uWSGI
        "home:app",
    ).wait_ready(1)
    assert client.get(tmp_path / "app.sock").body.decode() == f"green=ish {tmp_path}/site helped"
    assert server.stop() == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_privileges_are_dropped_for_the_application_and_kept_for_the_master(start: Start, tmp_path: Path) -> None:
    app = """
        import os
        def application(environ, start_response):
            start_response("200 OK", [])
            return [f"{os.getresuid()} {os.getresgid()} {os.getgroups()}".encode()]
    """
    open_to_all(tmp_path)
    server = serve(
        start,
        "--uid",
        "www-data",
        "--gid",
        "www-data",
        "--chown-socket",
        "www-data:www-data",
        "--chmod-socket",
        "660",
        app=app,
        prefix=another_user.prefix(),
    )
    uid, gid = client.get(tmp_path / "app.sock").body.decode().partition(") ")[::2]
    assert uid == "(33, 33, 33" and gid == "(33, 33, 33) [33]"
    assert psutil.Process(server.pid).uids().real == 0
    status = (tmp_path / "app.sock").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (33, 33, 0o660)


def test_sockets_of_every_kind_serve(start: Start, tmp_path: Path) -> None:
    inherited = socket.socket()
    inherited.bind(("127.0.0.1", 0))
    server = start(
        "--socket",
        "app.sock",
        "--socket",
        "127.0.0.1:0",
        "--socket",
        "[::1]:0",
        "--socket",
        f"fd://{inherited.fileno()}",
        "app:application",
        app=HELLO,
        pass_fds=[inherited.fileno()],
    ).wait_ready(1)
    port = inherited.getsockname()[1]
    inherited.close()
    (said,) = server.wait_for(r"listens on (\S+), (\S+):(\d+), (\S+):(\d+), fd://\d+ with 1 worker$")
    addresses: list[Path | tuple[str, int]] = [
        Path(said[1]),
        (said[2], int(said[3])),
        (said[4].strip("[]"), int(said[5])),
        ("127.0.0.1", port),
    ]
    for address in addresses:
        assert client.get(address).status == 200
    assert server.stop() == 0


def test_a_socket_of_systemd_is_used_and_stays(start: Start, tmp_path: Path) -> None:
    outer = socket.socket(socket.AF_UNIX)
    outer.bind(str(tmp_path / "systemd.sock"))
    # systemd sets LISTEN_PID between fork and exec, and passes descriptors from 3 on (sd_listen_fds(3)).
    script = 'exec 3<&"$1"; export LISTEN_PID=$$ LISTEN_FDS=1; shift; exec "$@"'
    server = start(
        "app:application",
        app=HELLO,
        pass_fds=[outer.fileno()],
        prefix=["bash", "-c", script, "bash", str(outer.fileno())],
    ).wait_ready(1)
    assert client.get(tmp_path / "systemd.sock").status == 200
    assert server.stop() == 0
    assert (tmp_path / "systemd.sock").exists()
    (tmp_path / "systemd.sock").unlink()
    outer.close()


# --- starts that fail ---


@pytest.mark.parametrize("options", [(), ("--lazy-apps",)])
def test_an_application_that_cannot_be_imported(start: Start, options: tuple[str, ...]) -> None:
    server = start("--socket", "app.sock", "--workers", "4", *options, "app:application", app="import no_such_thing")
    assert server.wait() == 3
    server.assert_nothing_left()
    assert server.log.count("Traceback (most recent call last)") == 1
    server.wait_for(
        "the application 'app:application' cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'$"
    )


def test_an_application_that_kills_its_process_while_it_is_imported(start: Start) -> None:
    server = start("--socket", "app.sock", "app:application", app="import os; os._exit(9)")
    assert server.wait() == 3
    server.wait_for("template 0 exited with code 9")
    server.assert_nothing_left()


def test_no_socket_is_a_usage_error(start: Start) -> None:
    server = start("app:application", app=HELLO)
    assert server.wait() == 2
    server.wait_for("no socket to listen on: add --socket PATH")


def test_a_second_server_on_a_live_socket_leaves_the_first_alone(start: Start) -> None:
    first = serve(start)
    second = start("--socket", "app.sock", "app:application")
    assert second.wait() == 1
    second.wait_for(f"app.sock: process {first.pid} listens on it")
    assert pid_of(first) in first.worker_pids()
    assert "refused" not in first.log  # the probe of the second server is no request


def test_a_backlog_above_the_kernels_is_clamped_with_a_warning(start: Start) -> None:
    server = serve(start, "--listen", "999999999")
    server.wait_for(r"WARNING: --listen 999999999 is more than the kernel allows: the backlog is \d+; raise net.core")


# --- deaths ---


def test_a_killed_worker_is_replaced(start: Start) -> None:
    server = serve(start)
    victim = server.worker_pids()[0]
    os.kill(victim, Signals.SIGKILL)
    server.wait_for(rf"worker 0 \(generation 0, pid {victim}\) was killed by SIGKILL")
    server.wait_ready(3)
    assert victim not in server.worker_pids() and len(server.worker_pids()) == 2


def test_a_killed_template_is_replaced_and_no_request_fails(start: Start) -> None:
    server = serve(start)
    before = server.worker_pids()
    (victim,) = server.template_pids()
    held = Held(server, 10)
    os.kill(victim, Signals.SIGKILL)
    server.wait_for("template 0 was killed by SIGKILL")
    assert held.go_on().statuses() == [200] * 10
    os.kill(before[0], Signals.SIGKILL)
    server.wait_for(r"worker 0 \(generation 1, pid \d+\) is ready")
    assert before[1] in server.worker_pids()


def test_a_killed_master_leaves_no_orphans_and_loses_nothing(start: Start) -> None:
    server = serve(start)
    held = Held(server, 40)
    server.send_signal(Signals.SIGKILL)
    server.wait()
    assert held.go_on().statuses() == [200] * 40
    eventually(lambda: not server.survivors(), "all workers are gone")
    again = serve(start)  # the address is free
    assert pid_of(again) in again.worker_pids()


def test_requests_that_their_clients_have_given_up_do_not_kill_the_next_worker_too(start: Start) -> None:
    server = serve(
        start,
        workers=1,
        app="""
        import os, time
        def application(environ, start_response):
            if environ["PATH_INFO"] == "/poison":
                os._exit(9)
            start_response("200 OK", [])
            return [b"fine"]
    """,
    )
    address = server.directory / "app.sock"
    (worker,) = server.worker_pids()
    halt(worker)  # so that all requests wait in the backlog
    for _ in range(20):
        with client.connect(address) as connected:
            connected.sendall(client.packet("/poison"))
    os.kill(worker, Signals.SIGKILL)
    assert client.get(address).body == b"fine"
    assert "exited with code 9" not in server.log


def test_a_worker_that_dies_young_is_tried_again_each_time(start: Start) -> None:
    """The pauses between the trials grow: tests/unit/supervisor/test_fleet.py tests this."""
    server = serve(
        start,
        workers=1,
        app="""
        import os, gevent, pathlib
        def application(environ, start_response):
            gevent.spawn_later(0, os._exit, 5)
            start_response("200 OK", [])
            return [b"last words"]
    """,
    )
    for count in range(1, 5):
        assert client.get(server.directory / "app.sock").body == b"last words"
        server.wait_for("worker 0 .* exited with code 5", count)
        server.wait_ready(count + 1)


# --- reload ---


def test_a_reload_serves_new_code_without_a_gap(start: Start, tmp_path: Path) -> None:
    server = serve(start, app=HELLO.replace("str(os.getpid()).encode()", "b'old'"))
    stop, bodies = threading.Event(), []

    def load() -> None:
        while not stop.is_set():
            bodies.append(client.get(tmp_path / "app.sock").body)

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(load) for _ in range(8)]
        (tmp_path / "app.py").write_text((tmp_path / "app.py").read_text().replace("old", "newer"))
        server.send_signal(Signals.SIGHUP)
        server.wait_for(r"worker \d+ \(generation 0, .* exited with code 0", 2)
        eventually(lambda: b"newer" in bodies, "the new code has answered")
        stop.set()
        for future in futures:
            future.result()
    assert set(bodies) == {b"old", b"newer"}
    assert client.get(tmp_path / "app.sock").body == b"newer"
    eventually(lambda: len(server.template_pids()) == 1, "the old template has left")


def test_a_reload_to_broken_code_keeps_the_old_serving(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    before = server.worker_pids()
    (tmp_path / "app.py").write_text("import no_such_thing")
    server.send_signal(Signals.SIGHUP)
    server.wait_for("template 1: the application .* cannot be imported: .*; the running workers keep serving")
    server.wait_for("template 1 exited with code 3")
    assert server.worker_pids() == before and pid_of(server) in before
    server.send_signal(Signals.SIGHUP)
    server.wait_for("template 2: the application .* cannot be imported: .*; the running workers keep serving")
    assert server.log.count("Traceback (most recent call last)") == 1
    os.kill(before[0], Signals.SIGKILL)
    server.wait_for(r"worker 0 \(generation 0, pid \d+\) is ready", 2)


def test_workers_can_be_added_and_taken_away(start: Start) -> None:
    server = serve(start)
    server.send_signal(Signals.SIGTTIN)
    server.wait_ready(3)
    server.send_signal(Signals.SIGTTOU)
    server.wait_for(r"worker 2 .* exited with code 0")
    assert len(server.worker_pids()) == 2


# --- stop ---


@pytest.mark.parametrize("signo", [Signals.SIGTERM, Signals.SIGINT])
def test_a_stop_answers_requests_in_flight_and_in_the_backlog(start: Start, signo: Signals) -> None:
    """64 requests for 2 x 8 places: most of them wait in the backlog when the signal comes."""
    server = serve(start, "--gevent", "8")
    slow = Slow(server, 64, "0.1")
    server.send_signal(signo)
    assert slow.statuses() == [200] * 64
    assert server.wait() == 0
    server.assert_nothing_left()
    assert "cut" not in server.log


def test_a_stop_under_load_loses_nothing_that_was_accepted_by_the_kernel(start: Start) -> None:
    server = serve(start)
    lost: list[bytes] = []
    answered: list[int] = []

    def load() -> None:
        while True:
            connected = socket.socket(socket.AF_UNIX)
            with connected:
                try:
                    connected.connect(str(server.directory / "app.sock"))
                except (ConnectionRefusedError, FileNotFoundError):
                    return  # the socket is unlinked: nginx would use the next server
                try:
                    connected.sendall(client.packet("/"))
                    raw = client.read_all(connected)
                except ConnectionError as error:
                    raw = repr(error).encode()
                (answered.append(1) if raw.startswith(b"HTTP/1.1 200") else lost.append(raw))

    with ThreadPoolExecutor(24) as pool:
        futures = [pool.submit(load) for _ in range(24)]
        eventually(lambda: len(answered) > 200, "200 answers")
        server.send_signal(Signals.SIGTERM)
        for future in futures:
            future.result()
    assert server.wait() == 0 and not lost
    server.assert_nothing_left()


def test_the_socket_is_gone_before_the_last_request_is_answered(start: Start) -> None:
    server = serve(start)
    held = Held(server, 1)
    server.send_signal(Signals.SIGTERM)
    eventually(lambda: not (server.directory / "app.sock").exists(), "the socket is unlinked")
    assert not held.answers[0].done()
    assert held.go_on().statuses() == [200]


def test_a_request_that_outstays_the_mercy_time_is_cut_and_named(start: Start) -> None:
    server = serve(start, "--worker-reload-mercy", "0.5", workers=1)
    held = Held(server, 1)
    assert server.stop() == 0
    assert held.statuses() == [504]
    server.wait_for(r"worker 0 ERROR: cut after the mercy time: GET /held, \d+\.\d s old")
    server.assert_nothing_left()


@pytest.mark.parametrize("signals", [[Signals.SIGINT, Signals.SIGINT], [Signals.SIGQUIT]])
def test_a_second_int_or_a_quit_stops_now(start: Start, signals: list[Signals]) -> None:
    server = serve(start)
    held = Held(server, 4)
    server.send_signal(signals[0])
    server.wait_for(rf"{signals[0].name}: wsgid stops")
    for signo in signals[1:]:
        server.send_signal(signo)
    assert server.wait() == 0
    assert held.statuses() == [0] * 4
    server.assert_nothing_left()


def test_the_terminals_interrupt_reaches_all_processes_and_only_the_master_obeys(start: Start) -> None:
    server = serve(start, start_new_session=True)
    held = Held(server, 4)
    os.killpg(server.pid, Signals.SIGINT)
    server.wait_for("SIGINT: wsgid stops")
    assert held.go_on().statuses() == [200] * 4
    assert server.wait() == 0
    server.assert_nothing_left()


def test_a_term_to_all_processes_at_once_as_systemd_sends_it_loses_nothing(start: Start) -> None:
    server = serve(start, "--gevent", "4", start_new_session=True)
    slow = Slow(server, 32, "0.1")
    os.killpg(server.pid, Signals.SIGTERM)
    assert slow.statuses() == [200] * 32
    assert server.wait() == 0
    server.assert_nothing_left()


# --- limits and stalls ---


def test_at_the_limit_a_worker_leaves_connections_in_the_backlog(start: Start) -> None:
    server = serve(
        start,
        "--gevent",
        "3",
        workers=1,
        app="""
        import os, time
        here = most = 0
        def application(environ, start_response):
            global here, most
            here += 1
            most = max(most, here)
            while environ["QUERY_STRING"] == "1" and not os.path.exists("go"):
                time.sleep(0.01)
            time.sleep(float(environ["QUERY_STRING"] or 0))
            here -= 1
            start_response("200 OK", [])
            return [str(most).encode()]
    """,
    )
    slow = Slow(server, 3, "1")
    eventually(lambda: server.in_flight() == 3, "three are in flight")
    waiting = Slow(server, 5, "0")
    (server.directory / "go").touch()
    before_s = sum(psutil.Process(server.worker_pids()[0]).cpu_times()[:2])
    assert slow.statuses() == [200] * 3 and waiting.statuses() == [200] * 5
    spent_s = sum(psutil.Process(server.worker_pids()[0]).cpu_times()[:2]) - before_s
    assert spent_s < 0.5  # processor time: the worker did not spin during that second
    assert client.get(server.directory / "app.sock").body == b"3"


def test_hundred_slow_requests_are_in_the_application_at_the_same_time(start: Start) -> None:
    assert Held(serve(start), 100).go_on().statuses() == [200] * 100


def test_out_of_descriptors_every_request_is_answered_in_the_end(start: Start) -> None:
    server = serve(start, workers=1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48)))
    slow = Slow(server, 120, "", "/gate")
    server.wait_for("cannot accept connections: Too many open files; they wait in the backlog")
    (server.directory / "go").touch()
    assert slow.statuses() == [200] * 120


def test_a_worker_holds_no_channel_but_its_own(start: Start) -> None:
    """Otherwise the end of a worker would not end its channel, as long as a younger worker lives."""
    server = serve(start, workers=4)
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"worker \d+ \(generation 0, .* exited with code 0", 4)

    def channels(pid: int) -> int:
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
        seqpacket = {line[6] for line in lines if line[4] == "0005"}  # SOCK_SEQPACKET, by inode: proc(5)
        return sum(
            target.removeprefix("socket:[").removesuffix("]") in seqpacket for target in open_files(pid).values()
        )

    workers = server.worker_pids()
    assert len(workers) == 4
    # The kernel lists sockets bit by bit, so it may leave one out while others of this machine come and go.
    eventually(lambda: [channels(pid) for pid in workers] == [1] * 4, "each worker holds one channel")


GAPS = """
    kept = [bytearray() for _ in range(20_000)]
    pages = {id(each) >> 12 for each in kept}
    del kept[::2]
    def application(environ, start_response):
        new = [bytearray() for _ in range(500)]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(sum(id(each) >> 12 in pages for each in new)).encode()]
"""


def test_objects_of_a_worker_lie_in_pages_of_their_own(start: Start) -> None:
    """Not in the gaps that the import has left: each would copy a page that the workers share."""
    server = serve(start, workers=1, app=GAPS)
    # One page may have some of the last objects of the import. 64 objects fill a page.
    assert int(client.get(server.directory / "app.sock", "/").body) < 64 + 10
    server.stop()
    server = serve(start, "--lazy-apps", workers=1, app=GAPS)
    assert int(client.get(server.directory / "app.sock", "/").body) > 400  # nothing is shared there


def test_the_master_gives_back_the_program_files_that_only_its_start_has_read(start: Start) -> None:
    """After the start, it has fewer of their pages than a process that has only imported its modules."""
    program = "import sys, wsgid.command, wsgid.master; print(end='x', flush=True); sys.stdin.read()"
    server = serve(start, workers=1)
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as imported:
        assert imported.stdout and imported.stdout.read(1) == b"x"
        imported_bytes = file_bytes(imported.pid)
        eventually(lambda: file_bytes(server.pid) < imported_bytes, "the master has given pages back")


def file_bytes(pid: int) -> int:
    """How much of files a process has in memory (proc(5), RssFile)."""
    found = re.search(r"^RssFile:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) << 10
