"""Start a real wsgid and watch it. All tests with processes use this module.

Rules
* A test waits for a line of the server's log, or for a state of the kernel; never for time to pass.
* `lines` contains all that the server has written up to now. A test that shares its server with other tests takes
  `len(server.lines)` first, and looks at the lines after that number: the lines before it belong to other tests.
* At the end nothing may be left. Each server has a mark in its environment, and all its descendants inherit the mark. A
  process that still carries the mark after the end is a failure. A socket file is a failure, too. SPT_NOENV keeps
  setproctitle from writing titles over the environment that proc(5) shows.
"""

import os
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import Any, TypeVar

import psutil

from tests.support.client import TcpAddress
from tests.support.processes import command_lines, unix_sockets

PATIENCE_S = 20.0  # how long a test waits for an event before it fails; no test passes because of this time
MARK = "TEST_MARK_OF_WSGID"  # not WSGID_...: that would be an option

T = TypeVar("T")


def open_to_all(directory: Path) -> None:
    """Open a test's directory for all users: pytest makes the directories above it for their owner alone."""
    for parent in (directory, *directory.parents):
        if parent == Path(tempfile.gettempdir()):
            return
        parent.chmod(0o755)


def eventually(question: Callable[[], T], event: str) -> T:
    """Ask until the answer is true. This is for states of the kernel that are not announced."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (answer := question()):
        assert time.monotonic() < deadline_s, f"never: {event}"
        time.sleep(0.005)
    return answer


def halt(pid: int) -> None:
    """Stop a process with SIGSTOP, and wait until it stands still: kill(2) may return before that."""
    os.kill(pid, Signals.SIGSTOP)
    eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, f"process {pid} stands still")


class Server:
    """A master in its own directory.

    Args:
        directory: working directory, which contains relative socket paths.
        arguments: the command line behind `wsgid`.
        prefix: a command that executes the server in the end.
        program: what is executed; by default the wsgid of this Python.
        options: passed on to subprocess.Popen.
    """

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        environ: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        program: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self.directory = directory
        self.mark = uuid.uuid4().hex
        self._lines: list[str] = []
        self._rest = b""  # the part of a line that has not ended yet
        self._changed = threading.Condition()
        marked = {**os.environ, "PYTHONPATH": str(directory), **(environ or {}), MARK: self.mark, "SPT_NOENV": "1"}
        self._process = subprocess.Popen(
            [*prefix, *(program or (sys.executable, "-m", "wsgid")), *arguments],
            cwd=directory,
            stderr=subprocess.PIPE,
            env=marked,
            **options,
        )
        self.pid = self._process.pid
        assert self._process.stderr is not None
        self._stderr = self._process.stderr.fileno()
        os.set_blocking(self._stderr, False)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        """The thread that empties the pipe, so that the server never waits for the test."""
        readable = select.poll()
        readable.register(self._stderr, select.POLLIN)
        while True:
            readable.poll()
            with self._changed:
                ended = self._take_in()
                self._changed.notify_all()
            if ended:
                return

    def _take_in(self) -> bool:
        """Read what is in the pipe. Returns whether the pipe has ended. The caller holds the lock."""
        while True:
            try:
                block = os.read(self._stderr, 1 << 16)
            except BlockingIOError:
                return False
            *lines, self._rest = (self._rest + block).split(b"\n")
            if not block and self._rest:
                lines, self._rest = [self._rest], b""
            self._lines += [line.decode(errors="backslashreplace") for line in lines]
            if not block:
                return True

    @property
    def lines(self) -> list[str]:
        """The lines that the server has written up to now. This is the list itself, no copy."""
        with self._changed:
            if self._reader.is_alive():
                self._take_in()
        return self._lines

    @property
    def unfinished(self) -> str:
        """What the server has written since the last line break."""
        with self._changed:
            return self._rest.decode(errors="backslashreplace")

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, count: int = 1, since: int = 0) -> list[re.Match[str]]:
        """Wait until this many log lines match, among the lines from number `since` on."""

        def found() -> list[re.Match[str]]:
            return [match for line in self._lines[since:] if (match := re.search(pattern, line))]

        with self._changed:
            if self._reader.is_alive():
                self._take_in()  # what the server has written before the test asks, also if the thread is late
            ended = self._changed.wait_for(lambda: len(found()) >= count or not self._reader.is_alive(), PATIENCE_S)
            assert ended and len(found()) >= count, f"no {count} x {pattern!r} in the log:\n" + "\n".join(self._lines)
        return found()

    def wait_ready(self, workers: int) -> "Server":
        self.wait_for(r"worker \d+ .* is ready", workers)
        return self

    def wait_generation(self, generation: int, workers: int) -> "Server":
        self.wait_for(rf"worker \d+ \(generation {generation}, pid \d+\) is ready", workers)
        return self

    def tcp_addresses(self) -> list[TcpAddress]:
        """Host and port of each TCP socket of IPv4 of the server, by the log."""
        line = self.wait_for(r"listens on (.*) with")[0]
        found = (re.fullmatch(r"([\d.]+):(\d+)", name) for name in line[1].split(", "))
        return [(match[1], int(match[2])) for match in found if match]

    def worker_pids(self) -> list[int]:
        """The workers in the order of their slots. Their pids have another order after the kernel's last pid."""
        shown = command_lines(self.pid, recursive=True)
        found = [
            (int(match[1]), pid) for pid, title in shown.items() if (match := re.match(r"wsgid: worker (\d+)", title))
        ]
        return [pid for _, pid in sorted(found)]

    def template_pids(self) -> list[int]:
        return self._pids("wsgid: template")

    def spare_pids(self) -> list[int]:
        return self._pids("wsgid: spare")

    def _pids(self, title: str) -> list[int]:
        # a new worker is at first a child of its parent
        return [pid for pid, shown in command_lines(self.pid, recursive=True).items() if shown.startswith(title)]

    def in_flight(self) -> int:
        """How many connections the workers have on app.sock: the sockets with this name, without the listeners."""
        pids = self.worker_pids()
        return sum(unix_sockets(pid, self.directory / "app.sock") for pid in pids) - len(pids)

    def send_signal(self, signo: Signals) -> None:
        self._process.send_signal(signo)

    def wait(self) -> int:
        """Wait for the end of the master. Returns its exit code (negative: the number of the signal that killed it)."""
        return self._process.wait(PATIENCE_S)

    def stop(self, signo: Signals = Signals.SIGTERM) -> int:
        self.send_signal(signo)
        return self.wait()

    def survivors(self) -> list[psutil.Process]:
        """All processes that carry the mark of this server."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def assert_nothing_left(self) -> None:
        eventually(lambda: not self.survivors(), f"all processes of the server are gone: {self.survivors()}")
        assert not [path for path in self.directory.rglob("*") if path.is_socket()]

    def end(self) -> None:
        """Clean up after a test, in whatever state the test has left the server."""
        if self._process.poll() is None and "COVERAGE_PROCESS_CONFIG" in os.environ:
            self._process.terminate()  # for `make coverage`: a process that is killed writes no coverage data
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE_S)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for process in self.survivors():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
