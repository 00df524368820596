"""Put load on a server with wrk through nginx, and return the sample of one run.

Rules
* Before the measurement there is a second of warm-up, and a wait for the work that it has left behind in the server.
* Processor time is read before and after the run, and divided by the number of requests that wrk has counted as
  completed. Requests that are cut off at the end (at most one for each connection) have cost processor time, too.
* Everything that went wrong is counted as an error: statuses from 400 on, socket errors, time-outs (wrk's own, 2 s),
  bodies that were too short. Before and after the run one answer is compared in full.
"""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench import apps, cost
from bench.sample import Metric, Sample
from bench.server import Request, Server, ServerError

SCRIPT = Path(__file__).resolve().with_name("wrk.lua")
WARM_UP_S = 1
QUIET_S = 0.2
QUIET_SHARE = 0.02  # share of a processor, for a heartbeat and the like
QUIET_WITHIN_S = 5.0
WORK_S = 0.005
Measure = Callable[[Server, Request, int], Sample]  # arguments: a server, the request, and the seconds


def load(connections: int = 32) -> Measure:
    """The measurement with this many connections. Each connection sends its next request when it has its answer."""

    def measure(server: Server, request: Request, duration_s: int) -> Sample:
        drive(server, request, connections, WARM_UP_S)
        wait_until_quiet(server)
        before_s = cost.cpu_s(server.pid)
        met = drive(server, request, connections, duration_s)
        spent_s = cost.cpu_s(server.pid) - before_s
        server.check(request)
        return _sample(met, spent_s, cost.tree_pss_bytes(server.pid), request)

    return measure


def one_at_a_time(count: int) -> Measure:
    """The measurement of this many requests. Each request begins when the request before it is answered."""

    def measure(server: Server, request: Request, _duration_s: int) -> Sample:
        wait_until_quiet(server)
        before_s = cost.cpu_s(server.pid)
        for _ in range(count):
            server.check(request)
        return {Metric.CPU_US: (cost.cpu_s(server.pid) - before_s) / count * 1e6, Metric.ERRORS: 0}

    return measure


def wait_until_quiet(server: Server, quiet_s: float = QUIET_S, within_s: float = QUIET_WITHIN_S) -> None:
    """Some servers still work when they serve already: wsgid, for example, prepares for a reload. No request causes
    this work.

    Args:
        quiet_s: for how long the server has to be quiet.
        within_s: how long to wait at most.
    """
    deadline_s = time.monotonic() + within_s
    before_s, now_s = 0.0, cost.cpu_s(server.pid)
    while now_s - before_s > QUIET_SHARE * quiet_s and time.monotonic() < deadline_s:
        time.sleep(quiet_s)
        before_s, now_s = now_s, cost.cpu_s(server.pid)


def drive(server: Server, request: Request, connections: int, duration_s: int) -> dict[str, int]:
    """One run of wrk. Returns the counts of wrk.lua.

    Raises:
        ServerError: wrk has reported an error.
    """
    posted = ["--", str(request.posted_bytes)] if request.posted_bytes else []
    command = [
        "wrk",
        "--threads",
        "1",
        "--connections",
        str(connections),
        "--duration",
        f"{duration_s}s",
        "--latency",
        "--script",
        str(SCRIPT),
        server.url,
        *posted,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ServerError(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    met: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return met


def _sample(met: dict[str, int], spent_s: float, pss_bytes: int, request: Request) -> Sample:
    answered = met["requests"] - met["statuses"]
    if not answered:
        raise ServerError(f"none of {met['requests']:,} requests was answered")
    too_short = met["received_bytes"] < answered * len(request.answer)
    return {
        Metric.REQUESTS_PER_S: met["requests"] / met["duration_us"] * 1e6,
        Metric.CPU_US: spent_s / met["requests"] * 1e6,
        Metric.P50_MS: met["p50_us"] / 1e3,
        Metric.P99_MS: met["p99_us"] / 1e3,
        Metric.MAX_MS: met["max_us"] / 1e3,
        Metric.PSS_MIB: pss_bytes / cost.MIB,
        Metric.ERRORS: met["statuses"] + met["sockets"] + met["timeouts"] + too_short,
    }


def calibrate() -> int:
    """How many turns of the loop in bench/apps.py take WORK_S of processor time on this machine now."""
    turns = 1_000_000
    best_s = min(_spent_s(turns) for _ in range(5))
    return int(turns * WORK_S / best_s)


def _spent_s(turns: int) -> float:
    started_s = time.process_time()
    apps.spin(turns)
    return time.process_time() - started_s
