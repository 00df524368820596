"""The server log: its levels, its forms, its destinations. tests/site/logs/test_access_log.py tests the access log."""

import io
import json
import logging
import re
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually
from wsgid import log
from wsgid.log import destination, server_log
from wsgid.log.destination import Destination, DestinationType
from wsgid.log.syslog_socket import INFO, Syslog

APP = """
    import logging, sys, time
    logging.config = __import__("logging.config").config
    logging.config.dictConfig({"version": 1, "root": {"level": "ERROR"}})
    print("the application is imported", file=sys.stderr, flush=True)

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/fail":
            raise ValueError("two\\nlines")
        if path == "/sleep":
            time.sleep(9)
        print("the application's own words", file=sys.stderr, flush=True)
        start_response("200 OK", [])
        return [b"done"]
"""


def serve(start: Start, *options: str, ready: bool = True, **more: Any) -> Server:
    # A busy machine may hold up a loop for a second, and the log would have a stack of that.
    server = start("--socket", "app.sock", "--hub-warn", "60", *options, "app:application", app=APP, **more)
    return server.wait_ready(1) if ready else server


def ask(server: Server, path: str = "/") -> int:
    return client.get(server.directory / "app.sock", path).status


# --- forms ---


def test_text_is_one_sentence_a_line(start: Start) -> None:
    server = serve(start)
    ask(server)
    server.wait_for("^the application's own words$")
    server.stop()
    ours = [line for line in server.lines if not line.startswith("the application")]
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[\d+\] wsgid (master|worker 0) (INFO|WARNING|ERROR): \S.*"
    assert len(ours) >= 5 and all(re.fullmatch(pattern, line) for line in ours)


def test_json_is_one_object_a_line_with_stacks_inside(start: Start) -> None:
    server = serve(start, "--log-json", "--harakiri", "0.3", ready=False)
    server.wait_for('"message": "worker 0 .* is ready"')
    assert [ask(server, "/"), ask(server, "/fail"), ask(server, "/sleep")] == [200, 500, 504]
    assert server.stop() == 0
    records = [json.loads(line) for line in server.lines if not line.startswith("the application")]
    for record in records:
        assert record.keys() - {"traceback"} == {"time", "level", "role", "pid", "message"}
        assert abs(datetime.now().astimezone() - datetime.fromisoformat(record["time"])) < timedelta(minutes=5)
    failed, overdue = [record for record in records if "traceback" in record]
    assert (failed["level"], failed["role"], failed["message"]) == (
        "error",
        "worker 0",
        "GET /fail: the application failed",
    )
    assert failed["traceback"].startswith("Traceback (most") and failed["traceback"].endswith("ValueError: two\nlines")
    assert overdue["message"].startswith("harakiri: GET /sleep, ") and "time.sleep(9)" in overdue["traceback"]
    assert "the application's own words" in server.lines  # unchanged


def test_a_failed_import_is_one_object(start: Start) -> None:
    server = start("--socket", "app.sock", "--log-json", "app:application", app="import nothing_there")
    assert server.wait() == 3
    records = [json.loads(line) for line in server.lines]
    assert [record["traceback"].splitlines()[-1] for record in records if "traceback" in record] == [
        "ModuleNotFoundError: No module named 'nothing_there'"
    ]


def test_each_level_says_what_it_should(start: Start) -> None:
    server = serve(start, "--log-level", "debug")
    server.stop()
    assert " DEBUG: " in server.log
    server = serve(start, "--log-level", "error", ready=False)
    eventually(lambda: client.is_up(server.directory / "app.sock"), "the server serves")
    assert ask(server, "/fail") == 500
    server.stop()
    levels = {match[1] for line in server.lines if (match := re.search(r"wsgid [\w ]+ ([A-Z]+): ", line))}
    assert levels == {"ERROR"}


@pytest.fixture
def set_up() -> Iterator[Callable[..., None]]:
    yield log.set_up
    log.set_up("info", False, (), {})


@given(st.text(), st.text())
def test_any_message_is_one_object(message: str, stack: str) -> None:
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO", "process": 1, "traceback": stack})
    text = server_log._Json().format(record)
    assert "\n" not in text and json.loads(text).get("traceback", "") == stack
    assert json.loads(text)["message"] == message


