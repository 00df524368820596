"""python -m bench.shared_page: an HTTP page of ten fragments of 2 KB, from wsgid.cache and from Redis.

    | fragments from | req/s | CPU of the server, us a request | of redis-server |

Rules
* wsgid serves the page with two workers, over kept HTTP connections, and wrk asks. All fragments are read in one call,
  except the objects of the process (local=1000), which are read one by one.
* The processor time of the whole server is divided by the requests of wrk, and that of redis-server is said apart. The
  ratio is between the rows of the store and of Redis, for the server alone: the median of the rounds.
* Turns alternate, so that a machine that becomes slower does so for all.
"""

import argparse
import socket
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import cost, fragments_app
from bench.load import WARM_UP_S, drive, wait_until_quiet
from bench.peers import HOST, Launch, Peer, Protocol
from bench.server import Request, Route, running
from tools.databases import Redis

ROUNDS, SECONDS = 5, 3
CONNECTIONS = 32
BAR = 0.5
ROWS = {
    "nowhere: the same bytes": "constant",
    "`Cache(NAME, local=1000)`": "local",
    "`Cache(NAME)`": "cache",
    "Redis by redis-py, over a unix socket": "redis",
}


class Run(NamedTuple):
    requests_per_s: float
    server_us: float
    redis_us: float


def main() -> int:
    """Measure all rows, and print the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.shared_page")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"of each run (default {SECONDS})")
    given, _ = parser.parse_known_args(sys.argv[1:])
    found: dict[str, list[Run]] = {store: [] for store in ROWS.values()}
    with tempfile.TemporaryDirectory(prefix="wsgid-bench-") as directory, Redis() as redis:
        for _ in range(given.rounds):
            for store, runs in found.items():
                runs.append(_run(store, Path(directory), redis, given.seconds))
    print("| fragments from | req/s | CPU of the server, us a request | of redis-server |\n| --- | --- | --- | --- |")
    for name, store in ROWS.items():
        rate, server_us, redis_us = (median(column) for column in zip(*found[store]))
        print(f"| {name} | {rate:,.0f} | {server_us:.1f} | {redis_us:.1f} |")
    for store in ("cache", "local"):
        ratio = median(ours.server_us / theirs.server_us for ours, theirs in zip(found[store], found["redis"]))
        print(f"\n{store} / redis, CPU of the server: {ratio:.2f} (bar: {BAR})")
    return 0


def _run(store: str, directory: Path, redis: Redis, seconds: int) -> Run:
    assert redis.process is not None
    launch = Launch("bench.fragments_app:application", 2, 1, directory / "app.sock", _free_port())
    environ = {"FRAGMENTS": store, "BENCH_REDIS": str(redis.socket_path)}
    request = Request(fragments_app.PAGE)
    peer = Peer("wsgid", Protocol.HTTP, _command, environ)
    with running(peer, launch, None, request, Route.STRAIGHT) as server:
        drive(server, request, CONNECTIONS, WARM_UP_S)
        wait_until_quiet(server)
        before_s, redis_s = cost.cpu_s(server.pid), cost.cpu_s(redis.process.pid)
        met = drive(server, request, CONNECTIONS, seconds)
        spent_s, redis_spent_s = cost.cpu_s(server.pid) - before_s, cost.cpu_s(redis.process.pid) - redis_s
        server.check(request)
    count = met["requests"]
    return Run(count / met["duration_us"] * 1e6, spent_s / count * 1e6, redis_spent_s / count * 1e6)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as bound:
        port: int = bound.getsockname()[1]
        return port


def _command(launch: Launch) -> list[str]:
    server = [sys.executable, "-m", "wsgid", "--http", f"{HOST}:{launch.port}", "--workers", str(launch.workers)]
    return [*server, "--cache", "bench=64m", launch.application]


if __name__ == "__main__":
    sys.exit(main())
