"""When the kernel refuses a call of the master, the master logs one sentence, goes on serving, and tries again until
the call succeeds.

Each of these refusals ended the site in earlier versions: the interpreter is missing while the virtual environment is
rebuilt, the limit of processes or of open files is reached, the start directory was removed.
"""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from textwrap import dedent

import psutil
import pytest

from tests.conftest import Start
from tests.support import client
from tests.support.ctl import wsgidctl
from tests.support.processes import command_lines
from tests.support.server import PATIENCE_S, Server, eventually, open_to_all
from wsgid.ipc import messages
from wsgid.ipc.channel import Channel
from wsgid.linux.socket_pair import pair
from wsgid.linux.syscall_errors import named, words
from wsgid.supervisor.retry import Again, Net

APP = """
    import os
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""
AGAIN = r"; the running workers keep serving, and it is tried again in 0\.1 s$"
GONE = r"posix_spawn \S+/python: No such file or directory \(ENOENT\); let the virtual environment's installation"
LIMIT = (
    r"Resource temporarily unavailable \(EAGAIN\); raise the limit of processes \(ulimit -u, LimitNPROC=, "
    r"TasksMax=\)"
)
NO_DESCRIPTORS = r"Too many open files \(EMFILE\); raise the limit of open files \(ulimit -n, LimitNOFILE=\)"


def serve(start: Start, *options: str, **more: object) -> Server:
    return start("--socket", "app.sock", "--workers", "2", *options, "app:application", app=APP, **more).wait_ready(2)


def assert_serves(server: Server) -> None:
    assert client.get(server.directory / "app.sock").body.isdigit()


def assert_ends_well(server: Server) -> None:
    assert server.stop() == 0
    server.assert_nothing_left()
    assert "Traceback" not in server.log


@pytest.fixture
def own_venv(tmp_path: Path) -> Path:
    """The interpreter of a virtual environment that can be moved away: this test's interpreter under another name."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    shutil.copy(Path(sys.prefix, "pyvenv.cfg"), venv)
    (venv / "lib").symlink_to(Path(sys.prefix, "lib"))
    python = venv / "bin" / "python"
    python.symlink_to(Path(sys.executable).resolve())
    return python


@contextmanager
def away(python: Path) -> Iterator[None]:
    """The interpreter is missing, as while pip or a deployment replaces it."""
    hidden = python.with_name("hidden")
    python.rename(hidden)
    yield
    hidden.rename(python)


def end_spare(server: Server) -> None:
    """End the spare. Otherwise the spare becomes the next template, and no refused call is needed."""
    for pid, shown in command_lines(server.pid).items():
        if "wsgid.template" in shown or shown.startswith("wsgid: spare"):
            spare = psutil.Process(pid)
            spare.kill()
            spare.wait(PATIENCE_S)


def by_signal(server: Server) -> None:
    server.send_signal(Signals.SIGHUP)


def by_touch(server: Server) -> None:
    (server.directory / "touched").write_text("again")


def by_wsgidctl(server: Server) -> None:
    assert wsgidctl(server.directory, "reload", "--no-wait").returncode == 0


@pytest.mark.parametrize("ask", [by_signal, by_touch, by_wsgidctl])
def test_a_reload_waits_for_the_virtual_environment(
    start: Start, own_venv: Path, ask: Callable[[Server], None]
) -> None:
    server = serve(start, "--touch-reload", "touched", program=(str(own_venv), "-m", "wsgid"))
    with away(own_venv):
        end_spare(server)
        ask(server)
        server.wait_for(r"master ERROR: template 1 cannot be started: " + GONE + ".*" + AGAIN)
        server.wait_for(r"template 3 cannot be started: .*tried again in 0\.4 s$")  # and so on
        assert_serves(server)
        assert len(server.worker_pids()) == 2 and not re.search(r"generation [1-9].* is ready", server.log)
    server.wait_for(r"worker \d+ \(generation [1-9]\d*, pid \d+\) is ready", 2)
    server.wait_for(r"generation 0, pid \d+\) exited with code 0", 2)
    assert_serves(server)
    assert_ends_well(server)


