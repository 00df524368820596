"""The memory of a server: of each of thousands of requests in flight or quiet connections, and without requests.

Rules
* The memory is Pss (bench/cost.py), so other programs of the machine should not start or end meanwhile.
* Where thousands of clients are needed, they connect to the server itself, so nginx and its limits play no part.
"""

import http.client
import itertools
import os
import re
import select
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

from bench import cost
from bench.load import Measure, wait_until_quiet
from bench.peers import HOST
from bench.sample import Metric, Sample
from bench.server import Request, Server, ServerError
from faults import crowd
from tests.support.client import packet

WORKER = re.compile(r"wsgid: worker|uWSGI worker")  # their process titles (uWSGI: with --auto-procname)
CONNECTIONS = 32
PATIENCE_S = 10.0
POLL_S = 0.02
SETTLE_S = 1.5
QUIET_S = 12.0  # a worker of wsgid gives memory back every ten seconds
VISITORS = 8
GOOD = "200"


def in_flight(count: int) -> Measure:
    """The measurement of the memory that one worker needs for each of this many requests in flight."""

    def measure(server: Server, _request: Request, _duration_s: int) -> Sample:
        _settle(server)
        [worker] = _workers(server)
        before_bytes, wanted = cost.pss_bytes(worker), _descriptors(worker) + count
        weights_bytes: list[int] = []

        def weigh() -> crowd.Client:
            deadline_s = time.monotonic() + PATIENCE_S
            while _descriptors(worker) < wanted and time.monotonic() < deadline_s:
                yield POLL_S
            if _descriptors(worker) < wanted:
                return "not all of them in flight together"
            weights_bytes.append(cost.pss_bytes(worker))
            return GOOD

        met = crowd.run(itertools.chain([weigh()], _askers(server, count)), count + 1)
        if not weights_bytes:
            raise ServerError(f"{count:,} requests were never in flight together: {dict(met)}")
        return {Metric.IN_FLIGHT_BYTES: (weights_bytes[0] - before_bytes) / count, Metric.ERRORS: _bad(met)}

    return measure


def idle_worker(count: int) -> Measure:
    """The measurement of a worker beside its siblings, after the start, and after this many requests to all.

    The value is the median of the workers: one of them has answered when the start was checked, and is no fresh worker.
    """

    def measure(server: Server, _request: Request, _duration_s: int) -> Sample:
        _settle(server)
        fresh_bytes = _typical_bytes(server)
        met = crowd.run(_askers(server, count), CONNECTIONS)
        _settle(server)
        return {
            Metric.FRESH_WORKER_MIB: fresh_bytes / cost.MIB,
            Metric.USED_WORKER_MIB: _typical_bytes(server) / cost.MIB,
            Metric.ERRORS: _bad(met),
        }

    return measure


def site(count: int) -> Measure:
    """The measurement of all processes of a server, after the start, and after this many requests."""

    def measure(server: Server, request: Request, _duration_s: int) -> Sample:
        _settle(server)
        fresh_bytes = cost.tree_pss_bytes(server.pid)
        with ThreadPoolExecutor(VISITORS) as visitors:
            list(visitors.map(lambda _: server.check(request), range(count)))
        _settle(server)
        return {
            Metric.FRESH_TREE_MIB: fresh_bytes / cost.MIB,
            Metric.USED_TREE_MIB: cost.tree_pss_bytes(server.pid) / cost.MIB,
            Metric.ERRORS: 0,
        }

    return measure


def quiet(count: int) -> Measure:
    """The measurement of kept connections that have had one request each, and are quiet since then."""

    def measure(server: Server, request: Request, _duration_s: int) -> Sample:
        _settle(server)
        before_bytes = cost.tree_pss_bytes(server.pid)
        ends = select.poll()
        with ExitStack() as stack:
            for _ in range(count):
                connection = http.client.HTTPConnection(HOST, server.port, timeout=PATIENCE_S)
                stack.enter_context(closing(connection))
                connection.request("GET", server.path)
                if connection.getresponse().read() != request.answer or connection.sock is None:
                    raise ServerError("a wrong answer, or a connection that is not kept")
                ends.register(connection.sock, select.POLLIN)
            time.sleep(QUIET_S)
            spent_s = cost.cpu_s(server.pid)
            time.sleep(QUIET_S)
            spent_s = cost.cpu_s(server.pid) - spent_s
            each_bytes = (cost.tree_pss_bytes(server.pid) - before_bytes) / count
            closed = len(ends.poll(0))
        if closed:
            raise ServerError(f"{closed:,} of {count:,} connections were closed")
        return {Metric.QUIET_BYTES: each_bytes, Metric.QUIET_CPU: 100 * spent_s / QUIET_S, Metric.ERRORS: 0}

    return measure


def _settle(server: Server) -> None:
    """Some servers do some work only after a moment: wsgid, for example, starts its spare template."""
    time.sleep(SETTLE_S)
    wait_until_quiet(server)


def _typical_bytes(server: Server) -> float:
    return statistics.median(map(cost.pss_bytes, _workers(server)))


def _workers(server: Server) -> list[int]:
    return [process.pid for process in cost.tree(server.pid) if WORKER.match(" ".join(process.cmdline()))]


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _askers(server: Server, count: int) -> Iterator[crowd.Client]:
    data = packet(server.path)
    return (crowd.ask(server.socket, data) for _ in range(count))


def _bad(met: Counter[str]) -> int:
    return met.total() - met[GOOD]
