"""The rules of the fleet, tested without a process: its plans after deaths, reloads, clock jumps and stops."""

import itertools
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.profiles import examples
from wsgid.errors import ExitCode, IllegalTransition
from wsgid.ipc.messages import OnDrain
from wsgid.supervisor import backoff, fleet, slots
from wsgid.supervisor.actions import (
    Abandon,
    Abort,
    AbortTemplate,
    Action,
    DismissTemplate,
    DrainWorker,
    Exit,
    Interrupt,
    InterruptImport,
    InterruptTemplate,
    Kill,
    KillTemplate,
    LaunchTemplate,
    SpawnWorker,
    Unlisten,
)
from wsgid.supervisor.fleet import Fleet, Mode
from wsgid.supervisor.slots import Purpose, Slot, SlotEvent, SlotState, TemplateState

DEADLINES = fleet.Deadlines(boot_s=60, mercy_s=60, hub_s=30)
ENTERED_STATES = [
    SlotState.SPAWNING,
    SlotState.READY,
    SlotState.STALLED,
    SlotState.LOST,
    SlotState.DRAINING,
    SlotState.STUCK,
    SlotState.ABORTING,
]


@dataclass
class World:
    """A fleet, and a world around it that does what the actions say: its processes start, beat, leave and die."""

    fleet: Fleet
    now_s: float = 1000.0
    actions: list[Action] = field(default_factory=list)
    next_pid: int = 1
    exit_code: ExitCode | None = None

    def plan(self, after_s: float = 0.0) -> list[Action]:
        self.now_s += after_s
        actions = self.fleet.plan(self.now_s)
        self.actions += actions
        for action in actions:
            if isinstance(action, Exit):
                self.exit_code = action.code
        return actions

    def boot(self) -> None:
        """Each process that has to start does so, until no start is planned any more."""
        while self.plan():
            self.settle()

    def settle(self) -> None:
        for generation, template in list(self.fleet.templates.records.items()):
            if template.state is TemplateState.BOOTING:
                self.fleet.templates.ready(generation, self.now_s)
            elif template.state is TemplateState.DISMISSED:
                self.fleet.template_gone(generation, self.now_s)
        for slot in list(self.fleet.slots):
            if slot.state is SlotState.SPAWNING:
                self.fleet.hello(slot.number, self.next_pid)
                self.next_pid += 1
                self.fleet.ready(slot.number, self.now_s)
            elif slot.state in (*slots.LEAVING, SlotState.ABORTING):
                self.fleet.gone(slot.number, self.now_s)

    def beat(self, held_s: float = 0.0) -> None:
        """All hubs run. Each hub was held up for `held_s` more."""
        for slot in self.fleet.slots:
            self.fleet.heartbeat(slot.number, self.now_s, slot.held_s + held_s)

    def ready(self) -> list[Slot]:
        return self.fleet.of_state(SlotState.READY)


def running(target: int = 4) -> World:
    world = World(Fleet(target, DEADLINES))
    world.boot()
    world.actions.clear()
    return world


def test_a_start_launches_one_template_and_spawns_the_target_once_it_is_ready() -> None:
    world = World(Fleet(3, DEADLINES))
    assert world.plan() == [LaunchTemplate(0)]
    assert world.plan() == []
    world.fleet.templates.ready(0, world.now_s)
    assert world.plan() == [SpawnWorker(0, 0), SpawnWorker(1, 0), SpawnWorker(2, 0)]
    assert world.plan() == []


def test_a_first_generation_that_cannot_be_imported_ends_the_server_with_its_code() -> None:
    world = World(Fleet(3, DEADLINES))
    world.plan()
    world.fleet.template_gone(0, world.now_s)
    assert world.plan() == [Unlisten(), Exit(ExitCode.APPLICATION)]


def test_a_first_worker_that_dies_before_it_is_ready_ends_the_server_and_its_siblings() -> None:
    world = World(Fleet(2, DEADLINES))
    world.plan()
    world.fleet.templates.ready(0, world.now_s)
    world.plan()
    world.fleet.hello(0, 10)
    world.fleet.hello(1, 11)
    world.fleet.gone(0, world.now_s)
    assert world.plan() == [Unlisten(), DismissTemplate(0), Kill(1)]
    world.settle()
    assert world.plan() == [Exit(ExitCode.APPLICATION)]


