"""Rows of the table that several scenarios have in common."""

from collections import Counter

from faults.apps import FAST
from faults.measure import MB, Weight
from faults.report import Result
from tests.support.load import RIGHT, WRONG, Load, percentile

FAST_P99_BAR_S = 0.1


def none_failed(load: Load) -> list[Result]:
    """The rows that say: every request was answered with 200, and with the whole body that belongs to it."""
    outcomes = load.outcomes()
    wrong = outcomes[WRONG]
    failed = sum(outcomes.values()) - outcomes[RIGHT] - wrong
    return [
        Result("0 requests failed", counted(failed, load), failed == 0 and outcomes[RIGHT] > 0),
        Result("0 wrong answers", counted(wrong, load), wrong == 0),
    ]


def counted(count: int, load: Load) -> str:
    """'3 of 12,345', and for these three requests the paths and the outcomes."""
    others = Counter(f"{load.plan.kinds[record.kind].path} {record.outcome}" for record in load.failed())
    said = ", ".join(f"{many} x {what}" for what, many in others.items())
    return f"{count} of {len(load.records):,}" + (f" ({said})" if count else "")


def fast_ones(load: Load) -> Result:
    """How long the fast requests took for their clients."""
    times_s = [
        record.ended_s - record.started_s
        for record in load.records
        if record.outcome == RIGHT and load.plan.kinds[record.kind] == FAST
    ]
    p99_s = percentile(times_s, 0.99)
    return Result(
        f"p99 of fast requests below {FAST_P99_BAR_S * 1000:.0f} ms",
        f"p50 {percentile(times_s, 0.5) * 1000:.1f}, p99 {p99_s * 1000:.1f}, "
        f"max {max(times_s, default=0) * 1000:.1f} ms",
        bool(times_s) and p99_s < FAST_P99_BAR_S,
    )


def all_met(bar: str, met: Counter[str], count: int, status: str = "200") -> Result:
    """The row that says: all these requests got this status."""
    return Result(bar, in_words(met), met == Counter({status: count}))


def in_words(met: Counter[str]) -> str:
    return ", ".join(f"{count:,} x {what}" for what, count in met.most_common()) or "nothing"


def growth(before: Weight, after: Weight, limit: float, over: str) -> Result:
    return Result(
        f"Pss of the workers grows by less than {limit:.0%} over {over}",
        f"{before.own_bytes / MB:.1f} MB -> {after.own_bytes / MB:.1f} MB, {before.growth(after):+.1%}",
        before.growth(after) < limit,
    )


def same_descriptors(before: Weight, after: Weight) -> Result:
    return Result(
        "no descriptor more than before",
        f"{before.descriptors} -> {after.descriptors}",
        after.descriptors <= before.descriptors,
    )
