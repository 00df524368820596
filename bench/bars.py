"""The bars: what wsgid has to hold, each judged from the runs of one and the same benchmark.

Rules
* A bar against a peer is about the median of the ratios, round by round; any other about the median of the values.
* It is held only if not one run of wsgid in that shape failed or had an error.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from bench.sample import Metric, Runs, Table, ratios, reasons, spread, values

OURS = "wsgid"


@dataclass(frozen=True, slots=True)
class Bar:
    """At most so much.

    Args:
        shape: where it is measured.
        metric: what.
        at_most: the value, or the ratio to the other peer's.
        against: the other peer; empty for a bar that stands alone.
        ours: whose bar it is.
    """

    shape: str
    metric: Metric
    at_most: float
    against: str = ""
    ours: str = OURS


@dataclass(frozen=True, slots=True)
class Verdict:
    bar: Bar
    measured: str
    held: bool


BARS: tuple[Bar, ...] = (
    Bar("hello", Metric.CPU_US, 1.0, "uwsgi-sync"),
    Bar("hello", Metric.CPU_US, 0.27, "uwsgi-gevent"),
    Bar("hello", Metric.CPU_US, 1.45, "floor"),
    Bar("hello", Metric.CPU_US, 0.5, "uwsgi-gevent", ours="wsgid-pure"),
    Bar("hello-4", Metric.CPU_US, 1.0, "uwsgi-sync"),
    Bar("http-kept", Metric.CPU_US, 0.5, "gunicorn-http", ours="wsgid-http"),
    Bar("http-kept", Metric.CPU_US, 1.0, "granian", ours="wsgid-http"),
    Bar("http-straight", Metric.CPU_US, 0.5, "gunicorn-http", ours="wsgid-http"),
    Bar("http-straight", Metric.CPU_US, 1.0, "granian", ours="wsgid-http"),
    Bar("flask", Metric.CPU_US, 0.6, "uwsgi-gevent"),
    Bar("flask", Metric.CPU_US, 1.05, "uwsgi-sync"),
    Bar("wait", Metric.CPU_US, 0.5, "uwsgi-gevent"),
    Bar("body", Metric.CPU_US, 0.5, "uwsgi-gevent"),
    Bar("post", Metric.CPU_US, 0.55, "uwsgi-gevent"),
    Bar("in-flight", Metric.IN_FLIGHT_BYTES, 12 * 1024),
    Bar("idle", Metric.FRESH_WORKER_MIB, 8.0),
)


def judge(found: dict[str, Table]) -> Iterator[Verdict]:
    """Of all bars whose shape was measured, with all the peers that it is about."""
    for bar in BARS:
        table = found.get(bar.shape, {})
        if bar.ours in table and (not bar.against or bar.against in table):
            yield _verdict(bar, table[bar.ours], table.get(bar.against))


def _verdict(bar: Bar, ours: Runs, theirs: Runs | None) -> Verdict:
    numbers = values(ours, bar.metric) if theirs is None else list(ratios(ours, theirs, bar.metric))
    if not numbers:
        return Verdict(bar, "no numbers", False)
    bad = len(reasons(ours)) + int(sum(values(ours, Metric.ERRORS)))
    measured = spread(numbers, bar.metric.form if theirs is None else "{:.2f}")
    if bad:
        measured += f"; {bad:,} errors"
    return Verdict(bar, measured, statistics.median(numbers) <= bar.at_most and not bad)
