"""--check: the report, its exit codes, and that a running server stays unchanged; the rehearsal of an upgrade."""

import os
import subprocess
import sys
from pathlib import Path
from signal import Signals

import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.server import eventually

APP = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'fine']\n"


def check(place: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "wsgid", "--check", *arguments],
        cwd=place,
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
    )


def test_the_report_shows_each_setting_with_its_source(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("print('imported')\n" + APP)
    (tmp_path / "uwsgi.ini").write_text(
        "[uwsgi]\nmaster = true\nsocket = app.sock\nsocket = :3031\nprocesses = 4 ; of them\nenv = A=b\ngevent = 9\n"
    )
    done = check(tmp_path, "--ini", "uwsgi.ini", "--harakiri", "2.50", "app:application", WSGID_LOG_LEVEL="debug")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "application = app:application   command line",
        "env = A=b                       uwsgi.ini:6",
        "ini = uwsgi.ini                 command line",
        "socket = app.sock               uwsgi.ini:3",
        "socket = :3031                  uwsgi.ini:4",
        "workers = 4                     uwsgi.ini:5",
        "gevent = 9                      uwsgi.ini:7",
        "harakiri = 2.5                  command line",
        "log-level = debug               WSGID_LOG_LEVEL",
        "",
        "uwsgi.ini:5: the text after '4' is taken for a comment; uWSGI's ini has no comments after a value: "
        "put the comment on a line of its own",
        "uwsgi.ini:2: master: there always is one",
        "TERM stops wsgid, and HUP reloads the application; in uWSGI TERM reloads, unless die-on-term is set",
        "no line is logged for each request: --access-log writes them, or req-logger in the file",
        "the options are right, and the application can be imported",
    ]
    assert done.stderr == "imported\n"  # what the application prints is not part of the report


def test_the_application_is_imported_as_the_template_would(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "helper.py").write_text("")
    (tmp_path / "site" / "home.py").write_text(f"""
import helper, os, sys
from gevent import monkey
assert monkey.is_module_patched("socket") and os.environ["A"] == "b" and os.getcwd() == {str(tmp_path / "site")!r}
assert sys.argv == ["wsgid", "x", "y"]
{APP}""")
    done = check(
        tmp_path,
        "--chdir",
        "site",
        "--pythonpath",
        "../library",
        "--env",
        "A=b",
        "--pyargv",
        "x y",
        "-s",
        "a",
        "home:application",
        "--lazy-apps",
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        ("import no_such_thing", 3, "cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("import os; os._exit(7)", 3, ""),
        ("application = 3", 3, "is not callable but a int"),
        (APP + "import threading; threading.Thread(target=threading.Event().wait).start()", 0, "has started threads"),
    ],
)
def test_the_exit_code_is_that_of_a_start(tmp_path: Path, source: str, code: int, says: str) -> None:
    (tmp_path / "app.py").write_text(source)
    done = check(tmp_path, "--socket", "app.sock", "app:application")
    assert done.returncode == code and says in done.stderr
    assert ("can be imported" in done.stdout) == (code == 0)