def test_a_level_takes_effect_after_it_was_asked_for(
    set_up: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    log.debug("one")
    set_up("debug", False, (), {})
    log.debug("two")
    set_up("warning", False, (), {})
    log.info("three")
    assert capsys.readouterr().err.splitlines()[0].endswith("DEBUG: two")


def test_a_message_whose_values_do_not_fit_is_logged_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    log.warning("%d workers", "many")
    assert capsys.readouterr().err.endswith("'%d workers' cannot be formatted\n")


@pytest.mark.parametrize("is_there", [False, True])
def test_wsgi_errors_never_fail(monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    """The application may have removed or closed sys.stderr. PEP 3333 wants write, writelines and flush."""
    errors, closed = server_log.ErrorStream(), io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed if is_there else None)
    assert errors.writable() and errors.write("text") == 4
    errors.writelines(["a", "b"])
    errors.flush()


def test_a_log_that_cannot_be_written_makes_no_caller_fail(
    set_up: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w") as full:
        set_up("info", False, ("file:/full",), {"/full": full.fileno()})
        log.info("still said")
    assert "still said" in capsys.readouterr().err
    for broken in (None, full):  # `full` is closed now
        monkeypatch.setattr(sys, "stderr", broken)
        log.info("to nobody")


# --- the journal ---


def test_the_journal_gets_the_priority_of_each_line(start: Start) -> None:
    connected = 'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"'
    server = serve(start, prefix=("sh", "-c", connected, "sh"))
    ask(server, "/fail")
    server.wait_for("^<3>.* GET /fail: the application failed$")
    server.wait_for("^<3>ValueError: two$")
    server.wait_for("^<3>lines$")
    server.wait_for("^<6>.* worker 0 .* is ready$")
    assert "the application is imported" in server.lines  # a line of the application, so wsgid adds no priority


def test_a_log_that_is_not_the_journal_gets_no_priority(start: Start) -> None:
    server = serve(start, environ={"JOURNAL_STREAM": "1:1"})
    assert not [line for line in server.lines if line.startswith("<")]


# --- files ---


def test_the_log_goes_to_files_and_is_reopened(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--logger", "file:server.log", "--logger", "stdio", "--touch-logreopen", "rotated")
    assert re.search(r"worker 0 \(.* is ready\n", (tmp_path / "server.log").read_text())
    (tmp_path / "server.log").rename(tmp_path / "server.log.1")
    (tmp_path / "rotated").touch()
    server.wait_for("rotated has changed: the log is reopened")
    eventually(
        lambda: ask(server, "/fail") and "the application failed" in (tmp_path / "server.log").read_text(),
        "the worker writes there",
    )


def test_a_log_that_cannot_be_reopened_stays_open(start: Start, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    server = start("--socket", "app.sock", "--logto", "logs/wsgid.log", "app:application", app=APP)
    eventually(lambda: list(tmp_path.glob("logs/wsgid.log")), "there is a log")
    said = tmp_path / "logs" / "wsgid.log"
    eventually(lambda: "is ready" in said.read_text(), "the server serves")
    said = (tmp_path / "logs").rename(tmp_path / "moved") / "wsgid.log"
    server.send_signal(Signals.SIGUSR1)
    eventually(
        lambda: (
            "cannot be written: No such file or directory; choose another file; the old file stays in use"
            in said.read_text()
        ),
        "the log says that the old file stays in use",
    )
    assert ask(server) == 200 and server.stop() == 0
    assert "the application's own words" in said.read_text()


def test_a_log_that_is_no_file_is_not_reopened(start: Start) -> None:
    server = serve(start)
    server.send_signal(Signals.SIGUSR1)
    server.wait_for("SIGUSR1: there is no log to reopen")


# --- syslog ---


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as syslog:
        syslog.bind(("127.0.0.1", 0))
        syslog.settimeout(20)
        yield syslog


def test_all_processes_log_to_a_syslog(start: Start, receiver: socket.socket) -> None:
    port = receiver.getsockname()[1]
    server = serve(start, "--logger", f"rsyslog:127.0.0.1:{port},site", "--logger", "stdio")
    ask(server, "/fail")
    [worker] = server.worker_pids()
    said: list[str] = []
    while not said or not said[-1].endswith(": lines"):
        said.append(receiver.recv(65536).decode())
    assert re.fullmatch(rf"<30>site\[{server.pid}\]: .* wsgid master INFO: wsgid .* listens on .*", said[0])
    assert re.fullmatch(
        rf"<27>site\[{worker}\]: .* worker 0 ERROR: GET /fail: the application failed",
        next(line for line in said if "/fail" in line),
    )
    assert said[-1] == f"<27>site[{worker}]: lines"  # one datagram for each line
    server.wait_for("the application failed")
    assert "stdio" not in server.log


def test_a_missing_syslog_does_not_stop_the_server(start: Start, receiver: socket.socket) -> None:
    server = serve(start, "--logger", "rsyslog:no-such-host.invalid:514,site")  # the lines go to standard error
    assert ask(server) == 200 and server.stop() == 0


@pytest.fixture
def local(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], socket.socket]]]:
    """The path of a machine's syslog, and a function that starts the syslog there."""
    made: list[socket.socket] = []

    def listen() -> socket.socket:
        (tmp_path / "log").unlink(missing_ok=True)
        made.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        made[-1].bind(str(tmp_path / "log"))
        made[-1].settimeout(20)
        return made[-1]

    yield tmp_path / "log", listen
    for syslog in made:
        syslog.close()


def test_a_restarted_syslog_is_found_again(local: tuple[Path, Callable[[], socket.socket]]) -> None:
    path, listen = local
    to = Destination(
        DestinationType.SYSLOG, str(path), tag="site", facility=destination.parse("syslog:x,local3").facility
    )
    syslog = Syslog(to)
    with pytest.raises(FileNotFoundError):
        syslog.send(INFO, "nobody hears this")
    with pytest.raises(OSError, match="not there"):  # it does not try again at once
        syslog.send(INFO, "nor this")
    syslog = Syslog(to)
    first = listen()
    syslog.send(INFO, "caf\u00e9 \ud800")
    assert re.fullmatch(rb"<158>site\[\d+\]: caf\xc3\xa9 \\ud800", first.recv(100))
    first.close()
    second = listen()
    syslog.send(INFO, "again")
    assert second.recv(100).endswith(b": again")
    syslog.close()


def test_a_syslog_that_does_not_read_never_blocks(local: tuple[Path, Callable[[], socket.socket]]) -> None:
    path, listen = local
    listen()
    syslog = Syslog(Destination(DestinationType.SYSLOG, str(path)))
    with pytest.raises(BlockingIOError):
        for _ in range(10_000):
            syslog.send(INFO, "x" * 1000)
    syslog.close()


# --- options ---


@pytest.mark.parametrize(
    "text, expected",
    [
        ("stdio", "stdio"),
        ("-", "stdio"),
        ("stdio:", "stdio"),
        ("file:/a b", "file:/a b"),
        ("file:logfile=/a/b.log,maxsize=20971520,backupname=/a/c.log", "file:/a/b.log"),
        ("syslog", "syslog:wsgid,daemon"),
        ("syslog:site", "syslog:site,daemon"),
        ("syslog:,local7", "syslog:wsgid,local7"),
        ("rsyslog:loghost", "rsyslog:loghost:514,wsgid"),
        ("rsyslog:[::1]:5140,site", "rsyslog:[::1]:5140,site"),
    ],
)
def test_destinations(text: str, expected: str) -> None:
    assert str(destination.parse(text)) == expected
    assert destination.parse(expected) == destination.parse(text)


def test_a_file_may_be_named_by_its_path_alone() -> None:
    assert destination.parse_file("a.log") == Destination(DestinationType.FILE, str(Path.cwd() / "a.log"))
    assert destination.parse_file("syslog") == destination.parse("syslog")


@pytest.mark.parametrize(
    "option, value, expected",
    [
        ("--logger", "redislog:x", "expected stdio, file:PATH, syslog:TAG,FACILITY or rsyslog:HOST:PORT,TAG"),
        ("--logger", "server.log", "expected stdio, file:PATH"),
        ("--logger", "file:", "expected stdio, file:PATH"),
        ("--logger", "file:maxsize=5", "expected file:PATH, or file:logfile=PATH"),
        ("--logger", "syslog:x,local9", "expected one of the facilities kern, user"),
        ("--logger", "syslog:a b", "expected a tag of up to 32"),
        ("--logger", "rsyslog:", "expected rsyslog:HOST:PORT"),
        ("--logger", "rsyslog:h:0", "as in rsyslog:192.0.2.1:514,wsgid"),
        ("--log-level", "loud", "debug, info, warning"),
        ("--logger", "file:/nowhere/x.log", "the log file /nowhere/x.log cannot be written"),
    ],
)
def test_a_wrong_option_is_refused_in_a_sentence(start: Start, option: str, value: str, expected: str) -> None:
    server = start("--socket", "app.sock", option, value, "app:application", app=APP)
    assert server.wait() == 2
    server.wait_for(re.escape(expected))
    assert len(server.lines) == 1 and "Traceback" not in server.log
