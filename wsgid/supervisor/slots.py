"""The states of worker slots and templates, and the one table of what may follow what.

Rules
* Everything about states lives here; who causes a transition, and what follows from it, is fleet.py's business.
* A pair that TRANSITIONS does not list is a bug: IllegalTransition names both.
* A slot is VACANT again only when its process was reaped (or provably never lived).
"""

from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from wsgid.errors import IllegalTransition


class SlotState(Enum):
    VACANT = auto()
    SPAWNING = auto()  # asked for; not Ready yet
    READY = auto()  # accepts connections
    STALLED = auto()  # its hub has not run for too long; it was signalled
    LOST = auto()  # its end of the channel is closed: it leaves unasked
    DRAINING = auto()  # finishes what is in flight, then leaves
    STUCK = auto()  # the same, and its hub has not run for too long; it was signalled
    ABORTING = auto()  # is made to leave


class SlotEvent(Enum):
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
    (_S.DRAINING, _E.READY): _S.DRAINING,  # it said Ready before it read our Drain
    (_S.DRAINING, _E.CLOSE): _S.DRAINING,
    (_S.DRAINING, _E.STALL): _S.STUCK,
    (_S.DRAINING, _E.ABORT): _S.ABORTING,
    (_S.DRAINING, _E.GONE): _S.VACANT,
    (_S.STUCK, _E.RECOVER): _S.DRAINING,
    (_S.STUCK, _E.READY): _S.STUCK,  # likewise
    (_S.STUCK, _E.CLOSE): _S.STUCK,
    (_S.STUCK, _E.ABORT): _S.ABORTING,
    (_S.STUCK, _E.GONE): _S.VACANT,
    (_S.ABORTING, _E.READY): _S.ABORTING,
    (_S.ABORTING, _E.CLOSE): _S.ABORTING,
    (_S.ABORTING, _E.ABORT): _S.ABORTING,
    (_S.ABORTING, _E.GONE): _S.VACANT,
}

WATCHED = (_S.READY, _S.STALLED, _S.DRAINING, _S.STUCK)  # their hubs have to run
LEAVING = (_S.DRAINING, _S.STUCK)
HELD_UP = (_S.STALLED, _S.STUCK)
STAFF = (_S.SPAWNING, _S.READY, _S.STALLED)  # can be told to drain
BOOTING = (_S.SPAWNING, _S.DRAINING, _S.ABORTING)  # a process may be on its way there that has not said Hello
LIVE = (*STAFF, _S.LOST)  # counts as a worker, until waitpid says otherwise; the rest is on its way out


@dataclass(frozen=True, slots=True)
class Slot:
    number: int
    state: SlotState = SlotState.VACANT
    generation: int = 0
    pid: int = 0  # 0: nobody said Hello yet
    seat: int = 0  # what of the machine is its own: see Fleet._free_seat
    ready_s: float = inf  # when it said Ready
    since_s: float = 0.0  # when it entered its state
    deadline_s: float = inf  # when its state has lasted too long
    leaves_by_s: float = inf  # when its mercy time is over
    heartbeat_s: float = 0.0  # when its hub last ran
    held_s: float = 0.0  # for how long its hub was held up, in all
    shown_s: float = 0.0  # the heartbeat after which it was last asked to show what holds its hub
    tired: bool = False  # to be replaced, as it asked for (--max-requests and the like)
    failures: int = 0  # short lives in a row
    wary: bool = False  # the last worker here died unasked: what killed it may wait in the backlog
    not_before_s: float = -inf  # back-off: the earliest next spawn


class TemplateState(Enum):
    BOOTING = auto()
    READY = auto()
    LOST = auto()  # its end of the channel is closed
    DISMISSED = auto()


class Purpose(Enum):
    """Why a template was launched: only a reload makes the workers of older generations outdated."""

    START = auto()
    RELOAD = auto()
    REPLACE = auto()


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    generation: int
    purpose: Purpose
    state: TemplateState = TemplateState.BOOTING
    ready_s: float = inf
    deadline_s: float = inf
    overdue: int = 0  # how often it was told to end


def next_state(slot: Slot, event: SlotEvent) -> SlotState:
    """What the table says.

    Raises:
        IllegalTransition: it says nothing of this pair.
    """
    state = TRANSITIONS.get((slot.state, event))
    if state is None:
        raise IllegalTransition(f"slot {slot.number} is {slot.state.name} and cannot take the event {event.name}")
    return state
