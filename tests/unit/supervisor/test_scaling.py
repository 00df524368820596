"""The rule for --workers-min, in a simulation: workers come with the load, go when it is small, and do not flap."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.profiles import examples
from tests.unit.supervisor.test_fleet import DEADLINES, World
from wsgid.supervisor import scaling
from wsgid.supervisor.fleet import Fleet
from wsgid.supervisor.load_watch import LOOK_S
from wsgid.supervisor.scaling import Load, Scaling
from wsgid.supervisor.slots import SlotState


@dataclass
class Site:
    """Workers of `places` requests each, and a demand of requests at once. What does not fit waits."""

    rule: Scaling
    places: int
    boot_s: float = 0.05
    now_s: float = 1000.0
    ready: int = 0
    booting: list[float] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)  # (time, workers)

    def __post_init__(self) -> None:
        self.ready = self.rule.workers

    def look(self, demand: int) -> Load:
        """One look at this demand. Returns the load that was seen."""
        self.now_s += LOOK_S
        self.ready += sum(time_s <= self.now_s for time_s in self.booting)
        self.booting = [time_s for time_s in self.booting if time_s > self.now_s]
        served = min(demand, self.ready * self.places)
        idle = max(self.ready - served, 0)
        load = Load(self.ready, idle, served, demand - served)
        before = self.rule.workers
        after = self.rule.target(load, self.now_s)
        if after != before:
            self.changes.append((self.now_s, after))
        self.ready = min(self.ready, after)
        missing = after - self.ready - len(self.booting)
        self.booting += [self.now_s + self.boot_s] * max(missing, 0)
        return load

    def run(self, demand: Callable[[float], int] | int, seconds: float) -> None:
        start_s = self.now_s
        for _ in range(int(seconds / LOOK_S)):
            self.look(demand(self.now_s - start_s) if callable(demand) else demand)


def site(least: int = 1, most: int = 16, places: int = 10, boot_s: float = 0.05) -> Site:
    return Site(Scaling(least, most, least, places), places, boot_s)


def test_a_burst_gets_its_workers_within_a_second() -> None:
    burst = site()
    burst.run(100, 1.0)
    assert burst.rule.workers >= 10 and burst.look(100).waiting == 0


def test_a_single_look_with_a_waiting_connection_starts_no_worker() -> None:
    rule = Scaling(1, 4, 1, 1000)
    for number in range(100):
        assert rule.target(Load(1, 0, 5, waiting=number % 2), number * LOOK_S) == 1
    rule.target(Load(1, 0, 5), 19)
    assert [rule.target(Load(1, 0, 5, waiting=1), 20 + number) for number in range(2)] == [1, 2]


def test_loops_that_stand_still_get_help() -> None:
    rule = Scaling(1, 4, 1, 1000)
    assert rule.target(Load(1, 0, 5, standing=0.95), 1.0) == 2
    assert rule.target(Load(2, 0, 5, standing=1.2), 2.0) == 2  # there is room now


def test_no_more_workers_are_asked_for_while_some_are_on_their_way() -> None:
    rule = Scaling(1, 16, 1, 10)
    assert [rule.target(Load(1, 0, 10, 90), number * LOOK_S) for number in range(5)] == [2, 2, 2, 2, 2]


def test_when_the_load_is_over_the_workers_go_one_by_one_down_to_the_least() -> None:
    quiet = site(least=2)
    quiet.run(100, 2)
    most = quiet.rule.workers
    quiet.run(0, scaling.PAUSE_S - 1)
    assert quiet.rule.workers == most
    quiet.run(0, 2 + most * (scaling.NEXT_S + 1))
    assert quiet.rule.workers == 2


def test_a_worker_with_a_request_is_not_taken_away() -> None:
    rule = Scaling(1, 4, 4, 100)
    for number in range(10_000):
        assert rule.target(Load(4, idle=0, in_flight=4), number * LOOK_S) == 4
    assert rule.target(Load(4, idle=1, in_flight=3), 2000.0) == 3


def test_an_operator_sets_the_number_and_with_fewer_workers_the_most() -> None:
    rule = Scaling(2, 8, 4, 10)
    rule.set(1)
    assert (rule.target(Load(1, 0, 10, 50), 1.0), rule.least, rule.most) == (1, 1, 1)
    rule.set(3)
    assert (rule.target(Load(1, 0, 10, 50), 2.0), rule.most) == (3, 3)
    rule = Scaling(2, 8, 4, 10)
    rule.set(5)
    assert (rule.target(Load(5, 5), 1.0), rule.least, rule.most) == (5, 2, 8)


@given(
    st.integers(1, 4), st.integers(1, 16), st.integers(1, 50), st.integers(0, 400), st.sampled_from([0.05, 1.0, 5.0])
)
@examples(40)
def test_a_constant_load_settles(least: int, most: int, places: int, demand: int, boot_s: float) -> None:
    steady = Site(Scaling(least, most, least, places), places, boot_s)
    steady.run(demand, 120)
    before = len(steady.changes)
    steady.run(demand, 1800)
    assert len(steady.changes) - before <= 2
    served = steady.rule.workers * places
    assert served >= min(demand, steady.rule.most * places)  # enough workers, or the most
    assert steady.rule.least <= steady.rule.workers <= steady.rule.most


@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0.1, 40)), min_size=1, max_size=12))
@examples(40)
def test_under_any_load_the_limits_hold_and_nobody_waits_for_long(phases: list[tuple[int, float]]) -> None:
    any_load = site(least=2, most=12, places=10)
    for demand, seconds in phases:
        waited_s = 0.0
        for _ in range(int(seconds / LOOK_S)):
            load = any_load.look(demand)
            assert 2 <= any_load.rule.workers <= 12
            waited_s = waited_s + LOOK_S if load.waiting and any_load.rule.workers < 12 else 0.0
            assert waited_s <= 2.0


def test_a_load_that_swings_around_a_limit_makes_workers_come_and_go_ever_less_often() -> None:
    swinging = site(most=4)
    # Two workers are enough for a while, then three are needed for a moment.
    swinging.run(lambda after_s: 29 if after_s % 50 < 5 else 4, 4 * 3600)
    first_hour = sum(time_s < 1000 + 3600 for time_s, _ in swinging.changes)
    last_hour = sum(time_s > 1000 + 3 * 3600 for time_s, _ in swinging.changes)
    assert last_hour <= 10 and last_hour < first_hour


@pytest.mark.parametrize("busy", [0, 1, 2])
def test_the_fleet_drains_the_worker_with_the_fewest_requests(busy: int) -> None:
    world = World(Fleet(3, DEADLINES))
    world.boot()
    for slot in world.fleet.of_state(SlotState.READY):
        world.fleet.heartbeat(slot.number, world.now_s, 0.0, in_flight=int(slot.number != busy))
    world.fleet.target = 2
    world.plan()
    (drained,) = world.fleet.of_state(SlotState.DRAINING)
    assert drained.number == busy
