"""What a server weighs: each of thousands of requests in flight, and a worker when there are none.

Rules
* Pss (bench/cost.py), so the machine's other programs should not come and go meanwhile.
* Clients ask at the server's own socket: nginx and its limits are no part of this.
"""

import itertools
import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator

from bench import cost
from bench.load import Measure, wait_until_quiet
from bench.sample import Metric, Sample
from bench.server import Request, Server, ServerError
from faults import crowd
from tests.support.client import packet

WORKER = re.compile(r"wsgid: worker|uWSGI worker")  # as wsgid and uWSGI (--auto-procname) call them
CONNECTIONS = 32
PATIENCE_S = 10.0
POLL_S = 0.02
SETTLE_S = 1.5
GOOD = "200"


def in_flight(count: int) -> Measure:
    """The measurement of what one worker weighs more with so many in flight, for each of them."""

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
            raise ServerError(f"never {count:,} in flight: {dict(met)}")
        return {Metric.IN_FLIGHT_BYTES: (weights_bytes[0] - before_bytes) / count, Metric.ERRORS: _bad(met)}

    return measure


def idle_worker(count: int) -> Measure:
    """The measurement of a worker beside its siblings, after the start, and after so many requests to all.

    It is their median: one has answered whether the server is up, and is no fresh worker any more.
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


def _settle(server: Server) -> None:
    """Some begin things only when they have been up for a moment, such as wsgid its spare template."""
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
