"""Handles the end of a process: the log, the counters in the scoreboard, the fleet.

Rules
* Only waitpid(2) tells that a process has ended. Its channel was read before (see the turn in master.py).
* The cause of a worker's end is the cause that was known before. Otherwise its exit status and its state decide.
"""

import os
import time
from math import inf
from signal import Signals

from wsgid import log
from wsgid.counted import counted
from wsgid.ipc.scoreboard import DeathCause, Scoreboard, Word
from wsgid.limits.ledger import Ledger
from wsgid.linux import process
from wsgid.supervisor.boot_failures import BootFailures
from wsgid.supervisor.children import Children
from wsgid.supervisor.fleet import Fleet, Mode
from wsgid.supervisor.rehearsal import Rehearsal
from wsgid.supervisor.slots import LEAVING, Slot, SlotState, TemplateState


class Deaths:
    """Knows what each process was, and why a worker is about to end.

    Args:
        fleet: is told about templates and workers.
        children: their channels are closed.
        rehearsal: is told when its own process has ended.
        scoreboard: of the workers.
        failures: is told which process has ended before it was ready.
        ledger: of the limits.
    """

    def __init__(
        self,
        fleet: Fleet,
        children: Children,
        rehearsal: Rehearsal,
        scoreboard: Scoreboard,
        failures: BootFailures,
        ledger: Ledger,
    ) -> None:
        self._fleet = fleet
        self._children = children
        self._rehearsal = rehearsal
        self._scoreboard = scoreboard
        self._failures = failures
        self._ledger = ledger
        self._causes: dict[int, DeathCause] = {}  # by slot

    def expect(self, slot: int, cause: DeathCause) -> None:
        """Record that the worker in this slot is about to end, for this cause."""
        self._causes[slot] = cause

    def reaped(self, pid: int, status: int, cpu_us: int = 0) -> None:
        """Handle a process that has ended with this status of wait4(2), and has used this processor time."""
        if pid == self._rehearsal.pid:
            self._rehearsal.ended(status)
            return
        if pid == self._children.spare.pid:
            self._children.spare.reaped()
            return
        words = process.status_in_words(status)
        generation = self._children.generation_of(pid)
        if generation is not None:
            self._template(generation, words)
            return
        for slot in self._fleet.slots:
            if slot.pid == pid:
                self._scoreboard.note_cpu(slot.number, cpu_us)
                self._worker(slot, words, status)
                return
        log.debug("an orphan of the application, pid %d, %s", pid, words)

    def _template(self, generation: int, words: str) -> None:
        was_loaded = self._children.remove_template(generation)
        if self._fleet.templates.is_booting(generation) and self._fleet.proven and not was_loaded:
            self._failures.launch_refused(
                generation, f"it {words} before wsgid was loaded; let the virtual environment's installation finish"
            )
            return
        left = self._fleet.template_gone(generation, time.monotonic())
        if left is not TemplateState.DISMISSED:
            log.error("template %d %s", generation, words)
        if left is TemplateState.BOOTING:
            self._failures.died(generation, f"template {generation}", words)

    def _worker(self, slot: Slot, words: str, status: int) -> None:
        self._children.close_worker(slot.number)
        told = slot.ready_s == inf and os.WIFSIGNALED(status) and os.WTERMSIG(status) == Signals.SIGTERM
        left = self._fleet.gone(slot.number, time.monotonic(), told)
        in_flight = self._scoreboard.line(slot.number)[Word.IN_FLIGHT]
        self._scoreboard.clear(slot.number)
        self._ledger.clear(slot.number)
        cause = self._cause(slot, left, status)
        if cause is DeathCause.BOOT:
            self._failures.died(slot.generation, f"worker {slot.number}", words)
        if self._fleet.mode is Mode.RUNNING:
            self._scoreboard.note_death(slot.number, cause)
        lost = f" with {counted(in_flight, 'request')} in flight" if in_flight else ""
        asked = told or (status == 0 and left in (*LEAVING, SlotState.READY))
        (log.info if asked else log.error)(
            "worker %d (generation %d, pid %d) %s%s", slot.number, slot.generation, slot.pid, words, lost
        )

    def _cause(self, slot: Slot, left: SlotState, status: int) -> DeathCause:
        """Return why a worker has ended. `left` is its last state."""
        expected = self._causes.pop(slot.number, None)
        # The event loop may have been held up only for a while.
        if expected and not (expected is DeathCause.HUB and status == 0):
            return expected
        if slot.ready_s == inf:
            return DeathCause.BOOT
        if status != 0:
            return DeathCause.CRASH
        if left in LEAVING:
            return (
                DeathCause.RELOAD if slot.generation < self._fleet.templates.wanted_generation else DeathCause.SURPLUS
            )
        return DeathCause.LEFT
