"""The files of the stores: made at the start, checked, and removed at the end."""

import fcntl
import os
import signal
import stat
from pathlib import Path

import pytest

from wsgid.cache import Cache, files
from wsgid.cache.board import Board
from wsgid.cache.places import Place
from wsgid.errors import ConfigError

SIZE_BYTES = 1 << 20


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in the place of /dev/shm."""
    monkeypatch.setattr(files, "SHARED_MEMORY", str(tmp_path / "shm"))
    (tmp_path / "shm").mkdir()
    return tmp_path / "shm"


def prepared(*places: Place) -> list[Place]:
    return [Place(*value) for value in files.prepare(places, -1, -1)]


def test_a_store_in_memory_has_a_directory_of_its_master_which_ends_with_it(memory: Path) -> None:
    places = prepared(Place("pages", SIZE_BYTES, ""))
    (directory,) = memory.iterdir()
    assert directory.name.endswith(f"-{os.getpid()}-{files._started(os.getpid())}")
    assert places == [Place("pages", SIZE_BYTES, f"{directory}/pages", f"{directory}/pages-board")]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert prepared(Place("pages", SIZE_BYTES, "")) == places  # again, after SIGUSR2
    files.finish(places)
    assert list(memory.iterdir()) == []


def test_the_directory_of_a_killed_master_is_removed_and_no_other(memory: Path) -> None:
    namespace = files._namespace()
    for name in (f"wsgid-{namespace}-{os.getpid()}-1", "wsgid-1-1-1", f"wsgid-{namespace}-1-{files._started(1)}", "x"):
        (memory / name).mkdir()
    prepared(Place("r", 0, "redis://h"))
    left = {path.name for path in memory.iterdir()} - {os.path.basename(files._directory_name())}
    assert left == {"wsgid-1-1-1", f"wsgid-{namespace}-1-{files._started(1)}", "x"}


def test_a_missing_shared_memory_is_named_with_the_remedy(memory: Path) -> None:
    memory.rmdir()
    with pytest.raises(
        ConfigError, match=r"needs .*/shm, which is missing: name a file, as in --cache pages=1048576,/var"
    ):
        prepared(Place("pages", SIZE_BYTES, ""))


def test_a_shared_memory_that_cannot_be_written_is_named(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ConfigError, match="which cannot be written"):
        prepared(Place("pages", SIZE_BYTES, ""))


def test_a_store_that_is_larger_than_the_room_is_refused(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = os.statvfs(memory)
    small = os.statvfs_result([room[0], 4096, room[2], room[3], 64 * 256, *list(room)[5:]])  # 64 MiB, as in a container
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    with pytest.raises(ConfigError, match=r"needs 102 MiB, and .*/shm has room for 64 MiB .*shm-size.*: give it less"):
        prepared(Place("pages", 100 << 20, ""))


def test_one_name_is_one_store(memory: Path) -> None:
    with pytest.raises(ConfigError, match="names a twice"):
        prepared(Place("a", SIZE_BYTES, ""), Place("a", 2 * SIZE_BYTES, ""))


# --- a store with a path ---


def test_a_store_that_another_process_still_uses_is_not_noted_as_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pages.cache"
    (place,) = prepared(Place("pages", SIZE_BYTES, str(path)))
    path.write_bytes(b"values")
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        Board(place.board, SIZE_BYTES)
        os.write(write_fd, b"!")
        signal.pause()
    os.read(read_fd, 1)
    files.finish([place])
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    monkeypatch.setattr(files, "_boot_id", lambda: "the boot after a crash")
    prepared(place)
    assert path.read_bytes() == b""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_the_directory_and_the_files_may_be_the_applications_users(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    value = Place("pages", SIZE_BYTES, str(tmp_path / "pages.cache"))
    with pytest.raises(ConfigError, match="user 65534, whose directory it is, can put files into"):
        files.prepare([value], -1, -1)
    files.prepare([value], 65534, 65534)
    assert {path.stat().st_uid for path in tmp_path.iterdir()} == {65534}
    files.finish([value._replace(board=value.where + files.BOARD)])
    assert {path.stat().st_uid for path in tmp_path.iterdir()} == {65534}


def test_a_file_is_kept_within_a_boot_and_after_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pages.cache"
    (place,) = prepared(Place("pages", SIZE_BYTES, str(path)))
    path.write_bytes(b"values")
    assert prepared(place) == [place]
    assert path.read_bytes() == b"values"
    files.finish([place])
    monkeypatch.setattr(files, "_boot_id", lambda: "the next boot")
    prepared(place)
    assert path.read_bytes() == b"values"  # was flushed at the end
    monkeypatch.setattr(files, "_boot_id", lambda: "the boot after a crash")
    prepared(place)
    assert path.read_bytes() == b""  # may be torn


def test_a_file_of_somebody_else_is_no_cache(tmp_path: Path) -> None:
    path = tmp_path / "pages.cache"
    path.symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="was not made by --cache"):
        prepared(Place("pages", SIZE_BYTES, str(path)))
    path.unlink()
    prepared(Place("pages", SIZE_BYTES, str(path)))
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="cannot be made"):
        prepared(Place("pages", SIZE_BYTES, str(path)))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="is not the server's own file"):
        prepared(Place("pages", SIZE_BYTES, str(path)))


def test_a_file_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious.txt"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="remove it, or choose another path"):
        prepared(Place("pages", SIZE_BYTES, str(path)))
    assert path.read_text() == "precious"


def test_processes_that_make_a_store_at_the_same_time_make_one(tmp_path: Path) -> None:
    """Each writes its value into the store. In the end all values are there."""
    for attempt in range(10):
        path = str(tmp_path / f"pages{attempt}")
        read_fd, write_fd = os.pipe()
        pids = []
        for number in range(6):
            pids.append(os.fork())
            if pids[-1] == 0:
                os.close(write_fd)
                os.read(read_fd, 1)  # all go on when the pipe is closed
                Cache("pages", path=path, size_bytes=SIZE_BYTES).set(f"k{number}", number)
                os._exit(0)
        os.close(read_fd)
        os.close(write_fd)
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 6
        found = Cache("pages", path=path, size_bytes=SIZE_BYTES).get_many(f"k{number}" for number in range(6))
        assert len(found) == 6


def test_files_are_made_by_one_process_at_a_time_and_nobody_waits_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_PATIENCE_S", 0.05)
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(ConfigError, match="cannot be made: another process has locked its directory"):
        prepared(Place("pages", SIZE_BYTES, str(tmp_path / "pages.cache")))
    os.close(fd)
    prepared(Place("pages", SIZE_BYTES, str(tmp_path / "pages.cache")))


def test_everybodys_directory_is_no_place_for_a_cache(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="everybody, can put files into"):
        prepared(Place("pages", SIZE_BYTES, str(tmp_path / "pages.cache")))
