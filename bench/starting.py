"""How long a server needs to start, and how much memory it has then; and how long it needs for what starts nothing:
`--version`, and the check of its settings.

Rules
* A start lasts from exec to the first right answer. The question is asked every 5 ms.
* A command is measured by the processor time of its process and of the processes that it has waited for (wait4(2)).
"""

import os
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench import cost
from bench.load import Measure, wait_until_quiet
from bench.sample import Metric, Sample
from bench.server import ROOT, Request, Server, ServerError

RUNS = 5
CHECKS = {"gunicorn": "--check-config", "wsgid": "--check"}  # by the program


def started() -> Measure:
    """The measurement of the start, and of the two commands."""

    def measure(server: Server, _request: Request, _duration_s: int) -> Sample:
        found: Sample = {
            Metric.START_MS: server.up_s * 1e3,
            Metric.START_CPU_MS: server.up_cpu_s * 1e3,
            Metric.FRESH_TREE_MIB: _fresh_tree_mib(server),
            Metric.VERSION_MS: _cpu_ms(server, server.command[0], "--version"),
            Metric.ERRORS: 0,
        }
        check = CHECKS.get(Path(server.command[0]).name)
        if check:
            found[Metric.CHECK_MS] = _cpu_ms(server, *server.command, check)
        return found

    return measure


def _fresh_tree_mib(server: Server) -> float:
    wait_until_quiet(server)
    return cost.tree_pss_bytes(server.pid) / cost.MIB


def _cpu_ms(server: Server, *command: str) -> float:
    return statistics.median(_once_ms(server, command) for _ in range(RUNS))


def _once_ms(server: Server, command: Sequence[str]) -> float:
    """The processor time of a command. The server itself goes on."""
    process = subprocess.Popen(
        command,
        cwd=server.socket.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ServerError(f"{command[-1]} ended with status {process.returncode}")
    return (used.ru_utime + used.ru_stime) * 1e3
