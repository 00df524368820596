"""The cache of a real server: shared by the workers, kept by reloads, and proof against their deaths."""

import json
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import Signals

import pytest

from tests.conftest import Start
from tests.site.cache.questions import ask, ask_each, asked, memory_directory
from tests.support import another_user, client
from tests.support.another_user import as_root
from tests.support.ctl import said
from tests.support.server import Server, eventually, open_to_all
from wsgid.cache import Cache

# --- shared, and kept ---


def test_all_workers_have_the_same_values_and_what_the_import_has_set(serve: Start) -> None:
    server = serve().wait_ready(2)
    assert set(ask_each(server, "get", key="imported").values()) <= set(server.template_pids())
    ask(server, "put", key="a", value="1")
    assert set(ask_each(server, "get", key="a").values()) == {"1"}
    assert set(ask_each(server, "hot", key="a").values()) == {"1"}
    ask(server, "put", key="a", value="2")
    assert set(ask_each(server, "hot", key="a").values()) == {"2"}
    assert ask(server, "unknown") == "no cache is called 'unknown', there are values: add --cache unknown=64m"


def test_the_files_are_the_users_own_and_end_with_the_server(serve: Start) -> None:
    server = serve().wait_ready(2)
    directory = memory_directory(server)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {path.name for path in directory.iterdir()} == {"values", "values-lock", "values-board"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert server.stop() == 0
    assert not directory.exists()


@as_root
def test_workers_that_run_as_another_user_own_the_files(serve: Start, tmp_path: Path) -> None:
    open_to_all(tmp_path)
    (tmp_path / "store").mkdir()
    rights = ("--uid", "nobody", "--gid", "nogroup")
    line = ("--cache", "values=4m,store/values.cache", "--cache", "other=4m")
    server = serve(*line, *rights, prefix=another_user.prefix()).wait_ready(2)
    assert ask(server, "put", key="a", value="1") is None
    for path in (tmp_path / "store" / "values.cache", memory_directory(server) / "other-board"):
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (65534, 0o600)


def test_a_reload_and_an_upgrade_keep_the_values(serve: Start) -> None:
    server = serve().wait_ready(2)
    directory = memory_directory(server)
    ask(server, "put", key="a", value="1")
    server.send_signal(Signals.SIGHUP)
    server.wait_generation(1, 2)
    assert set(ask_each(server, "get", key="a").values()) == {"1"}
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid starts anew")
    server.wait_generation(2, 2)
    assert set(ask_each(server, "get", key="a").values()) == {"1"}
    assert memory_directory(server) == directory
    assert server.stop() == 0
    assert not directory.exists()


def test_an_upgrade_may_change_the_size_of_a_store_that_is_in_use(start: Start, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("app.py"), tmp_path)
    options = "[uwsgi]\nmodule = app:application\nsocket = app.sock\nworkers = 2\ncache = values={}\n"
    (tmp_path / "uwsgi.ini").write_text(options.format("2m"))
    server = start("uwsgi.ini").wait_ready(2)
    ask(server, "put", key="a", value="1")
    for generation, size in ((1, "16m"), (2, "2m")):
        (tmp_path / "uwsgi.ini").write_text(options.format(size))
        with client.connect(tmp_path / "app.sock") as kept:  # its worker stays until it is answered
            kept.sendall(client.packet("/fill", QUERY_STRING="takes_s=2"))
            server.send_signal(Signals.SIGUSR2)
            server.wait_for("wsgid starts anew", generation)
            server.wait_generation(generation, 2)
            assert ask(server, "fill", takes_s="0") == 8_000_000
            assert client.parse(client.read_all(kept)).status == 200
        assert ask(server, "put", key="a", value="2") is None
        assert set(ask_each(server, "get", key="a").values()) == {"2"}


def test_a_restart_keeps_the_values_of_a_file_and_no_others(serve: Start, tmp_path: Path) -> None:
    first = serve("--cache", f"values=4m,{tmp_path}/values.cache").wait_ready(2)
    ask(first, "put", key="a", value="1")
    assert first.stop() == 0
    second = serve("--cache", f"values=4m,{tmp_path}/values.cache").wait_ready(2)
    assert ask(second, "get", key="a") == "1"
    assert second.stop() == 0
    third = serve().wait_ready(2)
    assert ask(third, "get", key="a") is None


def test_other_programs_share_the_store_of_a_file(
    serve: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """manage.py finds the store by the same variable, or by its path."""
    server = serve("--cache", f"values=4m,{tmp_path}/values.cache").wait_ready(2)
    monkeypatch.setenv("WSGID_CACHE", f"values=4m,{tmp_path}/values.cache")
    outside = Cache("values")
    outside.set("a", "from outside")
    assert ask(server, "get", key="a") == "from outside"
    ask(server, "put", key="b", value="from a worker")
    assert outside.get("b") == "from a worker"
    assert Cache("x", path=f"{tmp_path}/values.cache", size_bytes=4 << 20).get("b") == "from a worker"


def test_the_next_server_removes_the_directory_of_a_killed_one(serve: Start) -> None:
    first = serve().wait_ready(2)
    directory = memory_directory(first)
    first.stop(Signals.SIGKILL)
    assert directory.exists()
    eventually(lambda: not first.survivors(), "the orphans have left")
    serve().wait_ready(2)
    assert not directory.exists()


def test_uwsgis_cache2_is_a_store(start: Start, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("app.py"), tmp_path)
    (tmp_path / "uwsgi.ini").write_text(
        "[uwsgi]\nmodule = app:application\nsocket = app.sock\ncache2 = name=values,items=100,blocksize=20000\n"
    )
    server = start("uwsgi.ini").wait_ready(1)
    ask(server, "put", key="a", value="1")
    assert ask(server, "get", key="a") == "1"


# --- what the start says ---


def test_a_store_that_cannot_be_made_ends_the_start_with_a_sentence(serve: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for where, says in (
        ("values=900000g", r"values needs \d+ MiB, and /dev/shm has room for \d+ MiB .*: give it less, or name a file"),
        (f"values=4m,{tmp_path}/file/x", "cannot be made: Not a directory; correct the path"),
    ):
        server = serve("--cache", where)
        assert server.wait() == 2
        server.wait_for(says)


def test_check_makes_no_file(serve: Start, tmp_path: Path) -> None:
    before = set(Path("/dev/shm").iterdir())
    server = serve("--cache", f"values=4m,{tmp_path}/v.cache", "--check")
    assert server.wait() == 0
    assert not (tmp_path / "v.cache").exists()

    def left() -> list[Path]:
        """New directories with a store of this name. Other tests make and remove directories meanwhile."""
        return [path for path in set(Path("/dev/shm").iterdir()) - before if path.match("wsgid-cache-*/values")]

    assert not list(Path("/dev/shm").glob(f"wsgid-*-{server.pid}-*"))
    eventually(lambda: not left(), "no store is left")


# --- making, and waiting ---


def test_one_worker_makes_a_value_and_all_others_wait_for_it_without_standing_still(serve: Start) -> None:
    server = serve(workers=3).wait_ready(3)
    with ThreadPoolExecutor(12) as pool:
        made = [pool.submit(ask, server, "make", key="slow", gate="gate") for _ in range(12)]
        try:
            eventually(lambda: server.in_flight() == 12, "one makes the value, and the others wait")
            assert len(ask_each(server, "beat")) == 3  # the loops go on
        finally:
            (server.directory / "gate").touch()
        assert len({future.result(20) for future in made}) == 1


def test_greenlets_and_threads_of_a_worker_wait_for_each_other(serve: Start) -> None:
    server = serve(workers=1).wait_ready(1)
    calls = ["make", "make_in_thread"] * 6
    with ThreadPoolExecutor(len(calls)) as pool:
        made = [pool.submit(ask, server, call, key="slow") for call in calls]
        assert {future.result(20) for future in made} == set(server.worker_pids())
    (makes,) = {cache["makes"] for cache in said(server.directory, "cache")["caches"]}
    assert makes == 1


def test_a_killed_maker_is_replaced_at_once(serve: Start) -> None:
    server = serve("--cache", "values=4m", "--gevent", "3", workers=3).wait_ready(3)
    with ThreadPoolExecutor(10) as pool:
        made = [pool.submit(client_error_or_maker, server) for _ in range(9)]
        try:
            taken = eventually(lambda: holder_of(server), "a worker makes the value")
            os.kill(taken, Signals.SIGKILL)
        finally:
            (server.directory / "gate").touch()
        results = {future.result(20) for future in made}
    assert results - {None} and taken not in results


def client_error_or_maker(server: Server) -> int | None:
    """The maker of a value that waits for the gate, or None if this worker was killed."""
    packet = client.packet("/make", QUERY_STRING="key=slow&gate=gate")
    try:
        raw = client.exchange(server.directory / "app.sock", packet)
    except ConnectionError:
        return None
    return int(json.loads(client.parse(raw).body)[1]) if raw else None


def holder_of(server: Server) -> int:
    """The pid of the worker that holds a lock now, by its line of the board; 0 if nobody does."""
    from wsgid.cache.board import Board, Count

    board = Board(str(memory_directory(server) / "values-board"), 4 << 20)
    try:
        for number in range(20):
            line = board.words[64 + number * 16 : 80 + number * 16]
            if line[Count.MAKES]:
                return locker_of_byte(memory_directory(server) / "values-board", number)
    finally:
        board.close()
    return 0


def locker_of_byte(path: Path, number: int) -> int:
    """Who has the POSIX lock of a byte (proc(5), /proc/locks)."""
    found = path.stat()
    named = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[5] == named and int(fields[6]) == number:
            return int(fields[4])
    return 0


def test_a_lock_ends_with_its_owner(serve: Start) -> None:
    server = serve().wait_ready(2)
    owner, held = asked(server, "hold", key="job", ttl_s="600")
    assert held
    assert set(ask_each(server, "take", key="job", wait_s="0").values()) == {False}
    os.kill(owner, Signals.SIGKILL)
    server.wait_ready(3)
    assert set(ask_each(server, "take", key="job", wait_s="20").values()) == {True}


def test_a_child_of_the_application_shares_the_store(serve: Start) -> None:
    server = serve(workers=1).wait_ready(1)
    for _ in range(2):
        child, written = ask(server, "fork")
        assert child == written
    assert ask(server, "get", key="child") == child