def test_wsgidctl_reload_says_why_it_fails(start: Start, own_venv: Path) -> None:
    server = serve(start, program=(str(own_venv), "-m", "wsgid"))
    with away(own_venv):
        end_spare(server)
        done = wsgidctl(server.directory, "reload")
        assert done.returncode == 1 and re.search(GONE, done.stderr), done
        assert_serves(server)
    assert_ends_well(server)


def test_a_template_that_dies_is_replaced_when_the_interpreter_is_back(start: Start, own_venv: Path) -> None:
    server = serve(start, program=(str(own_venv), "-m", "wsgid"))
    with away(own_venv):
        end_spare(server)
        os.kill(server.template_pids()[0], Signals.SIGKILL)
        server.wait_for("template 1 cannot be started: " + GONE + ".*" + AGAIN)
        assert_serves(server)
    eventually(server.template_pids, "there is a template again")
    os.kill(server.worker_pids()[0], Signals.SIGKILL)
    server.wait_for("worker .* is ready", 3)
    assert_ends_well(server)


def test_an_upgrade_waits_for_the_virtual_environment(start: Start, own_venv: Path) -> None:
    server = serve(start, program=(str(own_venv), "-m", "wsgid"))
    with away(own_venv):
        server.send_signal(Signals.SIGUSR2)
        server.wait_for(
            "wsgid cannot be started anew: " + GONE + ".*; this server keeps serving, and it is tried again"
        )
        server.wait_for(r"cannot be started anew: .* tried again in 0\.4 s")
        assert_serves(server)
    server.wait_for("wsgid starts anew, in this process")
    server.wait_for(r"worker \d+ \(generation [1-9]\d*, pid \d+\) is ready", 2)
    assert_serves(server)
    assert_ends_well(server)


def test_an_interpreter_without_its_packages_is_waited_for_too(start: Start, own_venv: Path) -> None:
    """As at the beginning of an installation: Python is there, and wsgid is not."""
    server = serve(start, program=(str(own_venv), "-m", "wsgid"))
    with away(own_venv.parent.parent / "lib"):
        end_spare(server)
        server.send_signal(Signals.SIGHUP)
        # It may have ended before the master has sent Boot, which is another sentence. The next try shows this one.
        server.wait_for(
            r"template \d cannot be started: it exited with code 1 before wsgid was loaded; .*; the running workers "
            r"keep serving, and it is tried again in [\d.]+ s$"
        )
        server.send_signal(Signals.SIGUSR2)
        server.wait_for(
            "wsgid cannot be started anew: its rehearsal exited with code 1; this server keeps serving, and it"
        )
        assert_serves(server)
    server.wait_for("wsgid starts anew, in this process")
    server.wait_for(r"worker \d+ \(generation [1-9]\d*, pid \d+\) is ready", 2)
    assert_serves(server)
    assert server.stop() == 0


def test_a_stop_ends_the_wait_for_an_upgrade(start: Start, own_venv: Path) -> None:
    server = serve(start, program=(str(own_venv), "-m", "wsgid"))
    with away(own_venv):
        server.send_signal(Signals.SIGUSR2)
        server.wait_for("cannot be started anew")
        assert_ends_well(server)


# The master executes an image that cannot start although its rehearsal could: the log's directory is removed between
# the two.
LATE = """
    import sys
    from pathlib import Path
    if len(sys.argv) and Path("trap").exists():
        Path("logs").rename("taken")
"""


