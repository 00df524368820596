"""Views with mistakes: other requests, and the worker, go on."""

from signal import Signals

from tests.conftest import Start
from tests.support import client
from tests.support.processes import command_lines
from tests.support.server import Server, eventually

APP = """
    import os, resource, subprocess, sys, time
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        answer = b"done"
        if path == "/pipe":
            # The output of this program is not read, and is more than a pipe holds.
            code = "import sys; sys.stdout.write('x' * 500_000)"
            child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
            while not os.path.exists("seen"):
                time.sleep(0.01)
            environ["wsgid.harakiri"](1)
            child.wait()
        elif path == "/limit":
            name, value = environ["QUERY_STRING"].split("=")
            _, hard = resource.getrlimit(getattr(resource, name))
            resource.setrlimit(getattr(resource, name), (int(value), hard))
        elif path == "/spin":
            while time.process_time() < 1.1:
                pass
        elif path == "/allocate":
            bytearray(1 << 40)
        elif path == "/umask":
            os.umask(0o777)
        start_response("200 OK", [])
        return [answer]
"""


def serve(start: Start, *options: str) -> Server:
    return start("--socket", "app.sock", "--http", "http.sock", *options, "app:application", app=APP).wait_ready(1)


def ask(server: Server, path: str = "/", query: str = "", **more: str) -> int:
    return client.get(server.directory / "app.sock", path, QUERY_STRING=query, **more).status


def test_a_subprocess_whose_pipe_is_never_read_blocks_its_own_request_alone(start: Start) -> None:
    server = serve(start)
    with client.connect(server.directory / "app.sock") as connection:
        connection.sendall(client.packet("/pipe"))
        eventually(lambda: [child for pid in server.worker_pids() for child in command_lines(pid)], "the child runs")
        (server.directory / "seen").touch()
        assert [ask(server) for _ in range(20)] == [200] * 20
        assert client.parse(client.read_all(connection)).status == 504
    assert server.stop() == 0
    server.assert_nothing_left()  # the worker has ended, so the child's pipe has no reader


def test_limits_that_a_view_sets_hold_for_the_worker_and_the_worker_goes_on(start: Start) -> None:
    """setrlimit(2) applies to the whole process, and cannot be undone."""
    server = serve(start, "--access-log", "access.log", "--post-buffering", "1k")
    assert ask(server, "/limit", "RLIMIT_CORE=0") == 200
    assert ask(server, "/limit", f"RLIMIT_AS={8 << 30}") == 200
    assert ask(server, "/allocate") == 500
    assert ask(server, "/umask") == 200
    assert ask(server, "/limit", "RLIMIT_FSIZE=100") == 200  # the access log is soon longer than this
    assert [ask(server) for _ in range(20)] == [200] * 20
    # the kernel sends SIGXCPU, the signal with which the master asks for a stack
    assert ask(server, "/limit", "RLIMIT_CPU=1") == 200
    assert [ask(server, "/spin"), ask(server)] == [200, 200]
    assert server.stop() == 0
    assert "exited with code 0" in server.log and "was killed" not in server.log


def test_a_worker_without_a_free_descriptor_logs_it_and_connections_wait(start: Start) -> None:
    server = serve(start)
    assert ask(server, "/limit", "RLIMIT_NOFILE=3") == 200
    with client.connect(server.directory / "app.sock") as waiting:
        waiting.sendall(client.packet())
        server.wait_for("a worker cannot accept connections: Too many open files; they wait in the backlog")
        server.send_signal(Signals.SIGHUP)  # the new worker has the limits of the template
        server.wait_ready(2)
        assert client.parse(client.read_all(waiting)).status == 200
    assert server.stop() == 0
