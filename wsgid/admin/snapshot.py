"""What the master knows of its server at one moment, as plain values: the source of statistics, metrics and status.

Rules
* Workers are not asked: everything is from the scoreboard, from the fleet's records, from the kernel, and from what the
  workers have said by themselves.
* Code that renders a Snapshot does no I/O.
* Times of day are seconds of time.time(), as in uWSGI's statistics; ages are seconds.
"""

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from operator import add
from typing import TYPE_CHECKING

from wsgid import __version__
from wsgid.config.options import Settings
from wsgid.ipc.scoreboard import COUNTERS, DURATION_BOUNDS_US, DeathCause, Scoreboard, Word
from wsgid.limits.ledger import Ledger, LimiterView
from wsgid.linux import memory, process
from wsgid.records import dataclass, field
from wsgid.sockets.listener import Listener
from wsgid.supervisor.attached import AttachedDaemon
from wsgid.supervisor.boot_failures import Failure
from wsgid.supervisor.fleet import Fleet
from wsgid.supervisor.slots import Slot, SlotState, TemplateState

if TYPE_CHECKING:
    from wsgid.admin.caches import CacheView

_COUNTED = slice(COUNTERS.start, COUNTERS.stop)
STANDSTILL_S = 1.0  # an event loop is not said to stand still before this age of its heartbeat


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A slot of the fleet, and the worker in it.

    Args:
        words: of the scoreboard, by number: present values, and the counters of all workers of the slot.
        since: the counters of the present worker.
        cpu_us: processor time of the present worker.
    """

    slot: int
    state: SlotState
    generation: int
    pid: int
    spawns: int
    spawned_s: int
    heartbeat_age_s: float
    memory: memory.Size
    words: Sequence[int]
    since: Sequence[int]
    deaths: dict[DeathCause, int]
    failures: int = 0  # short lives in a row
    rests_s: float = 0.0  # seconds until the next try, after short lives
    cpu_us: int = 0

    @property
    def in_flight(self) -> int:
        """Connections that hold a place of --gevent."""
        return self.words[Word.IN_FLIGHT]

    @property
    def durations(self) -> list[int]:
        """The histogram: how many requests took at most each of DURATION_BOUNDS_US, and how many longer; not
        cumulated."""
        return list(self.words[Word.DURATIONS : Word.DURATIONS + len(DURATION_BOUNDS_US) + 1])


@dataclass(frozen=True, slots=True)
class ListenerView:
    """An address, and its backlog."""

    address: str
    path: str  # of a unix socket; empty for other sockets
    queue: int | None  # connections that wait to be accepted; None: the kernel does not tell
    backlog: int | None  # how many can wait
    protocol: str = "uwsgi"


@dataclass(frozen=True, slots=True)
class TemplateView:
    """A template, and its process."""

    generation: int
    state: TemplateState
    pid: int


@dataclass(frozen=True, slots=True)
class Processes:
    """What only the master knows of its processes, beside the fleet.

    Args:
        templates: generation -> pid.
        spare_pid: of the process for the next template; 0 if there is none.
        failure: why the newest generation that failed to boot has failed.
        connections: how many connections go out of all workers, by peer (ipc/peer_counts.py).
        daemons: the commands of --attach-daemon.
    """

    templates: Mapping[int, int]
    spare_pid: int
    failure: Failure | None
    connections: Mapping[str, int] = field(default_factory=dict)
    daemons: tuple[AttachedDaemon, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the server.

    Args:
        places: the value of --gevent: how many requests a worker handles at once.
        hub_warn_s: the value of --hub-warn.
        python: the version of the interpreter.
        prefix: the directory of the packages: of --virtualenv, or of the master's own environment.
        workers: all slots that were ever used, VACANT ones included.
        wanted: the number of workers that there should be.
        stopping: whether a stop was asked for; with --shutdown-delay, serving goes on for a while.
    """

    version: str
    application: str
    mode: str  # the name of a fleet.Mode in lower case
    stopping: bool
    pid: int
    uid: int
    gid: int
    directory: str
    now_s: float
    started_s: float
    generation: int
    wanted: int
    places: int
    hub_warn_s: float
    workers: tuple[WorkerView, ...]
    listeners: tuple[ListenerView, ...]
    templates: tuple[TemplateView, ...] = ()
    next_generation: int = 0  # of the next template
    spare_pid: int = 0
    failure: Failure | None = None
    connections: Mapping[str, int] = field(default_factory=dict)  # that go out of all workers, by peer
    daemons: tuple[AttachedDaemon, ...] = ()
    python: str = ""
    prefix: str = ""
    caches: "tuple[CacheView, ...]" = ()
    limiters: tuple[LimiterView, ...] = ()

    @property
    def ready(self) -> int:
        """How many workers accept connections."""
        return sum(worker.state is SlotState.READY for worker in self.workers)

    def is_held_up(self, worker: WorkerView) -> bool:
        """Whether the worker's event loop stands still. Its state says so only after --hub-timeout."""
        late = worker.heartbeat_age_s > max(self.hub_warn_s, STANDSTILL_S)
        return worker.state is SlotState.STALLED or (worker.state is SlotState.READY and late)

    def serves(self, worker: WorkerView) -> bool:
        """Whether the worker accepts connections, and its event loop runs."""
        return worker.state is SlotState.READY and not self.is_held_up(worker)

    @property
    def reload_failed(self) -> bool:
        """Whether a newer generation could not boot, so that this one keeps serving."""
        return self.failure is not None and self.failure.generation > self.generation


