"""What `wsgidctl profile` costs the worker that is profiled: the same worker, with and without the profile in turn.

Runs of different servers differ by more than a profile costs. So do different minutes on a machine. Neighbouring
seconds of one worker differ least. Each turn with a profile is compared, by processor time per request, with the mean
of the two turns beside it. The sample has the median of these ratios.
"""

import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import cost
from bench.load import WARM_UP_S, Measure, drive, wait_until_quiet
from bench.sample import Metric, Sample
from bench.server import Request, Server, ServerError
from tools import child

CONNECTIONS = 32
TURN_S = 1
PROFILES_A_SECOND = 3  # for each second that the command line gives for a run
POLL_S = 0.02
DEADLINE_S = 10.0


def profiled() -> Measure:
    """The measurement of one worker."""

    def measure(server: Server, request: Request, duration_s: int) -> Sample:
        drive(server, request, CONNECTIONS, WARM_UP_S)
        wait_until_quiet(server)
        plain, ratios = [_turn_us(server, request)], []
        for _ in range(PROFILES_A_SECOND * duration_s):
            with profile(server):
                profiled_us = _turn_us(server, request)
            plain.append(_turn_us(server, request))
            ratios.append(profiled_us / statistics.mean(plain[-2:]))
        server.check(request)
        return {Metric.CPU_US: statistics.median(plain), Metric.PROFILED_RATIO: statistics.median(ratios)}

    return measure


def _turn_us(server: Server, request: Request) -> float:
    """The server's processor time for each request of a turn."""
    before_s = cost.cpu_s(server.pid)
    met = drive(server, request, CONNECTIONS, TURN_S)
    if met["statuses"] or met["sockets"] or met["timeouts"]:
        raise ServerError(f"requests have failed: {met}")
    return (cost.cpu_s(server.pid) - before_s) / met["requests"] * 1e6


@contextmanager
def profile(server: Server) -> Iterator[None]:
    """While the block runs, the only worker of the server is profiled, as wsgidctl does it."""
    control = server.socket.with_suffix(".ctl")
    process = subprocess.Popen(
        [sys.executable, "-m", "wsgid.ctl.main", "--control", str(control), "profile", "--seconds", "300"],
        stdout=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        _wait_until(server, True)
        yield
        if process.poll() is not None:
            raise ServerError("the profile has ended before its turn")
    finally:
        child.end(process, signal.SIGTERM)
    _wait_until(server, False)


def _wait_until(server: Server, wanted: bool) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while any(_catches_sigprof(process.pid) for process in cost.tree(server.pid)) is not wanted:
        if time.monotonic() > deadline_s:
            raise ServerError(f"the profile did not {'begin' if wanted else 'end'}")
        time.sleep(POLL_S)


def _catches_sigprof(pid: int) -> bool:
    """Whether a process has a handler for SIGPROF, by proc(5): SigCgt is the mask of the signals that have a
    handler."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(mask, 16) >> (signal.SIGPROF - 1) & 1)
