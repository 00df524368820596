"""wsgidctl dashboard: who may ask, what the answers have, and what a server that is gone or hostile can do to it."""

import json
import os
import re
import socket
import textwrap
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import pytest

from tests.conftest import Start
from tests.site.watching.test_ctl_hostile import EVIL, listening, poisoned
from tests.support import client
from tests.support.busy_site import APP, send, serve
from tests.support.ctl import refusal, said
from tests.support.dashboard import Dashboard, command, dashboard
from tests.support.server import Server, eventually
from wsgid import __version__
from wsgid.ctl.dashboard import pages
from wsgid.ctl.dashboard.access import TOKEN_HEADER
from wsgid.ctl.dashboard.api import ACTIONS


@pytest.fixture
def server(start: Start) -> Server:
    return serve(start, workers=2)


@pytest.fixture
def page(server: Server, tmp_path: Path) -> Iterator[Dashboard]:
    with dashboard(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A dashboard for tests that only ask: its server is not changed."""
    directory = tmp_path_factory.mktemp("shared")
    (directory / "app.py").write_text(textwrap.dedent(APP))
    server = Server(directory, "--socket", "app.sock", "--workers", "2", "app:application")
    try:
        server.wait_ready(2)
        with dashboard(directory) as running:
            yield running
    finally:
        server.end()


# --- who may ask ---


def test_the_page_needs_the_token_in_its_address(shared: Dashboard) -> None:
    assert shared.address.hostname == "127.0.0.1" and len(shared.token) >= 32
    found = shared.request("GET", f"/?token={shared.token}")
    assert found.status == 200 and found.text.startswith("<!doctype html>")
    for path in ("/", "/?token=", f"/?token={shared.token}x", f"/?token={shared.token[:-1]}", "/?token=%ff"):
        refused = shared.request("GET", path)
        assert refused.status == 403 and "open the address" in refused.text


def test_questions_and_orders_need_the_token_in_a_header(shared: Dashboard) -> None:
    right = {TOKEN_HEADER: shared.token}
    assert shared.request("GET", "/api/live", headers=right).status == 200
    for headers in ({}, {TOKEN_HEADER: "x"}, {"Cookie": f"token={shared.token}"}):
        assert shared.request("GET", f"/api/live?token={shared.token}", headers=headers).status == 403
        body = json.dumps({"action": "stop", "token": shared.token}).encode()
        assert shared.request("POST", f"/api/act?token={shared.token}", body, headers).status == 403
    assert shared.ask("live")["silence"] == ""  # nobody has stopped the server


def test_an_order_is_no_get_and_a_question_no_post(shared: Dashboard) -> None:
    right = {TOKEN_HEADER: shared.token}
    assert shared.request("GET", "/api/act?action=stop", headers=right).status == 404
    assert shared.request("POST", "/api/live", b"{}", right).status == 404
    assert shared.request("PUT", "/api/act", b"{}", right).status == 501


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "", "[::1", "localhost.evil"]
)
def test_a_name_that_is_not_ours_gets_nothing(shared: Dashboard, host: str) -> None:
    """DNS rebinding: the browser believes that this is a page of evil.example."""
    for path in (f"/?token={shared.token}", "/main.js", "/api/live"):
        refused = shared.request("GET", path, headers={"Host": host, TOKEN_HEADER: shared.token})
        assert refused.status == 421 and "--name" in refused.text
    assert shared.request("POST", "/api/act", b"{}", {"Host": host, TOKEN_HEADER: shared.token}).status == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:1", "[::1]:5000", "192.0.2.7"])
def test_addresses_and_localhost_are_ours_at_each_port(shared: Dashboard, host: str) -> None:
    """An ssh tunnel has another port at its end."""
    assert shared.request("GET", "/api/live", headers={"Host": host, TOKEN_HEADER: shared.token}).status == 200


def test_a_name_can_be_given(server: Server, tmp_path: Path) -> None:
    with dashboard(tmp_path, "--name", "Ops.example") as named:
        assert named.request("GET", "/main.js", headers={"Host": "ops.example:8080"}).status == 200
        assert named.request("GET", "/main.js", headers={"Host": "example"}).status == 421


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_request_of_another_site_is_refused(shared: Dashboard, headers: dict[str, str]) -> None:
    reply = shared.request("POST", "/api/act", b"{}", {TOKEN_HEADER: shared.token, **headers})
    assert reply.status == 403 and reply.text == "the request comes from another site"


def test_each_answer_forbids_scripts_of_others_frames_and_memory(shared: Dashboard) -> None:
    for path in (f"/?token={shared.token}", "/", "/main.js", "/uplot/uPlot.iife.min.js", "/api/live", "/nothing"):
        headers = shared.request("GET", path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "http" not in policy and "data:" not in policy
        assert headers["Referrer-Policy"] == "no-referrer" and headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store" and "Access-Control-Allow-Origin" not in headers
        assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    "path", ["/../api.py", "/%2e%2e/api.py", "/uplot/../../api.py", "/etc/passwd", "//etc/passwd", "/uplot"]
)
def test_only_the_files_of_the_page_are_served(shared: Dashboard, path: str) -> None:
    assert shared.request("GET", path).status == 404


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"[1]", {}, 400),
        (b"{", {}, 400),
        (b"[" * 4000, {}, 400),
        (b"x" * (pages.BODY_MAX_BYTES + 1), {}, 413),
        (None, {"Content-Length": "-1"}, 411),
        (None, {"Transfer-Encoding": "chunked"}, 411),
        (b"", {}, 200),
    ],
)
def test_a_body_is_a_small_json_object(shared: Dashboard, body: bytes, headers: dict[str, str], status: int) -> None:
    assert shared.request("POST", "/api/act", body, {TOKEN_HEADER: shared.token, **headers}).status == status


# --- the files ---


def test_the_page_is_small_and_loads_nothing_from_elsewhere() -> None:
    found = pages.static_files()
    assert sum(len(body) for _, body in found.values()) < 150_000
    for path, (_, body) in found.items():
        text = re.sub(r"http://www\.w3\.org/\S+|https://github\.com/leeoniya/uPlot", "", body.decode())
        assert not re.search(r"https?://", text), path
        assert path.startswith("/uplot/") or "innerHTML" not in text


def test_the_library_has_its_license() -> None:
    license = Path(pages.__file__).parent / "static" / "uplot" / "LICENSE"
    assert "MIT" in license.read_text() and "Leon Sorokin" in license.read_text()


# --- the answers ---


def test_the_live_answer_has_only_what_is_new(page: Dashboard, server: Server) -> None:
    eventually(lambda: len(page.ask("live")["rows"]) >= 3, "three looks")
    first = page.ask("live")
    last = first["rows"][-1][0]
    assert [row[0] for row in first["rows"]] == list(range(1, last + 1))
    assert all(len(row[2]) == len(first["names"]) for row in first["rows"])
    later = eventually(lambda: page.ask(f"live?rows={last}&memory=1&marks=99")["rows"], "another look")
    assert later[0][0] == last + 1
    assert set(first["memory"][0][2]) == {"0", "1"}
    eventually(lambda: page.ask("live")["sample"]["troubles"] == [], "nothing is wrong")


def test_requests_are_shown_with_their_stacks(page: Dashboard, server: Server) -> None:
    with send(server, "/sleep/one"), send(server, "/sleep/\xc3\xa4\x1b"):
        requests = eventually(lambda: (found := page.ask("requests?limit=10"))["total"] == 2 and found, "both run")
        assert {request["path"] for request in requests["requests"]} == {"/sleep/one", "/sleep/ä\\x1b"}
        for request in requests["requests"]:
            found = page.ask(f"stacks?worker={request['worker']}&request={request['started_s']!r}")
            [stack] = found["workers"][0]["stacks"]
            assert [named["path"] for named in stack["named"]] == [request["path"]]
            assert any(frame["source"] == "time.sleep(60)" for frame in stack["frames"])
    assert page.ask("stacks?worker=0&request=1.5")["workers"][0]["stacks"] == []


def test_the_stack_of_a_request_that_holds_the_loop(page: Dashboard, server: Server) -> None:
    with send(server, "/spin", "600"):
        held = eventually(lambda: page.ask("live")["held_up"], "the worker is held up")
        sample = page.ask("live")["sample"]
        assert any(f"worker {held[0]}'s event loop has not run" in sentence for sentence in sample["troubles"])
        [request] = page.ask("requests?limit=10")["requests"]
        found = page.ask(f"stacks?worker={held[0]}&request={request['started_s']!r}")
        [stack] = found["workers"][0]["stacks"]
        assert stack["kind"] == "holder" and stack["named"][0]["path"] == "/spin"
        assert stack["frames"][-1]["function"] == "application"
        marks = [mark[3] for mark in page.ask("live")["marks"]]
        assert f"the event loop of worker {held[0]} stands still" in marks
    server.send_signal(Signals.SIGQUIT)
    assert server.wait() == 0


def test_slow_requests_are_remembered_when_they_have_ended(page: Dashboard, server: Server) -> None:
    with send(server, "/sleep/slow"):
        eventually(
            lambda: any(request["age_s"] > 1 for request in page.ask("live")["sample"]["slowest"]), "it was seen late"
        )
        assert page.ask("live")["slow"] == []
        for pid in server.worker_pids():
            os.kill(pid, Signals.SIGKILL)
        slow = eventually(lambda: page.ask("live")["slow"], "it has ended")
    assert [request["path"] for request in slow] == ["/sleep/slow"] and slow[0]["age_s"] >= 1


def test_memory_and_connections(shared: Dashboard) -> None:
    found = shared.ask("memory?worker=1")
    assert found["worker"]["worker"] == 1 and {"master", "worker 0"} <= {each["process"] for each in found["processes"]}
    assert shared.ask("connections") == {"connections": [], "total": 0, "silent": {}}


def test_a_flame_graph(page: Dashboard, server: Server) -> None:
    with send(server, "/sleep/flame"):
        eventually(lambda: page.ask("requests?limit=1")["total"] == 1, "it runs")
        worker = page.ask("requests?limit=1")["requests"][0]["worker"]
        found = page.order("profile", worker=worker, seconds=1, clock="wall")
    boxes = found["boxes"]
    assert boxes[0][:4] == [0, 0.0, 1.0, "all"] and "GET /sleep/flame" in {box[3] for box in boxes}
    assert any(box[3] == "application" and box[5] == "application" for box in boxes)
    assert all(0 <= box[1] <= 1 and box[1] + box[2] <= 1.00001 for box in boxes)
    assert found["svg"].startswith("<") and "requests" in found["title"]


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("stacks", "worker is missing"),
        ("stacks?worker=x", "worker has to be a whole number"),
        ("stacks?worker=0&request=x", "request has to be a number"),
        ("memory?worker=9", "there is no worker 9; there are: 0, 1"),
    ],
)
def test_a_wrong_question_gets_a_sentence(shared: Dashboard, question: str, sentence: str) -> None:
    assert shared.ask(question) == {"error": sentence}


def test_a_wrong_order_gets_a_sentence(shared: Dashboard) -> None:
    assert shared.order("act", action="burn") == {"error": f"there is no such action; there are {', '.join(ACTIONS)}"}
    assert shared.order("act", action=["stop"])["error"].startswith("there is no such action")
    for seconds in (0, 1000, "5", None):
        assert "seconds has to be" in shared.order("profile", seconds=seconds)["error"]


# --- orders ---


def test_orders_are_followed_and_marked(page: Dashboard, server: Server, tmp_path: Path) -> None:
    eventually(lambda: page.ask("live")["rows"], "the first look")
    assert page.order("act", action="reload") == {"said": "generation 1 is on its way"}
    [first, *_] = server.wait_for(r"worker \d+ \(generation 1, pid (\d+)\) is ready", 2)
    assert page.order("act", action="more") == {"said": "3 workers from now on, instead of 2"}
    assert page.order("act", action="fewer") == {"said": "2 workers from now on, instead of 3"}
    assert "there is no log to reopen" in page.order("act", action="log-reopen")["error"]

    def marked() -> set[tuple[str, str]]:
        return {(mark[2], mark[3]) for mark in page.ask("live")["marks"]}

    eventually(lambda: ("planned", "reload: generation 1") in marked(), "the reload's mark")
    os.kill(int(first[1]), Signals.SIGKILL)
    eventually(lambda: any(kind == "unplanned" and "ended: crash" in text for kind, text in marked()), "the crash")


def test_a_stop_is_followed_and_the_page_says_so_until_the_server_is_back(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    with dashboard(tmp_path) as page:
        eventually(lambda: page.ask("live")["rows"], "the first look")
        assert "the server stops when" in page.order("act", action="stop")["said"]
        assert server.wait() == 0
        silence = eventually(lambda: page.ask("live")["silence"], "the page knows")
        assert "is the server running?" in silence
        assert page.ask("live")["rows"][-1][2] == [None] * len(page.ask("live")["names"])
        assert "is the server running?" in page.order("act", action="reload")["error"]
        serve(start)
        eventually(lambda: not page.ask("live")["silence"], "the server is back")
        texts = [mark[3] for mark in page.ask("live")["marks"]]
        assert any(text.startswith("no answer") for text in texts)
        assert any(text.startswith("another server answers") for text in texts)


# --- the command ---


def test_the_command_prints_the_address_and_ends_with_ctrl_c(server: Server, tmp_path: Path) -> None:
    with command(tmp_path, "dashboard", "--no-browser") as running:
        assert running.stdout and running.stderr
        assert running.stdout.readline() == "the dashboard of app:application is at\n"
        assert running.stdout.readline() == "\n"
        assert re.fullmatch(r"    http://127\.0\.0\.1:\d+/\?token=\S{32}\n", running.stdout.readline())
        running.send_signal(Signals.SIGINT)
        assert running.wait(20) == 0 and running.stderr.read() == ""


def test_the_browser_gets_the_address_without_the_token_on_its_command_line(server: Server, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\nprintf %s "$*" > called.part\nmv called.part called\ncat "${1#file://}" > page\n')
    browser.chmod(0o755)
    environ = {**os.environ, "BROWSER": f"{browser} %s", "DISPLAY": ":0"}
    with command(tmp_path, "dashboard", environ=environ) as running:
        assert running.stdout
        url = [running.stdout.readline().strip() for _ in range(3)][2]
        eventually(lambda: (tmp_path / "page").exists() and url in (tmp_path / "page").read_text(), "it opens the page")
        opened = (tmp_path / "called").read_text().removeprefix("file://")
        assert url.partition("token=")[2] not in opened
        assert Path(opened).parent.stat().st_mode & 0o77 == 0
        running.terminate()
        assert running.wait(20) == 0
    assert not Path(opened).exists()


def test_an_older_server_is_named(server: Server, tmp_path: Path) -> None:
    true = said(tmp_path, "--control", "app.ctl", "status")
    del true["durations"]

    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(json.dumps({"ok": True, **true}).encode())

    with listening(tmp_path / "old.ctl", answer):
        for name in ("dashboard", "top"):
            arguments = ["--control", "old.ctl", name, *(["--once"] if name == "top" else [])]
            assert f"the server runs wsgid {__version__}, which tells less" in refusal(tmp_path, *arguments)


def test_an_address_for_all_is_served_with_a_warning(server: Server, tmp_path: Path) -> None:
    with command(tmp_path, "dashboard", "--json", "--listen", "0.0.0.0:0") as running:
        assert running.stdout and running.stderr
        assert json.loads(running.stdout.readline())["url"].startswith("http://127.0.0.1:")
        assert "nothing encrypts it on the way" in running.stderr.readline()
        running.terminate()
        assert running.wait(20) == 0


def test_an_address_that_cannot_be_served_is_an_error(server: Server, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port} is in use" in refusal(tmp_path, "dashboard", "--listen", f"127.0.0.1:{port}")
    assert "cannot be served" in refusal(tmp_path, "dashboard", "--listen", "192.0.2.1:0")
    for wrong in ("8080", "localhost:80", "127.0.0.1:99999", "127.0.0.1:x"):
        assert "is no address such as" in refusal(tmp_path, "dashboard", "--listen", wrong, code=2)


def test_without_a_server_there_is_no_page(tmp_path: Path) -> None:
    assert "there is no control socket" in refusal(tmp_path, "dashboard")


def test_what_a_hostile_server_says_is_only_text(server: Server, tmp_path: Path) -> None:
    """The page writes text as text. What wsgidctl prints is escaped."""

    true = said(tmp_path, "--control", "app.ctl", "status")

    def answer(connection: socket.socket, request: bytes) -> None:
        shown = true if json.loads(request)["command"] == "status" else {}
        connection.sendall(json.dumps({"ok": True, **poisoned(shown)}).encode())

    with listening(tmp_path / "fake.ctl", answer):
        with command(tmp_path, "--control", "fake.ctl", "dashboard", "--no-browser") as running:
            assert running.stdout
            line = running.stdout.readline()
            running.terminate()
        assert EVIL[0] not in line and "owned" in line


def test_many_connections_are_bounded(page: Dashboard) -> None:
    """A client that opens connections and sends nothing holds threads, but only so many."""
    assert page.address.hostname and page.address.port
    address = (page.address.hostname, page.address.port)
    held = [client.connect(address) for _ in range(pages.CONNECTIONS_MAX)]
    try:

        def refused() -> bool:
            with client.connect(address) as one_more:
                one_more.settimeout(0.2)
                try:
                    return one_more.recv(1) == b""
                except TimeoutError:
                    return False

        eventually(refused, "no place is left")
    finally:
        for each in held:
            each.close()

    def served() -> bool:
        try:
            return page.request("GET", "/main.js").status == 200
        except ConnectionError:  # the dashboard has not noticed yet that the others have left
            return False

    eventually(served, "there are places again")
