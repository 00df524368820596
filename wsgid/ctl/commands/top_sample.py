"""How the server is now, and what happened since the last look: what `wsgidctl top` shows.

Rules
* The master is asked once for each sample; workers only for their oldest requests, and only those that have some and
  whose event loop runs: a question to a stuck worker would wait there.
"""

import time
from dataclasses import dataclass
from typing import Any

from wsgid.ctl.client import CtlError, Server
from wsgid.ctl.commands.requests import merged
from wsgid.ctl.troubles import is_held_up, troubles

SLOWEST_MAX = 20
ASKED_MAX = 16  # workers, the busiest
_PATIENCE_S = 1.0


@dataclass(frozen=True)
class Sample:
    """One look.

    Args:
        status: the answer to `status`.
        at_s: of time.monotonic().
        wrong: sentences.
        slowest: the oldest requests, as `requests` has them.
        rates: per second since the sample before: 'requests', '5xx' and the other totals; 0 in the first sample.
        worker_rates: requests per second by slot.
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
    """Look now.

    Raises:
        CtlError: the master does not answer.
    """
    status = server.ask("status")
    at_s = time.monotonic()
    elapsed_s = at_s - before.at_s if before else 0.0
    totals = status["totals"]
    earlier = before.status["totals"] if before else totals
    rates = {name: _rate(totals[name] - earlier[name], elapsed_s) for name in totals}
    was = {one["slot"]: one for one in before.status["workers"]} if before else {}
    worker_rates = {
        one["slot"]: _rate(one["requests"] - was[one["slot"]]["requests"], elapsed_s)
        for one in status["workers"]
        if one["pid"] and was.get(one["slot"], {}).get("pid") == one["pid"]
    }
    return Sample(status, at_s, troubles(status), _slowest(server, status), rates, worker_rates)


def _rate(number: int, elapsed_s: float) -> float:
    return number / elapsed_s if elapsed_s > 0 else 0.0


def _slowest(server: Server, status: dict[str, Any]) -> list[dict[str, Any]]:
    busy = [
        one
        for one in status["workers"]
        if one["in_flight"] and one["state"] in ("ready", "draining") and not is_held_up(one, status)
    ]
    busy.sort(key=lambda one: -one["in_flight"])
    slots = [one["slot"] for one in busy[:ASKED_MAX]]
    said = server.ask_workers("requests", slots, _PATIENCE_S, limit=SLOWEST_MAX) if slots else {}
    slowest, _ = merged(
        {slot: answer for slot, answer in said.items() if not isinstance(answer, CtlError)}, SLOWEST_MAX
    )
    return slowest
