"""kill -9 of workers at random instructions, while all of them take and give back permits of one limit.

The application counts for itself how many requests are admitted at the same time. Each of them takes a lock of the
kernel (flock(2)), and there are as many locks as permits. The kernel frees the locks of a process that dies.
"""

import os
import random
import threading
import time
from contextlib import suppress
from pathlib import Path
from signal import Signals
from textwrap import dedent

from faults.report import Result, Scenario
from faults.serverlog import KILLED, all_ready
from faults.site import ended, serving
from tests.support import client
from tests.support.ctl import said
from tests.support.server import Server, eventually

PERMITS = 3
APP = f"""
    import fcntl, os, time
    from wsgid import limits

    held = limits.Concurrency({PERMITS}, name="held")
    rate = limits.RequestRate("1r/d", burst=50, delay=False, name="rate")

    def application(environ, start_response):
        with held.acquire("all"):
            rate.acquire(environ["QUERY_STRING"])
            mine = [os.open(f"permit{{number}}", os.O_CREAT | os.O_RDWR) for number in range({PERMITS})]
            if not any(taken(fd) for fd in mine):
                open("over", "w").close()
            time.sleep(0.002)
            for fd in mine:
                os.close(fd)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    def taken(fd):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
"""


def limits() -> list[Result]:
    return kill_run(500, 0.15, 16)


def kill_run(kills: int, period_s: float, workers: int) -> list[Result]:
    """Kill a random worker so many times.

    Args:
        kills: how many.
        period_s: the mean time between two of them.
        workers: so many that no slot dies young again and again.
    """
    statuses: list[int] = []
    over = threading.Event()
    with serving(workers=workers, app=dedent(APP)) as server:
        clients = [threading.Thread(target=_visit, args=(server.directory, statuses, over)) for _ in range(12)]
        for each in clients:
            each.start()
        for _ in range(kills):
            time.sleep(random.random() * 2 * period_s)
            victims = server.worker_pids()
            if victims:
                with suppress(ProcessLookupError):  # it was killed a moment ago, and is reaped now
                    os.kill(random.choice(victims), Signals.SIGKILL)
        over.set()
        for each in clients:
            each.join()
        eventually(lambda: all_ready(server, workers), "every worker is back")
        found = _found(server, statuses)
        ended(server)
    return found


def _visit(directory: Path, statuses: list[int], over: threading.Event) -> None:
    while not over.is_set():
        with suppress(OSError, ValueError, IndexError):  # its worker was killed
            statuses.append(client.get(directory / "app.sock", QUERY_STRING=str(random.randrange(99))).status)


def _found(server: Server, statuses: list[int]) -> list[Result]:
    killed = len(server.wait_for(KILLED))
    level = {limit["name"]: limit["level"] for limit in said(server.directory, "limits")["limits"]}["held"]
    at_once = [_admitted(server) for _ in range(20)]
    admitted, rejected = statuses.count(200), statuses.count(429)
    return [
        Result("0 permits are left when nobody holds one", f"{level} after {killed} kills", level == 0),
        Result("never more requests at once than permits", f"{admitted} admitted", not _is_over(server)),
        Result(
            "requests are admitted and rejected all the time", f"{admitted}, {rejected}", admitted > killed < rejected
        ),
        Result("20 of 20 single requests are admitted afterwards", str(sum(at_once)), all(at_once)),
    ]


def _admitted(server: Server) -> bool:
    return client.get(server.directory / "app.sock").status == 200


def _is_over(server: Server) -> bool:
    return (server.directory / "over").exists()


SCENARIOS: tuple[Scenario, ...] = (limits,)
