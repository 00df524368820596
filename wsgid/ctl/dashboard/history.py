"""The last hour of a server, in the dashboard's own memory: a row of numbers for each second, and marks.

Rules
* No I/O, and no clock: the times come from the caller.
* A number that is not known is None, and a gap in the chart: a made-up 0 would be believed.
* Rows, memory and marks are numbered, so a page asks only for what it does not have yet.
* Percentiles and phases are of the last WINDOW rows. With less than that, a quiet server would have no line at all.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from wsgid.ctl.commands import top_sample
from wsgid.ctl.commands.top_sample import Sample
from wsgid.ctl.dashboard.changes import Change
from wsgid.ctl.troubles import is_held_up

KEPT_S = 3600
WINDOW = 5  # rows
MEMORY_EVERY = 5  # rows; memory changes slowly, and there is a line for each worker
MARKS_MAX = 500
DISTRIBUTION_ROWS = 60

NAMES = (
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "p50",
    "p95",
    "p99",
    "in_flight",
    "waiting",
    "lag",
    "late",
    "cpu",
    "busiest",
    *(f"phase_{phase}" for phase in top_sample.PHASES),
    "collector",
    "collections",
    "rss",
)


class Row(NamedTuple):
    """One second: its number, its time (seconds since the epoch), and the values of NAMES."""

    number: int
    at_s: float
    values: Sequence[float | None]


class MemoryRow(NamedTuple):
    """The resident memory of each worker, in MiB by slot."""

    number: int
    at_s: float
    mib: dict[int, float]


class Mark(NamedTuple):
    """Something that has happened."""

    number: int
    at_s: float
    kind: str
    text: str


class History:
    """What is remembered."""

    def __init__(self) -> None:
        self.rows: deque[Row] = deque(maxlen=KEPT_S)
        self.memory: deque[MemoryRow] = deque(maxlen=KEPT_S // MEMORY_EVERY)
        self.marks: deque[Mark] = deque(maxlen=MARKS_MAX)
        self._recent: deque[Sample] = deque(maxlen=DISTRIBUTION_ROWS + 1)
        self._number = 0
        self._mark_number = 0

    def add(self, sample: Sample, at_s: float) -> None:
        """Take in one sample.

        Args:
            sample: of the server.
            at_s: of time.time().
        """
        if self._recent and self._recent[-1].status["totals"]["requests"] > sample.status["totals"]["requests"]:
            self._recent.clear()  # another server: its counters have begun anew
        self._recent.append(sample)
        self._number += 1
        self.rows.append(Row(self._number, round(at_s, 2), _values(sample, self._window(WINDOW))))
        if self._number % MEMORY_EVERY == 1:
            mib = {worker["slot"]: _mib(worker["rss_bytes"]) for worker in sample.status["workers"] if worker["pid"]}
            self.memory.append(MemoryRow(self._number, round(at_s, 2), mib))

    def add_silence(self, at_s: float) -> None:
        """The server has not answered: a gap."""
        self._recent.clear()
        self._number += 1
        self.rows.append(Row(self._number, round(at_s, 2), [None] * len(NAMES)))

    def mark(self, change: Change, at_s: float) -> None:
        """Remember that something has happened."""
        self._mark_number += 1
        self.marks.append(Mark(self._mark_number, round(at_s, 2), change.kind.value, change.text))

    def distribution(self) -> dict[str, list[int]]:
        """Return how many requests took how long in the last minute: one count more than bounds, not cumulated."""
        if not self._recent:
            return {"bounds_us": [], "counts": []}
        newest = self._recent[-1].status["durations"]
        return {"bounds_us": newest["bounds_us"], "counts": _grown(self._recent[0], self._recent[-1])}

    def _window(self, rows: int) -> list[Sample]:
        return list(self._recent)[-(rows + 1) :]


def _values(sample: Sample, window: Sequence[Sample]) -> list[float | None]:
    status, rates = sample.status, sample.rates
    first = len(window) == 1  # nothing to compare with: there is no rate yet
    values: dict[str, float | None] = dict.fromkeys(NAMES)
    values |= _present(status)
    if not first:
        values |= {name: round(rates[name], 2) for name in ("2xx", "3xx", "4xx", "5xx", "collections")}
        values |= _percentiles(window)
        values |= _phases(window)
        values["late"] = round(100 * rates["hub_late_us"] / 1e6 / max(status["ready"], 1), 2)
        values["collector"] = round(rates["collector_us"] / 1e3, 3)
        values["cpu"] = round(sum(sample.worker_cpu.values()), 3)
        values["busiest"] = round(max(sample.worker_cpu.values(), default=0.0), 3)
    return [values[name] for name in NAMES]


def _present(status: dict[str, Any]) -> dict[str, float | None]:
    queues = [listener["queue"] for listener in status["listeners"]]
    return {
        "in_flight": sum(worker["in_flight"] for worker in status["workers"]),
        "waiting": sum(queues) if queues and None not in queues else None,
        "lag": round(max((_lag_s(worker, status) for worker in status["workers"]), default=0.0) * 1000, 1),
        "rss": _mib(sum(worker["rss_bytes"] for worker in status["workers"])),
    }


def _lag_s(worker: dict[str, Any], status: dict[str, Any]) -> float:
    """How late the worker's event loop is. A loop that stands still has not said it yet."""
    held_up: bool = is_held_up(worker, status)
    return float(worker["heartbeat_age_s"] if held_up else worker["lag_s"])


def _mib(size_bytes: int) -> float:
    return round(size_bytes / (1 << 20), 1)


def _grown(first: Sample, last: Sample) -> list[int]:
    return [
        max(count - before, 0)
        for count, before in zip(last.status["durations"]["counts"], first.status["durations"]["counts"])
    ]


def _percentiles(window: Sequence[Sample]) -> dict[str, float | None]:
    bounds_us = window[-1].status["durations"]["bounds_us"]
    counts = _grown(window[0], window[-1])
    return {f"p{percent}": quantile_ms(counts, bounds_us, percent / 100) for percent in (50, 95, 99)}


def quantile_ms(counts: Sequence[int], bounds_us: Sequence[int], share: float) -> float | None:
    """Return the duration that this share of the requests does not exceed, in milliseconds; None without requests.

    Within a bucket the durations are taken to be spread evenly, as Prometheus's histogram_quantile does. Of the last
    bucket only the lower end is known.
    """
    whole = sum(counts)
    if not whole:
        return None
    rank, below, lower_us = share * whole, 0, 0
    for count, bound_us in zip(counts, bounds_us):
        if count and below + count >= rank:
            return round((lower_us + (bound_us - lower_us) * (rank - below) / count) / 1000, 3)
        below, lower_us = below + count, bound_us
    return round(bounds_us[-1] / 1000, 3)


def _phases(window: Sequence[Sample]) -> dict[str, float | None]:
    first, last = window[0].status["totals"], window[-1].status["totals"]
    grown = {name: float(max(last[name] - first[name], 0)) for name in last}
    if not grown["requests"]:
        return {}
    return {f"phase_{phase}": round(mean_s * 1000, 3) for phase, mean_s in top_sample.mean_phases(grown).items()}
