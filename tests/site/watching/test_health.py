"""/healthz and /readyz, and the simple HTTP of the endpoints."""

import os
import textwrap
import urllib.request
from pathlib import Path
from signal import Signals

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually
from tests.support.snapshots import snapshot
from wsgid.admin import health, http
from wsgid.admin.http import Page, text_page
from wsgid.admin.server import INCOMPLETE
from wsgid.counted import counted
from wsgid.supervisor.slots import SlotState

APP = """
    import time
    def application(environ, start_response):
        time.sleep(30)
"""

# Opening a FIFO without a writer waits in C, so the event loop stands still.
STUCK = """
    import os, posix
    os.mkfifo("gate")
    def application(environ, start_response):
        posix.close(posix.open("gate", os.O_RDONLY))
        start_response("200 OK", [])
        return [b""]
"""


def serve(start: Start, *options: str, workers: int = 1) -> Server:
    return start(
        "--socket",
        "app.sock",
        "--workers",
        str(workers),
        "--metrics",
        "metrics.sock",
        *options,
        "app:application",
        app=APP,
    ).wait_ready(workers)


def ask(server: Server, path: str, method: str = "GET") -> client.Answer:
    return client.parse(
        client.exchange(
            server.directory / "metrics.sock", f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
    )


def said(server: Server, path: str) -> tuple[int, str]:
    answer = ask(server, path)
    return answer.status, answer.body.decode()


def test_a_server_that_serves_is_alive_and_ready(start: Start) -> None:
    server = serve(start, workers=2)
    assert said(server, "/healthz")[0] == 200
    eventually(lambda: said(server, "/readyz") == (200, "2 of 2 workers ready\n"), "no event loop is late")


def test_a_server_whose_application_is_not_imported_yet_is_alive_and_not_ready(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    server = start(
        "--socket",
        "app.sock",
        "--workers",
        "3",
        "--metrics",
        "metrics.sock",
        "app:application",
        app=f"open({str(tmp_path / 'gate')!r}).read()" + textwrap.dedent(APP),
    )
    server.wait_for("listens on")
    assert eventually(lambda: try_to_ask(server, "/readyz"), "the endpoint is open") == (
        503,
        "0 of 3 workers ready; needed: 2\n",
    )
    assert said(server, "/healthz")[0] == 200
    (tmp_path / "gate").write_text("go on")
    server.wait_ready(2)
    eventually(lambda: said(server, "/readyz")[0] == 200, "the server is ready")


def try_to_ask(server: Server, path: str) -> tuple[int, str] | None:
    try:
        return said(server, path)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def test_during_the_shutdown_delay_a_server_is_alive_and_not_ready(start: Start) -> None:
    server = serve(start, "--shutdown-delay", "60")
    server.send_signal(Signals.SIGTERM)
    server.wait_for("stops in 60 s")
    assert said(server, "/healthz")[0] == 200
    assert said(server, "/readyz") == (503, "a stop was asked for; 1 of 1 worker ready\n")
    assert server.stop(Signals.SIGQUIT) == 0


def test_while_a_server_drains_it_is_neither_alive_nor_ready(start: Start) -> None:
    server = serve(start)
    with client.connect(server.directory / "app.sock") as slow:
        slow.sendall(client.packet("/"))
        eventually(lambda: server.in_flight() == 1, "the request runs")
        server.send_signal(Signals.SIGTERM)
        server.wait_for("SIGTERM: wsgid stops")
        eventually(lambda: said(server, "/healthz") == (503, "wsgid is draining\n"), "the server drains")
        assert said(server, "/readyz")[0] == 503
        assert ask(server, "/metrics").status == 200  # the listeners are closed, so no client asks them
    assert server.stop(Signals.SIGQUIT) == 0
    server.assert_nothing_left()


def test_a_server_whose_loops_stand_still_is_alive_and_not_ready(start: Start) -> None:
    server = start("--socket", "app.sock", "--metrics", "metrics.sock", "app:application", app=STUCK).wait_ready(1)
    with client.connect(server.directory / "app.sock") as stuck:
        stuck.sendall(client.packet("/"))
        stands_still = (503, "0 of 1 worker ready; event loops that stand still: 1; needed: 1\n")
        eventually(lambda: said(server, "/readyz") == stands_still, "the server is not ready")
        assert said(server, "/healthz")[0] == 200
        assert b"\nwsgid_workers_held_up 1\n" in ask(server, "/metrics").body
        os.close(
            os.open(server.directory / "gate", os.O_WRONLY)
        )  # the application waits for a writer, and reads nothing
        eventually(lambda: said(server, "/readyz")[0] == 200, "the server is ready again")
        eventually(lambda: b"\nwsgid_workers_held_up 0\n" in ask(server, "/metrics").body, "the metric says so")


def test_a_failed_reload_is_shown_until_a_reload_succeeds(start: Start) -> None:
    server = serve(start)
    assert b"\nwsgid_reload_failed 0\n" in ask(server, "/metrics").body
    good = (server.directory / "app.py").read_text()
    for text, shown in (("1 / 0", b"\nwsgid_reload_failed 1\n"), (good, b"\nwsgid_reload_failed 0\n")):
        (server.directory / "app.py").write_text(text)
        server.send_signal(Signals.SIGHUP)
        eventually(lambda: shown in ask(server, "/metrics").body, str(shown))  # noqa: B023


def test_over_tcp_any_client_can_ask(start: Start) -> None:
    server = start("--socket", "app.sock", "--metrics", "127.0.0.1:0", "app:application", app=APP).wait_ready(1)
    [port] = [connection.laddr.port for connection in psutil.Process(server.pid).net_connections("tcp")]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/readyz?verbose") as answer:
        assert answer.read() == b"1 of 1 worker ready\n"


def test_head_has_no_body_and_other_pages_are_not_there(start: Start) -> None:
    server = serve(start)
    whole, head = ask(server, "/healthz"), ask(server, "/healthz", "HEAD")
    assert head.headers == whole.headers and head.body == b"" and whole.body
    assert ask(server, "/").status == ask(server, "/metrics/").status == 404
    answer = ask(server, "/metrics", "POST")
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "ready, wanted, expected",
    [
        (1, 1, "200"),
        (0, 1, "503"),
        (1, 2, "200"),
        (1, 3, "503"),
        (2, 3, "200"),
        (4, 8, "200"),
        (3, 8, "503"),
        (9, 8, "200"),
    ],
)
def test_ready_means_half_of_the_wanted_workers(ready: int, wanted: int, expected: str) -> None:
    states = [SlotState.READY] * ready + [SlotState.STALLED] * max(wanted - ready, 0)
    page = health.readyz(snapshot(*states, wanted=wanted))
    assert page.status[:3] == expected and page.body.startswith(
        f"{ready} of {counted(wanted, 'worker')} ready".encode()
    )


# --- the simple HTTP of the endpoints ---


def found(path: str) -> Page | None:
    return text_page("200 OK", "here") if path == "/" else None


def status(request: bytes) -> int | None:
    answer = http.respond(request, found)
    return None if answer is INCOMPLETE else client.parse(answer).status  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "request_line, expected",
    [
        (b"GET / HTTP/1.1", 200),
        (b"GET / HTTP/1.0", 200),
        (b"GET /?a=b HTTP/1.1", 200),
        (b"HEAD / HTTP/1.1", 200),
        (b"GET /else HTTP/1.1", 404),
        (b"DELETE / HTTP/1.1", 405),
        (b"get / HTTP/1.1", 405),
        (b"GET / HTTP/2.0", 400),
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET http://x/ HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"\xff / HTTP/1.1", 400),
        (b"", 400),
    ],
)
def test_a_request_line_is_right_or_refused(request_line: bytes, expected: int) -> None:
    assert status(request_line + b"\r\nHost: x\r\n\r\n") == expected


@pytest.mark.parametrize(
    "field, expected",
    [
        (b"Accept: */*", 200),
        (b"Empty:", 200),
        (b"Latin: \xe9", 200),
        (b" folded", 400),
        (b"Name : x", 400),
        (b"nothing", 400),
        (b"Nul: \0", 400),
        (b"Bare: a\nb", 400),
    ],
)
def test_a_field_line_is_right_or_refused(field: bytes, expected: int) -> None:
    assert status(b"GET / HTTP/1.1\r\n" + field + b"\r\n\r\n") == expected


def test_a_head_has_a_limit() -> None:
    begun = b"GET / HTTP/1.1\r\nA: "
    assert status(begun + b"x" * (http.HEAD_MAX_BYTES - len(begun))) is None
    assert status(begun + b"x" * http.HEAD_MAX_BYTES) == 400


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_answered_or_waited_for_and_an_answer_needs_no_more(request: bytes, cut: int) -> None:
    whole = status(request)
    assert whole in (None, 400, 404, 405, 200)
    part = status(request[:cut])
    assert part in (None, whole)
