"""A root master and directories in which another user can make files: no file of root is written or given away
there."""

import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from tests.conftest import Start
from tests.support import another_user, client
from tests.support.processes import open_files
from tests.support.server import Server, eventually, open_to_all
from wsgid.linux import safefiles

APP = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"fine"]
"""
NOBODY = 65534

pytestmark = another_user.as_root


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A directory of another user, beside a file that only root may write."""
    with tempfile.TemporaryDirectory(prefix="wsgid-test-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "site").mkdir()
        os.chown(directory / "site", NOBODY, NOBODY)
        (directory / "secret").write_text("root's own")
        (directory / "secret").chmod(0o600)
        yield directory / "site"


@pytest.fixture
def public(tmp_path: Path) -> None:
    """All users may read the files that a test has made."""
    open_to_all(tmp_path)


def is_untouched(theirs: Path) -> bool:
    secret = theirs.parent / "secret"
    return secret.read_text() == "root's own" and secret.stat().st_mode & 0o777 == 0o600 and secret.stat().st_uid == 0


def serve(start: Start, *options: str) -> Server:
    return start("--socket", "app.sock", *options, "app:application", app=APP).wait_ready(1)


# --- who can make files in a directory ---


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "stranger"),
    [
        (0, 0, 0o755, None),
        (0, 0, 0o775, None),
        (0, NOBODY, 0o755, None),
        (0, NOBODY, 0o775, f"group {NOBODY}"),
        (NOBODY, 0, 0o755, f"user {NOBODY}, whose directory it is"),
        (0, 0, 0o1777, "everybody"),
    ],
)
def test_a_directory_belongs_to_root_alone_or_the_other_user_is_named(
    tmp_path: Path, uid: int, gid: int, mode: int, stranger: str | None
) -> None:
    tmp_path.chmod(mode)
    os.chown(tmp_path, uid, gid)
    assert safefiles.stranger_in(str(tmp_path)) == stranger


# --- logs ---


def test_a_log_in_another_users_directory_is_no_link_fifo_or_second_name(theirs: Path) -> None:
    (theirs / "link").symlink_to(theirs.parent / "secret")
    (theirs / "new").symlink_to(theirs.parent / "made")
    os.link(theirs.parent / "secret", theirs / "second-name")
    os.mkfifo(theirs / "fifo")
    for name in ("link", "new", "second-name", "fifo"):
        with pytest.raises(OSError):
            safefiles.open_to_append(str(theirs / name))
    assert is_untouched(theirs) and not (theirs.parent / "made").exists()
    fd = safefiles.open_to_append(str(theirs / "log"))
    os.write(fd, b"line\n")
    os.close(fd)
    assert (theirs / "log").read_text() == "line\n"
    assert stat.S_IMODE((theirs / "log").stat().st_mode) == 0o640  # as uWSGI's logs


def test_in_roots_own_directory_the_operators_links_are_followed(theirs: Path) -> None:
    (theirs.parent / "link").symlink_to("log")
    os.close(safefiles.open_to_append(str(theirs.parent / "link")))
    assert (theirs.parent / "log").exists()
    os.close(safefiles.open_to_append("/dev/null"))


@pytest.mark.parametrize("option", ["--logto", "--access-log", "--logger"])
def test_a_log_that_is_swapped_for_a_link_is_not_followed_when_reopened(
    start: Start, theirs: Path, option: str
) -> None:
    log = theirs / "log"
    server = start(
        "--socket", "app.sock", option, f"file:{log}" if option == "--logger" else str(log), "app:application", app=APP
    )
    eventually(lambda: log.exists() and client.is_up(server.directory / "app.sock"), "the server serves")
    log.rename(theirs / "log.1")
    log.symlink_to(theirs.parent / "secret")
    server.send_signal(Signals.SIGUSR1)
    said = theirs / "log.1"
    eventually(lambda: "the old file stays in use" in said.read_text() + server.log, "the operator is told")
    assert client.get(server.directory / "app.sock").body == b"fine" and is_untouched(theirs)
    assert server.stop() == 0


# --- the pidfile and the socket ---


def test_the_pidfile_goes_through_no_name_that_can_be_guessed(start: Start, theirs: Path) -> None:
    (theirs / "pid").symlink_to(theirs.parent / "secret")
    for pid in range(os.getpid(), os.getpid() + 2000):  # PATH.PID, for the pids of the next processes
        (theirs / f"pid.{pid}").symlink_to(theirs.parent / "secret")
    server = serve(start, "--pidfile", str(theirs / "pid"))
    assert (theirs / "pid").read_text() == f"{server.pid}\n" and not (theirs / "pid").is_symlink()
    assert stat.S_IMODE((theirs / "pid").stat().st_mode) == 0o644 and is_untouched(theirs)
    assert server.stop() == 0 and not (theirs / "pid").exists()


def test_only_the_socket_itself_is_given_away(theirs: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(theirs / "app.sock"))
        safefiles.chown_socket(str(theirs / "app.sock"), NOBODY, -1)
        assert (theirs / "app.sock").stat().st_uid == NOBODY
    (theirs / "link").symlink_to(theirs.parent / "secret")
    os.link(theirs.parent / "secret", theirs / "second-name")
    for name in ("link", "second-name"):
        with pytest.raises(OSError, match="another user has put something else in its place"):
            safefiles.chown_socket(str(theirs / name), NOBODY, NOBODY)
    assert is_untouched(theirs)


