"""What applications see of reused greenlets: fresh contexts, lasting thread-locals, and nobody else's time-outs."""

from pathlib import Path

from tests import client
from tests.conftest import Start

APP = """
    import contextvars, sys, threading
    import gevent

    seen = contextvars.ContextVar("seen", default="nothing")
    local = threading.local()

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        body = "fine"
        if path == "/context":
            body = seen.get()
            seen.set("an earlier request")
        elif path == "/local":
            local.count = getattr(local, "count", 0) + 1
            body = str(local.count)
        elif path == "/forgotten":
            gevent.Timeout(0.2).start()
        elif path == "/wait":
            gevent.sleep(1)
        elif path == "/killed":
            gevent.spawn(gevent.kill, gevent.getcurrent(), RuntimeError("from outside"))
            gevent.sleep(5)
        elif path == "/exit":
            gevent.spawn(sys.exit, "from a greenlet")
            gevent.sleep(0.1)
        start_response("200 OK", [])
        return [body.encode()]
"""


def address(start: Start) -> Path:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    return server.directory / "app.sock"


def test_context_variables_are_fresh_for_each_request(start: Start) -> None:
    socket = address(start)
    assert [client.get(socket, "/context").body for _ in range(3)] == [b"nothing"] * 3


def test_thread_locals_last_as_they_do_in_a_thread_pool(start: Start) -> None:
    socket = address(start)  # Django keeps its database connections there (CONN_MAX_AGE)
    assert [client.get(socket, "/local").body for _ in range(3)] == [b"1", b"2", b"3"]


def test_a_request_that_is_killed_from_outside_costs_itself_only(start: Start) -> None:
    socket = address(start)
    assert client.get(socket, "/killed").status == 500
    assert client.get(socket).status == 200


def test_a_forgotten_time_out_is_named_and_the_greenlet_lives_on(start: Start) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    socket = server.directory / "app.sock"
    assert client.get(socket, "/forgotten").status == 200
    server.wait_for("an idle greenlet got .* from an earlier request: cancel time-outs that you start")
    assert client.get(socket).status == 200


def test_a_greenlet_that_exits_does_not_take_the_worker_along(start: Start) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    assert client.get(server.directory / "app.sock", "/exit").status == 200
    server.wait_for("a greenlet of the application's has raised SystemExit.*; the worker goes on")
    assert client.get(server.directory / "app.sock").status == 200
    assert server.stop() == 0
