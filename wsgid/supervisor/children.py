"""The processes that the master has started, with their channels, pids and memfds.

Rules
* A channel is registered in the master's selector until it is closed.
* A channel may be closed long before its process ends. The pid of a template stays known until waitpid(2) has reaped
  the process; the pid of a worker is in its slot (slots.py).
* A refused call leaves nothing behind: no channel, no process.
"""

import os
import selectors
import signal
from collections.abc import Iterable, Sequence
from math import inf
from signal import Signals
from typing import Any

from wsgid import log
from wsgid.config.options import Settings
from wsgid.ipc import messages
from wsgid.ipc.channel import Channel
from wsgid.linux import process
from wsgid.linux.selector import forget
from wsgid.linux.socket_pair import pair
from wsgid.linux.syscall_errors import close, named
from wsgid.supervisor import launch
from wsgid.supervisor.inbox import Inbox
from wsgid.supervisor.retry import Net
from wsgid.supervisor.slots import Slot, SlotState
from wsgid.supervisor.spare import Spare
from wsgid.supervisor.upgrade import HeldWorker

_UNANSWERED_MAX_BYTES = 32 * 1024  # bytes of questions that a stuck worker has not read


class Children:
    """The templates, the workers and the spare.

    Args:
        settings: the operator's settings.
        selector: the master's.
        net: logs a refusal that ends nothing.
    """

    def __init__(self, settings: Settings, selector: selectors.BaseSelector, net: Net) -> None:
        self._settings = settings
        self._selector = selector
        self.templates: dict[int, Inbox] = {}  # by generation
        self.template_pids: dict[int, int] = {}  # by generation
        self.loaded: set[int] = set()  # the generations whose template has read Boot
        self.workers: dict[int, Inbox] = {}  # by slot
        self.dumps: dict[int, int] = {}  # slot -> the memfd of ipc/stackdump.py
        self.connections: dict[int, dict[str, int]] = {}  # slot -> the worker's connections that go out, by peer
        self.spare = Spare(self._start_process, net)

    # --- start ---

    def start_template(self, boot: messages.Boot, fds: Sequence[int]) -> None:
        """Turn the spare, or a new process, into the template of a generation.

        Args:
            boot: the message for the template.
            fds: descriptors that are sent with it.

        Raises:
            OSError: the kernel refused; then there is no process.
        """
        pid, inbox = self.spare.take()
        process.set_pace(pid, process.Pace.HURRIED)  # otherwise its import takes seconds on a busy site
        try:
            self._register(inbox)
            self.spare.fork_from(inbox)
            _send(inbox, boot, fds)
        except OSError:
            self._close(inbox)
            process.end(pid)
            raise
        self.template_pids[boot.generation] = pid
        self.templates[boot.generation] = inbox

    def start_worker(self, order: messages.Spawn) -> None:
        """Let the template of a generation fork a worker.

        Args:
            order: for the template.

        Raises:
            OSError: the kernel refused. The master's end of the channel may be open; close_worker closes it.
        """
        with named("socketpair", f"for worker {order.slot}"):
            ours, theirs = pair()
        try:
            self._add_worker(order.slot, ours)
            _send(self.templates[order.generation], order, [theirs])
        finally:
            close(theirs)

    def adopt(self, worker: HeldWorker) -> None:
        """Take over a worker of the image before SIGUSR2."""
        self._add_worker(worker.slot, worker.fd)
        if worker.dump_fd >= 0:
            self.dumps[worker.slot] = worker.dump_fd

    def _start_process(self) -> tuple[int, Inbox]:
        environ = {**os.environ, **dict(self._settings.env)}
        return launch.start_template(self._settings.procname_prefix, environ, self._settings.optimize)

    def _add_worker(self, slot: int, fd: int) -> None:
        self.workers[slot] = Inbox(fd, messages.FROM_WORKER)
        self._register(self.workers[slot])

    def _register(self, inbox: Channel) -> None:
        """Register a channel. Raises Refused if the kernel has no room for it."""
        with named("epoll_ctl", "for a channel"):
            self._selector.register(inbox, selectors.EVENT_READ)

    # --- send ---

    def order_all(self, message: messages.Message, fds: Sequence[int]) -> None:
        """Send a message to all processes. Messages that cannot be sent now are sent later."""
        for inbox in (*self.templates.values(), *self.workers.values(), *self.spare.inboxes()):
            inbox.order(message, fds)

    def order(self, slot: int, message: messages.Message) -> None:
        """Send a message to the worker in this slot, if it can still be reached. A message that cannot be sent now is
        sent later."""
        if slot in self.workers:
            self.workers[slot].order(message)

    def ask(self, slot: int, kind: str, arguments: dict[str, Any], fd: int) -> bool:
        """Pass a question to a worker, with the asker's connection. Returns whether it was sent."""
        worker = self.workers.get(slot)
        try:
            if worker is None or worker.unread_bytes() > _UNANSWERED_MAX_BYTES:  # there must be room for orders
                return False
            return worker.send(messages.Question(kind, arguments), [fd])
        except OSError:  # ioctl(2): it is unknown whether there is room
            return False

    def signal_template(self, generation: int, signo: Signals) -> None:
        """Send a signal to the template of a generation."""
        send_signal(self.template_pids[generation], signo)

    # --- look up ---

    def pids(self) -> set[int]:
        """Return the pids of the templates and the spare."""
        return {*self.template_pids.values(), self.spare.pid} - {0}

    def generation_of(self, pid: int) -> int | None:
        """Return the generation of a template's process; None if the process is no template."""
        return next((generation for generation, known in self.template_pids.items() if known == pid), None)

    def held_workers(self, slots: Iterable[Slot]) -> tuple[HeldWorker, ...]:
        """Return what the next image of the master needs to know of the workers in these slots (SIGUSR2)."""
        return tuple(
            HeldWorker(
                slot.number,
                slot.generation,
                slot.pid,
                self.workers[slot.number].fileno(),
                self.dumps.get(slot.number, -1),
            )
            for slot in slots
        )

    # --- end ---

    def remove_template(self, generation: int) -> bool:
        """Forget a template that was reaped. Returns whether it had read Boot."""
        del self.template_pids[generation]
        self.close_template(generation)
        was_loaded = generation in self.loaded
        self.loaded.discard(generation)
        return was_loaded

    def close_template(self, generation: int) -> None:
        """Close a template's channel. This dismisses the template."""
        self._close(self.templates.pop(generation, None))

    def close_worker(self, slot: int) -> None:
        """Close the channel and the memfd of a worker, and forget what it has said."""
        self._close(self.workers.pop(slot, None))
        self.connections.pop(slot, None)
        if slot in self.dumps:
            close(self.dumps.pop(slot))

    def _close(self, inbox: Channel | None) -> None:
        if inbox is not None:
            forget(self._selector, inbox)
            inbox.close()


def send_signal(pid: int, signo: int) -> None:
    """Send a signal to a child. A refusal (EPERM, after the application has become another user) is logged."""
    try:
        process.send_signal(pid, signo)
    except OSError as error:
        name = signal.strsignal(signo)
        log.error("process %d cannot be sent %s: kill: %s; end it by hand", pid, name, error.strerror)


def interrupt_import(slot: Slot) -> None:
    """End the import of a worker that has to leave (--lazy-apps). During the import the worker reads no orders. If the
    worker has just become ready, TERM drains it."""
    if slot.state is SlotState.DRAINING and slot.ready_s == inf and slot.pid:
        send_signal(slot.pid, Signals.SIGTERM)


def _send(inbox: Channel, message: messages.Message, fds: Sequence[int]) -> None:
    """Send a message. Raises Refused if it could not be sent."""
    if not inbox.send(message, fds) and inbox.refusal:
        with named("sendmsg", type(message).__name__):
            raise inbox.refusal
