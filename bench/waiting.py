"""Requests that wait, in their thousands: what they cost while nothing happens, and what one more request costs.

    processes of clients connect and send -> all requests are in the application -> the measurement -> all are let go

Rules
* The clients connect to the server's own socket, so nginx and its limits play no part.
* A process has at most PER_PROCESS connections, because of the limit of descriptors. Clients that wait cost nothing.
* The application waits for the end of a FIFO (bench/apps.py), so no request has a timer of its own.
* Each request has to be answered in the end. Requests without the right answer are errors.
"""

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bench import apps, cost
from bench.load import Measure, wait_until_quiet
from bench.sample import Metric, Sample
from bench.server import ROOT, Request, Server, ServerError
from tests.support.client import get, packet

PER_PROCESS = 14_000
MORE = 200  # further requests, one after the other
WATCHED_S = 10.0
PATIENCE_S = 30.0  # without any progress
SETTLED_S = 2.0  # the requests are in the application if the server has done nothing for so long
POLL_S = 0.05
NEEDED_BYTES = 19_000  # of memory for each request, clients and sockets included


def waiting(count: int) -> Measure:
    """The measurement of this many requests that wait in the application."""

    def measure(server: Server, _request: Request, _duration_s: int) -> Sample:
        if psutil.virtual_memory().available < count * NEEDED_BYTES:
            raise ServerError(f"{count:,} requests need {count * NEEDED_BYTES / 1e9:.0f} GB of free memory")
        wait_until_quiet(server)
        before_bytes, wanted = cost.tree_pss_bytes(server.pid), _descriptors(server) + count
        let_go = _make_gate(server)
        with _clients(server, count) as clients:
            _wait_for(server, wanted)
            wait_until_quiet(server, SETTLED_S, PATIENCE_S)  # connections are accepted, their requests may not be read
            each_bytes = (cost.tree_pss_bytes(server.pid) - before_bytes) / count
            spent_s = cost.cpu_s(server.pid)
            time.sleep(WATCHED_S)
            spent_s = cost.cpu_s(server.pid) - spent_s
            more_ms = sorted(_ask_one_more(server) for _ in range(MORE))
            let_go()
            answered = sum(client.count_answers() for client in clients)
        return {
            Metric.WAITING_CPU: 100 * spent_s / WATCHED_S,
            Metric.IN_FLIGHT_BYTES: each_bytes,
            Metric.P50_MS: statistics.median(more_ms),
            Metric.P99_MS: more_ms[MORE * 99 // 100],
            Metric.ERRORS: count - answered,
        }

    return measure


class _Clients:
    """A process with many connections, each of which has sent a request."""

    def __init__(self, path: Path, count: int) -> None:
        command = [sys.executable, "-m", "bench.waiting", os.fspath(path), str(count)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)

    def count_answers(self) -> int:
        """Wait for the end of the process. Returns how many requests had the right answer."""
        said, _ = self._process.communicate()
        return int(said or b"0")

    def end(self) -> None:
        self._process.kill()
        with self._process:  # waits, and closes the pipe
            pass


def _ask_and_wait(path: Path, count: int) -> int:
    asked = []
    for _ in range(count):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(os.fspath(path))
        connection.sendall(packet(apps.WAIT_PATH))
        asked.append(connection)
    return sum(_is_right(connection) for connection in asked)


def _is_right(connection: socket.socket) -> bool:
    answer = b""
    with connection:
        while block := connection.recv(4096):
            answer += block
    return b" 200 " in answer and answer.endswith(apps.HELLO)


@contextmanager
def _clients(server: Server, count: int) -> Iterator[list[_Clients]]:
    started: list[_Clients] = []
    try:
        for start in range(0, count, PER_PROCESS):
            started.append(_Clients(server.socket, min(PER_PROCESS, count - start)))
        yield started
    finally:
        for client in started:
            client.end()


def _make_gate(server: Server) -> Callable[[], None]:
    """Make the FIFO that the application waits for. Returns a function that lets all requests go."""
    path = server.socket.with_name(apps.GATE)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    # A reader sees the end of a FIFO when its last writer has gone. There is no writer before (fifo(7)).
    return lambda: os.close(os.open(path, os.O_RDWR))


def _ask_one_more(server: Server) -> float:
    """Return how many milliseconds one more request takes."""
    started_s = time.perf_counter()
    if get(server.socket, "/").body != apps.HELLO:
        raise ServerError("one more request had a wrong answer")
    return (time.perf_counter() - started_s) * 1e3


def _descriptors(server: Server) -> int:
    found = 0
    for process in cost.tree(server.pid):
        with suppress(OSError):  # the process has just ended
            path = f"/proc/{process.pid}/fd"
            # The size of this directory is the number of its entries since Linux 6.2 (proc(5)). To list a million of
            # them would take the processor from the server.
            found += os.stat(path).st_size or len(os.listdir(path))
    return found


def _wait_for(server: Server, wanted: int) -> None:
    """Wait until the server has so many descriptors. It may take its time, as long as they become more."""
    most, until_s = 0, time.monotonic() + PATIENCE_S
    while (found := _descriptors(server)) < wanted:
        if found > most:
            most, until_s = found, time.monotonic() + PATIENCE_S
        if time.monotonic() > until_s:
            raise ServerError(f"never all requests in flight together: {wanted - most:,} of them were missing")
        time.sleep(POLL_S)


if __name__ == "__main__":
    print(_ask_and_wait(Path(sys.argv[1]), int(sys.argv[2])))
