"""An unusual machine. Files that wsgid reads only for a warning or for a text stop neither the start nor the stop. If
something prevents the start or the stop, the log names it."""

import os
import pwd
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from signal import Signals
from textwrap import dedent

import psutil
import pytest

import wsgid
from tests.conftest import Start
from tests.support import client
from tests.support.ctl import wsgidctl
from tests.support.server import Server, eventually, open_to_all
from wsgid.sockets import listener, nginx_access

APP = """
    import os
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"done"]
"""
ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount, and become another user")


def serve(start: Start, *options: str, app: str = APP, **more: object) -> Server:
    return start("--socket", "app.sock", *options, "app:application", app=app, **more).wait_ready(1)


def ask(server: Server) -> bytes:
    return client.get(server.directory / "app.sock").body


def mounted(*commands: str) -> tuple[str, ...]:
    """A prefix for a server that sees another file system than other processes (unshare(1))."""
    return "unshare", "--mount", "sh", "-c", "\n".join(["set -e", *commands, 'exec "$@"']), "sh"


# --- files that are read only for warnings and texts ---


def test_a_configuration_of_nginx_in_any_encoding(tmp_path: Path) -> None:
    config = tmp_path / "nginx.conf"
    config.write_bytes(b"# f\xfcr alle\nuser nobody;\n")
    assert nginx_access.nginx_user(config) == "nobody"
    config.write_bytes(b"user j\xf6rg;\n")
    assert nginx_access.nginx_user(config) == nginx_access.nginx_user(tmp_path / "nothing")
    config.unlink()
    config.mkdir()
    nginx_access.nginx_user(config)


@ROOT
@pytest.mark.parametrize(
    "commands",
    [
        ["mount -t tmpfs none /proc"],
        ["mount -t tmpfs none /etc/nginx", "printf 'user \\374;\\nuser www-data;\\n' > /etc/nginx/nginx.conf"],
        ["grep -v www-data /etc/group > group", "mount --bind group /etc/group"],
        ["echo > nothing", "mount --bind nothing /etc/passwd", "mount --bind nothing /etc/group"],
        ["mount -t tmpfs none /sys", "mount -t tmpfs none /tmp/wsgid-none || true", "mount -t tmpfs none /proc"],
    ],
    ids=["no /proc", "latin-1 in nginx.conf", "a group without a name", "no users", "no /sys and /proc"],
)
def test_a_server_on_an_unusual_machine_starts_reloads_and_stops(start: Start, commands: list[str]) -> None:
    server = serve(
        start,
        "--pidfile",
        "pid",
        "--workers",
        "2",
        "--cpu-affinity",
        "1",
        "--metrics",
        "127.0.0.1:0",
        "--access-log",
        "--memory-report",
        "--reload-on-rss",
        "4000",
        "--harakiri",
        "5",
        prefix=mounted(*commands),
    )
    server.wait_ready(2)
    assert ask(server) == b"done"
    server.send_signal(Signals.SIGHUP)
    server.wait_ready(4)
    assert ask(server) == b"done"
    assert server.stop() == 0 and "Traceback" not in server.log


@ROOT
def test_a_group_without_a_name_is_named_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(gid: int) -> None:
        raise KeyError(gid)

    monkeypatch.setattr("grp.getgrgid", unknown)
    open_to_all(tmp_path)
    opened = listener.open_listener(str(tmp_path / "app.sock"), 1, listener.Ownership(0o660))
    trouble = nginx_access.keeps_out(tmp_path / "app.sock", "www-data")
    assert trouble and f"--chown-socket :{pwd.getpwnam('www-data').pw_gid}," in trouble
    opened.socket.close()
    opened.unlink()


@ROOT
def test_processors_that_a_sandbox_keeps_to_itself(start: Start) -> None:
    refused = "import os\ndef refused(*_):\n    raise PermissionError(1, 'not here')\nos.sched_setaffinity = refused\n"
    server = serve(start, "--cpu-affinity", "1", app=refused + dedent(APP))
    server.wait_for("--cpu-affinity 1 cannot be set: not here; this worker runs on all processors")
    assert ask(server) == b"done"
    server.stop()


# --- file systems that have become read-only ---


