"""The last hour of the dashboard: rows, percentiles, marks, slow requests."""

import copy
from typing import Any

import pytest

from tests.support.snapshots import snapshot
from wsgid.admin.status import status
from wsgid.config.options import Settings
from wsgid.ctl.commands.top_sample import ASKED_MAX, Sample
from wsgid.ctl.dashboard import changes
from wsgid.ctl.dashboard.changes import ChangeKind
from wsgid.ctl.dashboard.history import KEPT_S, MEMORY_EVERY, NAMES, History, quantile_ms
from wsgid.ctl.dashboard.sampler import QUESTIONS_PER_S, pause_s
from wsgid.ctl.dashboard.slow import SLOW_S, SlowRequests
from wsgid.supervisor.slots import SlotState

BOUNDS_US = [1_000, 10_000, 100_000]
PLANNED, UNPLANNED = ChangeKind


def state(**changed: Any) -> dict[str, Any]:
    """An answer to `status` of two workers."""
    return {**status(snapshot(SlotState.READY, SlotState.READY), Settings()), **changed}


def sample(**changed: Any) -> Sample:
    """A sample without growth."""
    found = state(**changed)
    return Sample(found, 0.0, [], [], dict.fromkeys(found["totals"], 0.0), {0: 0.0, 1: 0.0}, {0: 0.25, 1: 0.5})


def value(history: History, name: str, row: int = -1) -> float | None:
    return history.rows[row].values[NAMES.index(name)]


@pytest.mark.parametrize(
    ("counts", "share", "expected_ms"),
    [
        ([0, 0, 0, 0], 0.5, None),
        ([10, 0, 0, 0], 0.5, 0.5),
        ([10, 0, 0, 0], 1.0, 1.0),
        ([5, 5, 0, 0], 0.75, 5.5),
        ([0, 0, 4, 0], 0.5, 55.0),
        ([0, 0, 0, 3], 0.5, 100.0),  # longer than the last bound: only that is known
        ([99, 0, 1, 0], 0.99, 1.0),
    ],
)
def test_a_percentile_of_the_histogram(counts: list[int], share: float, expected_ms: float | None) -> None:
    assert quantile_ms(counts, BOUNDS_US, share) == expected_ms


def test_the_first_look_has_no_rates_and_a_silence_is_a_gap() -> None:
    history = History()
    history.add(sample(), 1.0)
    assert value(history, "2xx") is None and value(history, "in_flight") == 2
    history.add(sample(), 2.0)
    assert value(history, "2xx") == 0.0 and value(history, "cpu") == 0.75 and value(history, "busiest") == 0.5
    assert value(history, "p50") is None and value(history, "phase_application") is None  # there was no request
    history.add_silence(3.0)
    assert set(history.rows[-1].values) == {None}
    history.add(sample(), 4.0)
    assert value(history, "2xx") is None
    assert [row.number for row in history.rows] == [1, 2, 3, 4]


def test_percentiles_and_phases_are_of_the_last_seconds() -> None:
    history = History()
    history.add(sample(), 1.0)
    later = sample()
    later = Sample(copy.deepcopy(later.status), *[getattr(later, name) for name in list(vars(later))[1:]])
    later.status["durations"]["counts"][1] += 10
    later.status["totals"].update({name: later.status["totals"][name] + 10 for name in ("requests", "fronted")})
    later.status["totals"]["busy_us"] += 50_000
    later.status["totals"]["sending_us"] += 20_000
    later.status["totals"]["front_us"] += 10_000
    history.add(later, 2.0)
    assert (value(history, "p50"), value(history, "phase_front"), value(history, "phase_sending")) == (1.75, 1.0, 2.0)
    assert value(history, "phase_application") == 3.0
    assert sum(history.distribution()["counts"]) == 10


def test_an_hour_is_kept_and_memory_of_each_fifth_row() -> None:
    history = History()
    for second in range(KEPT_S + 10):
        history.add(sample(), float(second))
    assert len(history.rows) == KEPT_S and history.rows[-1].number == KEPT_S + 10
    assert len(history.memory) == KEPT_S // MEMORY_EVERY and set(history.memory[-1].mib) == {0, 1}


def worker(slot: int, **changed: Any) -> dict[str, Any]:
    return {**state()["workers"][slot], "restarts": {}, "heartbeat_age_s": 0.0, **changed}


def found(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[ChangeKind, str]]:
    return [tuple(change) for change in changes.between(before, now)]  # type: ignore[misc]


FAILURE = {"generation": 2, "reason": "ImportError", "age_s": 0.0}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({}, []),
        ({"generation": 2}, [(PLANNED, "reload: generation 2")]),
        ({"wanted": 3}, [(PLANNED, "3 workers wanted instead of 2")]),
        ({"mode": "draining"}, [(PLANNED, "the server is draining")]),
        ({"failure": FAILURE}, [(UNPLANNED, "generation 2 could not boot: ImportError")]),
        ({"uptime_s": -1.0}, [(PLANNED, "the master has executed itself: wsgid 1")]),
        ({"pid": 9}, [(UNPLANNED, "another server answers: pid 9 instead of 1")]),
        ({"workers": [worker(0, restarts={"crash": 1}), worker(1)]}, [(UNPLANNED, "worker 0 ended: crash")]),
        (
            {"workers": [worker(0, restarts={"reload": 1}), worker(1, restarts={"reload": 2})]},
            [(PLANNED, "workers 0, 1 ended: reload")],
        ),
        (
            {"workers": [worker(0), worker(1, state="stalled")]},
            [(UNPLANNED, "the event loop of worker 1 stands still")],
        ),
    ],
)
def test_what_has_happened(now: dict[str, Any], expected: list[tuple[ChangeKind, str]]) -> None:
    before = state(workers=[worker(0, pid=5), worker(1, pid=6)])
    after = {**before, **now}
    after["workers"] = [{**each, "pid": 5 + each["slot"]} for each in after["workers"]]
    assert found(before, after) == expected
    assert found(after, after) == []


def test_a_reload_of_many_workers_is_one_mark() -> None:
    [template] = state()["workers"][:1]
    before = state(workers=[{**template, "slot": slot, "restarts": {}} for slot in range(64)])
    after = state(workers=[{**template, "slot": slot, "restarts": {"reload": 1}} for slot in range(64)])
    assert found(before, after) == [(PLANNED, "workers 0, 1, 2, 3, 4, 5, 6, 7 and 56 more ended: reload")]


def test_slow_requests_stay_when_they_have_ended() -> None:
    slow = SlowRequests()
    quick = {"worker": 0, "started_s": 1.0, "age_s": SLOW_S / 2, "path": "/quick"}
    long = {"worker": 1, "started_s": 1.0, "age_s": SLOW_S, "path": "/long"}
    slow.see([quick, long], {0, 1}, 10.0)
    assert slow.ended() == []
    slow.see([], {0}, 11.0)  # worker 1 was not asked
    assert slow.ended() == []
    slow.see([{**long, "age_s": 5.0}], {0, 1}, 14.0)
    slow.see([], {0, 1}, 15.0)
    assert [(each["path"], each["age_s"], each["at_s"]) for each in slow.ended()] == [("/long", 5.0, 9.0)]


def test_many_workers_and_requests_are_asked_less_often() -> None:
    def pause(workers: int, in_flight: int) -> float:
        return pause_s({"workers": [{"in_flight": in_flight}] * workers})

    assert pause(0, 0) == pause(QUESTIONS_PER_S, 1) - 4 / 2000 < 1
    assert pause(ASKED_MAX, 1) > pause(QUESTIONS_PER_S, 1) + 2
    assert pause(1, 10_000) > 5