def test_a_dead_worker_is_replaced_at_once() -> None:
    world = running()
    world.plan(after_s=4)
    world.fleet.gone(2, world.now_s)
    assert world.plan() == [SpawnWorker(2, 0, wary=True)]


def test_a_worker_that_dies_young_again_and_again_waits_longer_each_time_while_siblings_stay() -> None:
    world = running()
    waits = []
    for _ in range(12):
        died_s = world.now_s
        world.fleet.gone(1, died_s)
        while SpawnWorker(1, 0, wary=True) not in world.plan(after_s=0.05):
            world.beat()
        waits.append(world.now_s - died_s)
        world.settle()
        assert [slot.number for slot in world.ready()] == [0, 1, 2, 3]
    assert waits == sorted(waits) and waits[0] < 0.2 and 29 < waits[-1] < 31


def test_a_resting_slot_keeps_its_place() -> None:
    world = running(target=2)
    world.fleet.gone(0, world.now_s)
    assert world.plan() == [SpawnWorker(0, 0, wary=True)]  # the first death may be chance
    world.settle()
    world.fleet.gone(0, world.now_s)
    assert world.plan() == []  # not even in another slot
    assert world.plan(after_s=backoff.BACKOFF_FIRST_S) == [SpawnWorker(0, 0, wary=True)]


def test_when_all_slots_rest_one_slot_is_woken_soon() -> None:
    world = running(target=2)
    died_s = 0.0
    while not died_s:
        for slot in world.ready():
            world.fleet.gone(slot.number, world.now_s)
        if all(slot.not_before_s > world.now_s + 10 for slot in world.fleet.slots):
            died_s = world.now_s
        world.plan(after_s=0.2)
        world.settle()
    while not world.ready():
        world.plan(after_s=0.1)
        world.settle()
    assert world.now_s - died_s < fleet.EMERGENCY_S + 1 and len(world.ready()) == 1


def test_a_reload_replaces_one_worker_after_the_other_and_never_has_fewer_ready() -> None:
    world = running()
    world.fleet.templates.request_reload()
    assert world.plan() == [LaunchTemplate(1)]
    world.fleet.templates.ready(1, world.now_s)
    for _ in range(40):
        for action in world.plan():
            if isinstance(action, DrainWorker):
                assert action.backlog is OnDrain.LEAVE
        assert len(world.ready()) >= 4
        assert len(world.fleet.of_state(SlotState.SPAWNING)) <= 1
        world.settle()
    assert [slot.generation for slot in world.ready()] == [1, 1, 1, 1]
    assert list(world.fleet.templates.records) == [1]


def test_a_reload_that_cannot_be_imported_leaves_everything_as_it_was() -> None:
    world = running()
    world.fleet.templates.request_reload()
    world.plan()
    assert world.fleet.template_gone(1, world.now_s) is TemplateState.BOOTING
    assert world.plan(after_s=1) == []
    world.fleet.gone(0, world.now_s)
    assert world.plan(after_s=2) == [SpawnWorker(0, 0, wary=True)]


def test_a_first_template_that_the_kernel_refuses_ends_the_server_with_code_1() -> None:
    world = World(Fleet(3, DEADLINES))
    world.plan()
    world.fleet.launch_failed(0, world.now_s)
    assert world.plan() == [Unlisten(), Exit(ExitCode.FAILURE)]


def test_a_reload_that_the_kernel_refuses_is_tried_again_with_growing_pauses_until_it_can_be() -> None:
    world = running()
    world.fleet.templates.request_reload()
    asked_s = world.now_s
    assert world.plan() == [LaunchTemplate(1)]
    pauses_s = [world.fleet.launch_failed(1, world.now_s)]
    for number in range(2, 12):
        assert world.plan() == []  # nothing spins
        assert world.fleet.next_plan_s(world.now_s) > world.now_s
        while not (actions := world.plan(after_s=0.05)):
            world.beat()
        assert actions == [LaunchTemplate(number)] and len(world.ready()) == 4
        pauses_s.append(world.fleet.launch_failed(number, world.now_s))
    assert pauses_s[:3] == [0.1, 0.2, 0.4] and pauses_s[-1] == 30.0
    assert sum(pauses_s[:-1]) <= world.now_s - asked_s < sum(pauses_s[:-1]) + 2
    while not (actions := world.plan(after_s=0.5)):
        world.beat()
    assert actions == [LaunchTemplate(12)]
    world.settle()
    world.boot()
    assert {slot.generation for slot in world.ready()} == {12} and world.fleet.templates.launch_failures == 0