def take_snapshot(
    settings: Settings,
    fleet: Fleet,
    scoreboard: Scoreboard,
    listeners: Sequence[Listener],
    started_s: float,
    processes: Processes,
    ledger: Ledger,
) -> Snapshot:
    """Return the present state.

    Args:
        started_s: when this master began, of time.time().
        ledger: of the limits.
    """
    return Snapshot(
        version=__version__,
        application=settings.application_name,
        mode=fleet.mode.name.lower(),
        stopping=fleet.stopping,
        pid=os.getpid(),
        uid=os.getuid(),
        gid=os.getgid(),
        directory=_directory(),
        now_s=time.time(),
        started_s=started_s,
        generation=fleet.templates.wanted_generation,
        wanted=fleet.target,
        places=settings.gevent,
        hub_warn_s=settings.hub_warn,
        workers=tuple(_view(slot, scoreboard) for slot in fleet.slots),
        listeners=tuple(_view_listeners(listeners)),
        templates=tuple(
            TemplateView(template.generation, template.state, processes.templates.get(template.generation, 0))
            for template in fleet.templates.records.values()
        ),
        next_generation=fleet.templates.next_generation,
        spare_pid=processes.spare_pid,
        failure=processes.failure,
        connections=processes.connections,
        daemons=processes.daemons,
        python=sys.version.split()[0],
        prefix=settings.virtualenv or sys.prefix,
        caches=_caches(settings) if settings.cache else (),
        limiters=tuple(ledger.limiters()),
    )


def take_worker(fleet: Fleet, scoreboard: Scoreboard, number: int) -> WorkerView | None:
    """Return the worker in a slot; None if there is none. This costs a small part of a snapshot."""
    found = (slot for slot in fleet.slots if slot.number == number and slot.pid)
    return next((_view(slot, scoreboard) for slot in found), None)


def _caches(settings: Settings) -> "tuple[CacheView, ...]":
    from wsgid.admin import caches  # only for sites with a cache

    return caches.views(settings.cache)


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # a deployment has removed it, as it does with old releases
        return ""


def _view_listeners(listeners: Sequence[Listener]) -> Iterable[ListenerView]:
    """Return one view for each address: sockets that share an address (--reuse-port) are added up."""
    addresses: dict[str, list[Listener]] = {}
    for bound in listeners:
        addresses.setdefault(bound.address, []).append(bound)
    for address, sharing in addresses.items():
        known = [queue for bound in sharing if (queue := bound.queue())]
        complete = len(known) == len(sharing)
        yield ListenerView(
            address,
            str(sharing[0].path or ""),
            sum(queue.waiting for queue in known) if complete else None,
            sum(queue.size for queue in known) if complete else None,
            sharing[0].spoken.protocol.value,
        )


def _view(slot: Slot, scoreboard: Scoreboard) -> WorkerView:
    line, past = scoreboard.line(slot.number).tolist(), scoreboard.past(slot.number).tolist()
    words = list(line)
    words[_COUNTED] = map(add, line[_COUNTED], past[_COUNTED])
    cpu_us = process.cpu_us(slot.pid) if slot.pid else 0
    words[Word.CPU_US] = past[Word.CPU_US] + cpu_us
    # A worker that is ending has a heartbeat in the future: see Worker.run.
    age_s = max(time.monotonic_ns() - line[Word.HEARTBEAT_NS], 0) / 1e9 if line[Word.HEARTBEAT_NS] else 0.0
    return WorkerView(
        slot=slot.number,
        state=slot.state,
        generation=slot.generation,
        pid=slot.pid,
        spawns=past[Word.SPAWNS],
        spawned_s=past[Word.SPAWNED_S],
        heartbeat_age_s=age_s,
        memory=memory.size(slot.pid) if slot.pid else memory.Size(0, 0),
        words=words,
        since=line,
        deaths=scoreboard.deaths(slot.number),
        failures=slot.failures,
        cpu_us=cpu_us,
        rests_s=max(slot.not_before_s - time.monotonic(), 0.0) if slot.state is SlotState.VACANT else 0.0,
    )
