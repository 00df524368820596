"""Carries out the actions that the fleet's plan orders (actions.py).

Rules
* The fleet counts an action as done already. If the kernel refuses the action, the fleet is told, and plans again.
* A process is ended step by step: a message, then a signal whose handler logs the stack, then SIGKILL.
"""

import time
from collections.abc import Callable
from pathlib import Path
from signal import Signals
from typing import Any

from wsgid import log
from wsgid.config.options import Settings
from wsgid.ipc import messages
from wsgid.ipc.scoreboard import DeathCause, Scoreboard
from wsgid.limits.ledger import Ledger
from wsgid.linux import memfd
from wsgid.linux.syscall_errors import close, named, words
from wsgid.log.files import LogFiles
from wsgid.records import asdict
from wsgid.supervisor import actions, launch
from wsgid.supervisor.actions import Action
from wsgid.supervisor.boot_failures import BootFailures
from wsgid.supervisor.children import Children, interrupt_import, send_signal
from wsgid.supervisor.deaths import Deaths
from wsgid.supervisor.fleet import Fleet, Mode
from wsgid.supervisor.listeners import Listeners
from wsgid.supervisor.slots import HELD_UP


class Executor:
    """Carries out actions.

    Args:
        settings: the operator's settings.
        site: the directory of the application.
        fleet: makes the plan.
        children: the processes that the actions are about.
        listeners: the sockets of the workers.
        scoreboard: the counters of the workers.
        files: the log files; each template gets their descriptors.
        deaths: is told why a worker is about to end.
        failures: is told what cannot be started.
        ledger: of the limits; each template gets its memory.
    """

    def __init__(
        self,
        settings: Settings,
        site: Path,
        fleet: Fleet,
        children: Children,
        listeners: Listeners,
        scoreboard: Scoreboard,
        files: LogFiles,
        deaths: Deaths,
        failures: BootFailures,
        ledger: Ledger,
    ) -> None:
        self._settings = settings
        self._site = site
        self._fleet = fleet
        self._children = children
        self._listeners = listeners
        self._scoreboard = scoreboard
        self._files = files
        self._deaths = deaths
        self._failures = failures
        self._ledger = ledger

    def carry_out(self, action: Action) -> None:
        """Carry out any action except Exit."""
        _CARRIED_OUT_BY[type(action)](self, action)

    # --- templates ---

    def _launch_template(self, action: actions.LaunchTemplate) -> None:
        try:
            self._start_template(action.generation)
        except OSError as error:
            self._failures.launch_refused(action.generation, words(error))

    def _start_template(self, generation: int) -> None:
        """Start the template's process. Raises OSError; then there is no process."""
        if launch.stand_in(self._site):
            self._children.spare.end()  # its working directory was removed
        inherited = self._listeners.inherited()
        spoken = [asdict(listener.spoken) for listener in inherited]
        sockets = [listener.socket.fileno() for listener in inherited]
        with named("memfd_create", "for the settings"):
            settings_fd = memfd.write(self._settings.as_dict())
        try:
            self._children.start_template(
                messages.Boot(generation, spoken),
                [settings_fd, *sockets, self._scoreboard.fd, self._ledger.fd, *self._files.fds.values()],
            )
        finally:
            close(settings_fd)

    def _dismiss_template(self, action: actions.DismissTemplate) -> None:
        self._children.close_template(action.generation)

    def _interrupt_template(self, action: actions.InterruptTemplate) -> None:
        """See late_import.py."""
        log.error(
            "template %d has not imported the application in %g s (--boot-timeout): it ends now, and its stack follows",
            action.generation,
            self._settings.boot_timeout,
        )
        self._children.signal_template(action.generation, Signals.SIGXCPU)

    def _abort_template(self, action: actions.AbortTemplate) -> None:
        self._children.signal_template(action.generation, Signals.SIGABRT)

    def _kill_template(self, action: actions.KillTemplate) -> None:
        self._children.signal_template(action.generation, Signals.SIGKILL)

    # --- workers ---

    def _spawn(self, action: actions.SpawnWorker) -> None:
        seat = self._fleet.slots[action.slot].seat
        self._ledger.note_spawn(action.slot)
        try:
            self._children.start_worker(messages.Spawn(action.slot, action.generation, action.wary, seat))
        except OSError as error:
            self._children.close_worker(action.slot)
            self._failures.spawn_refused(action.slot, words(error))
        else:
            self._scoreboard.note_spawn(action.slot, int(time.time()))

    def _drain(self, action: actions.DrainWorker) -> None:
        order = messages.Drain(action.backlog.value, self._settings.worker_reload_mercy)
        self._children.workers[action.slot].order(order)
        interrupt_import(self._fleet.slots[action.slot])

    def _interrupt(self, action: actions.Interrupt) -> None:
        slot = self._fleet.slots[action.slot]
        log.warning(
            "worker %d (generation %d, pid %d): its event loop has not run for %.1f s",
            slot.number,
            slot.generation,
            slot.pid,
            time.monotonic() - max(slot.heartbeat_s, slot.ready_s),
        )
        if slot.state in HELD_UP:
            self._deaths.expect(slot.number, DeathCause.HUB)
        send_signal(slot.pid, Signals.SIGXCPU)

    def _interrupt_import(self, action: actions.InterruptImport) -> None:
        """See late_import.py."""
        slot = self._fleet.slots[action.slot]
        log.error(
            "worker %d (generation %d, pid %d) has not become ready in %g s (--boot-timeout): it ends now, "
            "and its stack follows",
            slot.number,
            slot.generation,
            slot.pid,
            self._settings.boot_timeout,
        )
        send_signal(slot.pid, Signals.SIGXCPU)

    def _abort(self, action: actions.Abort) -> None:
        self._end(action.slot, Signals.SIGABRT)

    def _kill(self, action: actions.Kill) -> None:
        self._end(action.slot, Signals.SIGKILL)

    def _end(self, number: int, signo: Signals) -> None:
        slot = self._fleet.slots[number]
        if self._fleet.mode is not Mode.STOPPING:
            log.error("worker %d (generation %d, pid %d) is overdue: %s", number, slot.generation, slot.pid, signo.name)
        send_signal(slot.pid, signo)

    def _abandon(self, action: actions.Abandon) -> None:
        log.error("worker %d did not start in %g s", action.slot, self._settings.boot_timeout)
        self._children.close_worker(action.slot)

    # --- the server ---

    def _unlisten(self, action: actions.Unlisten) -> None:
        self._listeners.close()
        self._children.spare.give_up()


_CARRIED_OUT_BY: dict[type[Action], Callable[[Executor, Any], None]] = {
    actions.LaunchTemplate: Executor._launch_template,
    actions.DismissTemplate: Executor._dismiss_template,
    actions.InterruptTemplate: Executor._interrupt_template,
    actions.AbortTemplate: Executor._abort_template,
    actions.KillTemplate: Executor._kill_template,
    actions.SpawnWorker: Executor._spawn,
    actions.DrainWorker: Executor._drain,
    actions.Interrupt: Executor._interrupt,
    actions.InterruptImport: Executor._interrupt_import,
    actions.Abort: Executor._abort,
    actions.Kill: Executor._kill,
    actions.Abandon: Executor._abandon,
    actions.Unlisten: Executor._unlisten,
}
