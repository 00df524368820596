"""The access log of real servers: which requests get a line, where the lines go, and that no line is lost."""

import errno
import json
import multiprocessing
import os
import pwd
import re
import select
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import Signals

import pytest

from tests.conftest import Start
from tests.support import another_user, client
from tests.support.load import Kind, Load, Plan
from tests.support.server import Server, eventually, open_to_all
from wsgid.log.stream import WAITING_MAX_BYTES, LineStream

pytestmark = pytest.mark.hot

APP = """
    import os, time

    class Broken:
        def __bool__(self):
            raise ZeroDivisionError("no name")

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/fail":
            raise ValueError("on purpose")
        if path == "/sleep":
            time.sleep(float(environ["QUERY_STRING"] or 0.2))
        if path == "/overdue":
            environ["wsgid.harakiri"](0.2)
            time.sleep(60)
        if path == "/until":
            while not os.path.exists("go"):
                time.sleep(0.01)
        if path == "/spin":
            end = time.monotonic() + float(environ["QUERY_STRING"])
            while time.monotonic() < end:
                pass
        if path == "/broken":
            environ["REMOTE_USER"] = Broken()
        if path == "/wait":
            environ["wsgi.input"].read()
        status = "404 Not Found" if path == "/none" else "200 OK"
        body = b"x" * {"/large": 100_000, "/huge": 10_000_000}[path] if path in ("/large", "/huge") else b"one"
        length = 9 if path == "/torn" else len(body)
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(length))])
        return [body]
"""
SHORT = "%(status) %(uri) %(rsize)"
KINDS = (Kind("/", "one"), Kind("/sleep", "one"), Kind("/large", "x*", 100_000), Kind("/", "one"))


def serve(start: Start, *options: str, workers: int = 1) -> Server:
    return start("--socket", "app.sock", "--workers", str(workers), *options, "app:application", app=APP).wait_ready(
        workers
    )


def ask(server: Server, *paths: str) -> None:
    for path in paths:
        client.exchange(server.directory / "app.sock", client.packet(path))


def lines_of(path: Path, count: int) -> list[str]:
    """Wait until the file has this many lines."""
    eventually(lambda: path.exists() and path.read_text().count("\n") >= count, f"{count} lines in {path.name}")
    return path.read_text().splitlines()


# --- which requests ---


def test_the_access_log_is_off_unless_wanted(start: Start) -> None:
    server = serve(start)
    ask(server, "/", "/none")
    server.stop()
    assert "GET /" not in server.log and "/none" not in server.log


EVERYTHING = ["200 /", "404 /none", "500 /fail", "200 /slow"]


@pytest.mark.parametrize(
    "options, logged",
    [
        (("--access-log", "-"), EVERYTHING),
        ((), EVERYTHING),  # a format alone turns the log on, too
        (("--disable-logging",), []),
        (("--access-log", "-", "--disable-logging", "--log-4xx"), EVERYTHING[1:2]),
        (("--disable-logging", "--log-4xx", "--log-5xx", "--log-slow", "1500"), EVERYTHING[1:]),
        (("--log-5xx", "--disable-logging"), EVERYTHING[2:3]),
        (("--log-slow", "1500", "--disable-logging"), EVERYTHING[3:]),
    ],
)
def test_which_requests_are_logged(start: Start, options: tuple[str, ...], logged: list[str]) -> None:
    server = serve(start, "--log-format", "line: %(status) %(uri)", *options)
    ask(server, "/", "/none", "/fail")
    seconds = "1.6" if "--log-slow" in options else "0.01"
    client.get(server.directory / "app.sock", "/sleep", REQUEST_URI="/slow", QUERY_STRING=seconds)
    assert server.stop() == 0
    assert [line.removeprefix("line: ") for line in server.lines if line.startswith("line: ")] == logged


