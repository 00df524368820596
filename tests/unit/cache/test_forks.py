"""A store in a process that forks: LMDB forbids to use an open environment in a child."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from wsgid.cache import Cache, files
from wsgid.cache.board import Board


def in_child(body: Callable[[], object]) -> None:
    """Run a function in a child. Fails if the function does not return something true."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = not body()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_parent_and_child_share_a_file_and_go_on_both(tmp_path: Path) -> None:
    cache = Cache("f", local=10, path=str(tmp_path / "f"), size_bytes=2 << 20)
    cache.set("parent", 1)
    assert cache.get("parent") == 1

    def child() -> bool:
        cache.set("child", cache.get("parent") + 1)
        cache.set("parent", 5)
        return bool(cache.get("child") == 2)

    for _ in range(3):
        cache.set("parent", 1)
        in_child(child)
        assert (cache.get("child"), cache.get("parent")) == (2, 5)


def test_a_child_of_a_child_shares_it_too(tmp_path: Path) -> None:
    cache = Cache("g", path=str(tmp_path / "g"), size_bytes=2 << 20)
    cache.set("n", 1)

    def child() -> bool:
        cache.incr("n")
        in_child(lambda: cache.incr("n"))
        return bool(cache.get("n") == 3)

    in_child(child)
    assert cache.get("n") == 3


def test_a_private_store_stays_the_parents_and_a_child_has_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SHARED_MEMORY", str(tmp_path))  # no other test puts a store there
    cache = Cache("private of this test")
    cache.set("a", 1)

    def child() -> bool:
        empty = cache.get("a") is None
        cache.set("a", 2)
        return bool(empty and cache.get("a") == 2)

    in_child(child)
    assert cache.get("a") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_its_owners_and_no_childs(tmp_path: Path) -> None:
    cache = Cache("l", path=str(tmp_path / "l"), size_bytes=2 << 20)
    with cache.lock("job", 600):
        in_child(lambda: not cache.lock("job").acquire(0))
        in_child(lambda: cache.lock("of the child", 600).acquire(0))
        assert not cache.lock("job").acquire(0)  # the child has ended, and the lock is still held
        assert cache.lock("of the child").acquire(0)
    assert cache.lock("job").acquire(0)


def test_a_board_that_nobody_refers_to_still_holds_its_line(tmp_path: Path) -> None:
    """mmap closes a descriptor of its own when it is freed, and with it all locks of the process."""
    first = Board(str(tmp_path / "b"), 1 << 20)
    line, incarnation = first.line_number, first.incarnation
    del first
    in_child(lambda: Board(str(tmp_path / "b"), 1 << 20).lives(line, incarnation))


def test_a_fork_waits_for_a_thread_that_is_in_the_store(tmp_path: Path) -> None:
    # A reader that gets no processor holds old pages, and the writers need others meanwhile. So there is room for many.
    cache = Cache("t", path=str(tmp_path / "t"), size_bytes=32 << 20)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            cache.incr("n")
            cache.get("n")

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            in_child(lambda: cache.incr("of children") and cache.get("n") is not None)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert cache.get("of children") == 30