def test_an_image_that_cannot_start_tries_until_it_can(start: Start, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    server = serve(start, "--logger", "stdio", "--logger", "file:logs/file")
    (tmp_path / "app.py").write_text(dedent(LATE) + dedent(APP))  # the rehearsal imports this
    (tmp_path / "trap").touch()
    server.send_signal(Signals.SIGUSR2)
    server.wait_for(r"logs/file cannot be written: No such file or directory")
    server.wait_for("wsgid could not start anew; its workers keep serving, and the next try is in", 2)
    assert_serves(server)
    (tmp_path / "trap").unlink()
    (tmp_path / "taken").rename(tmp_path / "logs")
    server.wait_for(r"worker \d+ \(generation [1-9]\d*, pid \d+\) is ready", 2)
    assert_serves(server)
    assert_ends_well(server)


def test_an_image_that_cannot_start_can_be_stopped(start: Start, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    server = serve(start, "--logger", "stdio", "--logger", "file:logs/log")
    (tmp_path / "app.py").write_text(dedent(LATE) + dedent(APP))
    (tmp_path / "trap").touch()
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid could not start anew")
    assert server.stop() == 0
    eventually(lambda: not server.survivors(), "the workers have left")
    assert not (tmp_path / "app.sock").exists()


@contextmanager
def limited(pid: int, limit: str, most: int, become: Sequence[str] = ()) -> Iterator[None]:
    """Set a soft limit of a process, with the name that prlimit(1) uses. Only the user of the process may do this."""
    prlimit = [*become, "prlimit", f"--pid={pid}"]
    before = subprocess.check_output([*prlimit, f"--{limit}", "--output=SOFT", "--noheadings"], text=True).strip()
    subprocess.run([*prlimit, f"--{limit}={most}:"], check=True)
    yield
    subprocess.run([*prlimit, f"--{limit}={before}:"], check=True)


def other_user() -> list[str]:
    """A command that runs another command as a user with a limit of processes: root has none. The machine has no name
    for this user. The user may have no access to the directory of the test's interpreter."""
    if os.getuid() != 0:
        return []
    uid = str(50_000 + os.getpid() % 10_000)
    return [
        "setpriv",
        "--reuid",
        uid,
        "--regid",
        uid,
        "--clear-groups",
        "--securebits",
        "+no_setuid_fixup",
        "--inh-caps",
        "+dac_override",
        "--ambient-caps",
        "+dac_override",
    ]


def test_the_limit_of_processes(start: Start, tmp_path: Path) -> None:
    open_to_all(tmp_path)
    server = serve(start, prefix=other_user())
    with limited(server.pid, "nproc", 1, other_user()):
        end_spare(server)
        server.send_signal(Signals.SIGHUP)
        server.send_signal(Signals.SIGUSR2)
        server.wait_for("template 1 cannot be started: posix_spawn .*: " + LIMIT + AGAIN)
        server.wait_for("wsgid cannot be started anew: posix_spawn .*: " + LIMIT + "; this server keeps serving")
        assert_serves(server)
    server.wait_for("wsgid starts anew, in this process")
    server.wait_for(r"worker \d+ \(generation [1-9]\d*, pid \d+\) is ready", 2)
    assert_serves(server)
    assert_ends_well(server)


def test_the_limit_of_processes_for_the_template(start: Start, tmp_path: Path) -> None:
    open_to_all(tmp_path)
    server = serve(start, prefix=other_user())
    (template,) = server.template_pids()
    with limited(template, "nproc", 1, other_user()):
        os.kill(server.worker_pids()[0], Signals.SIGKILL)
        server.wait_for(r"worker \d cannot be started: fork: " + LIMIT + r"; it is tried again in", 2)
        assert_serves(server)
    server.wait_for("worker .* is ready", 3)
    assert_ends_well(server)


def test_no_descriptor_left_when_a_worker_dies(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--stats", "stats.sock")
    with limited(server.pid, "nofile", 3):
        os.kill(server.worker_pids()[0], Signals.SIGKILL)
        server.wait_for(
            r"worker \d cannot be started: socketpair for worker \d: " + NO_DESCRIPTORS + r"; it is tried again in", 3
        )
        assert_serves(server)
        used_s = sum(psutil.Process(server.pid).cpu_times()[:2])
        # the server cannot accept this connection, so the listener stays readable
        with client.connect(tmp_path / "stats.sock"):
            server.wait_for(r"cannot be started: socketpair", 5)
        assert sum(psutil.Process(server.pid).cpu_times()[:2]) - used_s < 1.0
    server.wait_for("worker .* is ready", 3)
    with client.connect(tmp_path / "stats.sock") as asker:
        assert client.read_all(asker).startswith(b"{")
    assert_ends_well(server)


def test_reloads_upgrades_and_rotations_without_a_descriptor(start: Start, tmp_path: Path) -> None:
    server = serve(start, "--logger", "stdio", "--logger", "file:log")
    with limited(server.pid, "nofile", 3):
        end_spare(server)
        server.send_signal(Signals.SIGHUP)
        server.wait_for("template 1 cannot be started: memfd_create for the settings: " + NO_DESCRIPTORS + AGAIN)
        server.send_signal(Signals.SIGUSR1)
        server.wait_for("SIGUSR1: the log file .*/log cannot be written: Too many .*; the old file stays in use")
        server.send_signal(Signals.SIGUSR2)
        server.wait_for("wsgid cannot be started anew: open .: " + NO_DESCRIPTORS + "; this server keeps serving")
        assert_serves(server)
    server.wait_for("wsgid starts anew, in this process")
    server.wait_for(r"worker \d+ \(generation [1-9]\d*, pid \d+\) is ready", 2)
    assert_ends_well(server)


def test_the_start_directory_is_gone_and_comes_back(tmp_path: Path) -> None:
    """A deployment removes the old release, and puts the new release in its place."""
    release = tmp_path / "release"
    release.mkdir()
    (release / "app.py").write_text(dedent(APP))
    server = Server(release, "--socket", str(tmp_path / "app.sock"), "--workers", "2", "app:application")
    try:
        server.wait_ready(2)
        shutil.rmtree(release)
        server.send_signal(Signals.SIGHUP)
        server.wait_for(
            r"template 1 cannot be started: chdir \S+/release: No such file or directory \(ENOENT\); put "
            "it back" + AGAIN
        )
        server.send_signal(Signals.SIGUSR2)
        server.wait_for(r"wsgid cannot be started anew: chdir \S+/release: No such file or directory \(ENOENT\)")
        assert int(client.get(tmp_path / "app.sock").body) in server.worker_pids()
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "app.py").write_text(dedent(APP).replace("str(os.getpid())", "'new'"))
        (tmp_path / "new").rename(release)  # at once, because a directory without app.py would be an application error
        eventually(lambda: client.get(tmp_path / "app.sock").body == b"new", "the new release serves")
        server.wait_for("wsgid starts anew, in this process")
        anew = next(at for at, line in enumerate(server.lines) if "wsgid starts anew, in this process" in line)
        # the reload may come before the upgrade
        server.wait_for(r"worker \d+ \(generation [1-9]\d*, pid \d+\) is ready", 2, anew)
        assert client.get(tmp_path / "app.sock").body == b"new"
        assert_ends_well(server)
    finally:
        server.end()


@pytest.mark.parametrize("descriptors", (7, 9, 11))
def test_a_start_that_is_refused_is_one_sentence_and_code_1(start: Start, descriptors: int) -> None:
    server = start(
        "--socket",
        "app.sock",
        "--workers",
        "2",
        "--stats",
        "stats.sock",
        "app:application",
        app=APP,
        prefix=["prlimit", f"--nofile={descriptors}:"],
    )
    assert server.wait() == 1
    assert "Too many open files" in server.log and "Traceback" not in server.log


# --- single modules ---


def test_a_refusal_in_words() -> None:
    with pytest.raises(OSError) as refusal, named("mount", "/srv"):
        raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
    assert words(refusal.value) == "mount /srv: Too many open files in system (ENFILE); raise fs.file-max (sysctl)"
    assert "Cannot allocate memory (ENOMEM); give this machine, or this service, more" in words(MemoryError())


def test_the_pause_before_each_attempt_grows() -> None:
    again = Again()
    assert not again.waits(0.0) and not again.take(1000.0)
    pauses_s = [again.refused(1000.0) for _ in range(12)]
    assert pauses_s[:3] == [0.1, 0.2, 0.4] and pauses_s[-1] == 30.0
    assert again.waits(1029.0) and not again.take(1029.0)
    assert again.take(1030.0) and not again.take(1031.0)


def test_the_net_logs_an_error_once_and_lets_bugs_through(capsys: pytest.CaptureFixture[str]) -> None:
    net = Net()
    for _ in range(3):
        with net.under("the wait"), named("epoll_wait"):
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    assert capsys.readouterr().err.count("the wait: epoll_wait: Cannot allocate memory (ENOMEM)") == 1
    with pytest.raises(KeyError), net.under("the wait"):
        raise KeyError("a bug")


def test_an_order_waits_until_there_is_room_and_keeps_its_place() -> None:
    ours, theirs = map(Channel, pair())
    try:
        while ours.send(messages.ReturnSockets(0)):
            pass
        assert isinstance(ours.refusal, BlockingIOError)
        ours.order(messages.Drain("leave", 1.0))
        ours.order(messages.Reopen([]))
        last: list[messages.Message] = []
        while len(last) < 3 or not isinstance(last[-1], messages.Reopen):
            ours.flush()
            received = theirs.receive()
            assert received
            last.append(received[0])
        assert isinstance(last[-2], messages.Drain)
        theirs.close()
        ours.order(messages.Reopen([]))  # the other end is closed, so no order waits
        assert isinstance(ours.refusal, ConnectionError)
    finally:
        ours.close()
        theirs.close()


def test_a_failed_execution_leaves_directory_and_descriptors_unchanged(tmp_path: Path) -> None:
    """In a process of its own: threads of earlier tests may close theirs meanwhile."""
    code = f"""
        import os
        from pathlib import Path
        from wsgid.linux.socket_pair import pair
        from wsgid.supervisor import upgrade
        ours, theirs = pair()
        before = os.getcwd(), os.listdir("/proc/self/fd")
        start = upgrade.Start(({str(tmp_path / "nothing")!r},), Path({str(tmp_path)!r}))
        try:
            start.execute(upgrade.Handover(ours, -1, (), (upgrade.HeldWorker(0, 0, 1, theirs),)), {{}})
        except OSError as error:
            assert "No such file" in str(error), error
            print(before == (os.getcwd(), os.listdir("/proc/self/fd")), *map(os.get_inheritable, (ours, theirs)))
    """
    assert subprocess.check_output([sys.executable, "-c", dedent(code)], text=True) == "True False False\n"


def test_no_signal_is_lost_when_the_master_executes_itself(start: Start, tmp_path: Path) -> None:
    """The old image can still receive a signal when it logs that it is replaced."""
    server = serve(start)
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid starts anew, in this process")
    assert server.stop() == 0
    server.assert_nothing_left()


def test_signals_that_wait_in_the_pipe_go_back_to_the_kernel() -> None:
    """execve(2) closes the pipe. Signals that the kernel holds back survive execve(2)."""
    code = """
        import os, signal
        from wsgid.linux.signals import SignalPipe
        pipe = SignalPipe([signal.SIGHUP, signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)
        pipe.hold()
        print(*signal.sigpending(), pipe.read())
        pipe.release()
        print(pipe.read())
    """
    said = subprocess.check_output([sys.executable, "-c", dedent(code)], text=True)
    assert said.splitlines() == [f"{int(Signals.SIGTERM)} []", f"[{Signals.SIGTERM!r}]"]