def test_a_line_that_cannot_be_made_costs_no_visitor_and_no_other_line(start: Start, tmp_path: Path) -> None:
    """The application has put an object into the environ whose methods fail."""
    server = serve(start, "--access-log", "log", "--log-format", "%(user) %(uri)")
    for path in ("/broken", "/1", "/broken", "/2"):
        assert client.get(tmp_path / "app.sock", path).status == 200
    assert lines_of(tmp_path / "log", 2) == ["- /1", "- /2"]
    assert server.stop() == 0
    assert server.log.count("a line of the access log could not be made") == 1
    assert "ZeroDivisionError: no name" in server.log


def test_statuses_are_logged_without_any_other_option(start: Start) -> None:
    server = serve(start, "--log-5xx")
    ask(server, "/", "/none", "/fail")
    server.stop()
    [line] = [line for line in server.lines if line.startswith("[pid: ")]
    assert re.fullmatch(
        r"\[pid: \d+\|app: 0\|req: 3/3\] 127\.0\.0\.1 \(\) \{26 vars in \d+ bytes\} "
        r"\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\] GET /fail => generated 26 bytes in \d+ msecs "
        r"\(HTTP/1\.1 500\) 1 headers in \d+ bytes \(0 switches on core 0\)",
        line,
    )


def test_what_went_wrong_is_logged_with_what_was_sent(start: Start, tmp_path: Path) -> None:
    server = serve(
        start, "--access-log", "access.log", "--log-format", f"{SHORT} %(ioerr) %(hsize)", "--harakiri", "60"
    )
    answer = client.get(tmp_path / "app.sock", "/overdue")
    assert answer.status == 504
    ask(server, "/torn")
    with client.connect(tmp_path / "app.sock") as leaving:  # while the body is read
        leaving.sendall(client.packet("/wait", CONTENT_LENGTH="10"))
    with client.connect(tmp_path / "app.sock") as leaving:  # before the answer, as nginx does with a 504 or a 499
        leaving.sendall(client.packet("/sleep"))
    with client.connect(tmp_path / "app.sock") as leaving:  # while the answer is written
        leaving.sendall(client.packet("/huge"))
        leaving.recv(1)
    written = {" ".join(line.split()[:4]): int(line.split()[4]) for line in lines_of(tmp_path / "access.log", 5)}
    head_bytes = len(answer.raw) - len(answer.body)
    assert written["504 /overdue 20 0"] == head_bytes and written["200 /torn 3 0"] > 50
    assert written["499 /wait 0 1"] == written["499 /sleep 0 1"] == 0 and "200 /huge 0 1" in written


# --- where to ---


