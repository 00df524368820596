"""python -m bench.shared_limits: decisions of limits in 1 and 4 processes, beside the library `limits` and Redis.

    | limiter | processes | us/decision | decisions/s | CPU us/decision |

All processes decide about one key, which is the worst case: they wait for each other. Redis listens on a unix socket,
and its own processor time counts. `limits` with memory:// has a limit in each process, so its numbers are no shared
limit.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
from limits import RateLimitItemPerSecond
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter

from tools.databases import Redis
from wsgid import limits
from wsgid.limits import locks
from wsgid.limits.home import HOME, NoRequests
from wsgid.limits.ledger import Ledger
from wsgid.limits.redis_store import LimitRedis

SECONDS = 1.0
KEYS = 1024
RATE = 100_000_000
_BATCH = 50
Decide = Callable[[], object]


def main() -> int:
    """Measure everything, and print the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.shared_limits")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of each measurement (default {SECONDS:g})")
    given, _ = parser.parse_known_args(sys.argv[1:])
    print(f"wsgid.limits with {locks.FORM}\n")
    print("| limiter | processes | us/decision | decisions/s | CPU us/decision |\n| --- | --- | --- | --- | --- |")
    with Redis() as server:
        assert server.process is not None
        redis = psutil.Process(server.process.pid)
        for name, make in _peers(f"unix://{server.socket_path}").items():
            for processes in (1, 4):
                print(_row(name, processes, make, given.seconds, redis), flush=True)
    return 0


def _peers(url: str) -> dict[str, Callable[[Ledger, int], Decide]]:
    """What is measured: each entry makes a decision in a new process."""

    def shared(limiter: Any, store: str = "") -> Callable[[Ledger, int], Decide]:
        def make(ledger: Ledger, slot: int) -> Decide:
            in_redis = (lambda table: LimitRedis(table, store, False, 5.0, 10.0)) if store else None
            HOME.begin(ledger.fd, KEYS, slot, NoRequests(), in_redis)
            return lambda: limiter.acquire("k", wait=False)

        return make

    def library(uri: str) -> Callable[[Ledger, int], Decide]:
        def make(ledger: Ledger, slot: int) -> Decide:
            HOME.begin(ledger.fd, KEYS, slot, NoRequests())
            limiter, item = FixedWindowRateLimiter(storage_from_string(uri)), RateLimitItemPerSecond(RATE)
            return lambda: limiter.hit(item, "k")

        return make

    rate, window = limits.RequestRate(RATE, 16_000_000), limits.WindowCount(16_000_000, 1)
    held = limits.Concurrency(5)
    return {
        "RequestRate": shared(rate),
        "WindowCount": shared(window),
        "Concurrency, taken and given back": shared(held),
        "RequestRate in Redis": shared(rate, url),
        "limits, wsgid://": library(limits.storage_uri()),
        "limits, memory:// (not shared)": library("memory://"),
        "limits, redis://": library(f"redis+{url}"),
    }


def _row(name: str, processes: int, make: Callable[[Ledger, int], Decide], seconds: float, redis: Any) -> str:
    ledger = Ledger.keep_or_create(-1, KEYS)
    reading, writing = os.pipe()
    before_s = sum(redis.cpu_times()[:2])
    pids = [_start(ledger, slot, make, seconds, writing) for slot in range(processes)]
    for pid in pids:
        os.waitpid(pid, 0)
    redis_s = sum(redis.cpu_times()[:2]) - before_s
    os.close(writing)
    with open(reading) as told:
        found = [tuple(map(float, line.split())) for line in told]
    os.close(ledger.fd)
    decisions = sum(count for count, _, _ in found)
    cpu_s = sum(cpu for _, _, cpu in found) + redis_s
    each_us = seconds * processes / decisions * 1e6
    return (
        f"| {name} | {processes} | {each_us:.2f} | {decisions / max(took for _, took, _ in found):,.0f} "
        f"| {cpu_s / decisions * 1e6:.2f} |"
    )


def _start(ledger: Ledger, slot: int, make: Callable[[Ledger, int], Decide], seconds: float, writing: int) -> int:
    ledger.note_spawn(slot)
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        decide = make(ledger, slot)
        decide()
        count, before, start_s = 0, _cpu_s(), time.perf_counter()
        while (took_s := time.perf_counter() - start_s) < seconds:
            for _ in range(_BATCH):
                decide()
            count += _BATCH
        os.write(writing, f"{count} {took_s} {_cpu_s() - before}\n".encode())
        code = 0
    finally:
        os._exit(code)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