def test_a_new_reload_does_not_wait_for_the_pause() -> None:
    world = running()
    for number in range(1, 10):
        world.fleet.templates.request_reload()
        assert world.plan() == [LaunchTemplate(number)]
        world.fleet.launch_failed(number, world.now_s)


def test_a_dead_template_whose_successor_the_kernel_refuses_is_tried_again() -> None:
    world = running()
    world.plan(after_s=3)
    world.fleet.template_gone(0, world.now_s)
    assert world.plan() == [LaunchTemplate(1)]
    world.fleet.launch_failed(1, world.now_s)
    assert world.plan() == [] and world.fleet.next_plan_s(world.now_s) > world.now_s
    assert world.plan(after_s=0.11) == [LaunchTemplate(2)]
    assert world.fleet.templates.records[2].purpose is Purpose.REPLACE


def test_a_fleet_is_settled_when_all_have_lived_for_a_moment_and_nothing_is_under_way() -> None:
    world = running()
    assert not world.fleet.is_settled(world.now_s)
    world.plan(after_s=backoff.LIVED_SHORTLY_S)
    assert world.fleet.is_settled(world.now_s)
    world.fleet.tired(0)
    world.plan()
    assert not world.fleet.is_settled(world.now_s)


def test_a_second_reload_during_the_first_takes_the_newest_code() -> None:
    world = running()
    world.fleet.templates.request_reload()
    world.plan()
    world.fleet.templates.request_reload()
    assert world.plan() == [KillTemplate(1), LaunchTemplate(2)]


def test_a_killed_template_is_replaced_and_its_workers_stay() -> None:
    world = running()
    world.plan(after_s=3)
    world.fleet.templates.closed(0, world.now_s)
    assert world.plan() == []  # the dead template still has to be reaped
    world.fleet.template_gone(0, world.now_s)
    assert world.plan() == [LaunchTemplate(1)]
    assert world.fleet.templates.records[1].purpose is Purpose.REPLACE
    world.fleet.templates.ready(1, world.now_s)
    assert world.plan() == []
    assert [slot.generation for slot in world.ready()] == [0, 0, 0, 0]


def test_a_template_that_cannot_be_replaced_is_tried_again_with_growing_pauses() -> None:
    world = running()
    world.fleet.template_gone(0, world.now_s)
    launched_s: list[float] = []
    while len(launched_s) < 10:
        if any(isinstance(action, LaunchTemplate) for action in world.plan(after_s=0.1)):
            launched_s.append(world.now_s)
            world.fleet.template_gone(world.fleet.templates.next_generation - 1, world.now_s)
        world.beat()
    pauses = [later - earlier for earlier, later in itertools.pairwise(launched_s)]
    assert pauses == sorted(pauses) and pauses[-1] > 10
    assert world.fleet.mode is Mode.RUNNING


def test_a_stalled_hub_is_interrupted_then_aborted_then_killed() -> None:
    world = running(target=1)
    world.beat()
    for _ in range(30):
        assert world.plan(after_s=1) == []
    assert world.plan(after_s=1) == [Interrupt(0)]
    assert world.plan(after_s=1) == []
    assert world.plan(after_s=1) == [Abort(0)]
    assert Kill(0) in world.plan(after_s=1)


def leaving(mercy_s: float = 60.0, hub_s: float = 30.0) -> World:
    """One worker, which was told to drain a moment ago."""
    world = World(Fleet(1, fleet.Deadlines(boot_s=60, mercy_s=mercy_s, hub_s=hub_s)))
    world.boot()
    world.beat()
    world.fleet.request_stop(world.now_s)
    assert DrainWorker(0, OnDrain.EMPTY) in world.plan()
    world.fleet.templates.records.clear()
    return world


