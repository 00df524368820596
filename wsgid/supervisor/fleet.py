"""The fleet: the states of templates and worker slots, and what has to happen next.

Rules
* No I/O, no clock, no process. Events are method calls, and time is an argument (`now_s`, seconds of one monotonic
  clock). `plan` returns actions, which the master carries out.  So tests of crash storms, clock jumps and reloads need
  no process.
* A slot's state changes only by the table in slots.py.
* Messages, end-of-file and heartbeats are hints. Only waitpid tells that a process has ended.
* Every state that waits for another process has a deadline, which is set before the wait begins.

A reload launches a new template. When the template is ready, its generation becomes the wanted one. Then workers of
older generations are replaced one after the other: first a new worker becomes Ready, then an old one drains.  Tired
workers (--max-requests and the like) are replaced in the same way.
"""

from collections.abc import Iterable
from enum import Enum, auto
from math import inf

from wsgid.errors import ExitCode
from wsgid.ipc.messages import OnDrain
from wsgid.ipc.scoreboard import SLOTS_MAX
from wsgid.records import dataclass, field, replace
from wsgid.supervisor.actions import (
    Abandon,
    Abort,
    Action,
    DrainWorker,
    Exit,
    Interrupt,
    InterruptImport,
    Kill,
    SpawnWorker,
    Unlisten,
)
from wsgid.supervisor.backoff import LIVED_SHORTLY_S, backoff_s, failures_after
from wsgid.supervisor.slots import (
    HELD_UP,
    LEAVING,
    LIVE,
    STAFF,
    WATCHED,
    Purpose,
    Slot,
    SlotEvent,
    SlotState,
    TemplateState,
    next_state,
)
from wsgid.supervisor.templates import Templates

EMERGENCY_S = 3.0  # without any worker, one slot's rest ends this long after the last death

ABORT_GRACE_S = 1.0  # between SIGABRT, which prints the stack, and SIGKILL
INTERRUPT_GRACE_S = 2.0  # between the signal about a stalled hub and SIGABRT
FORCE_MARGIN_S = 2.0  # a worker ends its own requests after the mercy time; the master acts this much later
STALE_S = 1.0  # a hub without a heartbeat for longer is held up, so requests in flight cannot use their mercy time
HELD_MAX_S = 60.0  # the longest wait for such a hub
TICK_S = 0.5  # how often heartbeats are checked
LOST_TIME_S = 5.0  # after a longer gap between two plans, this process itself did not run


class Mode(Enum):
    """Whether the server runs, drains or stops."""

    RUNNING = auto()
    DRAINING = auto()  # a graceful stop
    STOPPING = auto()  # an immediate stop


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The operator's time limits that the fleet enforces, in seconds."""

    boot_s: float
    mercy_s: float
    hub_s: float  # a hub without a heartbeat for this long is interrupted, then aborted, then killed
    hub_warn_s: float = inf  # after this time without a heartbeat, the log shows what holds the hub


