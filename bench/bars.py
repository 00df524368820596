"""The bars: the values that wsgid has to reach. Each bar is judged from the runs of one benchmark.

Rules
* A bar against a peer is about the median of the ratios, or of the differences, round by round. Any other bar is about
  the median of the values.
* A bar is held only if no run of wsgid in that shape failed or had an error.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from bench.pools import POOL_MAX
from bench.sample import Metric, Runs, Table, differences, ratios, reasons, spread, values
from bench.shapes import SERVERS

OURS = "wsgid"
WITH_QUERY = ("django-5ms", "django-50ms", "flask-5ms", "flask-50ms")  # two workers, each with a pool


class Beside(Enum):
    """How a value is compared with the value of another peer."""

    RATIO = "x"
    DIFFERENCE = "more than"


@dataclass(frozen=True, slots=True)
class Bar:
    """A value must not be higher than a bound.

    Args:
        shape: the shape that is measured.
        metric: the metric that is compared.
        at_most: the bound of the value, of its ratio to the other peer's value, or of the difference.
        against: the other peer; empty for a bar without another peer.
        ours: the peer that the bar is for.
        beside: how the value is compared with the other peer's value.
    """

    shape: str
    metric: Metric
    at_most: float
    against: str = ""
    ours: str = OURS
    beside: Beside = Beside.RATIO


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
    Bar("access-log", Metric.CPU_US, 2.0, OURS, "wsgid-access-log", Beside.DIFFERENCE),
    Bar("access-log", Metric.CPU_US, 2.0, OURS, "wsgid-access-log-combined", Beside.DIFFERENCE),
    Bar("hello-4", Metric.CPU_US, 1.0, "uwsgi-sync"),
    Bar("http-kept", Metric.CPU_US, 0.5, "gunicorn-http", ours="wsgid-http"),
    Bar("http-kept", Metric.CPU_US, 1.0, "granian", ours="wsgid-http"),
    Bar("http-kept", Metric.CPU_US, 1.5, "fastwsgi", ours="wsgid-http"),
    Bar("http-straight", Metric.CPU_US, 0.5, "gunicorn-http", ours="wsgid-http"),
    Bar("http-straight", Metric.CPU_US, 1.0, "granian", ours="wsgid-http"),
    Bar("http-straight", Metric.CPU_US, 1.5, "fastwsgi", ours="wsgid-http"),
    Bar("http-straight", Metric.P99_MS, 2.0, "fastwsgi", ours="wsgid-http"),
    Bar("flask", Metric.CPU_US, 0.6, "uwsgi-gevent"),
    Bar("flask", Metric.CPU_US, 1.05, "uwsgi-sync"),
    Bar("profile", Metric.PROFILED_RATIO, 1.05),
    Bar("profile-flask", Metric.PROFILED_RATIO, 1.05),
    Bar("wait", Metric.CPU_US, 0.5, "uwsgi-gevent"),
    Bar("body", Metric.CPU_US, 0.5, "uwsgi-gevent"),
    Bar("body", Metric.CPU_US, 1.1, "uwsgi-sync"),
    Bar("stream", Metric.CPU_US, 1.0, "uwsgi-sync"),
    Bar("post", Metric.CPU_US, 0.55, "uwsgi-gevent"),
    Bar("post", Metric.CPU_US, 1.0, "uwsgi-sync"),
    *(Bar("upload", Metric.CPU_US, 1.0, peer) for peer in SERVERS if peer != OURS),
    *(Bar(shape, Metric.CPU_US, 0.6, "uwsgi-gevent") for shape in WITH_QUERY),
    *(Bar(shape, Metric.CONNECTIONS, 2 * POOL_MAX) for shape in WITH_QUERY),
    Bar("django-unpooled", Metric.OPENED, 2),
    Bar("crowd-100k", Metric.WAITING_CPU, 0.5),
    Bar("crowd-100k", Metric.P99_MS, 2.0),
    Bar("crowd-100k", Metric.IN_FLIGHT_BYTES, 9 * 1024),
    Bar("crowd-1m", Metric.WAITING_CPU, 5.0),
    Bar("crowd-1m", Metric.P99_MS, 50.0),
    Bar("hello", Metric.PSS_MIB, 42.0),
    Bar("file", Metric.P50_MS, 1.1, "nginx", ours="wsgid-http"),
    Bar("file", Metric.P50_MS, 1.1, "nginx", ours="wsgid-static"),
    Bar("quiet", Metric.QUIET_BYTES, 3 * 1024, ours="wsgid-http"),
    Bar("quiet", Metric.QUIET_CPU, 1.0, ours="wsgid-http"),
    Bar("site", Metric.FRESH_TREE_MIB, 0.95, "uwsgi-gevent"),
    Bar("site", Metric.USED_TREE_MIB, 0.95, "uwsgi-gevent"),
    Bar("start", Metric.VERSION_MS, 0.5, "gunicorn-http"),
    Bar("start", Metric.CHECK_MS, 0.5, "gunicorn-http"),
    Bar("start", Metric.START_MS, 0.5, "gunicorn-http"),
    Bar("start", Metric.FRESH_TREE_MIB, 42.0),
    Bar("in-flight", Metric.IN_FLIGHT_BYTES, 10 * 1024),
    Bar("idle", Metric.FRESH_WORKER_MIB, 8.0),
)


def judge(found: dict[str, Table]) -> Iterator[Verdict]:
    """The verdicts on all bars whose shape was measured with all the peers of the bar."""
    for bar in BARS:
        table = found.get(bar.shape, {})
        if bar.ours in table and (not bar.against or bar.against in table):
            yield _verdict(bar, table[bar.ours], table.get(bar.against))


def _verdict(bar: Bar, ours: Runs, theirs: Runs | None) -> Verdict:
    compare = {Beside.RATIO: ratios, Beside.DIFFERENCE: differences}[bar.beside]
    numbers = values(ours, bar.metric) if theirs is None else list(compare(ours, theirs, bar.metric))
    if not numbers:
        return Verdict(bar, "no numbers", False)
    bad = len(reasons(ours)) + int(sum(values(ours, Metric.ERRORS)))
    is_ratio = theirs is not None and bar.beside is Beside.RATIO
    measured = spread(numbers, "{:.2f}" if is_ratio else bar.metric.form)
    if bad:
        measured += f"; {bad:,} errors"
    return Verdict(bar, measured, statistics.median(numbers) <= bar.at_most and not bad)