def test_a_stalled_hub_is_interrupted_aborted_and_killed_in_a_leaving_worker_too() -> None:
    world = leaving()
    for _ in range(30):
        assert world.plan(after_s=1) == []
    assert world.plan(after_s=1) == [Interrupt(0)]
    assert world.plan(after_s=1) == []
    assert world.plan(after_s=1) == [Abort(0)]
    assert world.plan(after_s=1) == [Kill(0)]


def test_a_leaving_worker_whose_hub_runs_again_still_has_its_mercy_time_and_no_more() -> None:
    world = leaving(hub_s=10)
    for _ in range(11):
        world.plan(after_s=1)
    assert world.fleet.slots[0].state is SlotState.STUCK
    for _ in range(50):
        world.now_s += 1
        world.beat()
        assert world.plan() == []
    world.now_s += 1 + fleet.FORCE_MARGIN_S
    world.beat()
    assert world.plan() == [Abort(0)]


def test_the_mercy_time_moves_by_the_time_in_which_the_hub_was_held_up() -> None:
    world = leaving(mercy_s=10)
    for _ in range(5):
        assert world.plan(after_s=1) == []
    world.beat(held_s=5)
    for _ in range(11):
        world.now_s += 1
        world.beat()
        assert world.plan() == []
    world.now_s += 1
    world.beat()
    assert world.plan() == [Abort(0)]


def test_a_leaving_worker_is_not_late_while_its_hub_is_held_up_but_for_a_minute() -> None:
    world = leaving(mercy_s=5, hub_s=1e9)
    late_s = 0.0
    while Abort(0) not in world.plan(after_s=1):
        late_s += 1
        assert world.fleet.next_plan_s(world.now_s) > world.now_s  # meanwhile the master does not spin
    assert fleet.HELD_MAX_S <= late_s <= 5 + fleet.FORCE_MARGIN_S + fleet.HELD_MAX_S


def test_a_worker_that_is_told_to_leave_while_it_imports_has_no_hub_to_be_watched() -> None:
    world = World(Fleet(1, fleet.Deadlines(boot_s=60, mercy_s=60, hub_s=5)))
    world.plan()
    world.fleet.templates.ready(0, world.now_s)
    world.plan()
    world.fleet.hello(0, 10)
    world.fleet.request_stop(world.now_s)
    assert DrainWorker(0, OnDrain.EMPTY) in world.plan()
    for _ in range(30):
        assert not any(isinstance(action, Interrupt) for action in world.plan(after_s=1))


def test_a_hub_that_runs_again_after_the_interrupt_is_left_alone() -> None:
    world = running(target=1)
    for _ in range(31):
        world.plan(after_s=1)
    assert world.actions == [Interrupt(0)]
    world.now_s += 0.5
    world.beat()
    assert world.plan() == []
    assert len(world.ready()) == 1


@pytest.mark.parametrize("gap_s", [3600.0, -3600.0])
def test_a_gap_in_the_masters_own_time_makes_no_worker_late(gap_s: float) -> None:
    world = running()
    world.beat()
    world.plan()
    assert world.plan(after_s=gap_s) == []
    assert world.plan(after_s=0.01) == []  # also before the workers could send a heartbeat
    assert len(world.ready()) == 4


def test_a_graceful_stop_drains_all_workers_with_the_backlog_and_waits_for_them() -> None:
    world = running(target=2)
    world.fleet.request_stop(world.now_s)
    assert world.plan() == [
        Unlisten(),
        DismissTemplate(0),
        DrainWorker(0, OnDrain.EMPTY),
        DrainWorker(1, OnDrain.EMPTY),
    ]
    assert world.plan(after_s=1) == [] and world.exit_code is None
    world.settle()
    assert world.plan() == [Exit(ExitCode.OK)]


def test_a_delayed_stop_goes_on_until_it_is_due() -> None:
    world = running(target=1)
    world.fleet.request_stop(world.now_s + 3)
    world.plan(after_s=2)
    assert world.fleet.mode is Mode.RUNNING and world.fleet.next_plan_s(world.now_s) <= world.now_s + 1
    assert Unlisten() in world.plan(after_s=1)