@dataclass
class Fleet:
    """The records of templates and worker slots.

    Args:
        target: the number of workers that there should be.
        deadlines: see Deadlines.
    """

    target: int
    deadlines: Deadlines
    mode: Mode = Mode.RUNNING
    exit_code: ExitCode = ExitCode.OK
    stop_at_s: float = inf  # when a graceful stop begins
    listening: bool = True
    proven: bool = False  # whether a worker was ever Ready; then failures to boot no longer stop the fleet
    slots: list[Slot] = field(default_factory=list)
    last_plan_s: float | None = None
    templates: Templates = field(init=False)

    def __post_init__(self) -> None:
        self.templates = Templates(self.deadlines.boot_s)

    # --- events: what the master has seen ---

    def request_stop(self, at_s: float) -> None:
        """Stop gracefully from `at_s` on. Until then everything goes on."""
        self.stop_at_s = min(self.stop_at_s, at_s)

    def request_end(self) -> None:
        """Stop now. This cannot be undone."""
        self.mode = Mode.STOPPING

    def recall(self, slots: int) -> None:
        """There were this many slots before SIGUSR2. They stay visible, because vacant slots have counts."""
        self.slots += map(Slot, range(len(self.slots), slots))

    def adopt(self, number: int, generation: int, pid: int, now_s: float) -> None:
        """Take over a worker of the image before SIGUSR2. It serves until a new worker replaces it."""
        self.recall(number + 1)
        self.slots[number] = Slot(number, SlotState.READY, generation, pid, number, ready_s=now_s, since_s=now_s)
        self.templates.adopt(generation)
        self.proven = True

    def launch_failed(self, generation: int, now_s: float) -> float:
        """The kernel has refused to start this template. Returns the pause until the next try, in seconds.

        A server that has never served ends. Otherwise the launch is tried again, and a reload stays requested.
        """
        self._boot_failed(ExitCode.FAILURE)
        return self.templates.launch_failed(generation, now_s)

    def template_gone(self, generation: int, now_s: float) -> TemplateState:
        """A template was reaped. Returns its last state; BOOTING means that its import failed."""
        left = self.templates.gone(generation, now_s)
        if left is TemplateState.BOOTING:
            self._boot_failed()
        return left

    def hello(self, number: int, pid: int) -> None:
        """A worker has reported that it lives."""
        self.slots[number] = replace(self.slots[number], pid=pid)

    def ready(self, number: int, now_s: float) -> None:
        """A worker accepts connections."""
        self._step(number, SlotEvent.READY, now_s)
        self.slots[number] = replace(self.slots[number], ready_s=now_s)
        self.proven = True

    def tired(self, number: int) -> None:
        """The worker asks to be replaced: it has reached one of its limits."""
        if self.slots[number].state in STAFF:
            self.slots[number] = replace(self.slots[number], tired=True)

    def heartbeat(self, number: int, heartbeat_s: float, held_s: float = 0.0, in_flight: int = 0) -> None:
        """Record a worker's heartbeat.

        Args:
            number: of the slot.
            heartbeat_s: when the hub ran.
            held_s: how long the hub was held up in total; a mercy time moves by that.
            in_flight: the worker's requests.
        """
        slot = self.slots[number]
        more_s = held_s - slot.held_s if slot.state in LEAVING else 0.0
        deadline_s = slot.deadline_s + more_s if slot.state is SlotState.DRAINING else slot.deadline_s
        self.slots[number] = replace(
            slot,
            heartbeat_s=heartbeat_s,
            held_s=held_s,
            in_flight=in_flight,
            deadline_s=deadline_s,
            leaves_by_s=slot.leaves_by_s + more_s,
        )

    def channel_closed(self, number: int, now_s: float) -> None:
        """The worker's end of its channel is closed. Without a pid it never lived; otherwise it has to leave."""
        slot = self.slots[number]
        if slot.state is SlotState.VACANT:
            return
        if slot.pid == 0:
            self.gone(number, now_s)
        else:
            deadline_s = min(slot.deadline_s, now_s + self.deadlines.mercy_s + FORCE_MARGIN_S)
            self._step(number, SlotEvent.CLOSE, now_s, deadline_s)

    def gone(self, number: int, now_s: float, asked: bool = False) -> SlotState:
        """The slot's process was reaped, or never lived. Returns its last state.

        Args:
            number: of the slot.
            now_s: the time.
            asked: whether it has left because it was told to leave.
        """
        slot = self.slots[number]
        self._step(number, SlotEvent.GONE, now_s)
        asked = asked or slot.state in LEAVING
        if slot.pid and slot.ready_s == inf and not asked:
            self._boot_failed()
        lived_s = now_s - slot.ready_s
        failures = 0 if asked else failures_after(slot.failures, lived_s)
        rest_s = backoff_s(failures) if lived_s < LIVED_SHORTLY_S else 0.0
        self.slots[number] = Slot(number, since_s=now_s, failures=failures, wary=not asked, not_before_s=now_s + rest_s)
        return slot.state

    # --- the plan: what has to happen now ---

    def plan(self, now_s: float) -> list[Action]:
        """Return the actions for `now_s`. The fleet counts them as done already."""
        self._forgive_lost_time(now_s)
        if self.mode is Mode.RUNNING and now_s >= self.stop_at_s:
            self.mode = Mode.DRAINING
        actions: list[Action] = []
        if self.mode is Mode.RUNNING:
            actions += self._check_hubs(now_s)
            actions += self.templates.plan(now_s, Purpose.REPLACE if self.proven else Purpose.START)
            actions += self._retire(now_s)
            actions += self._spawn(now_s)  # after _retire, which makes room for the next replacement
        else:
            actions += self._wind_down(now_s)
            actions += self._check_hubs(now_s)
        actions += self._check_deadlines(now_s)
        actions += self.templates.check_deadlines(now_s)
        return actions

    def next_plan_s(self, now_s: float) -> float:
        """Return the latest time for the next call of `plan`, if nothing happens until then."""
        times = [slot.deadline_s for slot in self.slots if not self._is_held_up(slot, now_s)]
        times += [slot.not_before_s for slot in self.slots if slot.not_before_s > now_s]
        times.append(self.templates.next_deadline_s())
        if self.mode is Mode.RUNNING:
            times += [self.stop_at_s, self.templates.next_launch_s(now_s)]
        return min([now_s + TICK_S, *times])

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self.stop_at_s < inf or self.mode is not Mode.RUNNING

    def of_state(self, *states: SlotState) -> list[Slot]:
        """Return the slots in these states."""
        return [slot for slot in self.slots if slot.state in states]

    def is_settled(self, now_s: float) -> bool:
        """Whether there is one template and exactly the wanted number of workers, and no worker dies young."""
        taken = [slot for slot in self.slots if slot.state is not SlotState.VACANT]
        ready = [slot for slot in taken if slot.state is SlotState.READY and now_s - slot.ready_s >= LIVED_SHORTLY_S]
        return (
            len(ready) == len(taken) == self.target
            and len(self.templates.records) == 1
            and self.templates.newest() is not None
        )

    # --- the parts of the plan ---

    def _check_hubs(self, now_s: float) -> Iterable[Action]:
        for slot in self.of_state(*WATCHED):
            if slot.state is SlotState.DRAINING and not slot.heartbeat_s:  # it still imports the application
                continue
            beaten_s = max(slot.heartbeat_s, slot.since_s)
            if slot.state in HELD_UP:
                if slot.heartbeat_s > slot.since_s:
                    self._step(slot.number, SlotEvent.RECOVER, now_s, slot.leaves_by_s)
            elif now_s - beaten_s > self.deadlines.hub_s:
                self._step(slot.number, SlotEvent.STALL, now_s, now_s + INTERRUPT_GRACE_S)
                yield Interrupt(slot.number)
            elif now_s - beaten_s > self.deadlines.hub_warn_s and slot.shown_s != beaten_s:
                self.slots[slot.number] = replace(slot, shown_s=beaten_s)
                yield Interrupt(slot.number)

    def _spawn(self, now_s: float) -> Iterable[Action]:
        template = self.templates.newest()
        if template is None:
            return
        live = [slot for slot in self.slots if slot.state in LIVE]
        outdated = sum(map(self._outdated, live))
        resting = sum(slot.not_before_s > now_s for slot in self.of_state(SlotState.VACANT))
        if not live and resting:
            resting -= self._wake_one(now_s)
        # A slot that rests after a crash keeps its place. Otherwise its neighbour would crash instead, without a rest.
        lacking = self.target + min(outdated, self._surge()) - len(live) - resting
        for _ in range(lacking):
            slot = self._vacancy(now_s)
            if slot is None:
                return
            self.slots[slot.number] = replace(slot, generation=template.generation, seat=self._free_seat())
            self._step(slot.number, SlotEvent.SPAWN, now_s, now_s + self.deadlines.boot_s)
            yield SpawnWorker(slot.number, template.generation, slot.wary)

    def _wake_one(self, now_s: float) -> bool:
        """If no worker serves because all slots rest, let one slot try again soon after the last death. Otherwise a few
        requests that kill their worker would cost the site half a minute. Returns whether a slot was woken."""
        vacant = self.of_state(SlotState.VACANT)
        if now_s < max(slot.since_s for slot in vacant) + EMERGENCY_S:
            return False
        first = min(vacant, key=lambda slot: slot.not_before_s)
        self.slots[first.number] = replace(first, not_before_s=now_s)
        return first.not_before_s > now_s

    def _retire(self, now_s: float) -> Iterable[Action]:
        """Drain surplus workers: outdated ones first, then those without requests, then the highest seats, so that the
        others are 0 to N - 1."""
        ready = self.of_state(SlotState.READY)
        current = [slot for slot in ready if not self._outdated(slot)]
        current.sort(key=lambda slot: (slot.in_flight > 0, -slot.seat))
        outdated = [slot for slot in ready if self._outdated(slot)]
        surplus = (outdated + current)[: max(len(ready) - self.target, 0)]
        # Workers that have not started yet are not needed. Their import may take long (--lazy-apps), and they hold a
        # place.
        surplus += filter(self._outdated, self.of_state(SlotState.SPAWNING))
        if len(current) >= self.target:  # outdated workers are no longer needed, even busy ones
            surplus += filter(self._outdated, self.of_state(SlotState.STALLED))
        for slot in surplus:
            yield self._drain(slot, OnDrain.LEAVE, now_s)

    def _wind_down(self, now_s: float) -> Iterable[Action]:
        if self.listening:
            self.listening = False
            yield Unlisten()
        yield from self.templates.wind_down(now_s)
        for slot in self.slots:
            if self.mode is Mode.STOPPING and slot.state not in (SlotState.VACANT, SlotState.ABORTING):
                self._step(slot.number, SlotEvent.ABORT, now_s, now_s)  # overdue at once, so it is killed below
            elif slot.state in STAFF:
                yield self._drain(slot, OnDrain.EMPTY, now_s)
        if not self.templates.records and all(slot.state is SlotState.VACANT for slot in self.slots):
            yield Exit(self.exit_code)

    def _check_deadlines(self, now_s: float) -> Iterable[Action]:
        for slot in self.slots:
            if now_s < slot.deadline_s or slot.state is SlotState.VACANT or self._is_held_up(slot, now_s):
                continue
            if slot.pid == 0:
                self.gone(slot.number, now_s)
                yield Abandon(slot.number)
            elif slot.state is SlotState.SPAWNING and not slot.shown_s:
                self.slots[slot.number] = replace(slot, shown_s=now_s, deadline_s=now_s + INTERRUPT_GRACE_S)
                yield InterruptImport(slot.number)
            else:
                killing = slot.state is SlotState.ABORTING
                self._step(slot.number, SlotEvent.ABORT, now_s, now_s + ABORT_GRACE_S)
                yield Kill(slot.number) if killing else Abort(slot.number)

    def _is_held_up(self, slot: Slot, now_s: float) -> bool:
        """Whether a leaving worker is late because its hub does not run. Then `_check_hubs` ends what holds the hub, or
        the deadline does so after HELD_MAX_S, if --hub-timeout is longer."""
        if slot.state is not SlotState.DRAINING or not slot.heartbeat_s:
            return False
        beaten_s = max(slot.heartbeat_s, slot.since_s)
        return now_s - beaten_s > STALE_S and now_s < slot.deadline_s + HELD_MAX_S

    # --- small steps ---

    def _step(self, number: int, event: SlotEvent, now_s: float, deadline_s: float | None = None) -> None:
        """Move a slot by the table. Without `deadline_s`, a new state has no deadline, and an unchanged state keeps its
        own."""
        slot = self.slots[number]
        state = next_state(slot, event)
        if deadline_s is None:
            deadline_s = slot.deadline_s if state is slot.state else inf
        since_s = slot.since_s if state is slot.state else now_s
        self.slots[number] = replace(slot, state=state, since_s=since_s, deadline_s=deadline_s)

    def _drain(self, slot: Slot, backlog: OnDrain, now_s: float) -> Action:
        leaves_by_s = now_s + self.deadlines.mercy_s + FORCE_MARGIN_S
        self._step(slot.number, SlotEvent.DRAIN, now_s, leaves_by_s)
        self.slots[slot.number] = replace(self.slots[slot.number], leaves_by_s=leaves_by_s)
        return DrainWorker(slot.number, backlog)

    def _boot_failed(self, code: ExitCode = ExitCode.APPLICATION) -> None:
        """No worker was ever Ready: the first generation is broken. Further tries would only hide that."""
        if not self.proven and self.mode is Mode.RUNNING:
            self.mode = Mode.STOPPING
            self.exit_code = code

    def _outdated(self, slot: Slot) -> bool:
        return slot.tired or slot.generation < self.templates.wanted_generation

    def _surge(self) -> int:
        """Return by how many workers a rolling replacement may exceed the target: one, or a tenth."""
        return max(1, self.target // 10)

    def _vacancy(self, now_s: float) -> Slot | None:
        """Return the slot for the next spawn: first a slot with failures, so that its record continues, then the
        lowest."""
        vacant = [slot for slot in self.of_state(SlotState.VACANT) if slot.not_before_s <= now_s]
        if vacant:
            return min(vacant, key=lambda slot: (-slot.failures, slot.number))
        if len(self.slots) >= SLOTS_MAX:
            return None
        self.slots.append(Slot(len(self.slots)))
        return self.slots[-1]

    def _free_seat(self) -> int:
        """Return the lowest seat that no current worker uses. Sockets and CPUs go by seat, because slot numbers move
        during
        reloads: while workers are replaced, there are more slots than workers."""
        taken = {slot.seat for slot in self.of_state(*LIVE) if not self._outdated(slot)}
        return next(seat for seat in range(SLOTS_MAX + 1) if seat not in taken)

    def _forgive_lost_time(self, now_s: float) -> None:
        """Move all deadlines after a gap (SIGSTOP, a suspended machine): no process could meet a deadline in that
        time."""
        last_s, self.last_plan_s = self.last_plan_s, now_s
        if last_s is None or 0 <= now_s - last_s <= LOST_TIME_S:
            return
        lost_s = now_s - last_s
        self.templates.forgive(lost_s)
        self.slots = [
            replace(
                slot,
                since_s=now_s,
                ready_s=slot.ready_s + lost_s,
                deadline_s=slot.deadline_s + lost_s,
                leaves_by_s=slot.leaves_by_s + lost_s,
                not_before_s=slot.not_before_s + lost_s,
            )
            for slot in self.slots
        ]
