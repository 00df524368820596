"""Locks between processes: the kernel keeps them, and releases those of a dead process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from wsgid.ipc import scoreboard
from wsgid.ipc.locks import Locks

OTHER = """
import sys
from wsgid.ipc.locks import Locks
locks = Locks(int(sys.argv[1]))
for line in sys.stdin:
    action, name = line.split()
    print(getattr(locks, action)(name), flush=True)
"""


class Other:
    """Another process with the same memory."""

    def __init__(self, fd: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(fd)],
            pass_fds=[fd],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def ask(self, action: str, name: str) -> str:
        assert self._process.stdin and self._process.stdout
        print(action, name, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def fd() -> Iterator[int]:
    made = scoreboard.create()
    yield made
    os.close(made)


def test_a_lock_has_one_process_and_a_name_has_a_lock_of_its_own(fd: int) -> None:
    locks, other = Locks(fd), Other(fd)
    try:
        assert other.ask("take", "a") == "True"
        assert not locks.take("a") and locks.take("b")
        assert locks.holder("a") == other.pid and other.ask("holder", "b") == str(os.getpid())
        assert locks.holder("b") == locks.holder("c") == 0
        other.ask("release", "a")
        assert locks.take("a") and other.ask("take", "a") == "False"
        locks.release("a")
        assert other.ask("take", "a") == "True"
    finally:
        other.end()


def test_the_locks_of_a_process_end_with_it(fd: int) -> None:
    locks, other = Locks(fd), Other(fd)
    assert other.ask("take", "a") == "True" and not locks.take("a")
    os.kill(other.pid, signal.SIGKILL)
    other.end()
    assert locks.take("a")
