"""--limit-req and --limit-conn, as visitors of a site see them, and what the operator sees."""

from collections.abc import Iterator
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
import requests

from tests.conftest import Start
from tests.support import client
from tests.support.ctl import said, wsgidctl
from tests.support.server import Server, eventually
from tools.nginx import Nginx, example
from wsgid.limits import rules

APP = """
    import gevent, os
    gate = gevent.event.Event()
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        start_response("200 OK", [("Content-Type", "text/plain")])
        if path == "/open":
            gate.set()
        if path == "/wait":
            with open("waiting", "a") as file:
                file.write("x")
            while not os.path.exists("opened"):
                gevent.sleep(0.01)
        return [b"hello"]
"""


@pytest.fixture
def behind_nginx(start: Start) -> Iterator[Any]:
    made: list[Nginx] = []

    def build(*options: str, workers: int = 2) -> tuple[Server, Nginx]:
        server = serve(start, *options, workers=workers)
        made.append(Nginx(example("flask_nginx.conf", f"unix:{server.directory}/app.sock")))
        made[-1].start()
        return server, made[-1]

    yield build
    for nginx in made:
        nginx.stop()


def serve(start: Start, *options: str, workers: int = 2) -> Server:
    arguments = ("--socket", "app.sock", "--workers", str(workers), *options, "app:application")
    return start(*arguments, app=APP).wait_ready(workers)


def statuses(server: Server, requests_: int, path: str = "/", **variables: str) -> list[int]:
    return [client.get(server.directory / "app.sock", path, **variables).status for _ in range(requests_)]


def test_a_rate_holds_over_all_workers_behind_nginx(behind_nginx: Any) -> None:
    """With a limit in each worker, it would be twice as high."""
    server, nginx = behind_nginx("--limit-req", "key=remote_addr rate=1r/m burst=5 nodelay path=/api/")
    answers = [requests.get(f"{nginx.url}/api/x") for _ in range(9)]
    assert [answer.status_code for answer in answers] == [200] * 6 + [429] * 3
    first, last = answers[0].headers, answers[-1].headers
    assert (first["RateLimit-Limit"], first["RateLimit-Remaining"], first["RateLimit-Reset"]) == ("6", "5", "60")
    assert (last["RateLimit-Limit"], last["RateLimit-Remaining"]) == ("6", "0")
    assert 50 <= int(last["Retry-After"]) <= 60
    assert answers[-1].text == "429 Too Many Requests\n"
    assert requests.get(f"{nginx.url}/other").status_code == 200
    server.wait_for("limit-req key=remote_addr .* rejects '127.0.0.1'")


def test_each_key_has_its_own_rate_and_no_key_has_none(start: Start) -> None:
    server = serve(start, "--limit-req", "key=http_x_api_key rate=1r/m status=503")
    assert statuses(server, 2, HTTP_X_API_KEY="a") == [200, 503]
    assert statuses(server, 2, HTTP_X_API_KEY="b") == [200, 503]
    assert statuses(server, 3) == [200, 200, 200]


def test_a_burst_is_delayed_to_the_rate(start: Start) -> None:
    server = serve(start, "--limit-req", "key=all rate=1r/s burst=4 name=slow", workers=1)
    assert statuses(server, 2) == [200] * 2
    [limit] = said(server.directory, "limits")["limits"]
    assert (limit["name"], limit["admitted"], limit["rejected"]) == ("slow", 2, 0)
    assert limit["delayed"] >= 1 and limit["waiting"] == 0


def test_a_number_of_requests_at_the_same_time(start: Start) -> None:
    server = serve(start, "--limit-conn", "key=remote_addr limit=2", "--metrics", "metrics.sock", "--stats", "s.sock")
    address, waiting = server.directory / "app.sock", server.directory / "waiting"
    held = [client.connect(address) for _ in range(2)]
    for connection in held:
        connection.sendall(client.packet("/wait"))
    eventually(lambda: waiting.exists() and waiting.read_text() == "xx", "two requests are in flight")
    refused = client.get(address)
    assert refused.status == 429 and int(refused.header("Retry-After") or 0) >= 1
    assert client.get(address, REMOTE_ADDR="10.0.0.9").status == 200
    metrics = ask(server, "metrics.sock", "/metrics")
    name = "limit-conn key=remote_addr limit=2"
    assert f'wsgid_limit_level{{limiter="{name}"}} 2' in metrics
    assert f'wsgid_limit_rejected_total{{limiter="{name}"}} 1' in metrics
    assert '"level": 2' in client.exchange(server.directory / "s.sock").decode()
    (server.directory / "opened").touch()
    assert [client.parse(client.read_all(connection)).status for connection in held] == [200, 200]
    for connection in held:
        connection.close()
    assert statuses(server, 3) == [200] * 3
    assert f'wsgid_limit_level{{limiter="{name}"}} 0' in ask(server, "metrics.sock", "/metrics")


def ask(server: Server, name: str, path: str) -> str:
    head = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    return client.exchange(server.directory / name, head).decode()


def test_a_dry_run_only_counts(start: Start) -> None:
    server = serve(start, "--limit-req", "key=all rate=1r/m dry-run name=trial")
    assert statuses(server, 4) == [200] * 4
    [limit] = said(server.directory, "limits")["limits"]
    assert (limit["admitted"], limit["rejected"], limit["would_reject"]) == (1, 0, 3)


