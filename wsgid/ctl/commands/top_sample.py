"""The data of `wsgidctl top`: the present state of the server, and rates since the last sample.

Rules
* Each sample asks the master once. Workers are asked only for their oldest requests, and only if they have requests and
  their event loop runs: a question to a stuck worker would wait there.
"""

import time
from typing import Any

from wsgid.ctl.client import CtlError, Server
from wsgid.ctl.commands.requests import merged
from wsgid.ctl.troubles import is_held_up, troubles
from wsgid.records import dataclass, field

SLOWEST_MAX = 20
ASKED_MAX = 16  # the busiest workers
_PATIENCE_S = 1.0
PHASES = ("front", "waiting", "reading", "application", "sending")  # of a request, in the order of time


@dataclass(frozen=True)
class Sample:
    """One sample.

    Args:
        status: the answer to `status`.
        at_s: of time.monotonic().
        wrong: sentences about problems.
        slowest: the oldest requests, as from `requests`.
        rates: per second since the last sample: 'requests', '5xx' and the other totals; 0 in the first sample.
        worker_rates: slot -> requests per second.
        worker_cpu: slot -> processors in use, for example 0.5.
        asked: the workers whose requests are known.
    """

    status: dict[str, Any]
    at_s: float
    wrong: list[str]
    slowest: list[dict[str, Any]]
    rates: dict[str, float]
    worker_rates: dict[int, float]
    worker_cpu: dict[int, float] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.status,
            "troubles": self.wrong,
            "slowest": self.slowest,
            "per_s": {name: round(rate, 2) for name, rate in self.rates.items()},
            "requests_per_s_by_worker": {slot: round(rate, 2) for slot, rate in self.worker_rates.items()},
            "cpu_by_worker": {slot: round(share, 3) for slot, share in self.worker_cpu.items()},
            "mean_s_by_phase": {phase: round(mean_s, 6) for phase, mean_s in mean_phases(self.rates).items()},
        }


def take(server: Server, before: Sample | None, asks_workers: bool = True) -> Sample:
    """Take a sample.

    Args:
        server: to ask.
        before: the last sample; None for the first, and not used after another server was started.
        asks_workers: whether to ask for the oldest requests.

    Raises:
        CtlError: the master does not answer, or is too old.
    """
    status = server.ask("status")
    at_s = time.monotonic()
    if "durations" not in status:
        raise CtlError(
            f"the server runs wsgid {status['version']}, which tells less: upgrade it, for example with USR2"
        )
    if before and before.status["pid"] != status["pid"]:
        before = None
    elapsed_s = at_s - before.at_s if before else 0.0
    totals = status["totals"]
    earlier = before.status["totals"] if before else totals
    rates = {name: _rate(totals[name] - earlier[name], elapsed_s) for name in totals}
    worker_rates = worker_growth(status, before.status if before else None, "requests", elapsed_s)
    cpu_us = worker_growth(status, before.status if before else None, "cpu_us", elapsed_s)
    worker_cpu = {slot: used_us / 1e6 for slot, used_us in cpu_us.items()}
    oldest, asked = _slowest(server, status) if asks_workers else ([], [])
    return Sample(status, at_s, troubles(status), oldest, rates, worker_rates, worker_cpu, asked)


def worker_growth(
    status: dict[str, Any], before: dict[str, Any] | None, counter: str, elapsed_s: float
) -> dict[int, float]:
    """Return by how much a counter of each worker has grown each second. A worker that is new has no rate yet."""
    was = {worker["slot"]: worker for worker in before["workers"]} if before else {}
    return {
        worker["slot"]: _rate(worker[counter] - was[worker["slot"]][counter], elapsed_s)
        for worker in status["workers"]
        if worker["pid"] and was.get(worker["slot"], {}).get("pid") == worker["pid"]
    }


def mean_phases(grown: dict[str, float]) -> dict[str, float]:
    """Return how long an average request has spent in each phase, in seconds. `front` is that of requests with a stamp.

    Args:
        grown: by how much the totals have grown.
    """
    requests = grown["requests"]
    means = {"front": grown["front_us"] / grown["fronted"] / 1e6 if grown["fronted"] else 0.0}
    outside = {phase: grown[f"{phase}_us"] for phase in ("waiting", "reading", "sending")}
    inside_us = max(grown["busy_us"] - outside["reading"] - outside["sending"], 0.0)
    for phase, time_us in {**outside, "application": inside_us}.items():
        means[phase] = time_us / requests / 1e6 if requests else 0.0
    return {phase: means[phase] for phase in PHASES}


def _rate(number: int, elapsed_s: float) -> float:
    return number / elapsed_s if elapsed_s > 0 else 0.0


def _slowest(server: Server, status: dict[str, Any]) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the oldest requests of the busiest workers, and which workers have answered, or have no requests."""
    busy = [
        worker
        for worker in status["workers"]
        if worker["in_flight"] and worker["state"] in ("ready", "draining") and not is_held_up(worker, status)
    ]
    busy.sort(key=lambda worker: -worker["in_flight"])
    slots = [worker["slot"] for worker in busy[:ASKED_MAX]]
    said = server.ask_workers("requests", slots, _PATIENCE_S, limit=SLOWEST_MAX) if slots else {}
    answers = {slot: answer for slot, answer in said.items() if not isinstance(answer, CtlError)}
    oldest, _ = merged(answers, SLOWEST_MAX)
    quiet = [worker["slot"] for worker in status["workers"] if not worker["in_flight"]]
    return oldest, [*answers, *quiet]
