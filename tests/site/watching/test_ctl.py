"""wsgidctl finds its server, shows and controls it, and says in a sentence what it cannot do."""

import html
import json
import os
import re
import resource
import socket
import subprocess
import sys
import textwrap
from argparse import Namespace
from pathlib import Path
from signal import Signals

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Start
from tests.support import DOCS, client
from tests.support.busy_site import APP, send, serve
from tests.support.ctl import PROGRAM, refusal, said, wsgidctl
from tests.support.processes import open_files
from tests.support.server import eventually, open_to_all
from wsgid.admin import fifo
from wsgid.ctl import tables
from wsgid.ctl.client import Server
from wsgid.ctl.commands import memory, requests, settings, status, stop, top_screen
from wsgid.ctl.main import SUBCOMMANDS
from wsgid.ctl.troubles import troubles
from wsgid.supervisor.slots import SlotState

# --- which server ---


def test_the_server_of_the_working_directory_is_found_or_named_by_socket_or_pid(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    (tmp_path / "pid").write_text(f"{server.pid}\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for directory, *which in (
        (tmp_path,),
        (elsewhere, "--control", str(tmp_path / "app.ctl")),
        (elsewhere, "--pidfile", str(tmp_path / "pid")),
    ):
        done = wsgidctl(directory, *which, "status")
        assert done.returncode == 0 and f"pid {server.pid}" in done.stdout
        assert f"Python {sys.version.split()[0]} of {sys.prefix}\n" in done.stdout
        assert json.loads(wsgidctl(directory, "--json", "status", *which).stdout)["pid"] == server.pid
    assert "there is no control socket in" in refusal(elsewhere, "status")
    both = refusal(elsewhere, "--control", "app.ctl", "status", "--pidfile", "pid", code=2)
    assert "--control and --pidfile both name a server" in both


def test_a_second_server_takes_nothing_from_the_first_and_both_are_named(start: Start, tmp_path: Path) -> None:
    first = serve(start)
    second = start("--socket", "other.sock", "--control", "app.ctl", "app:application").wait_ready(1)
    second.wait_for(rf"--control: cannot listen on \S+app.ctl: process {first.pid} listens on it")
    assert said(tmp_path, "status")["pid"] == first.pid
    third = start("--socket", "third.sock", "app:application").wait_ready(1)
    sentence = refusal(tmp_path, "status")
    assert f"several servers in {tmp_path}: app.ctl (process {first.pid}), third.ctl (process {third.pid})" in sentence
    assert json.loads(wsgidctl(tmp_path, "--control", "third.ctl", "status", "--json").stdout)["pid"] == third.pid
    assert third.stop() == second.stop() == 0
    assert said(tmp_path, "status")["pid"] == first.pid


def test_a_socket_that_a_dead_server_has_left_is_named_and_does_not_hide_a_living_server(
    start: Start, tmp_path: Path
) -> None:
    dead = serve(start)
    dead.send_signal(Signals.SIGKILL)
    dead.wait()
    assert "nobody listens on app.ctl" in refusal(tmp_path, "status")
    assert "was left behind" in refusal(tmp_path, "--control", "app.ctl", "status")
    living = start("--socket", "b.sock", "app:application").wait_ready(1)
    assert said(tmp_path, "status")["pid"] == living.pid


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file"),
        ("", "has no pid in it"),
        ("x", "has no pid in it"),
        ("-4", "no pid"),
        ("999999999999", "no pid"),
        ("0", "no pid"),
    ],
)
def test_a_pid_file_without_a_pid_is_an_error(tmp_path: Path, content: str | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "pid").write_text(content)
    assert sentence in refusal(tmp_path, "--pidfile", "pid", "status")


