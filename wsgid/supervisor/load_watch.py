"""Looks at the load, and lets the fleet have as many workers as scaling.py says: --workers-min."""

from math import inf

from wsgid import log
from wsgid.config.options import Settings
from wsgid.counted import counted
from wsgid.ipc.scoreboard import Scoreboard, Word
from wsgid.supervisor.fleet import Fleet, Mode
from wsgid.supervisor.listeners import Listeners
from wsgid.supervisor.scaling import Load, Scaling
from wsgid.supervisor.slots import SlotState

LOOK_S = 0.1


def initial_workers(settings: Settings, running: int = 0) -> int:
    """Return the number of workers at the start.

    Args:
        settings: of the server.
        running: how many workers an image before SIGUSR2 has left.
    """
    if not settings.workers_min:
        return settings.workers
    wanted = running or settings.workers_initial or settings.workers_min
    return min(max(wanted, min(settings.workers_min, settings.workers)), settings.workers)


class LoadWatch:
    """Watches the load. Without --workers-min it does nothing.

    Args:
        settings: of the server.
        fleet: gets the number of workers.
        scoreboard: has the requests in flight.
        listeners: have the connections that wait.
    """

    def __init__(self, settings: Settings, fleet: Fleet, scoreboard: Scoreboard, listeners: Listeners) -> None:
        self._fleet = fleet
        self._scoreboard = scoreboard
        self._listeners = listeners
        self._scaling = (
            Scaling(settings.workers_min, settings.workers, fleet.target, settings.gevent)
            if settings.workers_min
            else None
        )
        self._next_s = -inf

    def turn(self, now_s: float) -> None:
        """Look at the load, if it is time."""
        if self._scaling is None or now_s < self._next_s or not self._is_calm():
            return
        self._next_s = now_s + LOOK_S
        load = self._load()
        workers = self._scaling.target(load, now_s)
        if workers != self._fleet.target:
            log.info(
                "%s from now on: %s in flight, %s in the backlog",
                counted(workers, "worker"),
                counted(load.in_flight, "request"),
                counted(load.waiting, "connection"),
            )
            self._fleet.target = workers
            self._listeners.grow(workers)

    def next_turn_s(self) -> float:
        """Return when the load has to be looked at again."""
        return self._next_s if self._scaling is not None and self._is_calm() else inf

    def set(self, workers: int) -> None:
        """The operator has asked for this number of workers."""
        if self._scaling is not None:
            self._scaling.set(workers)

    def _is_calm(self) -> bool:
        """Whether there is something to look at: a stop has its own rules, and so has the start."""
        return self._fleet.proven and self._fleet.mode is Mode.RUNNING

    def _load(self) -> Load:
        ready = self._fleet.of_state(SlotState.READY, SlotState.STALLED)
        lines = [self._scoreboard.line(slot.number) for slot in ready]
        in_flight = [line[Word.IN_FLIGHT] for line in lines]
        queues = [listener.queue() for listener in self._listeners.opened]
        return Load(
            ready=len(ready),
            idle=in_flight.count(0),
            in_flight=sum(in_flight),
            waiting=sum(queue.waiting for queue in queues if queue),
            standing=sum(line[Word.HUB_LATE_PERMILLE] for line in lines) / 1000,
        )