def test_all_rules_of_a_request_decide_together(start: Start) -> None:
    rule = ("--limit-req", "key=remote_addr rate=1r/m burst=1 nodelay name=each")
    server = serve(start, *rule, "--limit-req", "key=all rate=1r/m burst=2 nodelay name=all")
    assert statuses(server, 3, REMOTE_ADDR="10.0.0.1") == [200, 200, 429]  # the third is rejected by `each`
    assert statuses(server, 2, REMOTE_ADDR="10.0.0.2") == [200, 429]  # and has spent nothing of `all`
    shown = {
        limit["name"]: (limit["admitted"], limit["rejected"]) for limit in said(server.directory, "limits")["limits"]
    }
    assert shown == {"each": (3, 1), "all": (3, 1)}


@pytest.mark.parametrize("kind", ["ini", "toml"])
def test_files_have_these_options(start: Start, tmp_path: Path, kind: str) -> None:
    text = {
        "ini": "[uwsgi]\nmodule = app\nsocket = app.sock\nlimit-req = key=all rate=1r/m\nlimit-conn = key=all limit=9\n"
        "limit-keys = 100\n",
        "toml": 'application = "app:application"\nsocket = "app.sock"\nlimit-req = ["key=all rate=1r/m"]\n'
        'limit_conn = ["key=all limit=9"]\nlimit-keys = 100\n',
    }[kind]
    (tmp_path / f"site.{kind}").write_text(text)
    server = start("--ini" if kind == "ini" else "--config", f"site.{kind}", app=APP).wait_ready(1)
    assert statuses(server, 2) == [200, 429]
    assert len(said(server.directory, "limits")["limits"]) == 2


def test_without_room_for_a_key_requests_go_on_and_are_counted(start: Start) -> None:
    server = serve(start, "--limit-req", "key=http_x_api_key rate=1r/h name=small", "--limit-keys", "1", workers=1)
    answers = [statuses(server, 1, HTTP_X_API_KEY=str(number))[0] for number in range(40)]
    assert answers == [200] * 40
    [limit] = said(server.directory, "limits")["limits"]
    assert (limit["admitted"], limit["failed_open"]) == (32, 8)


def test_limits_stay_through_reload_upgrade_and_deaths(start: Start) -> None:
    server = serve(start, "--limit-req", "key=all rate=1r/h burst=3 nodelay name=kept")
    assert statuses(server, 1) == [200]
    server.send_signal(Signals.SIGHUP)
    server.wait_generation(1, 2)
    assert statuses(server, 1) == [200]
    before = len(server.lines)
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid starts anew")
    server.wait_for(r"worker \d .* is ready", 2, before)
    eventually(lambda: len(server.worker_pids()) == 2, "the old workers have left")
    assert statuses(server, 3) == [200, 200, 429]
    [limit] = said(server.directory, "limits")["limits"]
    assert (limit["admitted"], limit["rejected"]) == (4, 1)


def test_the_top_keys_in_words(start: Start) -> None:
    server = serve(start, "--limit-req", "key=http_x_api_key rate=1r/h name=api")
    statuses(server, 3, HTTP_X_API_KEY="loud\x1b[31m")
    statuses(server, 1, HTTP_X_API_KEY="quiet")
    printed = wsgidctl(server.directory, "limits", "--keys", "1").stdout
    assert "loud\\x1b[31m  api" in printed and "quiet" not in printed
    assert wsgidctl(server.directory, "limits", "--keys", "-1").returncode == 1


def test_a_server_without_limits_says_so(start: Start) -> None:
    server = serve(start)
    assert statuses(server, 1) == [200]
    assert wsgidctl(server.directory, "limits").stdout == "no limit was used yet\n"


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ("--limit-req", "key=remote_addr", "a rate, such as rate=10r/s"),
        ("--limit-req", "key=remote_addr rate=10", "'10' is no rate"),
        ("--limit-req", "rate=1r/s", "a key such as key=remote_addr"),
        ("--limit-req", "key=Remote rate=1r/s", "a key such as key=remote_addr"),
        ("--limit-req", "key=all rate=1r/s burst=x", "a whole number for burst"),
        ("--limit-req", "key=all rate=1r/s brust=1", "not 'brust=1'"),
        ("--limit-req", "key=all rate=1r/s nodelay=1", "not 'nodelay=1'"),
        ("--limit-req", "key=all rate=1r/s status=418", "status=429 or status=503"),
        ("--limit-conn", "key=all", "such as limit=5"),
        ("--limit-conn", "key=all limit=0", "limit is 0"),
        ("--limit-conn", "key=all limit=1 delay=x", "seconds for delay"),
        ("--limit-keys", "0", "a whole number from 1"),
    ],
)
def test_a_wrong_option_is_named_with_what_was_expected(start: Start, option: str, text: str, expected: str) -> None:
    server = start("--socket", "app.sock", option, text, "app:application", app=APP)
    assert server.wait() == 2
    assert f"{option} '{text}' cannot be used: expected " in server.log and expected in server.log


@pytest.mark.parametrize(
    ("key", "environ", "expected"),
    [
        ("remote_addr", {"REMOTE_ADDR": "1.2.3.4"}, "1.2.3.4"),
        ("$binary_remote_addr", {"REMOTE_ADDR": "1.2.3.4"}, "1.2.3.4"),
        ("http_x_api_key", {}, None),
        ("host+uri", {"HTTP_HOST": "a", "PATH_INFO": "/x"}, "a\n/x"),
        ("all", {}, ""),
    ],
)
def test_keys_are_named_as_in_nginx(key: str, environ: dict[str, str], expected: str | None) -> None:
    assert rules.parse_req(f"key={key} rate=1r/s").key({"PATH_INFO": "/", "SCRIPT_NAME": "", **environ}) == expected