def test_a_tired_worker_is_replaced_before_it_drains() -> None:
    world = running(target=2)
    world.fleet.tired(0)
    assert world.plan() == [SpawnWorker(2, 0)]
    world.settle()
    assert world.plan() == [DrainWorker(0, OnDrain.LEAVE)]
    world.settle()
    assert world.plan() == []


def test_tired_workers_are_replaced_one_at_a_time() -> None:
    world = running(target=4)
    for number in range(4):
        world.fleet.tired(number)
    for _ in range(20):
        world.plan()
        assert len(world.ready()) >= 4 and len(world.fleet.of_state(SlotState.SPAWNING)) <= 1
        world.settle()
    assert not any(slot.tired for slot in world.ready())


def test_a_stall_is_shown_once_before_it_is_interrupted() -> None:
    world = World(Fleet(1, fleet.Deadlines(boot_s=60, mercy_s=60, hub_s=30, hub_warn_s=1)))
    world.boot()
    world.beat()
    assert world.plan(after_s=1) == [] and world.plan(after_s=0.5) == [Interrupt(0)]
    for _ in range(20):
        assert world.plan(after_s=1) == []
    world.beat()
    assert world.plan(after_s=1.5) == [Interrupt(0)]  # this is another stall


def test_adopted_workers_serve_until_new_ones_have_replaced_them() -> None:
    world = World(Fleet(2, DEADLINES))
    world.fleet.adopt(0, 4, 100, world.now_s)
    world.fleet.adopt(3, 4, 103, world.now_s)
    assert world.plan() == [LaunchTemplate(5)]
    for _ in range(20):
        world.settle()
        world.plan()
        assert len(world.ready()) >= 2
    assert {slot.generation for slot in world.ready()} == {5}


def test_a_worker_that_outstays_its_mercy_is_aborted_and_killed() -> None:
    world = running(target=1)
    world.fleet.request_stop(world.now_s)
    for _ in range(64):
        world.plan(after_s=1)
        world.fleet.templates.records.clear()
    ends = [action for action in world.actions if isinstance(action, (Abort, Kill))]
    assert ends[:2] == [Abort(0), Kill(0)]


def test_a_forced_stop_kills_at_once() -> None:
    world = running(target=2)
    world.fleet.request_stop(world.now_s)
    world.plan()
    world.fleet.request_end()
    assert world.plan() == [Kill(0), Kill(1)]


def test_a_spawn_without_an_answer_is_abandoned_after_the_boot_timeout() -> None:
    world = World(Fleet(1, DEADLINES))
    world.plan()
    world.fleet.templates.ready(0, world.now_s)
    world.plan()
    for _ in range(59):
        assert world.plan(after_s=1) == []
    assert world.plan(after_s=1) == [Abandon(0)]
    assert world.fleet.mode is Mode.RUNNING


def test_fewer_workers_wanted_drains_the_highest_number() -> None:
    world = running()
    world.fleet.target = 3
    assert world.plan() == [DrainWorker(3, OnDrain.LEAVE)]


def test_a_worker_that_closes_its_channel_counts_until_it_is_reaped() -> None:
    world = running(target=2)
    world.plan(after_s=3)
    world.fleet.channel_closed(0, world.now_s)
    assert world.plan() == []
    world.fleet.gone(0, world.now_s)
    assert world.plan() == [SpawnWorker(0, 0, wary=True)]


def test_an_unlisted_transition_names_state_and_event() -> None:
    world = running(target=1)
    with pytest.raises(IllegalTransition, match="slot 0 is READY and cannot take the event RECOVER"):
        world.fleet._step(0, SlotEvent.RECOVER, world.now_s)


@pytest.mark.parametrize("state", ENTERED_STATES)
def test_every_state_ends_when_its_process_is_reaped(state: SlotState) -> None:
    assert slots.TRANSITIONS[state, SlotEvent.GONE] is SlotState.VACANT


# --- properties: any events in any order ---

EVENTS = st.sampled_from(
    [
        "worker hello",
        "worker ready",
        "worker dies",
        "worker closes",
        "template ready",
        "template dies",
        "template closes",
        "launch fails",
        "spawn fails",
        "reload",
        "beat",
        "held",
        "tick",
        "tick",
        "long tick",
        "gap",
        "back",
        "more",
        "fewer",
        "tired",
    ]
)


