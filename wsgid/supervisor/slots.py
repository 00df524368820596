"""The states of worker slots and templates, and the table of transitions.

Rules
* This module has the states; fleet.py causes transitions, and knows their consequences.
* A pair that is not in TRANSITIONS is a bug: IllegalTransition names the state and the event.
* A slot becomes VACANT again only when its process was reaped, or provably never lived.
"""

from enum import Enum, auto
from math import inf

from wsgid.errors import IllegalTransition
from wsgid.records import dataclass


class SlotState(Enum):
    """The states of a slot."""

    VACANT = auto()
    SPAWNING = auto()  # requested, and not Ready yet
    READY = auto()  # accepts connections
    STALLED = auto()  # its hub has not run for too long, and the worker was signalled
    LOST = auto()  # its end of the channel is closed: it leaves without being asked
    DRAINING = auto()  # finishes what is in flight, then leaves
    STUCK = auto()  # draining, but its hub has not run for too long, and the worker was signalled
    ABORTING = auto()  # is being forced to leave


class SlotEvent(Enum):
    """The events that change the state of a slot."""

    SPAWN = auto()
    READY = auto()
    STALL = auto()
    RECOVER = auto()
    CLOSE = auto()
    DRAIN = auto()
    ABORT = auto()
    GONE = auto()


_S, _E = SlotState, SlotEvent
TRANSITIONS: dict[tuple[SlotState, SlotEvent], SlotState] = {
    (_S.VACANT, _E.SPAWN): _S.SPAWNING,
    (_S.SPAWNING, _E.READY): _S.READY,
    (_S.SPAWNING, _E.CLOSE): _S.LOST,
    (_S.SPAWNING, _E.DRAIN): _S.DRAINING,
    (_S.SPAWNING, _E.ABORT): _S.ABORTING,
    (_S.SPAWNING, _E.GONE): _S.VACANT,
    (_S.READY, _E.STALL): _S.STALLED,
    (_S.READY, _E.CLOSE): _S.LOST,
    (_S.READY, _E.DRAIN): _S.DRAINING,
    (_S.READY, _E.ABORT): _S.ABORTING,
    (_S.READY, _E.GONE): _S.VACANT,
    (_S.STALLED, _E.RECOVER): _S.READY,
    (_S.STALLED, _E.CLOSE): _S.LOST,
    (_S.STALLED, _E.DRAIN): _S.DRAINING,
    (_S.STALLED, _E.ABORT): _S.ABORTING,
    (_S.STALLED, _E.GONE): _S.VACANT,
    (_S.LOST, _E.ABORT): _S.ABORTING,
    (_S.LOST, _E.GONE): _S.VACANT,
    (_S.DRAINING, _E.READY): _S.DRAINING,  # it has sent Ready before it read our Drain
    (_S.DRAINING, _E.CLOSE): _S.DRAINING,
    (_S.DRAINING, _E.STALL): _S.STUCK,
    (_S.DRAINING, _E.ABORT): _S.ABORTING,
    (_S.DRAINING, _E.GONE): _S.VACANT,
    (_S.STUCK, _E.RECOVER): _S.DRAINING,
    (_S.STUCK, _E.READY): _S.STUCK,  # the same
    (_S.STUCK, _E.CLOSE): _S.STUCK,
    (_S.STUCK, _E.ABORT): _S.ABORTING,
    (_S.STUCK, _E.GONE): _S.VACANT,
    (_S.ABORTING, _E.READY): _S.ABORTING,
    (_S.ABORTING, _E.CLOSE): _S.ABORTING,
    (_S.ABORTING, _E.ABORT): _S.ABORTING,
    (_S.ABORTING, _E.GONE): _S.VACANT,
}

WATCHED = (_S.READY, _S.STALLED, _S.DRAINING, _S.STUCK)  # in these states the hub has to run
LEAVING = (_S.DRAINING, _S.STUCK)
HELD_UP = (_S.STALLED, _S.STUCK)
STAFF = (_S.SPAWNING, _S.READY, _S.STALLED)  # workers that can be told to drain
BOOTING = (_S.SPAWNING, _S.DRAINING, _S.ABORTING)  # a process may be starting that has not sent Hello yet
LIVE = (*STAFF, _S.LOST)  # these count as workers until waitpid says otherwise; all others are leaving


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot, and the worker in it."""

    number: int
    state: SlotState = SlotState.VACANT
    generation: int = 0
    pid: int = 0  # 0: no Hello has arrived yet
    seat: int = 0  # the number for sockets and CPUs: see Fleet._free_seat
    ready_s: float = inf  # when Ready arrived
    since_s: float = 0.0  # when it entered its state
    deadline_s: float = inf  # the end of the time for this state
    leaves_by_s: float = inf  # the end of its mercy time
    heartbeat_s: float = 0.0  # when its hub last ran
    in_flight: int = 0  # its requests
    held_s: float = 0.0  # how long its hub was held up, in total
    shown_s: float = 0.0  # the heartbeat after which it was last asked to show what holds its hub
    tired: bool = False  # has asked to be replaced (--max-requests and the like)
    failures: int = 0  # short lives in a row
    wary: bool = False  # the last worker here died unasked: the request that killed it may wait in the backlog
    not_before_s: float = -inf  # the earliest time of the next spawn


class TemplateState(Enum):
    """The states of a template."""

    BOOTING = auto()
    READY = auto()
    LOST = auto()  # its end of the channel is closed
    DISMISSED = auto()


class Purpose(Enum):
    """Why a template was launched. Only a reload makes workers of older generations outdated."""

    START = auto()
    RELOAD = auto()
    REPLACE = auto()


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    """What the fleet knows of a template."""

    generation: int
    purpose: Purpose
    state: TemplateState = TemplateState.BOOTING
    ready_s: float = inf
    deadline_s: float = inf
    overdue: int = 0  # how often it was told to end


def next_state(slot: Slot, event: SlotEvent) -> SlotState:
    """Return the state after an event, by the table.

    Raises:
        IllegalTransition: the pair is not in the table.
    """
    state = TRANSITIONS.get((slot.state, event))
    if state is None:
        raise IllegalTransition(f"slot {slot.number} is {slot.state.name} and cannot take the event {event.name}")
    return state
