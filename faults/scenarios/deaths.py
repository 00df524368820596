"""kill -9 of workers, of the template and of the master, under load."""

import os
import random
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from signal import Signals
from statistics import median

from faults.apps import FAST, FLASK, LONG, MIXED
from faults.report import Result, Scenario
from faults.rows import counted, none_failed
from faults.serverlog import KILLED, READY, Kills, all_ready, said_s
from faults.site import CLIENTS, PAUSE_S, ended, flask, nginx_address, nginx_for, serving, start
from tests.support.load import RIGHT, Kind, Load, Plan
from tests.support.server import PATIENCE_S, Server, eventually
from wsgid.supervisor.backoff import backoff_s, failures_after

REPLACED_BAR_S = 0.1
REBOUND_BAR_S = 3.0


def kill_workers() -> list[Result]:
    run = kill_run(1, "uwsgi_next_upstream off;", 32, 15, 1.0)
    return [*killed_counts(run), replaced(run)]


def kill_workers_with_next_upstream() -> list[Result]:
    return repeated_counts(kill_run(2, "", 32, 15, 1.0))


def kill_run(
    times_listed: int, directives: str, clients: int, count: int, period_s: float, kinds: tuple[Kind, ...] = FLASK
) -> Kills:
    """kill -9 of a random worker of the Flask example, again and again, under load."""
    with serving(*flask()) as server, nginx_for(server, times_listed, directives) as nginx:
        with Load(Plan(nginx_address(nginx), kinds, clients, PAUSE_S)) as load:
            run = Kills(load)
            for number in range(count):
                time.sleep(period_s)
                victim = random.choice(server.worker_pids())
                run.killed_s[victim] = time.time()
                os.kill(victim, Signals.SIGKILL)
                server.wait_for(KILLED, number + 1)
            eventually(lambda: all_ready(server, 4), "every worker is back")
            time.sleep(0.5)  # requests for half a second with all workers
        run.end = ended(server)
        run.log = server.lines
    return run


def killed_counts(run: Kills) -> list[Result]:
    """nginx repeats no request. Requests that were in flight in killed workers are lost, and no others."""
    failed = len(run.load.failed())
    in_flight = run.in_flight()
    assert run.end
    return [
        Result(
            "only requests in flight in killed workers are lost",
            f"{counted(failed, run.load)}; in flight by the log: {in_flight}, of {len(run.deaths())} workers",
            failed <= in_flight and len(run.deaths()) == len(run.killed_s),
        ),
        run.end,
    ]


def replaced(run: Kills) -> Result:
    """The time from the kill to the ready line of the same slot, by the clock of the log. The pause that the fleet
    makes after the death of a young worker is left out."""
    pauses_s, times_s = zip(*replacements(run))
    bare_s = sorted(time_s - pause_s for time_s, pause_s in zip(times_s, pauses_s))
    return Result(
        f"replacement ready within {REPLACED_BAR_S * 1000:.0f} ms of the kill, back-off aside (median)",
        f"median {median(bare_s) * 1000:.0f}, max {max(bare_s) * 1000:.0f} ms; with the back-off of "
        f"{sum(pause_s > 0 for pause_s in pauses_s)} of {len(times_s)}: median {median(times_s) * 1000:.0f}, "
        f"max {max(times_s) * 1000:.0f} ms",
        median(bare_s) < REPLACED_BAR_S,
    )


def replacements(run: Kills) -> list[tuple[float, float]]:
    """For each kill: the back-off that the fleet's rule gives its slot, and the time to the slot's next ready line."""
    found = []
    failures: dict[str, int] = defaultdict(int)
    ready_s: dict[str, float] = {}  # by slot
    for index, line in enumerate(run.log):
        if ready := re.search(READY, line):
            ready_s[ready[1]] = said_s(line)
        if killed := re.search(KILLED, line):
            slot = killed[1]
            failures[slot] = failures_after(failures[slot], said_s(line) - ready_s.pop(slot, float("inf")))
            again = next(line for line in run.log[index:] if re.search(rf"worker {slot} .* is ready$", line))
            found.append((backoff_s(failures[slot]), said_s(again) - run.killed_s[int(killed[2])]))
    return found


def repeated_counts(run: Kills) -> list[Result]:
    """nginx sends the request to another worker: no client sees the death."""
    assert run.end
    return [
        *none_failed(run.load),
        Result(
            "every killed worker was serving",
            f"{len(run.deaths())} of {len(run.killed_s)}, with {run.in_flight()} requests in flight",
            len(run.deaths()) == len(run.killed_s),
        ),
        run.end,
    ]


def kill_template() -> list[Result]:
    return template_run(CLIENTS, 2.0)


def template_run(clients: int, period_s: float) -> list[Result]:
    """kill -9 of the template three times under load; count what fails."""
    with serving() as server, nginx_for(server) as nginx:
        with Load(Plan(nginx_address(nginx), MIXED, clients, PAUSE_S)) as load:
            for number in range(3):
                (victim,) = eventually(server.template_pids, "there is a template")
                time.sleep(period_s)
                os.kill(victim, Signals.SIGKILL)
                server.wait_for(r"template \d+ was killed by SIGKILL", number + 1)
            eventually(server.template_pids, "there is a template again")
            time.sleep(period_s)
        end = ended(server)
    return [*none_failed(load), end]


def kill_master() -> list[Result]:
    run = master_run(40)
    return [*run.counts, *run.times]


@dataclass
class Orphaned:
    counts: list[Result]
    times: list[Result]


def master_run(clients: int) -> Orphaned:
    """kill -9 of the master while requests of two seconds are in flight. A service manager starts a new master again
    and again. Count the answers, first of the workers that are left, then of the new server."""
    with serving("--worker-reload-mercy", "5", "app:application", workers=2) as server, nginx_for(server) as nginx:
        with Load(Plan(nginx_address(nginx), (LONG,), clients, ends_with=(RIGHT,))) as load:
            eventually(lambda: server.in_flight() == clients, "all requests are in flight")
            killed_s = time.monotonic()
            server.send_signal(Signals.SIGKILL)
            (server.directory / "gate").touch()  # now the two seconds begin
            again = started_again(server)
            bound_s = time.monotonic() - killed_s
        try:
            eventually(lambda: not server.survivors(), "all workers are gone")
            gone_s = time.monotonic() - killed_s
            with Load(Plan(nginx_address(nginx), (FAST,), clients, ends_with=(RIGHT,))) as after:
                again.wait_ready(2)
            end = ended(again)
        finally:
            again.end()
    answered = load.outcomes()[RIGHT]
    return Orphaned(
        [
            Result(
                f"all {clients} requests in flight are answered",
                counted(len(load.failed()), load) + " failed",
                answered == clients == len(load.records),
            ),
            *none_failed(after),
            end,
        ],
        [
            Result("workers gone within the mercy time of 5 s", f"{gone_s:.2f} s", gone_s < 5.0),
            Result(
                f"a new server listens on the same path within {REBOUND_BAR_S:g} s",
                f"{bound_s:.2f} s",
                bound_s < REBOUND_BAR_S,
            ),
        ],
    )


def started_again(server: Server) -> Server:
    """Start a server with the same socket until a server stays. As long as workers of the old server accept there, a
    new server refuses to start."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        again = start(server.directory, "app:application", workers=2)
        try:
            again.wait_for(" listens on .* with 2 workers$")
            return again
        except AssertionError:
            again.end()
            if time.monotonic() > deadline_s:
                raise


SCENARIOS: tuple[Scenario, ...] = (kill_workers, kill_workers_with_next_upstream, kill_template, kill_master)