def test_a_pid_file_of_a_process_that_is_gone_or_no_server_is_an_error(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        (tmp_path / "pid").write_text(str(process.pid))
        assert f"process {process.pid} (sleep), which pid names, listens on no *.ctl" in refusal(
            tmp_path, "--pidfile", "pid", "status"
        )
        process.kill()
    assert f"there is no process {process.pid}" in refusal(tmp_path, "--pidfile", "pid", "status")


def test_a_socket_that_is_no_control_socket_is_an_error(start: Start, tmp_path: Path) -> None:
    serve(start)
    assert "app.sock is no control socket of wsgid's" in refusal(tmp_path, "--control", "app.sock", "status")
    assert "there is no nothing" in refusal(tmp_path, "--control", "nothing", "status")
    for name in ("app.py", str(tmp_path)):
        assert f"{name} is no socket" in refusal(tmp_path, "--control", name, "status")
    assert "too long" in refusal(tmp_path, "--control", "x" * 200, "status")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_server_of_another_user_is_an_error(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    open_to_all(tmp_path)
    (tmp_path / "pid").write_text(str(server.pid))
    code = textwrap.dedent("""
        import os, sys
        from wsgid.ctl import client
        os.setgroups([])
        os.setuid(65534)
        for control, pidfile in (("app.ctl", ""), ("", ""), ("", "pid")):
            try:
                client.find(control, pidfile).ask("status")
            except client.CtlError as error:
                print(error)
    """)  # the other user may have no access to this Python, so the server starts as root
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.count("belongs to somebody else: be that user, or root\n") == 3, done


def test_a_server_that_is_stopped_is_an_error_after_a_time(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    server.send_signal(Signals.SIGSTOP)
    try:
        assert "no answer came from" in refusal(tmp_path, "status")
    finally:
        server.send_signal(Signals.SIGCONT)
    assert said(tmp_path, "status")["ready"] == 1


# --- showing ---


def test_status_shows_every_worker_the_listeners_and_the_totals(start: Start, tmp_path: Path) -> None:
    server = serve(start, workers=2)
    client.get(tmp_path / "app.sock")
    client.get(tmp_path / "app.sock", "/fail")
    with send(server, "/sleep"):
        eventually(
            lambda: sum(worker["in_flight"] for worker in said(tmp_path, "status")["workers"]) == 1, "it is in flight"
        )
        # on a busy machine an event loop may be late, which is a trouble
        shown = eventually(
            lambda: text if "!" not in (text := wsgidctl(tmp_path, "status").stdout) else "", "nothing is wrong"
        )
    assert re.match(
        rf"wsgid \S+ serves app:application: running for \S+, pid {server.pid}, generation 0, "
        r"2 of 2 workers ready\nPython \S+ of \S+\ntemplate 0 \(pid \d+\) is ready\n",
        shown,
    )
    for name in status.COLUMNS:
        assert name in shown
    for slot, pid in enumerate(server.worker_pids()):
        assert re.search(
            rf"^ +\d  ready +{pid} +0 +\S+s +\d +[01]/1000 +\d +\d+ ms +\d+ % +\S+s +\d+\.\d MiB  -$",
            shown,
            re.MULTILINE,
        ), (slot, shown)
    assert re.search(rf"^{tmp_path}/app.sock +\S+ +\S+$", shown, re.MULTILINE)
    assert "since the start: 2 requests, 1 with a 5xx, 0 timed out, 0 rejected" in shown


def test_status_counts_restarts_by_their_cause(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    os.kill(server.worker_pids()[0], Signals.SIGKILL)
    server.wait_ready(2)
    [worker] = said(tmp_path, "status")["workers"]
    assert worker["restarts"] == {"crash": 1}
    assert "1 crash" in wsgidctl(tmp_path, "status").stdout


def test_a_worker_whose_event_loop_stands_still_is_named_first(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    with send(server, "/spin", "600"):
        server.wait_for("its event loop has not run")
        first = wsgidctl(tmp_path, "status").stdout.splitlines()[0]
    assert re.fullmatch(r"! worker 0's event loop has not run for \d+\.\d s: see wsgidctl stacks --worker 0", first)


def test_status_answers_while_the_template_boots_and_while_the_server_drains(start: Start, tmp_path: Path) -> None:
    slow = "import os, time\nwhile not os.path.exists('gate'): time.sleep(0.01)\n" + textwrap.dedent(APP)
    server = start("--socket", "app.sock", "app:application", app=slow)
    server.wait_for("listens on")
    found = eventually(lambda: wsgidctl(tmp_path, "status").stdout, "the master answers")
    assert "no worker serves" in found and re.search(r"template 0 \(pid \d+\) imports the application", found)
    (tmp_path / "gate").touch()
    server.wait_ready(1)
    with send(server, "/sleep"):
        eventually(lambda: server.in_flight() == 1, "the request is in flight")
        assert wsgidctl(tmp_path, "stop", "--no-wait").returncode == 0
        server.wait_for("wsgid stops")
        assert "! the server stops (draining)" in wsgidctl(tmp_path, "status").stdout
        assert said(tmp_path, "requests")["total"] == 1
        assert "the server stops" in refusal(tmp_path, "reload")
        assert "the server stops" in refusal(tmp_path, "workers", "3")
        done = wsgidctl(tmp_path, "stop", "--now")
    assert done.returncode == 0 and "has stopped after" in done.stdout
    assert server.wait() == 0


def test_requests_of_all_workers_the_oldest_first(start: Start, tmp_path: Path) -> None:
    server = serve(start, workers=2)
    with send(server, "/sleep/1") as _, send(server, "/sleep/2"), send(server, "/sleep/3"):
        eventually(lambda: said(tmp_path, "requests")["total"] == 3, "the requests run")
        found = said(tmp_path, "requests")["requests"]
        ages = [request["age_s"] for request in found]
        assert ages == sorted(ages, reverse=True) and {request["path"] for request in found} == {
            "/sleep/1",
            "/sleep/2",
            "/sleep/3",
        }
        done = wsgidctl(tmp_path, "requests")
        assert re.match(r" *" + " +".join(requests.COLUMNS), done.stdout)
        assert re.search(r"^ *\d+\.\ds +[01]  GET +/sleep/\d  127.0.0.1$", done.stdout, re.MULTILINE)
        assert "3 requests in flight" in done.stdout
        done = wsgidctl(tmp_path, "requests", "--limit", "1")
        assert "3 requests in flight; 2 younger ones are not shown" in done.stdout
        each = [said(tmp_path, "requests", "--worker", str(slot))["total"] for slot in (0, 1)]
        assert sum(each) == 3
    assert "there is no worker 7; there are: 0, 1" in refusal(tmp_path, "requests", "--worker", "7")


def test_what_a_client_sends_is_no_command_to_the_terminal(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    evil = "/sleep/\x1b]0;owned\x07\x1b[2J\r\n\u202e\u009b31m".encode().decode("latin-1")
    with send(server, evil):
        eventually(lambda: said(tmp_path, "requests")["total"] == 1, "the request runs")
        for command in ("requests", "stacks", "top --once --interval 0.2"):
            done = wsgidctl(tmp_path, *command.split(), env={**os.environ, "COLUMNS": "200"})
            assert done.returncode == 0 and r"/sleep/\x1b]0;owned\x07\x1b[2J\r\n\u202e\x9b31m" in done.stdout
            assert all(character.isprintable() or character == "\n" for character in done.stdout)


def test_ten_thousand_requests_in_flight_are_answered(start: Start, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # each request needs a descriptor in the test, and one in the server
    number = 10_000 if hard == resource.RLIM_INFINITY else min(10_000, hard - 300)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number + 300), hard))
    server = serve(start, "--gevent", "10000")
    connections: list[socket.socket] = []
    try:
        connections += (send(server, f"/sleep/{place}") for place in range(number))
        eventually(lambda: said(tmp_path, "requests", "--limit", "1")["total"] == number, "all requests run")
        found = said(tmp_path, "requests", "--limit", "10000")
        assert len(found["requests"]) == number
        [worker] = said(tmp_path, "stacks")["workers"]
        [stack] = [stack for stack in worker["stacks"] if stack["kind"] == "request"]
        assert stack["count"] == number and len(stack["named"]) == 10
        assert (
            f"{number} requests in flight; {number - 200} younger ones are not shown"
            in wsgidctl(tmp_path, "requests").stdout
        )
        assert f"{number}/10000" in wsgidctl(tmp_path, "top", "--once", "--interval", "0.2").stdout
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for connection in connections:
            connection.close()


def test_settings_are_those_of_the_running_server(start: Start, tmp_path: Path) -> None:
    serve(start, "--chmod-socket", "640", "--harakiri", "7.5", "--touch-reload", "a", "--touch-reload", "b")
    done = wsgidctl(tmp_path, "settings")
    assert re.match(" +".join(settings.COLUMNS), done.stdout)
    assert re.search(r"^harakiri +7.5 +command line$", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^chmod-socket +640 ", done.stdout, re.MULTILINE)
    assert re.search(rf"^touch-reload +{tmp_path}/a, {tmp_path}/b +command line$", done.stdout, re.MULTILINE)
    assert re.search(r"^socket-timeout +30 +default", done.stdout, re.MULTILINE)
    assert said(tmp_path, "settings")["settings"]["harakiri"] == 7.5


def test_memory_weighs_every_process_and_looks_into_a_worker(start: Start, tmp_path: Path) -> None:
    server = serve(start, workers=2)
    done = wsgidctl(tmp_path, "memory")
    assert re.match(" +".join(memory.COLUMNS), done.stdout)
    for name, pid in (("master", server.pid), ("template 0", server.template_pids()[0])):
        assert re.search(rf"^{name} +{pid}( +\d+\.\d MiB){{5}}$", done.stdout, re.MULTILINE), done.stdout
    assert {f"worker {slot}" for slot in (0, 1)} <= set(re.findall(r"^worker \d", done.stdout, re.MULTILINE))
    assert re.search(r"^worker \d: \d+ objects that the collector knows", done.stdout, re.MULTILINE)
    assert memory.HOW_TO_TRACE in done.stdout
    found = said(tmp_path, "memory", "--worker", "1")
    assert found["worker"]["worker"] == 1 and found["worker"]["objects"]["types"][0]["count"] > 0
    for process in found["processes"]:
        parts = process["parts"]
        assert parts["pss"] <= parts["rss"] and parts["private"] + parts["shared"] <= parts["rss"] * 1.1


def test_memory_shows_what_grows_where_tracemalloc_runs(start: Start, tmp_path: Path) -> None:
    serve(
        start,
        "--env",
        "PYTHONTRACEMALLOC=1",
        app="""
        kept = []
        def application(environ, start_response):
            kept.append("x" * 3_000_000)
            start_response("200 OK", [])
            return []
    """,
    )
    assert "the largest (ask again to see what grows)" in wsgidctl(tmp_path, "memory").stdout
    client.get(tmp_path / "app.sock")
    done = wsgidctl(tmp_path, "memory")
    assert "since the last time" in done.stdout
    assert re.search(r"^ *2\.9 MiB +2\.9 MiB  \S*app.py:4$", done.stdout, re.MULTILINE), done.stdout


# --- controlling ---


def test_reload_waits_until_the_new_generation_serves(start: Start, tmp_path: Path) -> None:
    server = serve(start, workers=2)
    before = set(server.worker_pids())
    done = wsgidctl(tmp_path, "reload")
    assert re.match(r"generation 1 serves with 2 workers after \d+\.\ds", done.stdout) and done.returncode == 0
    eventually(lambda: not before & set(server.worker_pids()), "the old workers have left")
    found = said(tmp_path, "reload")
    assert found["generation"] == 2 and found["done"] is True
    assert wsgidctl(tmp_path, "reload", "--no-wait").stdout == "generation 3 is on its way\n"


def test_reload_waits_for_workers_that_take_their_time(start: Start, tmp_path: Path) -> None:
    serve(start, "--lazy-apps", workers=2, app="import time; time.sleep(0.5)\n" + textwrap.dedent(APP))
    assert said(tmp_path, "reload")["draining"] <= 2
    found = [worker for worker in said(tmp_path, "status")["workers"] if worker["state"] == "ready"]
    assert [worker["generation"] for worker in found] == [1, 1]


@pytest.mark.parametrize("options", [(), ("--lazy-apps",)])
def test_a_reload_that_fails_says_why(start: Start, tmp_path: Path, options: tuple[str, ...]) -> None:
    server = serve(start, *options)
    good = (tmp_path / "app.py").read_text()
    (tmp_path / "app.py").write_text("import no_such_module\n")
    sentence = refusal(tmp_path, "reload")
    assert re.search(
        r"generation 1 could not boot, the running workers keep serving: .*"
        "ModuleNotFoundError: No module named 'no_such_module'",
        sentence,
    )
    assert client.get(tmp_path / "app.sock").status == 200
    (tmp_path / "app.py").write_text(good)
    assert wsgidctl(tmp_path, "reload").returncode == 0
    assert "could not boot" not in wsgidctl(tmp_path, "status").stdout
    assert server.stop() == 0


def test_a_reload_whose_import_ends_the_process_says_how(start: Start, tmp_path: Path) -> None:
    serve(start)
    (tmp_path / "app.py").write_text("import os; os._exit(7)\n")
    assert "template 1 exited with code 7 before it was ready" in refusal(tmp_path, "reload")
    assert "! generation 1 could not boot" in wsgidctl(tmp_path, "status").stdout


def test_stop_waits_until_the_server_is_gone(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    with send(server, "/spin", "1"):
        done = wsgidctl(tmp_path, "stop")
    assert re.fullmatch(r"the server has stopped after \d+\.\ds\n", done.stdout)
    assert not server.worker_pids() and not (tmp_path / "app.ctl").exists()
    assert server.wait() == 0
    server.assert_nothing_left()


def test_stop_waits_for_the_socket_where_the_process_cannot_be_waited_for(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As from another pid namespace, where SO_PEERCRED says 0, and before Linux 5.3, which has no pidfd_open(2)."""

    def refuse(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    server = serve(start)
    monkeypatch.setattr(os, "pidfd_open", refuse)
    with send(server, "/spin", "1"):
        assert stop.run(Server(tmp_path / "app.ctl"), Namespace(now=False, no_wait=False, json=True)) == 0
    said_ = json.loads(capsys.readouterr().out)
    assert said_.pop("took_s") > 0 and said_ == {"pid": server.pid, "done": True}
    assert not (tmp_path / "app.ctl").exists()
    assert server.wait() == 0


def test_workers_are_set_or_changed_within_their_bounds(start: Start, tmp_path: Path) -> None:
    server = serve(start)
    assert wsgidctl(tmp_path, "workers", "+1").stdout == "2 workers from now on, instead of 1\n"
    server.wait_ready(2)
    assert wsgidctl(tmp_path, "workers", "3").stdout == "3 workers from now on, instead of 2\n"
    server.wait_ready(3)
    assert wsgidctl(tmp_path, "workers", "-2").stdout == "1 worker from now on, instead of 3\n"
    assert "the number of workers cannot be 0" in refusal(tmp_path, "workers", "-1")
    assert "from 1 to 256" in refusal(tmp_path, "workers", "0")
    assert "from 1 to 256" in refusal(tmp_path, "workers", "257")
    assert "is no number such as" in refusal(tmp_path, "workers", "many", code=2)
    assert said(tmp_path, "status")["wanted"] == 1
    assert said(tmp_path, "workers", "2") == {"before": 1, "workers": 2}


def test_the_log_is_reopened(start: Start, tmp_path: Path) -> None:
    start("--socket", "app.sock", "--logto", "log", "app:application", app=APP)
    eventually(
        lambda: (tmp_path / "log").exists() and "is ready" in (tmp_path / "log").read_text(), "the server serves"
    )
    (tmp_path / "log").rename(tmp_path / "log.1")
    assert wsgidctl(tmp_path, "log-reopen").returncode == 0
    eventually(lambda: "reopened" in (tmp_path / "log").read_text(), "the new file has the line")
    assert said(tmp_path, "log-reopen") == {}


def test_without_a_log_file_there_is_none_to_reopen(start: Start, tmp_path: Path) -> None:
    serve(start)
    assert "there is no log to reopen" in refusal(tmp_path, "log-reopen")


# --- the command line ---


def test_a_wrong_command_line_is_code_2(tmp_path: Path) -> None:
    for arguments in (
        [],
        ["fly"],
        ["status", "--fly"],
        ["--control", "a", "--pidfile", "b", "status"],
        ["requests", "--limit", "0"],
        ["top", "--interval", "x"],
        ["workers"],
    ):
        assert "usage:" in refusal(tmp_path, *arguments, code=2)


@pytest.mark.parametrize("name", [name for name in SUBCOMMANDS if name not in ("workers", "stop")])
def test_every_subcommand_names_a_missing_server_and_has_json_and_help(tmp_path: Path, name: str) -> None:
    assert "there is no control socket" in refusal(tmp_path, name)
    assert "--json" in wsgidctl(tmp_path, name, "--help").stdout


def test_a_reader_that_leaves_is_no_failure_to_explain(start: Start, tmp_path: Path) -> None:
    serve(start)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([PROGRAM, "settings"], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.stderr, done.returncode) == (b"", 1)


@pytest.mark.parametrize(
    "request_",
    [
        {"command": "requests"},
        {"command": "requests", "worker": "0"},
        {"command": "requests", "worker": True},
        {"command": "requests", "worker": -1},
        {"command": "requests", "worker": 0, "limit": 0},
        {"command": "requests", "worker": 0, "limit": "x"},
        {"command": "requests", "worker": 0, "more": "é" * 30_000},
        {"command": "workers"},
        {"command": "workers", "workers": 1.5},
        {"command": "workers", "workers": True},
        {"command": "workers", "change": 10**9},
        {"command": "stop", "now": 1},
        {"command": "dump"},
        {"command": "dump", "worker": 99},
    ],
)
def test_the_master_validates_whatever_is_asked(start: Start, tmp_path: Path, request_: dict[str, object]) -> None:
    serve(start)
    raw = client.exchange(tmp_path / "app.ctl", json.dumps(request_, ensure_ascii=False).encode() + b"\n")
    answer = json.loads(raw)
    assert answer["ok"] is False and answer["error"]
    deep = client.exchange(tmp_path / "app.ctl", b"[" * 50_000 + b"\n")
    assert json.loads(deep) == {"ok": False, "error": "the request is no JSON"}
    assert client.get(tmp_path / "app.sock").status == 200


def test_nothing_runs_in_a_worker_before_the_first_question(start: Start, tmp_path: Path) -> None:
    """The file for a worker's stacks is empty."""
    server = serve(start)
    [pid] = server.worker_pids()
    [fd] = eventually(
        lambda: [fd for fd, target in open_files(pid).items() if "wsgid-dump" in target], "it has the file"
    )
    assert Path(f"/proc/{pid}/fd/{fd}").stat().st_size == 0


# --- texts ---


@given(st.text())
def test_no_text_gets_a_control_character_through(said_: str) -> None:
    assert tables.escaped(said_).isprintable() and tables.printable(said_).isprintable()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [("/é".encode().decode("latin-1"), "/é"), ("/\xff", r"/\xff"), ("/\x1b[0m", r"/\x1b[0m"), ("/ü→", "/ü→")],
)
def test_a_path_is_shown_as_it_was_meant(raw: str, shown: str) -> None:
    assert tables.printable(raw) == shown


@given(st.floats(0, 100 * 86400, exclude_max=True))
def test_an_age_is_short(seconds: float) -> None:
    assert len(tables.age(seconds)) <= 6


def healthy() -> dict[str, object]:
    worker = {
        "slot": 0,
        "state": "ready",
        "pid": 5,
        "in_flight": 3,
        "heartbeat_age_s": 0.1,
        "stood_still": 0.3,
        "rests_s": 0.0,
        "failures": 0,
    }
    return {
        "mode": "running",
        "ready": 1,
        "wanted": 1,
        "places": 10,
        "hub_warn_s": 1.0,
        "generation": 1,
        "failure": None,
        "templates": [{}],
        "workers": [worker],
        "listeners": [{"address": "a", "queue": None, "backlog": None}],
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mode": "draining"}, "the server stops (draining)"),
        ({"ready": 0}, "no worker serves"),
        ({"wanted": 3}, "1 of 3 workers ready"),
        ({"templates": []}, "there is no template"),
        ({"worker": {"heartbeat_age_s": 4.2}}, "worker 0's event loop has not run for 4.2 s"),
        ({"worker": {"stood_still": 0.38}}, "worker 0's event loop stood still for 38 % of the last 10 s"),
        ({"worker": {"in_flight": 10}}, "worker 0 is full: it serves 10 requests"),
        ({"worker": {"state": "lost"}}, "worker 0 (pid 5) is lost"),
        ({"worker": {"rests_s": 2.5, "failures": 4}}, "worker 0 died young 4 times in a row: the next try is in 2.5 s"),
        (
            {"listeners": [{"address": "a", "queue": 60, "backlog": 100}]},
            "a: 60 connections in the backlog, which has room for 100",
        ),
        ({"failure": {"generation": 2, "age_s": 3.0, "reason": "why"}}, "generation 2 could not boot 3.0s ago"),
    ],
)
def test_each_problem_has_a_sentence(change: dict[str, object], sentence: str) -> None:
    assert troubles(healthy()) == []
    state = healthy()
    worker = change.pop("worker", {})
    state.update(change)
    state["workers"][0].update(worker)  # type: ignore[index]
    assert [trouble for trouble in troubles(state) if sentence in trouble], troubles(state)


def test_every_state_of_a_worker_can_be_shown() -> None:
    for state in SlotState:
        worker = {"slot": 1, "state": state.name.lower(), "pid": 0, "rests_s": 0.0, "restarts": {"crash": 2}}
        assert status.row(worker, {"places": 1})[1] == state.name.lower()


# --- the documentation ---


@pytest.mark.parametrize("columns", [status.COLUMNS, requests.COLUMNS, memory.COLUMNS, settings.COLUMNS])
def test_the_documentation_shows_the_columns_as_they_are(columns: tuple[str, ...]) -> None:
    pasted = (DOCS / "wsgidctl.md").read_text()
    assert re.search(r"^ {4} *" + " +".join(map(re.escape, columns)) + "$", pasted, re.MULTILINE)


def test_the_documentation_names_every_subcommand_and_letter() -> None:
    written = "".join(path.read_text() for path in DOCS.glob("*.md"))
    for name in SUBCOMMANDS:
        assert f"wsgidctl {name}" in written, name
    for letter in (*fifo.LETTERS, *fifo.REFUSED):
        assert f"`{letter}`" in written, letter


def test_the_picture_of_top_has_the_columns_as_they_are() -> None:
    picture = html.unescape((DOCS / "pictures" / "top.svg").read_text()).replace("\xa0", " ")
    for columns in (top_screen.WORKER_COLUMNS, top_screen.REQUEST_COLUMNS):
        assert all(name in picture for name in columns)
