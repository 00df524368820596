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
from wsgid.records import dataclass

SLOWEST_MAX = 20
ASKED_MAX = 16  # the busiest workers
_PATIENCE_S = 1.0


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
    """

    status: dict[str, Any]
    at_s: float
    wrong: list[str]
    slowest: list[dict[str, Any]]
    rates: dict[str, float]
    worker_rates: dict[int, float]

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.status,
            "troubles": self.wrong,
            "slowest": self.slowest,
            "per_s": {name: round(rate, 2) for name, rate in self.rates.items()},
            "requests_per_s_by_worker": {slot: round(rate, 2) for slot, rate in self.worker_rates.items()},
        }


def take(server: Server, before: Sample | None) -> Sample:
    """Take a sample.

    Args:
        server: to ask.
        before: the last sample; None for the first.

    Raises:
        CtlError: the master does not answer.
    """
    status = server.ask("status")
    at_s = time.monotonic()
    elapsed_s = at_s - before.at_s if before else 0.0
    totals = status["totals"]
    earlier = before.status["totals"] if before else totals
    rates = {name: _rate(totals[name] - earlier[name], elapsed_s) for name in totals}
    was = {worker["slot"]: worker for worker in before.status["workers"]} if before else {}
    worker_rates = {
        worker["slot"]: _rate(worker["requests"] - was[worker["slot"]]["requests"], elapsed_s)
        for worker in status["workers"]
        if worker["pid"] and was.get(worker["slot"], {}).get("pid") == worker["pid"]
    }
    return Sample(status, at_s, troubles(status), _slowest(server, status), rates, worker_rates)


def _rate(number: int, elapsed_s: float) -> float:
    return number / elapsed_s if elapsed_s > 0 else 0.0


def _slowest(server: Server, status: dict[str, Any]) -> list[dict[str, Any]]:
    busy = [
        worker
        for worker in status["workers"]
        if worker["in_flight"] and worker["state"] in ("ready", "draining") and not is_held_up(worker, status)
    ]
    busy.sort(key=lambda worker: -worker["in_flight"])
    slots = [worker["slot"] for worker in busy[:ASKED_MAX]]
    said = server.ask_workers("requests", slots, _PATIENCE_S, limit=SLOWEST_MAX) if slots else {}
    slowest, _ = merged(
        {slot: answer for slot, answer in said.items() if not isinstance(answer, CtlError)}, SLOWEST_MAX
    )
    return slowest