def test_a_server_that_speaks_http_needs_no_other_socket(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    assert "no socket is named" not in check(tmp_path, "--http", ":0", "app:application").stdout
    assert "no socket is named" in check(tmp_path, "app:application").stdout


def test_an_application_that_only_the_workers_would_import_is_imported_too(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import no_such_thing")
    assert check(tmp_path, "--socket", "app.sock", "--lazy-apps", "app:application").returncode == 3


def test_an_import_that_does_not_end_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import time; time.sleep(60)")
    done = check(tmp_path, "--socket", "app.sock", "--boot-timeout", "0.5", "app:application")
    assert done.returncode == 3 and "was not imported in 0.5 s (--boot-timeout)" in done.stderr


def test_a_wrong_option_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nstrict = 1\nmodule = a:b\ndeamonize = /x\n")
    done = check(tmp_path, "uwsgi.ini")
    assert done.returncode == 2 and done.stdout == ""
    assert "uwsgi.ini:4: unknown option 'deamonize': did you mean 'daemonize'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("what", ["--check", "--migrate"])
def test_a_reader_that_leaves_early_is_no_error(what: str, tmp_path: Path) -> None:
    """As in `wsgid --check uwsgi.ini | head -1`."""
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = app\nsocket = app.sock\ngevent = 10\n")
    (tmp_path / "app.py").write_text("def application(environ, start_response): pass\n")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wsgid", what, "uwsgi.ini"],
            cwd=tmp_path,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writer)
    assert done.returncode == 1 and "Broken pipe" not in done.stderr, done.stderr


def test_a_running_server_does_not_notice(start: Start, tmp_path: Path) -> None:
    options = ["--socket", "app.sock", "--pidfile", "pid", "--logto", "log", "app:application"]
    server = start(*options, app=APP)
    log = tmp_path / "log"
    eventually(lambda: log.exists() and "is ready" in log.read_text(), "the worker is ready")

    def files() -> dict[str, tuple[int, bytes]]:
        """All files but the log, to which the server may write at any time."""
        return {
            path.name: (path.lstat().st_ino, path.read_bytes() if path.is_file() else b"")
            for path in tmp_path.iterdir()
            if path.name not in ("__pycache__", "log")
        }

    before, log_before, log_inode = files(), log.read_text(), log.stat().st_ino
    checked = check(tmp_path, *options, "--daemonize", "other.log")
    assert checked.returncode == 0 and files() == before
    more = log.read_text().removeprefix(log_before)
    assert log.stat().st_ino == log_inode and not [
        line for line in checked.stdout.splitlines() if line and line in more
    ]
    assert client.get(tmp_path / "app.sock").body == b"fine"
    assert server.stop() == 0


def test_an_upgrade_to_a_broken_application_does_not_happen(start: Start, tmp_path: Path) -> None:
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    before = server.worker_pids()
    (tmp_path / "app.py").write_text("import no_such_thing")
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid cannot be started anew: its rehearsal exited with code 3; this server keeps serving")
    server.wait_for("wsgid check ERROR: the application 'app:application' cannot be imported: ModuleNotFoundError")
    assert server.worker_pids() == before and client.get(tmp_path / "app.sock").body == b"fine"
    assert server.stop() == 0
    server.assert_nothing_left()


def test_an_upgrade_to_a_wrong_file_does_not_happen(start: Start, tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = app:application\nsocket = app.sock\n")
    server = start("uwsgi.ini", app=APP).wait_ready(1)
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = app:application\nsocket = app.sock\nworkers = two\n")
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("uwsgi.ini:4: workers = 'two' cannot be used")
    server.wait_for("its rehearsal exited with code 2; this server keeps serving")
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = app:application\nsocket = app.sock\nworkers = 2\n")
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("listens on .* with 2 workers")
    server.wait_for(r"generation 0, .* exited with code 0")
    assert server.stop() == 0
    server.assert_nothing_left()


def test_the_report_of_an_upgrades_trial_is_not_in_the_log(start: Start, tmp_path: Path) -> None:
    server = start("--socket", "app.sock", "--logto", "log", "app:application", app="print('imported')\n" + APP)
    log = tmp_path / "log"
    eventually(lambda: log.exists() and "is ready" in log.read_text(), "the worker is ready")
    server.send_signal(Signals.SIGUSR2)
    eventually(lambda: "(generation 1," in log.read_text().partition("starts anew")[2], "the server has been upgraded")
    assert (
        " = " not in log.read_text() and log.read_text().count("imported\n") == 3
    )  # in the first start, in the rehearsal, and in the new start
    assert server.stop() == 0


def test_the_master_program_imports_neither_the_application_nor_gevent_for_a_check(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    code = (
        "import sys; sys.argv[1:] = ['--check', '-s', 'a', 'app:application']\nfrom wsgid import cli\n"
        "assert cli.main() == 0 and not {'gevent', 'app'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
