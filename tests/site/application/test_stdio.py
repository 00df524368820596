"""Standard input, output and error: if the application prints, the response is not lost, with or without a reader."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from textwrap import dedent
from typing import IO, Any

import psutil
import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server, eventually

APP = """
    import logging, os, sys
    print("printed at the import")

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        answer = "done"
        if path == "/print":
            print("to stdout")
            print("to stderr", file=sys.stderr, flush=True)
            environ["wsgi.errors"].write("to errors\\n")
            environ["wsgi.errors"].flush()
            logging.getLogger("x").error("to the last resort")
        elif path == "/flood":
            for number in range(200):
                print(f"{number} " + "x" * 1000)
                print(f"{number} " + "y" * 1000, file=sys.stderr)
        elif path == "/part":
            print("a part of a line", end="", file=sys.stderr, flush=True)
        elif path == "/words":
            print("\\u20ac \\udc80 \\u00e4", environ["QUERY_STRING"])
        elif path == "/close":
            sys.stdout.close()
            sys.stderr.close()
        elif path == "/input":
            input()
        elif path == "/fail":
            raise ValueError("on purpose")
        elif path == "/fork":
            print("unfinished", end="")
            pid = os.fork()
            if not pid:
                print("x" * 200_000)
                sys.stdout.flush()
                os._exit(0)
            os.waitpid(pid, 0)
        elif path == "/streams":
            answer = repr((sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.isatty(), sys.stdout.encoding,
                           sys.stdout.buffer.write(b""), sys.stdout.name, sys.stdout.mode, sys.stdout.writable(),
                           sys.stdout is sys.__stdout__, os.system("true")))
        start_response("200 OK", [])
        return [answer.encode()]
"""


class Quiet(Server):
    """A server whose standard output and error are redirected as `streams` says."""

    def __init__(self, directory: Path, *arguments: str, streams: str, **options: Any) -> None:
        prefix = ("bash", "-c", f'exec "$@" {streams}', "bash")
        super().__init__(directory, *arguments, "app:application", prefix=prefix, **options)


def ask(directory: Path, path: str = "/", **more: Any) -> client.Answer:
    return client.get(directory / "app.sock", path, **more)


def serves(directory: Path) -> bool:
    try:
        return ask(directory).status == 200
    except OSError:
        return False


@contextmanager
def quiet(directory: Path, streams: str, *options: str, **more: Any) -> Iterator[Server]:
    """A server that prints nothing for this process: its log is in server.log."""
    (directory / "app.py").write_text(dedent(APP))
    server = Quiet(directory, "--socket", "app.sock", "--logger", "file:server.log", *options, streams=streams, **more)
    try:
        eventually(lambda: serves(directory), "the server serves")
        yield server
        assert server.stop() == 0
        server.assert_nothing_left()
    finally:
        server.end()


def printed(server: Server) -> IO[str]:
    """The server's standard output, read from a pipe."""
    assert server._process.stdout is not None
    return io.TextIOWrapper(server._process.stdout)


def test_a_printed_line_is_in_the_log_at_once_and_only_once(start: Start) -> None:
    server = start("--socket", "app.sock", "--workers", "2", "app:application", app=APP, stdout=subprocess.PIPE)
    server.wait_ready(2)
    with printed(server) as stdout:
        assert stdout.readline() == "printed at the import\n"
        assert ask(server.directory, "/print").status == 200
        assert stdout.readline() == "to stdout\n"
        server.wait_for("^to stderr$")
        server.wait_for("^to errors$")
        server.wait_for("^to the last resort$")
        assert server.stop() == 0
        assert stdout.read() == ""  # no text was in the buffers of two processes


def test_the_streams_are_as_applications_expect_them(start: Start) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    assert ask(server.directory, "/streams").body.decode() == repr(
        (1, 2, False, "utf-8", 0, "<stdout>", "w", True, True, 0)
    )
    server.stop()


# --- without a reader ---