def happen(world: World, event: str, pick: int) -> None:  # noqa: C901  # one table
    """One event that is possible now. `pick` chooses the slot or the generation."""
    slots = [slot for slot in world.fleet.slots if slot.state is not SlotState.VACANT]
    slot = slots[pick % len(slots)] if slots else None
    generations = list(world.fleet.templates.records)
    generation = generations[pick % len(generations)] if generations else None
    match event:
        case "worker hello" if slot and slot.pid == 0:
            world.fleet.hello(slot.number, world.next_pid)
            world.next_pid += 1
        case "worker ready" if slot and slot.pid and slot.ready_s == inf and slot.state is not SlotState.LOST:
            world.fleet.ready(slot.number, world.now_s)
        case "worker dies" if slot and slot.pid:
            world.fleet.gone(slot.number, world.now_s)
        case "worker closes" if slot and slot.state is not SlotState.LOST:
            world.fleet.channel_closed(slot.number, world.now_s)
        case "spawn fails" if slot and slot.pid == 0 and slot.state is SlotState.SPAWNING:
            world.fleet.channel_closed(slot.number, world.now_s)
        case "launch fails" if generation and world.fleet.templates.records[generation].state is TemplateState.BOOTING:
            world.fleet.launch_failed(generation, world.now_s)
        case "template ready" if generation is not None:
            world.fleet.templates.ready(generation, world.now_s)
        case "template dies" if generation is not None:
            world.fleet.template_gone(generation, world.now_s)
        case "template closes" if generation is not None:
            world.fleet.templates.closed(generation, world.now_s)
        case "reload":
            world.fleet.templates.request_reload()
        case "beat":
            world.beat()
        case "held" if slot:
            world.fleet.heartbeat(slot.number, world.now_s, slot.held_s + 3.0)
        case "tired" if slot:
            world.fleet.tired(slot.number)
        case "more" | "fewer":
            world.fleet.target = max(1, min(8, world.fleet.target + (1 if event == "more" else -1)))
        case "tick" | "long tick" | "gap" | "back":
            world.now_s += {"tick": 0.3, "long tick": 4.0, "gap": 5000.0, "back": -70.0}[event]


def assert_sensible(world: World, action: Action) -> None:
    """The target of an action exists, and is in a state that fits the action."""
    if isinstance(action, (Interrupt, Abort, Kill)):
        assert world.fleet.slots[action.slot].pid != 0
    if isinstance(action, SpawnWorker):
        assert world.fleet.templates.records[action.generation].state is TemplateState.READY


def calm_down(world: World) -> None:
    """Half a second in which all processes do as asked."""
    world.beat()
    world.settle()
    for slot in world.fleet.of_state(SlotState.LOST, SlotState.STALLED):
        world.fleet.gone(slot.number, world.now_s)
    for generation, template in list(world.fleet.templates.records.items()):
        if template.state is TemplateState.LOST:
            world.fleet.template_gone(generation, world.now_s)
    world.plan(after_s=0.5)


@examples(300)
@example(4, [("tired", 1), ("worker hello", 34), ("tired", 0), ("worker ready", 4)])
@given(st.integers(1, 6), st.lists(st.tuples(EVENTS, st.integers(0, 50)), max_size=120))
def test_whatever_happens_the_fleet_stays_within_its_bounds_and_recovers(
    target: int, events: list[tuple[str, int]]
) -> None:
    world = running(target)
    for event, pick in events:
        happen(world, event, pick)
        for action in world.plan():
            assert_sensible(world, action)
        live = world.fleet.of_state(SlotState.SPAWNING, SlotState.READY, SlotState.STALLED, SlotState.LOST)
        assert len(live) <= max(8, target) + 1
        assert world.plan() == []  # a plan that was carried out leaves nothing to do at the same moment
        assert world.fleet.next_plan_s(world.now_s) > world.now_s  # so the master never spins
        # after the first worker was ready, no fault of the application stops the server
        assert world.fleet.mode is Mode.RUNNING
    for _ in range(600):
        calm_down(world)
    assert len(world.ready()) == world.fleet.target
    assert {slot.generation for slot in world.ready()} <= set(
        range(world.fleet.templates.wanted_generation, world.fleet.templates.next_generation)
    )
    assert len(world.fleet.templates.records) == 1