def test_all_workers_write_whole_lines_to_one_file(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--access-log", "access.log", "--log-format", "json", workers=2)
    long = "/" + "x" * 8192

    def wids() -> set[int]:
        whole, _, _ = (tmp_path / "access.log").read_text().rpartition("\n")
        return {json.loads(line)["wid"] for line in whole.splitlines()}

    with Load(Plan(tmp_path / "app.sock", KINDS, 12)) as load:
        for number in range(20):
            client.get(tmp_path / "app.sock", REQUEST_URI=f"{long}{number}")
        eventually(lambda: wids() == {1, 2}, "both workers have had requests")
    assert load.wrong == [] and server.stop() == 0
    records = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert len(records) == load.right + 20
    assert len({record["pid"] for record in records}) == 2 and {record["wid"] for record in records} == {1, 2}
    assert {record["uri"] for record in records if len(record["uri"]) > 100} == {
        f"{long}{number}" for number in range(20)
    }


def test_the_master_alone_opens_the_files(start: Start, tmp_path: Path) -> None:
    """The workers may lack the right to open them. A renamed file stays in use, also in new workers, until the master
    opens the files again."""
    (tmp_path / "logs").mkdir()
    server = serve(
        start,
        "--access-log",
        "file:logs/access.log",
        "--logger",
        "file:logs/server.log",
        "--logger",
        "stdio",
        "--log-format",
        SHORT,
    )
    access, said = tmp_path / "logs" / "access.log", tmp_path / "logs" / "server.log"
    renamed = access.rename(tmp_path / "logs" / "access.log.1"), said.rename(tmp_path / "logs" / "server.log.1")
    os.kill(server.worker_pids()[0], Signals.SIGKILL)
    server.wait_ready(2)
    ask(server, "/", "/fail")
    assert lines_of(renamed[0], 2) == ["200 / 3", "500 /fail 26"]
    assert "worker 0 ERROR: GET /fail: the application failed" in renamed[1].read_text()
    assert not access.exists() and not said.exists()
    server.send_signal(Signals.SIGUSR1)
    server.wait_for("SIGUSR1: the log is reopened")

    def is_written_anew() -> bool:
        ask(server, "/fail")
        return access.exists() and "worker 0 ERROR" in said.read_text()

    eventually(is_written_anew, "the worker writes to the new files")


def test_a_rotation_under_load_loses_nothing(start: Start, tmp_path: Path) -> None:
    server = serve(
        start, "--access-log", "access.log", "--log-format", SHORT, "--touch-logreopen", "rotated", workers=2
    )
    with Load(Plan(tmp_path / "app.sock", KINDS, 12)) as load:
        for number in range(3):
            (tmp_path / "access.log").rename(tmp_path / f"access.log.{number}")
            (tmp_path / "rotated").write_text(str(number))
            server.wait_for("rotated has changed: the log is reopened", number + 1)
            lines_of(tmp_path / "access.log", 10)
    assert load.wrong == [] and server.stop() == 0
    assert sum(path.read_text().count("\n") for path in tmp_path.glob("access.log*")) == load.right


def test_a_reload_and_an_upgrade_keep_writing(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--access-log", "access.log", "--log-format", SHORT, workers=2)
    with Load(Plan(tmp_path / "app.sock", KINDS, 12)) as load:
        server.send_signal(Signals.SIGHUP)
        server.wait_generation(1, 2)
        server.wait_for(r"worker \d+ \(generation 0, pid \d+\) exited with code 0", 2)
        server.send_signal(Signals.SIGUSR2)
        server.wait_for("wsgid starts anew")
        server.wait_for(r"worker \d+ \(generation 1, pid \d+\) exited with code 0", 2)
    assert load.wrong == [] and server.stop() == 0
    assert (tmp_path / "access.log").read_text().count("\n") == load.right


def test_an_upgrade_to_a_log_that_cannot_be_opened_does_not_happen(start: Start, tmp_path: Path) -> None:
    options = tmp_path / "wsgid.args"
    options.write_text("--socket\napp.sock\n")
    server = start("@wsgid.args", "app:application", app=APP).wait_ready(1)
    options.write_text("--socket\napp.sock\n--access-log\n/nowhere/access.log\n")
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("the log file /nowhere/access.log cannot be written")
    server.wait_for("this server keeps serving")
    ask(server, "/")


def test_lines_to_a_syslog_of_another_machine(start: Start) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        port = receiver.getsockname()[1]
        server = serve(start, "--access-log", f"rsyslog:127.0.0.1:{port},site", "--log-format", SHORT)
        ask(server, "/")
        [pid] = server.worker_pids()
        assert receiver.recv(4096).decode() == f"<30>site[{pid}]: 200 / 3"


@pytest.mark.parametrize(
    "options, expected",
    [
        (("--access-log", "redislog:x"), r"--access-log 'redislog:x' cannot be used: expected .*or a path"),
        (
            ("--log-format", "combine"),
            r"--log-format 'combine' cannot be used: expected uwsgi, combined, json, short, or a text ",
        ),
        (("--log-format", "%(uri)\n"), r"--log-format .* expected .* of one line"),
        (("--access-log", "/nowhere/access.log"), r"the log file /nowhere/access.log cannot be written: No such file"),
    ],
)
def test_a_wrong_option_is_refused_in_a_sentence(start: Start, options: tuple[str, ...], expected: str) -> None:
    server = start("--socket", "app.sock", *options, "app:application", app=APP)
    server.wait_for(expected)
    assert server.wait() == 2 and len(server.lines) == 1


# --- nothing is lost ---


def test_what_was_answered_a_second_before_a_kill_is_there(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--access-log", "access.log", "--log-format", SHORT)
    ask(server, *["/"] * 50)
    time.sleep(1)  # the guarantee is about this second
    os.kill(server.worker_pids()[0], Signals.SIGKILL)
    server.wait_for("was killed by SIGKILL")
    assert (tmp_path / "access.log").read_text() == "200 / 3\n" * 50


def test_what_was_answered_before_the_loop_was_held_up_is_there(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--access-log", "access.log", "--log-format", SHORT, "--hub-warn", "0.3")
    with client.connect(tmp_path / "app.sock") as culprit:
        ask(server, *["/"] * 5)
        culprit.sendall(client.packet("/spin", QUERY_STRING="30"))
        server.wait_for("the event loop has been held up for .* by .*/spin")
        assert (tmp_path / "access.log").read_text() == "200 / 3\n" * 5
        os.kill(server.worker_pids()[0], Signals.SIGKILL)


def test_a_cut_after_the_mercy_time_loses_no_line(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--access-log", "access.log", "--log-format", SHORT, "--worker-reload-mercy", "3")
    with ExitStack() as stack:
        for path in ("/sleep", *["/until"] * 20):
            connected = stack.enter_context(client.connect(tmp_path / "app.sock"))
            connected.sendall(client.packet(path, QUERY_STRING="60"))
        eventually(lambda: server.in_flight() == 21, "the requests are in flight")
        server.send_signal(Signals.SIGTERM)
        (tmp_path / "go").touch()
        server.wait_for("cut after the mercy time: GET /sleep")
        assert server.wait() == 0
    assert (tmp_path / "access.log").read_text() == "200 /until 3\n" * 20 + "504 /sleep 20\n"


def test_a_full_disk_costs_the_lines_and_nothing_else(start: Start) -> None:
    server = serve(start, "--access-log", "/dev/full")
    ask(server, *["/"] * 10)
    server.wait_for(r"worker 0 WARNING: dropped \d+ lines? of the access log, which could not be written: No space")
    ask(server, *["/"] * 10)
    assert server.stop() == 0
    dropped = [int(match[1]) for match in server.wait_for(r"dropped (\d+) lines? of the access log")]
    assert sum(dropped) == 20 and len(dropped) <= 2  # one message at the first loss, and one at the end


def test_a_pipe_without_a_reader_stops_no_request(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    serve(start, "--access-log", "pipe", "--log-format", "%(uri)", workers=2)
    for _ in range(40):
        client.get(tmp_path / "app.sock", REQUEST_URI="/" + "x" * 8000)  # far more than the pipe holds
    data = b""

    def read() -> bool:
        nonlocal data
        if select.select([reader], [], [], 0.1)[0]:
            data += os.read(reader, 65536)
        return data.count(b"\n") == 40

    eventually(read, "all lines have come through")
    os.close(reader)
    assert set(data.splitlines()) == {b"/" + b"x" * 8000}


# --- the outlet ---


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_a_stream_writes_when_there_is_room_and_never_waits(pipe: tuple[int, int]) -> None:
    stream = LineStream(pipe[1])
    lines = [f"{number:0100}" for number in range(2000)]
    stream.put(lines)  # 200 KB; the pipe holds 64 KiB
    got = b""
    while got.count(b"\n") < 2000:
        assert select.select([pipe[0]], [], [], 20)[0]
        got += os.read(pipe[0], 4096)
        stream.put()
    assert got.decode().splitlines() == lines and stream.dropped == 0


def test_a_refused_call_of_the_kernel_loses_no_line(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    read_fd, write_fd = pipe
    stream = LineStream(write_fd)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", refuse)
        stream.put(["first"])
    assert stream.is_waiting and not stream.dropped
    stream.put(["second"])
    assert os.read(read_fd, 100) == b"first\nsecond\n"


def refuse(*_arguments: object) -> None:
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


def test_lines_without_a_reader_are_dropped_and_counted(pipe: tuple[int, int]) -> None:
    stream = LineStream(pipe[1])
    for _ in range(30):
        stream.put(["x" * 99] * 1000)
    assert stream.reason == "nobody reads it"
    stream.close(0.0)
    os.set_blocking(pipe[0], False)
    got = os.read(pipe[0], 1 << 20)
    assert got.endswith(b"\n") and got.count(b"\n") + stream.dropped == 30_000
    assert stream.dropped > 30_000 - (WAITING_MAX_BYTES + (1 << 16)) // 100


def test_a_line_that_has_begun_is_ended_before_any_other(pipe: tuple[int, int]) -> None:
    stream = LineStream(pipe[1])
    stream.put(["x" * 200_000])
    for _ in range(30):
        stream.put(["y" * 99_999])
    got = b""
    os.set_blocking(pipe[0], False)
    while not got.endswith(b"y\n"):
        got += os.read(pipe[0], 1 << 20)
        stream.put()
    assert {len(line) for line in got.splitlines()} <= {200_000, 99_999} and stream.dropped > 0


def test_an_error_within_a_line_costs_the_lines_after_it(pipe: tuple[int, int]) -> None:
    stream = LineStream(pipe[1])
    stream.put(["x" * 100_000, "lost"])  # the pipe has taken a part of the first line
    usual, full = os.dup(pipe[1]), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, pipe[1])
    stream.put(["lost, too"])
    os.dup2(usual, pipe[1])
    got = b""
    while not got.endswith(b"after\n"):
        got += os.read(pipe[0], 1 << 20)
        stream.put() if b"\n" not in got else stream.put(["after"])
    assert got.split(b"\n")[:2] == [b"x" * 100_000, b"after"]
    assert (stream.dropped, stream.reason) == (2, "No space left on device")
    os.close(usual)
    os.close(full)


def _write_long_lines(fd: int, letter: str) -> None:
    stream = LineStream(fd)
    for _ in range(50):
        stream.put([letter * 20_000, letter])
    stream.close(20)


def test_long_lines_of_several_processes_do_not_mix(pipe: tuple[int, int]) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_write_long_lines, args=(pipe[1], letter)) for letter in "abc"]
    for writer in writers:
        writer.start()
    got = b""
    while got.count(b"\n") < 300:
        assert select.select([pipe[0]], [], [], 20)[0]
        got += os.read(pipe[0], 3000)
    for writer in writers:
        writer.join()
    assert all(len(set(line)) == 1 and len(line) in (1, 20_000) for line in got.splitlines())


def test_a_reader_that_is_gone_is_no_error() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    stream = LineStream(write_fd)
    stream.put(["a", "b"])
    assert (stream.dropped, stream.reason) == (2, "Broken pipe")
    os.close(write_fd)


@another_user.as_root
def test_the_group_of_the_application_may_read_new_log_files_also_after_a_rotation(
    start: Start, tmp_path: Path
) -> None:
    nobody = pwd.getpwnam("nobody")
    (tmp_path / "mine.log").touch()
    os.chown(tmp_path / "mine.log", 0, 4)  # as logrotate has made it
    open_to_all(tmp_path)
    server = start(
        *("--socket", "a.sock", "--uid", "nobody", "--access-log", "access.log", "--logger", "file:mine.log"),
        *("--logger", "stdio", "app:application"),
        app=APP,
        prefix=another_user.prefix(),
    ).wait_ready(1)

    def rights(name: str) -> tuple[int, int, int]:
        there = (tmp_path / name).stat()
        return there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)

    assert rights("access.log") == (0, nobody.pw_gid, 0o640)
    assert rights("mine.log")[1] == 4
    (tmp_path / "access.log").rename(tmp_path / "access.log.1")
    server.send_signal(Signals.SIGUSR1)
    eventually(lambda: (tmp_path / "access.log").exists(), "the log is opened anew")
    eventually(lambda: rights("access.log") == (0, nobody.pw_gid, 0o640), "it has the group, too")
    assert server.stop() == 0
    server.assert_nothing_left()