def test_the_operator_is_warned_of_directories_that_are_not_roots_alone(start: Start, theirs: Path) -> None:
    server = serve(
        start,
        "--socket",
        str(theirs / "other.sock"),
        "--pidfile",
        str(theirs / "pid"),
        "--access-log",
        str(theirs / "access.log"),
        "--master-fifo",
        str(theirs / "fifo"),
    )
    for option, name in (
        ("--socket", "other.sock"),
        ("--pidfile", "pid"),
        ("--access-log", "access.log"),
        ("--master-fifo", "fifo"),
    ):
        server.wait_for(
            f"{option} {theirs}/{name} lies in a directory that is not root's alone: user {NOBODY}, whose "
            f"directory it is, can replace it; make {theirs} root's, with mode 755"
        )
    assert server.stop() == 0


# --- descriptors ---


def test_inherited_descriptors_that_no_option_names_are_closed(start: Start, tmp_path: Path) -> None:
    secret_fd = os.open(tmp_path, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as named:
        named.bind(str(tmp_path / "app.sock"))
        named.listen()
        os.set_inheritable(secret_fd, True)
        os.set_inheritable(named.fileno(), True)
        server = start(
            "--socket", f"fd://{named.fileno()}", "app:application", app=APP, pass_fds=(secret_fd, named.fileno())
        ).wait_ready(1)
        for pid in (server.pid, *server.worker_pids(), *server.template_pids()):
            assert str(tmp_path) not in open_files(pid).values()
        assert client.get(tmp_path / "app.sock").body == b"fine"
        assert server.stop() == 0
    os.close(secret_fd)
    (tmp_path / "app.sock").unlink()


# --- privileges ---

RIGHTS_APP = """
    import json, os, subprocess
    def application(environ, start_response):
        start_response("200 OK", [])
        status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
        return [json.dumps({"users": os.getresuid(), "groups": os.getresgid(), "more": os.getgroups(),
                            "home": os.environ["HOME"], "capabilities": [status["CapPrm"], status["CapEff"]],
                            "no_new": status["NoNewPrivs"]}).encode()]
"""


def rights(start: Start, *options: str) -> tuple[Server, dict[str, Any]]:
    server = start(
        "--socket", "app.sock", *options, "app:application", app=RIGHTS_APP, prefix=another_user.prefix()
    ).wait_ready(1)
    found: dict[str, Any] = json.loads(client.get(server.directory / "app.sock").body)
    return server, found


def test_nothing_of_roots_is_left_after_uid(start: Start, public: None) -> None:
    server, found = rights(start, "--uid", another_user.USER)
    assert found == {
        "users": [NOBODY] * 3,
        "groups": [NOBODY] * 3,
        "more": [NOBODY],
        "home": "/nonexistent",
        "capabilities": ["0" * 16] * 2,
        "no_new": "1",
    }
    assert "the application runs" not in server.log


def test_new_privileges_can_be_allowed_and_a_home_of_the_operator_counts(start: Start, public: None) -> None:
    _, found = rights(start, "--uid", another_user.USER, "--new-privileges", "--env", "HOME=/srv/home")
    assert found["no_new"] == "0" and found["home"] == "/srv/home"


@pytest.mark.parametrize(
    ("options", "words"), [((), "as root"), (("--uid", "nobody", "--gid", "0"), "with root's group")]
)
def test_an_application_with_rights_of_roots_is_named_once(
    start: Start, public: None, options: tuple[str, ...], words: str
) -> None:
    server, _ = rights(start, *options)
    server.wait_for(f"the application runs {words}: whoever breaks into it has the machine; name another user with")
    assert server.log.count("the application runs") == 1


BOUNDS = "-all,+setuid,+setgid,+chown,+kill"  # as wsgid-hardened.service names them for --uid


def test_a_root_master_does_with_four_capabilities(start: Start, public: None) -> None:
    """Without CAP_KILL the master could not end a worker of another user."""
    prefix = [*another_user.prefix(), "setpriv", "--bounding-set", BOUNDS, "--inh-caps", BOUNDS]
    server = start(
        "--socket",
        "app.sock",
        "--uid",
        another_user.USER,
        "--chown-socket",
        another_user.USER,
        "--hub-timeout",
        "0.5",
        "app:application",
        app="""
        def application(environ, start_response):
            if environ["PATH_INFO"] == "/stuck":
                sum(range(10 ** 12))
            start_response("200 OK", [])
            return [b"fine"]
    """,
        prefix=prefix,
    ).wait_ready(1)
    with client.connect(server.directory / "app.sock") as stuck:
        stuck.sendall(client.packet("/stuck"))
        server.wait_for("was killed by SIGABRT")
        server.wait_ready(2)
    assert client.get(server.directory / "app.sock").body == b"fine"
    assert server.stop() == 0
    assert "Traceback" not in server.log and "EPERM" not in server.log
    server.assert_nothing_left()


def test_a_master_that_may_not_signal_its_workers_logs_it_and_goes_on(start: Start, public: None) -> None:
    bounds = BOUNDS.removesuffix(",+kill")
    prefix = [*another_user.prefix(), "setpriv", "--bounding-set", bounds, "--inh-caps", bounds]
    server = start(
        "--socket", "app.sock", "--uid", another_user.USER, "app:application", app=APP, prefix=prefix
    ).wait_ready(1)
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"worker \d \(generation 1, pid \d+\) is ready")
    assert client.get(server.directory / "app.sock").body == b"fine"
    assert server.stop() == 0
    assert "Traceback" not in server.log
