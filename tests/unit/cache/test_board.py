"""The board: shared words, and who lives."""

import os
import signal
from pathlib import Path

from wsgid.cache import board
from wsgid.cache.board import Board, Count

SIZE_BYTES = 1 << 20


def in_child(tmp_path: Path, *, dies: bool) -> tuple[int, int, int]:
    """Count a hit in a process of its own. Returns its line, its incarnation and its pid."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        made = Board(str(tmp_path / "b"), SIZE_BYTES)
        made.line[Count.HITS] += 1
        os.write(write_fd, f"{made.line_number} {made.incarnation}".encode())
        if dies:
            os._exit(0)
        signal.pause()
    line, incarnation = os.read(read_fd, 100).split()
    if dies:
        os.waitpid(pid, 0)
    os.close(read_fd)
    os.close(write_fd)
    return int(line), int(incarnation), pid


def test_a_process_lives_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    here = Board(str(tmp_path / "b"), SIZE_BYTES)
    line, incarnation, pid = in_child(tmp_path, dies=False)
    assert here.lives(line, incarnation)
    assert here.lives(here.line_number, here.incarnation)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not here.lives(line, incarnation)


def test_the_next_owner_of_a_line_is_another_and_counts_on(tmp_path: Path) -> None:
    here = Board(str(tmp_path / "b"), SIZE_BYTES)
    first = in_child(tmp_path, dies=True)
    second = in_child(tmp_path, dies=False)
    assert first[0] == second[0]
    assert not here.lives(first[0], first[1])
    assert here.lives(second[0], second[1])
    os.kill(second[2], signal.SIGKILL)
    os.waitpid(second[2], 0)
    here.line[Count.HITS] += 1
    reading = board.read(str(tmp_path / "b"))
    assert reading and reading.counts[Count.HITS] == 3


def test_more_processes_than_lines_count_for_themselves(tmp_path: Path, monkeypatch: object) -> None:
    held = [in_child(tmp_path, dies=False)]
    taken = board.LINES
    try:
        board.LINES = 1
        here = Board(str(tmp_path / "b"), SIZE_BYTES)
        here.line[Count.HITS] += 1
        assert here.line_number == -1
        assert here.lives(-1, 0)
    finally:
        board.LINES = taken
        os.kill(held[0][2], signal.SIGKILL)
        os.waitpid(held[0][2], 0)


def test_a_board_keeps_its_buckets_if_the_store_gets_another_size(tmp_path: Path) -> None:
    small = Board(str(tmp_path / "b"), SIZE_BYTES)
    small.versions[small.mask] = 7
    large = Board(str(tmp_path / "b"), 1 << 30)
    assert large.mask == small.mask
    assert large.versions[large.mask] == 7


def test_a_file_that_is_no_board_is_not_read(tmp_path: Path) -> None:
    assert board.read(str(tmp_path / "none")) is None
    (tmp_path / "b").write_bytes(b"x" * 10_000)
    assert board.read(str(tmp_path / "b")) is None
    (tmp_path / "b").write_bytes(b"")
    assert board.read(str(tmp_path / "b")) is None
