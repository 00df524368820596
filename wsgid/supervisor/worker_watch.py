"""Watches the workers without asking them: whether their event loops run, and how large they are."""

from signal import Signals

from wsgid import log
from wsgid.ipc.scoreboard import DeathCause, Scoreboard, Word
from wsgid.linux import memory
from wsgid.supervisor.children import send_signal
from wsgid.supervisor.deaths import Deaths
from wsgid.supervisor.fleet import Fleet
from wsgid.supervisor.slots import LEAVING, WATCHED, SlotState


class WorkerWatch:
    """Watches the workers.

    Args:
        fleet: is told of the heartbeats.
        scoreboard: has the heartbeats.
        deaths: is told why a worker is about to end.
        rss_limit_mib: a worker of this size is killed (--evil-reload-on-rss); 0: no limit.
    """

    def __init__(self, fleet: Fleet, scoreboard: Scoreboard, deaths: Deaths, rss_limit_mib: int) -> None:
        self._fleet = fleet
        self._scoreboard = scoreboard
        self._deaths = deaths
        self._rss_limit_mib = rss_limit_mib

    def read_heartbeats(self) -> None:
        """Pass the heartbeats of all workers to the fleet."""
        for slot in self._fleet.of_state(*WATCHED):
            line = self._scoreboard.line(slot.number)
            beaten_s = line[Word.HEARTBEAT_NS] / 1e9  # first, because the worker writes it last
            self._fleet.heartbeat(slot.number, beaten_s, line[Word.HELD_US] / 1e6, line[Word.IN_FLIGHT])

    def kill_the_large(self) -> None:
        """Kill workers that have reached --evil-reload-on-rss."""
        limit_bytes = self._rss_limit_mib << 20
        for slot in self._fleet.of_state(SlotState.READY, *LEAVING) if limit_bytes else ():
            if memory.rss_bytes(slot.pid) >= limit_bytes:
                log.error(
                    "worker %d (generation %d, pid %d) has reached --evil-reload-on-rss %d: killed",
                    slot.number,
                    slot.generation,
                    slot.pid,
                    self._rss_limit_mib,
                )
                self._deaths.expect(slot.number, DeathCause.EVIL_RSS)
                send_signal(slot.pid, Signals.SIGKILL)
