"""HTTP as common clients speak it: curl, requests, httpx, ab and wrk. No client notices a reload."""

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import Signals

import httpx
import pytest
import requests

from tests.conftest import Start
from tests.support import pid_app
from tests.support.load import Kind, Load, Plan, Way
from tests.support.server import Server, eventually
from tools import apt

pytestmark = pytest.mark.alone

APP = """
    import hashlib, os
    def application(environ, start_response):
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/stream":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return (b"block %d\\n" % number * 1000 for number in range(50))
        if path == "/upload":
            body = environ["wsgi.input"].read()
            text = f"{method} {len(body)} {hashlib.sha256(body).hexdigest()}"
        elif path == "/ignore":
            text = "not read"
        else:
            text = f"hello from {os.getpid()}"
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
        return [text.encode()]
"""
STREAM = b"".join(b"block %d\n" % number * 1000 for number in range(50))
BODY = bytes(range(256)) * 4096  # 1 MiB
UPLOADED = f"POST {len(BODY)} {hashlib.sha256(BODY).hexdigest()}"
RELOADS = 3


@pytest.fixture
def server(start: Start) -> Server:
    return start("--http", "127.0.0.1:0", "--workers", "2", "app:application", app=APP).wait_ready(2)


@pytest.fixture
def url(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return "http://{}:{}".format(*server.tcp_addresses()[0])


def blocks() -> Iterator[bytes]:
    """A body of unknown length: it is sent in chunks."""
    for at in range(0, len(BODY), 50_000):
        yield BODY[at : at + 50_000]


# --- what each client can do ---


def curl(*arguments: str) -> str:
    command = [apt.ensure("curl", "curl"), "--silent", "--show-error", "--fail", "--max-time", "20", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def body_file(tmp_path: Path) -> str:
    path = tmp_path / "body"
    path.write_bytes(BODY)
    return str(path)


def test_curl_keeps_its_connection(url: str) -> None:
    count = curl(
        "--output",
        "/dev/null",
        "--write-out",
        "%{num_connects} ",
        url,
        "--next",
        "--silent",
        "--output",
        "/dev/null",
        "--write-out",
        "%{num_connects}",
        url,
    )
    assert count == "1 0"


@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
def test_curl_gets_a_stream(url: str, version: str) -> None:
    assert curl(version, f"{url}/stream").encode() == STREAM
    assert ("Transfer-Encoding: chunked" in curl(version, "--include", f"{url}/stream")) is (version == "--http1.1")


def test_curl_sends_a_body_after_100_continue(url: str, body_file: str) -> None:
    answer = curl(
        "--include",
        "--header",
        "Expect: 100-continue",
        "--expect100-timeout",
        "20",
        "--data-binary",
        f"@{body_file}",
        f"{url}/upload",
    )
    assert answer.startswith("HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\n") and answer.endswith(UPLOADED)


def test_curl_sends_a_body_in_chunks(url: str, body_file: str) -> None:
    answer = curl("--header", "Transfer-Encoding: chunked", "--data-binary", f"@{body_file}", f"{url}/upload")
    assert answer == UPLOADED


def test_curl_gets_the_head_alone(url: str) -> None:
    head = curl("--head", f"{url}/")
    assert head.startswith("HTTP/1.1 200 OK\n") and re.search(r"Content-Length: \d\d", head)


def test_curl_goes_on_after_a_body_that_was_not_read(url: str, body_file: str) -> None:
    said = curl("--data-binary", "x" * 1000, f"{url}/ignore", "--next", "--silent", f"{url}/ignore")
    assert said == "not readnot read"
    assert curl("--data-binary", f"@{body_file}", f"{url}/ignore") == "not read"


def test_requests_does_all_of_it_on_one_connection(url: str) -> None:
    with requests.Session() as session:
        assert session.get(url).text.startswith("hello")
        assert session.post(f"{url}/upload", data=BODY).text == UPLOADED
        assert session.post(f"{url}/upload", data=blocks()).text == UPLOADED
        assert session.get(f"{url}/stream").content == STREAM
        head = session.head(url)
        assert head.content == b"" and int(head.headers["Content-Length"]) > 0
        assert len({session.get(url).text for _ in range(20)}) == 1  # one connection: one worker


def test_httpx_does_all_of_it_on_one_connection(url: str) -> None:
    with httpx.Client(trust_env=False) as session:
        assert session.get(url).text.startswith("hello")
        assert session.post(f"{url}/upload", content=BODY).text == UPLOADED
        assert session.post(f"{url}/upload", content=blocks()).text == UPLOADED
        assert session.get(f"{url}/stream").content == STREAM
        head = session.head(url)
        assert head.content == b"" and int(head.headers["Content-Length"]) > 0
        assert len({session.get(url).text for _ in range(20)}) == 1


def ab(url: str, *options: str) -> dict[str, int]:
    """The numbers that ApacheBench has counted."""
    command = [apt.ensure("ab", "apache2-utils"), "-q", "-s", "20", *options, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(number) for name, number in re.findall(r"(?m)^([A-Z][\w -]*):\s+(\d+)$", said)}


@pytest.mark.parametrize("path", ["/", "/stream"])
def test_ab_keeps_its_connections(url: str, path: str) -> None:
    met = ab(f"{url}{path}", "-k", "-l", "-n", "500", "-c", "10")
    assert (met["Complete requests"], met["Failed requests"]) == (500, 0) and "Non-2xx responses" not in met
    # ab speaks HTTP/1.0, which has no chunks. There, the end of the connection is the end of a body of unknown length.
    assert met["Keep-Alive requests"] == (500 if path == "/" else 0)


def test_ab_posts(url: str, body_file: str) -> None:
    met = ab(f"{url}/upload", "-k", "-n", "50", "-c", "5", "-p", body_file)
    assert (met["Complete requests"], met["Failed requests"]) == (50, 0) and "Non-2xx responses" not in met


# --- and while the server is reloaded ---


def reload(server: Server) -> None:
    """Reload several times. Returns when the last of the old workers has ended."""
    for number in range(1, RELOADS + 1):
        server.send_signal(Signals.SIGHUP)
        server.wait_for(rf"worker \d+ \(generation {number}, pid \d+\) is ready", 2)
        server.wait_for(rf"worker \d+ \(generation {number - 1}, pid \d+\) exited with code 0", 2)


def test_wrk_meets_no_error_while_the_server_is_reloaded(server: Server, url: str) -> None:
    command = [apt.ensure("wrk", "wrk"), "--threads", "1", "--connections", "20", "--duration", "600s"]
    command += ["--timeout", "20s", url]  # otherwise an answer that takes 2 s is an error
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
        reload(server)
        wrk.send_signal(Signals.SIGINT)  # now wrk prints its counts
        said, _ = wrk.communicate()
    assert "Requests/sec" in said
    assert "errors" not in said and "Non-2xx" not in said, said


def test_ab_meets_no_error_while_the_server_is_reloaded(server: Server, url: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ab, f"{url}/", "-k", "-l", "-n", "30000", "-c", "20")
        reload(server)
        met = asking.result()
    assert (met["Complete requests"], met["Failed requests"]) == (30000, 0) and "Non-2xx responses" not in met


@pytest.mark.parametrize("client", [requests.Session, lambda: httpx.Client(trust_env=False)], ids=["requests", "httpx"])
def test_sessions_meet_no_error_while_the_server_is_reloaded(
    server: Server, url: str, client: Callable[[], requests.Session | httpx.Client]
) -> None:
    ended: list[bool] = []
    met: list[set[str]] = [set() for _ in range(4)]

    def visit(answers: set[str]) -> None:
        with client() as session:
            while not ended:
                answer = session.get(url)
                assert answer.status_code == 200
                answers.add(answer.text)
                assert session.post(f"{url}/upload", data={"a": "b"}).status_code == 200

    with ThreadPoolExecutor(len(met)) as pool:
        visits = [pool.submit(visit, answers) for answers in met]
        try:
            eventually(lambda: all(met), "each session has met an old worker")
            reload(server)
            eventually(lambda: all(len(answers) > 1 for answers in met), "each session has met a new worker")
        finally:
            ended.append(True)
        for visit_ in visits:
            visit_.result()


@pytest.mark.parametrize("way", Way)
def test_connections_of_every_kind_meet_no_error_while_the_server_is_reloaded(start: Start, way: Way) -> None:
    server = start("--http", "127.0.0.1:0", "--workers", "2", "app:application", app=pid_app.SOURCE).wait_ready(2)
    with Load(Plan(server.tcp_addresses()[0], (pid_app.WORK,), 10, ways=(way,))) as load:
        reload(server)
        load.more()
    assert load.wrong == []


@pytest.mark.parametrize("kind", [pid_app.WAIT, pid_app.LARGE])
def test_what_was_pipelined_before_its_worker_leaves_is_answered(start: Start, kind: Kind) -> None:
    server = start("--http", "127.0.0.1:0", "--workers", "2", "app:application", app=pid_app.SOURCE).wait_ready(2)
    with Load(Plan(server.tcp_addresses()[0], (kind,), 10, ways=(Way.PIPELINE,))) as load:
        reload(server)
        load.more()
    assert load.wrong == []