@ROOT
def test_a_socket_that_cannot_be_removed_is_logged_and_the_stop_goes_on(start: Start) -> None:
    """root can write into every directory, except on a file system that is mounted read-only."""
    server = start(
        "--socket",
        "sockets/app.sock",
        "--pidfile",
        "sockets/pid",
        "--master-fifo",
        "sockets/fifo",
        "app:application",
        app=APP,
        prefix=mounted(
            "mkdir sockets",
            "mount -t tmpfs none sockets",
            "(while ! test -e closed; do sleep 0.05; done; mount -o remount,ro sockets; touch closing) &",
        ),
    )
    server.wait_ready(1)
    (server.directory / "closed").touch()
    eventually((server.directory / "closing").exists, "the file system is read-only")
    assert server.stop() == 0
    for name in ("app.sock", "app.ctl"):
        assert f"the socket file {server.directory}/sockets/{name} cannot be removed: Read-only" in server.log
    assert f"--pidfile {server.directory}/sockets/pid cannot be removed" in server.log
    assert "Traceback" not in server.log


@ROOT
def test_a_stale_socket_that_cannot_be_removed_is_one_sentence(start: Start) -> None:
    stale = f"{sys.executable} -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sockets/app.sock\")'"
    server = start(
        "--socket",
        "sockets/app.sock",
        "app:application",
        app=APP,
        prefix=mounted("mkdir sockets", "mount -t tmpfs none sockets", stale, "mount -o remount,ro sockets"),
    )
    assert server.wait() == 1
    assert "the socket file of an earlier server cannot be removed: Read-only file system; remove it" in server.log
    assert "Traceback" not in server.log


@ROOT
def test_an_upgrade_goes_on_though_its_pidfile_cannot_be_written(start: Start) -> None:
    server = start(
        "--socket",
        "app.sock",
        "@options",
        "app:application",
        app=APP,
        prefix=mounted(
            "mkdir pids",
            "mount -t tmpfs none pids",
            "echo --pidfile=pids/one > options",
            "(while ! test -e closed; do sleep 0.05; done; mount -o remount,ro pids; touch closing) &",
        ),
    )
    server.wait_ready(1)
    (server.directory / "options").write_text("--pidfile=pids/two\n")
    (server.directory / "closed").touch()
    eventually((server.directory / "closing").exists, "the file system is read-only")
    server.send_signal(Signals.SIGUSR2)
    server.wait_ready(2)
    server.wait_for("--pidfile .*pids/two cannot be written: Read-only file system")
    assert ask(server) == b"done" and server.stop() == 0


# --- an import that takes too long ---

SLOW = """
    import os, time
    def wait_for_the_database():
        open("importing", "w").write(str(os.getpid()))
        time.sleep(100)
    wait_for_the_database()
"""
BUSY = SLOW.replace("time.sleep(100)", "exec('while True: pass')")
# Waits in C for a lock that the thread has already, with Python's lock: no signal handler of Python runs.
IN_C = SLOW.replace("import os, time", "import ctypes, os; lock = ctypes.PyDLL(None).pthread_mutex_lock").replace(
    "time.sleep(100)", "mutex = ctypes.create_string_buffer(64); lock(mutex), lock(mutex)"
)


@pytest.mark.parametrize("app", [SLOW, BUSY], ids=["the import waits in the hub", "the import is busy"])
@pytest.mark.parametrize(("options", "process"), [([], "template 0"), (["--lazy-apps"], "worker 0")])
def test_an_import_that_takes_too_long_logs_its_stack(start: Start, app: str, options: list[str], process: str) -> None:
    """By SIGXCPU, the signal of the master after --boot-timeout. tests/unit/supervisor/test_fleet.py tests the
    times."""
    server = start("--socket", "app.sock", *options, "app:application", app=app)
    importing = server.directory / "importing"
    pid = int(eventually(lambda: importing.exists() and importing.read_text(), "the import has begun"))
    state = psutil.STATUS_SLEEPING if app is SLOW else psutil.STATUS_RUNNING
    # Between its last statement and the wait in the hub, a signal is noticed after the wait only.
    eventually(lambda: psutil.Process(pid).status() == state, "the import takes its time")
    os.kill(pid, Signals.SIGXCPU)
    assert server.wait() == 3
    server.wait_for(
        rf"{process} ERROR: the import of the application takes longer than 60 s \(--boot-timeout\); the stack:"
    )
    server.wait_for(r'app.py", line \d, in wait_for_the_database')
    server.wait_for(f"{process}: the import of the application did not end in 60 s: raise --boot-timeout")
    server.assert_nothing_left()


def test_the_master_interrupts_a_slow_import_and_faulthandler_shows_one_that_is_stuck_in_c(start: Start) -> None:
    server = start("--socket", "app.sock", "--boot-timeout", "10", "app:application", app=IN_C)
    server.wait_for(r"template 0 has not imported the application in 10 s \(--boot-timeout\): it ends now")
    server.wait_for("Fatal Python error: Aborted")
    assert server.wait() == 3
    server.wait_for(r'app.py", line \d in wait_for_the_database')
    server.wait_for("template 0 was killed by SIGABRT")
    server.assert_nothing_left()


