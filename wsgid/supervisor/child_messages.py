"""Handles the messages of templates and workers.

Rules
* A message is checked first: against its annotations (messages.py), and whether this child may send it now (inbox.py).
* The first invalid message is the last: the channel is closed and the child is killed.
* A message never ends a slot or a template; only waitpid(2) does (deaths.py).
"""

import os
import time
from signal import Signals

from wsgid import log
from wsgid.config.options import Settings
from wsgid.errors import ControlError, ExitCode
from wsgid.ipc import messages, stackdump
from wsgid.ipc.scoreboard import DeathCause
from wsgid.linux import process
from wsgid.linux.syscall_errors import close
from wsgid.supervisor import daemon, inbox
from wsgid.supervisor.boot_failures import BootFailures
from wsgid.supervisor.children import Children, interrupt_import, send_signal
from wsgid.supervisor.deaths import Deaths
from wsgid.supervisor.fleet import Fleet
from wsgid.supervisor.once import Once
from wsgid.supervisor.rehearsal import Rehearsal
from wsgid.supervisor.retry import Net
from wsgid.supervisor.slots import BOOTING


class ChildMessages:
    """Reads the channels, and acts on the messages.

    Args:
        settings: the operator's settings.
        fleet: is told about templates and workers.
        children: their channels are read.
        rehearsal: its process is no worker.
        deaths: is told why a worker is about to end.
        failures: is told what could not boot.
        net: logs that a child was expelled.
    """

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        children: Children,
        rehearsal: Rehearsal,
        deaths: Deaths,
        failures: BootFailures,
        net: Net,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._children = children
        self._rehearsal = rehearsal
        self._deaths = deaths
        self._failures = failures
        self._net = net
        self._once = Once()  # notices, and changes of files

    # --- templates ---

    def read_template(self, generation: int) -> None:
        """Act on the messages of this template."""
        source, pid = self._children.templates[generation], self._children.template_pids[generation]
        try:
            for message, _ in source.read():
                if message is None:
                    self._lose_template(generation)
                    return
                inbox.check_template(message, self._fleet.templates.records[generation], pid, source.sender_pid)
                self._hear_template(generation, message)
        except ControlError as error:
            self._expel(f"template {generation}", error, {pid, source.sender_pid})
            self._lose_template(generation)

    def _hear_template(self, generation: int, message: messages.Message) -> None:
        match message:
            case messages.Booting():
                self._children.loaded.add(generation)
            case messages.TemplateReady():
                process.set_pace(self._children.template_pids[generation], process.Pace.USUAL)
                self._children.spare.want()
                self._fleet.templates.ready(generation, time.monotonic())
            case messages.SpawnFailed(slot=slot, reason=reason):
                self._check_is_spawning(slot, generation)
                self._children.close_worker(slot)
                self._failures.spawn_refused(slot, reason)
            case messages.BootFailed():
                self._failures.reported(message, f"template {generation}", generation)

    def _check_is_spawning(self, number: int, generation: int) -> None:
        """Raise ControlError if this template was not told to fork for that slot, or the slot has a worker."""
        slot = self._fleet.slots[number] if number < len(self._fleet.slots) else None
        if slot is None or slot.pid or slot.state not in BOOTING or slot.generation != generation:
            raise ControlError(f"SpawnFailed names the slot {number}, for which it was not told to fork")

    def _lose_template(self, generation: int) -> None:
        self._children.close_template(generation)
        self._fleet.templates.closed(generation, time.monotonic())

    # --- workers ---

    def read_worker(self, slot: int) -> None:
        """Act on the messages of the worker in this slot."""
        source = self._children.workers[slot]
        try:
            for message, fds in source.read():
                if message is None:
                    self._lose_worker(slot)
                    return
                inbox.check_worker(message, self._fleet.slots[slot], source.sender_pid)
                if isinstance(message, messages.Hello):
                    self._welcome(slot, source.sender_pid)
                elif isinstance(message, messages.Dumps):
                    self._take_dump(slot, fds[0])
                else:
                    self._hear_worker(slot, message)
        except ControlError as error:
            self._expel(f"worker {slot}", error, {self._fleet.slots[slot].pid, source.sender_pid})
            self._lose_worker(slot)

    def _hear_worker(self, slot: int, message: messages.Message) -> None:
        match message:
            case messages.Ready():
                self._note_ready(slot)
            case messages.Notice(key=key, text=text):
                if self._once.is_new(key):
                    log.warning("%s", text)
            case messages.Tired(cause=cause, reason=reason):
                self._deaths.expect(slot, DeathCause(cause))
                log.info("worker %d asks to be replaced: %s", slot, reason)
                self._fleet.tired(slot)
            case messages.SourceChanged(path=path, stamp=stamp):
                self._reload_changed(path, stamp)
            case messages.Connections(counts=counts):
                self._note_connections(slot, counts)
            case messages.BootFailed():
                self._failures.reported(message, f"worker {slot}", self._fleet.slots[slot].generation)

    def _welcome(self, slot: int, pid: int) -> None:
        """Accept a worker's Hello. Raises ControlError if the process is known already."""
        known = {os.getpid(), self._rehearsal.pid, *self._children.pids(), *(slot.pid for slot in self._fleet.slots)}
        if pid in known:
            raise ControlError(f"Hello of process {pid}, which is no new worker")
        self._fleet.hello(slot, pid)
        interrupt_import(self._fleet.slots[slot])

    def _take_dump(self, slot: int, fd: int) -> None:
        """Take the memfd of a worker. Raises ControlError if it is the worker's second one, or no memfd."""
        if slot in self._children.dumps or not stackdump.is_memfd(fd):
            close(fd)
            raise ControlError("Dumps came with a descriptor that is not wanted")
        self._children.dumps[slot] = fd

    def _note_ready(self, number: int) -> None:
        self._fleet.ready(number, time.monotonic())
        daemon.tell_foreground(ExitCode.OK)
        slot = self._fleet.slots[number]
        log.info("worker %d (generation %d, pid %d) is ready", number, slot.generation, slot.pid)

    def _reload_changed(self, path: str, stamp: str) -> None:
        """Reload after a change. All workers report the same change; the first report counts.

        Raises ControlError without --py-autoreload.
        """
        if not self._settings.py_autoreload:
            raise ControlError("SourceChanged without --py-autoreload")
        if self._once.is_new(f"{path} {stamp}"):
            log.info("%s has changed: reloading the application", path)
            self._fleet.templates.request_reload()

    def _note_connections(self, slot: int, counts: dict[str, int]) -> None:
        """Note what a worker says of its connections. Raises ControlError without --metrics."""
        if not self._settings.metrics:
            raise ControlError("Connections without --metrics")
        self._children.connections[slot] = counts

    def _lose_worker(self, slot: int) -> None:
        self._children.close_worker(slot)
        self._fleet.channel_closed(slot, time.monotonic())

    # --- both ---

    def _expel(self, name: str, error: ControlError, pids: set[int]) -> None:
        """Expel a child that has sent something that wsgid never sends in its place."""
        self._net.say(f"{name}: {error}; its channel is closed and it is killed")
        for pid in pids - {0, os.getpid()}:
            send_signal(pid, Signals.SIGKILL)
