"""The results of one run, and of all runs of a shape."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum


class Metric(Enum):
    """A measured value: the heading of its column, and how the value is written there."""

    REQUESTS_PER_S = ("req/s", "{:,.0f}")
    CPU_US = ("CPU µs/req", "{:.1f}")
    PROFILED_RATIO = ("× while profiled", "{:.3f}")
    P50_MS = ("p50 ms", "{:.1f}")
    P99_MS = ("p99 ms", "{:.1f}")
    MAX_MS = ("max ms", "{:.0f}")
    PSS_MIB = ("Pss MiB", "{:.1f}")
    WAITING_CPU = ("% CPU while all wait", "{:.2f}")
    IN_FLIGHT_BYTES = ("Pss bytes a request in flight", "{:,.0f}")
    QUIET_BYTES = ("Pss bytes a connection", "{:,.0f}")
    QUIET_CPU = ("% CPU while all are quiet", "{:.2f}")
    START_MS = ("ms from exec to the first answer", "{:.0f}")
    START_CPU_MS = ("CPU ms of this", "{:.0f}")
    VERSION_MS = ("CPU ms of --version", "{:.0f}")
    CHECK_MS = ("CPU ms of the check", "{:.0f}")
    FRESH_TREE_MIB = ("Pss MiB of all processes, fresh", "{:.1f}")
    USED_TREE_MIB = ("Pss MiB of all processes, used", "{:.1f}")
    FRESH_WORKER_MIB = ("Pss MiB of a fresh worker", "{:.2f}")
    USED_WORKER_MIB = ("Pss MiB of a used worker", "{:.2f}")
    CONNECTIONS = ("connections at once", "{:,.0f}")
    OPENED = ("connections opened", "{:,.0f}")
    ERRORS = ("errors", "{:,.0f}")

    def __init__(self, heading: str, form: str) -> None:
        self.heading = heading
        self.form = form


@dataclass(frozen=True, slots=True)
class Failed:
    """A run without numbers. One sentence says why."""

    reason: str


Sample = dict[Metric, float]
Runs = list[Sample | Failed]  # of one peer, one run for each round
Table = dict[str, Runs]  # of one shape, by peer


def values(runs: Runs, metric: Metric) -> list[float]:
    return [run[metric] for run in runs if isinstance(run, dict) and metric in run]


def reasons(runs: Runs) -> list[str]:
    return [run.reason for run in runs if isinstance(run, Failed)]


def ratios(ours: Runs, theirs: Runs, metric: Metric) -> Iterator[float]:
    """The ratios round by round. So what slows the machine down for a while is on both sides."""
    for our_run, their_run in zip(ours, theirs):
        if isinstance(our_run, dict) and isinstance(their_run, dict):
            yield our_run[metric] / their_run[metric]


def differences(ours: Runs, theirs: Runs, metric: Metric) -> Iterator[float]:
    """The differences, also round by round."""
    for our_run, their_run in zip(ours, theirs):
        if isinstance(our_run, dict) and isinstance(their_run, dict):
            yield our_run[metric] - their_run[metric]


def spread(numbers: Sequence[float], form: str) -> str:
    """The median, with the lowest and the highest number."""
    middle, low, high = (form.format(number) for number in (statistics.median(numbers), min(numbers), max(numbers)))
    return middle if low == high else f"{middle} ({low}–{high})"