@examples(200)
@given(st.lists(st.tuples(EVENTS, st.integers(0, 50)), max_size=60), st.booleans())
def test_a_stop_always_ends_even_if_no_process_obeys(events: list[tuple[str, int]], graceful: bool) -> None:
    world = running(3)
    for event, pick in events:
        happen(world, event, pick)
        world.plan()
    if graceful:
        world.fleet.request_stop(world.now_s)
    else:
        world.fleet.request_end()
    for _ in range(200):
        for action in world.plan(after_s=0.9):
            if isinstance(action, Kill):  # processes obey only SIGKILL
                world.fleet.gone(action.slot, world.now_s)
            if isinstance(action, KillTemplate):
                world.fleet.template_gone(action.generation, world.now_s)
        if world.exit_code is not None:
            break
    assert world.exit_code is ExitCode.OK


def test_workers_that_serve_together_have_seats_of_their_own_whatever_their_slots() -> None:
    world = running(3)
    assert [slot.seat for slot in world.ready()] == [0, 1, 2]
    world.fleet.templates.request_reload()
    world.boot()
    assert sorted(slot.seat for slot in world.ready()) == [0, 1, 2]
    assert [slot.number for slot in world.ready()] != [0, 1, 2]
    middle = next(slot for slot in world.ready() if slot.seat == 1)
    world.fleet.gone(middle.number, world.now_s)
    world.boot()
    assert sorted(slot.seat for slot in world.ready()) == [0, 1, 2]
    world.fleet.target = 4
    world.boot()
    assert sorted(slot.seat for slot in world.ready()) == [0, 1, 2, 3]


def test_an_import_beyond_its_time_is_interrupted_aborted_and_killed() -> None:
    world = World(Fleet(1, DEADLINES))
    world.plan()
    for _ in range(59):
        assert world.plan(after_s=1) == []
    assert world.plan(after_s=1) == [InterruptTemplate(0)]
    assert world.plan(after_s=1) == []
    assert world.plan(after_s=1) == [AbortTemplate(0)]
    assert world.plan(after_s=2) == [KillTemplate(0)]
    assert world.plan(after_s=2) == [KillTemplate(0)]
    world.fleet.template_gone(0, world.now_s)
    assert Exit(ExitCode.APPLICATION) in world.plan()


def test_an_import_in_a_worker_beyond_its_time_is_interrupted_aborted_and_killed() -> None:
    world = World(Fleet(1, DEADLINES))
    world.plan()
    world.fleet.templates.ready(0, world.now_s)
    world.plan()
    world.fleet.hello(0, 77)
    for _ in range(59):
        assert world.plan(after_s=1) == []
    assert world.plan(after_s=1) == [InterruptImport(0)]
    assert world.plan(after_s=1) == []
    assert Abort(0) in world.plan(after_s=1)
    assert Kill(0) in world.plan(after_s=1)


def test_an_import_that_was_told_to_end_is_no_failure() -> None:
    """SIGTERM from outside, to one process or to all processes of the service."""
    world = World(Fleet(1, DEADLINES))
    world.plan()
    world.fleet.templates.ready(0, world.now_s)
    world.plan()
    world.fleet.hello(0, 77)
    world.fleet.gone(0, world.now_s, asked=True)
    assert world.plan() == [SpawnWorker(0, 0)]


def test_a_reload_does_not_wait_for_an_import_that_it_makes_outdated() -> None:
    world = running(target=1)
    world.fleet.templates.request_reload()
    world.plan()
    world.fleet.templates.ready(1, world.now_s)
    assert SpawnWorker(1, 1) in world.plan()
    world.fleet.hello(1, 88)
    world.fleet.templates.request_reload()
    world.plan()
    world.fleet.templates.ready(2, world.now_s)
    actions = world.plan()
    assert DrainWorker(1, OnDrain.LEAVE) in actions and SpawnWorker(2, 2) in actions
