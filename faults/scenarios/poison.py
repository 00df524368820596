"""Requests that kill their worker, beside good requests."""

import itertools
import re
import time
from dataclasses import dataclass

from faults.apps import FAST, SLEEP
from faults.report import Result, Scenario
from faults.rows import counted
from faults.serverlog import Kills, all_ready
from faults.site import PAUSE_S, ended, nginx_address, nginx_for, serving
from tests.support.load import RIGHT, TIMED_OUT, Kind, Load, Plan
from tests.support.server import PATIENCE_S, Server
from wsgid.supervisor.backoff import BACKOFF_MAX_S

SILENCE_BAR_S = 5.0


@dataclass
class Poisoned:
    """One run with requests that kill their worker."""

    good: Load
    bad: Load
    kills: Kills
    recovered_s: float | None = None  # from the last such request until all workers were ready; None: they never were


def poison() -> list[Result]:
    run = poison_run(8.0, 0.2)
    return [*poison_counts(run), *poison_times(run)]


def poison_run(duration_s: float, period_s: float, workers: int = 4) -> Poisoned:
    """From time to time a request that kills its worker. nginx tries this request on four workers. Good requests run
    beside it. A client that is not answered within some seconds leaves, as visitors do."""
    with serving(workers=workers) as server, nginx_for(server, 4) as nginx:
        bad = Load(Plan(nginx_address(nginx), (Kind("/poison", ""),), 0, every_s=period_s, patience_s=2.0))
        with Load(Plan(nginx_address(nginx), (FAST, SLEEP), 16, PAUSE_S, patience_s=20.0)) as good:
            run = Poisoned(good, bad, Kills(good))
            time.sleep(0.5)
            with bad:
                time.sleep(duration_s)
            run.recovered_s = recovery_s(server, workers)
            time.sleep(0.5)
        run.kills.end = ended(server)
        run.kills.log = server.lines
    return run


def recovery_s(server: Server, workers: int) -> float | None:
    """The time until all workers are ready for a whole second; None if that takes longer than any back-off should."""
    started_s = ready_s = time.monotonic()
    while time.monotonic() - started_s < BACKOFF_MAX_S + PATIENCE_S:
        time.sleep(0.02)
        if not all_ready(server, workers):
            ready_s = time.monotonic()
        elif time.monotonic() - ready_s > 1.0:
            return ready_s - started_s
    return None


def poison_counts(run: Poisoned) -> list[Result]:
    """The deaths by poisonous requests, other deaths, and the good requests that these deaths have cost."""
    deaths, asked = len(run.kills.deaths()), len(run.bad.records)
    others = [line for line in run.kills.log if re.search(r"worker .* (exited with code [^0]|is overdue)", line)]
    lost = sum(record.outcome not in (RIGHT, TIMED_OUT) for record in run.good.records)
    bound = run.kills.in_flight() - deaths  # one request of each worker was the poisonous one
    assert run.kills.end
    return [
        Result(
            "each poisonous request kills at most a worker for each of its four tries; no other worker dies",
            f"{deaths} deaths by {asked} requests, {len(others)} other deaths",
            0 < deaths <= 4 * asked and not others,
        ),
        Result(
            "good requests are lost only with the worker that they were in",
            f"{counted(lost, run.good)}; {bound} were in flight there by the log",
            lost <= bound,
        ),
        run.kills.end,
    ]


def poison_times(run: Poisoned) -> list[Result]:
    """Whether good requests were answered all the time: the longest time without an answer, and when all workers were
    ready."""
    last_s = max(record.ended_s for record in run.good.records)
    answers_s = sorted([last_s, *(record.ended_s for record in run.good.records if record.outcome == RIGHT)])
    silence_s = max((late - early for early, late in itertools.pairwise(answers_s)), default=float("inf"))
    gave_up = run.good.outcomes()[TIMED_OUT]
    back = "never" if run.recovered_s is None else f"{run.recovered_s:.1f} s"
    return [
        Result(
            f"good requests are answered all the time: never none for {SILENCE_BAR_S:g} s",
            f"longest silence {silence_s:.1f} s; {gave_up} gave up after {run.good.plan.patience_s:g} s",
            silence_s < SILENCE_BAR_S and gave_up == 0,
        ),
        Result("all workers are ready again after the last of it", back, run.recovered_s is not None),
    ]


SCENARIOS: tuple[Scenario, ...] = (poison,)