def test_a_reader_that_has_gone_costs_no_response(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with quiet(tmp_path, f">&{writing} 2>&{writing}", pass_fds=[writing]):
        os.close(writing)
        for path in ("/print", "/flood", "/words", "/print"):
            assert ask(tmp_path, path).status == 200
        assert ask(tmp_path, "/fail").status == 500
    assert "on purpose" in (tmp_path / "server.log").read_text()  # the log of wsgid is in another file, and is complete


def test_a_reader_that_sleeps_holds_up_no_process(tmp_path: Path) -> None:
    """The reader holds up neither the event loop nor the master. A pipe holds 64 KiB; each stream gets 400 KB, three
    times."""
    reading, writing = os.pipe()
    with quiet(
        tmp_path,
        f">&{writing} 2>&{writing}",
        "--workers",
        "2",
        "--hub-warn",
        "60",
        "--hub-timeout",
        "60",
        "--log-level",
        "debug",
        "--logger",
        "stdio",
        pass_fds=[writing],
    ) as server:
        os.close(writing)
        for _ in range(3):
            assert ask(tmp_path, "/flood").status == 200
        psutil.Process(server.worker_pids()[0]).kill()
        eventually(lambda: len(server.worker_pids()) == 2, "the master replaces a worker")
        assert ask(tmp_path, "/flood").status == 200
    os.set_blocking(reading, False)
    assert os.read(reading, 100)
    os.close(reading)


def test_a_reader_that_wakes_up_gets_what_has_waited(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with quiet(tmp_path, f"2>&{writing} >/dev/null", pass_fds=[writing]):
        os.close(writing)
        assert ask(tmp_path, "/flood").status == 200
        got = b""
        while b"199 y" not in got or not got.endswith(b"\n"):
            got += os.read(reading, 65536)
        assert [int(line.split()[0]) for line in got.splitlines()] == list(range(200))
    os.close(reading)


def test_lines_that_are_never_read_are_dropped_and_counted(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with quiet(tmp_path, f">&{writing} 2>/dev/null", pass_fds=[writing]):
        os.close(writing)
        for _ in range(8):
            assert ask(tmp_path, "/flood").status == 200
        log = tmp_path / "server.log"
        words = "of standard output and error, which could not be written: nobody reads"
        eventually(lambda: words in log.read_text(), "the log has the number of dropped lines")
    os.close(reading)


def test_a_part_of_a_line_does_not_hold_up_the_lines_of_other_processes(start: Start) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    assert ask(server.directory, "/part").status == 200
    # While another process writes, the text waits: log/stream.py.
    eventually(lambda: server.unfinished == "a part of a line", "the part is there")
    os.kill(server.pid, Signals.SIGTTIN)
    server.wait_for("^a part of a line.* wsgid master INFO: SIGTTIN: 2 workers from now on")
    server.wait_ready(2)
    server.stop()


def test_a_child_of_the_application_prints_as_everywhere_else(start: Start) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP, stdout=subprocess.PIPE).wait_ready(1)
    with printed(server) as stdout, client.connect(server.directory / "app.sock") as connection:
        assert stdout.readline() == "printed at the import\n"
        connection.sendall(client.packet("/fork"))
        assert stdout.readline() == "unfinished" + "x" * 200_000 + "\n"  # more than a pipe holds; no text comes twice
        assert client.parse(client.read_all(connection)).status == 200
    server.stop()


# --- characters, closed streams, standard input ---


@pytest.mark.parametrize(
    "environ",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C.UTF-8"},
    ],
)
def test_a_character_that_the_encoding_lacks_costs_no_response(start: Start, environ: dict[str, str]) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP, environ=environ).wait_ready(1)
    assert ask(server.directory, "/words").status == 200
    server.stop()


def test_an_application_that_closes_the_streams_does_not_close_them_for_others(start: Start) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    assert ask(server.directory, "/close").status == 200
    assert ask(server.directory, "/print").status == 200
    server.wait_for("^to stderr$")
    assert ask(server.directory, "/fail").status == 500
    server.wait_for("ValueError: on purpose")
    server.stop()


@pytest.mark.parametrize("options, status", [([], 500), (["--honour-stdin"], 200)])
def test_a_question_to_the_terminal_does_not_wait(start: Start, options: list[str], status: int) -> None:
    reading, writing = os.pipe()
    server = start("--socket", "app.sock", *options, "app:application", app=APP, stdin=reading).wait_ready(1)
    os.close(reading)
    os.write(writing, b"an answer\n")
    assert ask(server.directory, "/input").status == status
    os.close(writing)
    server.stop()


# --- closed at the start ---


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_at_the_start_become_dev_null(tmp_path: Path, streams: str) -> None:
    """Otherwise a socket would get the number of the stream, and a client would get what is printed."""
    with quiet(tmp_path, streams) as server:
        assert ask(tmp_path, "/print").body == b"done"
        assert ask(tmp_path, "/fail").status == 500
        closed = [fd for fd, text in ((0, "<&-"), (1, " >&-"), (2, "2>&-")) if text in f" {streams}"]
        for pid in (server.pid, *server.template_pids(), *server.worker_pids()):
            assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in closed] == ["/dev/null"] * len(closed)


def test_an_import_that_fails_is_code_3_with_a_reason_also_without_standard_error(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_there")
    command = 'exec "$0" -m wsgid --socket app.sock --logto all.log broken:application 2>&-'
    done = subprocess.run(["sh", "-c", command, sys.executable], cwd=tmp_path, timeout=60)
    assert done.returncode == 3
    assert "No module named 'nothing_there'" in (tmp_path / "all.log").read_text()