def test_a_check_also_ends_an_import_that_takes_too_long(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(dedent(SLOW))
    done = subprocess.run(
        [sys.executable, "-m", "wsgid", "--check", "--boot-timeout", "10", "app:application"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3 and "was not imported in 10 s (--boot-timeout)" in done.stderr
    assert "in wait_for_the_database" in done.stderr


# --- where Python is ---


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Path]:
    """A Python that cannot import wsgid: its start script names all paths, as the scripts of buildout do."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    yield tmp_path / "bare" / "bin" / "python"


def start_script(tmp_path: Path, python: Path) -> Path:
    script = tmp_path / "bin" / "start"
    script.parent.mkdir()
    path = [str(Path(wsgid.__file__).parent.parent), sysconfig.get_path("purelib"), str(tmp_path / "eggs")]
    script.write_text(
        f"#!{python}\nimport sys\nsys.path[0:0] = {path!r}\nfrom wsgid.cli import main\n"
        "if __name__ == '__main__':\n    sys.exit(main())\n"
    )
    script.chmod(0o755)
    (script.parent / "random.py").write_text("raise SystemExit('a script shadows the standard library')\n")
    (tmp_path / "eggs").mkdir()
    (tmp_path / "eggs" / "library.py").write_text("word = b'of an egg'\n")
    return script


def test_a_start_script_that_made_the_path_itself(bare: Path, tmp_path: Path) -> None:
    script = start_script(tmp_path, bare)
    (tmp_path / "app.py").write_text("""
import library, os, random, subprocess
def application(environ, start_response):
    start_response("200 OK", [])
    return [library.word, b" ", os.environ.get("PYTHONPATH", "none").encode(), str(random.__file__).encode()]
""")
    server = Server(
        tmp_path, "--socket", "app.sock", "app:application", prefix=("env", "-u", "PYTHONPATH"), program=[str(script)]
    )
    try:
        server.wait_ready(1)
        word, rest = ask(server).split(b" none")
        assert word == b"of an egg" and b"/bin/" not in rest
        server.send_signal(Signals.SIGHUP)
        server.wait_ready(2)
        server.send_signal(Signals.SIGUSR2)
        server.wait_ready(3)
        assert server.stop() == 0
    finally:
        server.end()
    checked = subprocess.run([script, "--check", "app:application"], cwd=tmp_path, capture_output=True, timeout=60)
    assert checked.returncode == 0


def release(directory: Path) -> Path:
    """A release with a virtual environment of its own, which has wsgid's command and a package of the release."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory / "venv"], check=True)
    packages = next(directory.glob("venv/lib/python3*/site-packages"))
    (packages / "wsgid.pth").write_text(f"{Path(wsgid.__file__).parent.parent}\n{sysconfig.get_path('purelib')}\n")
    (packages / "library.py").write_text(f"word = b'of {directory.name}'\n")
    script = directory / "venv" / "bin" / "wsgid"
    script.write_text(f"#!{directory}/venv/bin/python\nimport sys\nfrom wsgid.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return directory


def test_a_release_with_packages_of_its_own_is_taken_by_usr2_and_a_reload_says_so(tmp_path: Path) -> None:
    current = tmp_path / "current"
    current.symlink_to(release(tmp_path / "one"))
    (tmp_path / "app.py").write_text("import library\n" + dedent(APP).replace('b"done"', "library.word"))
    script = str(current / "venv" / "bin" / "wsgid")
    server = Server(tmp_path, "--socket", "app.sock", "app:application", program=[script])
    try:
        server.wait_ready(1)
        server.wait_for(rf"on Python \S+ of {tmp_path}/one/venv listens on")
        assert wsgidctl(tmp_path, "reload").stderr == ""
        new = tmp_path / "new"
        new.symlink_to(release(tmp_path / "two"))
        new.rename(current)
        said = (
            f"{script} is {tmp_path}/two/venv/bin/wsgid now: a reload keeps the packages of {tmp_path}/one/venv; "
            "SIGUSR2 takes the new ones"
        )
        done = wsgidctl(tmp_path, "reload")
        assert (done.returncode, done.stderr) == (0, f"wsgidctl: {said}\n")
        server.wait_for(f"WARNING: wsgidctl: {said}")
        assert ask(server) == b"of one"
        server.send_signal(Signals.SIGUSR2)
        server.wait_for(rf"on Python \S+ of {tmp_path}/two/venv listens on")
        eventually(lambda: ask(server) == b"of two", "the new packages are used")
        assert wsgidctl(tmp_path, "reload").stderr == ""
        assert server.stop() == 0
    finally:
        server.end()


def test_a_reload_follows_the_link_of_a_release_with_its_code_and_its_virtual_environment(tmp_path: Path) -> None:
    current = tmp_path / "current"
    for name in ("one", "two"):
        code = "import library\n" + dedent(APP).replace('b"done"', f"library.word + b' and code {name}'")
        (release(tmp_path / name) / "app.py").write_text(code)
    current.symlink_to(tmp_path / "one")
    options = ("--chdir", str(current), "--virtualenv", str(current / "venv"))
    server = Server(tmp_path, "--socket", str(tmp_path / "app.sock"), *options, "app:application")
    try:
        server.wait_ready(1)
        for name in ("one", "two", "one"):
            (tmp_path / "new").symlink_to(tmp_path / name)
            (tmp_path / "new").rename(current)
            done = wsgidctl(tmp_path, "reload")
            assert (done.returncode, done.stderr) == (0, "")
            eventually(lambda: ask(server) == f"of {name} and code {name}".encode(), f"release {name} serves")  # noqa: B023
        assert f"of {current}/venv\n" in wsgidctl(tmp_path, "status").stdout
        assert server.stop() == 0
    finally:
        server.end()


@pytest.mark.parametrize("has_spare", [False, True])
def test_a_package_that_is_installed_after_the_start_is_there_at_the_reload(
    bare: Path, tmp_path: Path, has_spare: bool
) -> None:
    """If the interpreter has made the path itself, the path is made again. A new .pth file, for example, then
    counts."""
    packages = next((tmp_path / "bare").glob("lib/python3*/site-packages"))
    (packages / "wsgid.pth").write_text(f"{Path(wsgid.__file__).parent.parent}\n{sysconfig.get_path('purelib')}\n")
    late = "try:\n    from late import word\nexcept ImportError:\n    word = b'not yet'\n"
    (tmp_path / "app.py").write_text(late + dedent(APP).replace('b"done"', "word"))
    server = Server(tmp_path, "--socket", "app.sock", "app:application", program=[str(bare), "-m", "wsgid"])
    try:
        server.wait_ready(1)
        assert ask(server) == b"not yet"
        if has_spare:
            eventually(server.spare_pids, "the next template is prepared")
        (tmp_path / "more").mkdir()
        (tmp_path / "more" / "late.py").write_text("word = b'late'\n")
        (packages / "more.pth").write_text(f"{tmp_path / 'more'}\n")
        server.send_signal(Signals.SIGHUP)
        server.wait_for(r"worker \d \(generation 0, pid \d+\) exited with code 0")
        assert ask(server) == b"late"
        server.stop()
    finally:
        server.end()


def test_the_options_of_the_interpreter_hold_for_the_application(start: Start) -> None:
    app = """
        import sys
        def application(environ, start_response):
            start_response("200 OK", [])
            flags = sys.flags
            found = flags.optimize, flags.dont_write_bytecode, flags.no_user_site, flags.safe_path, flags.dev_mode
            return [repr((*found, sys.warnoptions, sys._xoptions)).encode()]
    """
    program = [sys.executable, "-OO", "-B", "-s", "-W", "ignore", "-Xutf8=1", "-m", "wsgid"]
    server = serve(start, app=app, program=program, environ={"PYTHONWARNINGS": "once"})
    assert ask(server).decode() == repr((2, 1, 1, True, False, ["once", "ignore"], {"utf8": "1"}))
    server.stop()


@ROOT
def test_a_python_that_the_user_cannot_read_is_named_with_the_directory(tmp_path: Path) -> None:
    """As with a Python below /root, for example from root's pyenv."""
    open_to_all(tmp_path)
    home = tmp_path / "closed"
    library = home / "lib" / Path(os.__file__).parent.name
    library.parent.mkdir(parents=True)
    library.symlink_to(Path(os.__file__).parent)
    home.chmod(0o700)
    (tmp_path / "app.py").write_text(dedent(APP))
    path = os.pathsep.join([str(Path(wsgid.__file__).parent.parent), sysconfig.get_path("purelib")])
    server = Server(
        tmp_path,
        "--socket",
        "app.sock",
        "--uid",
        "nobody",
        "app:application",
        prefix=("env", f"PYTHONHOME={home}", f"PYTHONPATH={path}"),
    )
    try:
        assert server.wait() == 3
        server.wait_for(
            f"user {pwd.getpwnam('nobody').pw_uid} cannot read Python's library {library}, since {home} is "
            f"closed to it: use a Python .* chmod o.rx {home}, or leave --uid"
        )
        assert "Traceback" not in server.log
    finally:
        server.end()
