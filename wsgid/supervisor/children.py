"""The processes that the master has started, and what it holds of each: channels, pids, memfds.

Rules
* A channel is registered in the master's selector from its beginning until it is closed.
* A channel may be closed long before its process ends. The pid of a template stays known until waitpid(2) has reaped
  it; the pid of a worker is in its slot (slots.py).
* What the kernel refuses leaves nothing behind: no channel, no process.
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
from wsgid.ipc import channel, messages
from wsgid.ipc.channel import Channel
from wsgid.linux import process
from wsgid.linux.selector import forget
from wsgid.linux.syscall_errors import close, named
from wsgid.supervisor import launch
from wsgid.supervisor.inbox import Inbox
from wsgid.supervisor.retry import Net
from wsgid.supervisor.slots import Slot, SlotState
from wsgid.supervisor.spare import Spare
from wsgid.supervisor.upgrade import HeldWorker

_UNANSWERED_MAX_BYTES = 32 * 1024  # of questions that a stuck worker has not read


class Children:
    """The templates, the workers and the spare.

    Args:
        settings: the operator's.
        selector: the master's.
        net: where a refusal is logged that ends nothing.
    """

    def __init__(self, settings: Settings, selector: selectors.BaseSelector, net: Net) -> None:
        self._settings = settings
        self._selector = selector
        self.templates: dict[int, Inbox] = {}  # by generation
        self.template_pids: dict[int, int] = {}  # by generation
        self.loaded: set[int] = set()  # the generations whose template has read Boot
        self.workers: dict[int, Inbox] = {}  # by slot
        self.dumps: dict[int, int] = {}  # by slot: the memfd of stackdump.py
        self.spare = Spare(self._start_process, net)

    # --- start ---

    def start_template(self, boot: messages.Boot, fds: Sequence[int]) -> None:
        """Make the spare, or else a new process, the template of a generation.

        Args:
            boot: the message to it.
            fds: the descriptors that ride along.

        Raises:
            OSError: the kernel refuses it; then there is no process of it.
        """
        pid, inbox = self.spare.take() or self._start_process()
        process.set_pace(pid, process.Pace.HURRIED)  # on a busy site, a reload would wait seconds for its import
        try:
            self._register(inbox)
            _send(inbox, boot, fds)
        except OSError:
            self._close(inbox)
            process.end(pid)
            raise
        self.template_pids[boot.generation] = pid
        self.templates[boot.generation] = inbox

    def start_worker(self, order: messages.Spawn) -> None:
        """Have the template of a generation fork a worker.

        Raises:
            OSError: the kernel refuses it. The master's end of the channel may be held; close_worker closes it.
        """
        with named("socketpair", f"for worker {order.slot}"):
            ours, theirs = channel.pair()
        try:
            self._add_worker(order.slot, ours)
            _send(self.templates[order.generation], order, [theirs])
        finally:
            close(theirs)

    def adopt(self, worker: HeldWorker) -> None:
        """Hold a worker of the image before this one (SIGUSR2)."""
        self._add_worker(worker.slot, worker.fd)
        if worker.dump_fd >= 0:
            self.dumps[worker.slot] = worker.dump_fd

    def _start_process(self) -> tuple[int, Inbox]:
        environ = {**os.environ, **dict(self._settings.env)}
        return launch.start_template(self._settings.procname_prefix, environ)

    def _add_worker(self, slot: int, fd: int) -> None:
        self.workers[slot] = Inbox(fd, messages.FROM_WORKER)
        self._register(self.workers[slot])

    def _register(self, inbox: Channel) -> None:
        """Raises Refused if the kernel has no room for one more."""
        with named("epoll_ctl", "for a channel"):
            self._selector.register(inbox, selectors.EVENT_READ)

    # --- speak ---

    def order_all(self, message: messages.Message, fds: Sequence[int]) -> None:
        """Send a message to all processes; what cannot be sent now is sent later."""
        for inbox in (*self.templates.values(), *self.workers.values(), *self.spare.inboxes()):
            inbox.order(message, fds)

    def ask(self, slot: int, kind: str, arguments: dict[str, Any], fd: int) -> bool:
        """Hand a question to a worker, with the connection that waits for the answer. Returns whether it was sent."""
        worker = self.workers.get(slot)
        try:
            if worker is None or worker.unread_bytes() > _UNANSWERED_MAX_BYTES:  # it has to have room for orders
                return False
            return worker.send(messages.Question(kind, arguments), [fd])
        except OSError:  # ioctl(2): nobody knows whether there is room
            return False

    def signal_template(self, generation: int, signo: Signals) -> None:
        send_signal(self.template_pids[generation], signo)

    # --- look up ---

    def pids(self) -> set[int]:
        """Of the templates and the spare; without 0."""
        return {*self.template_pids.values(), self.spare.pid} - {0}

    def generation_of(self, pid: int) -> int | None:
        """Which generation's template a process is; None if it is no template."""
        return next((generation for generation, known in self.template_pids.items() if known == pid), None)

    def held_workers(self, slots: Iterable[Slot]) -> tuple[HeldWorker, ...]:
        """What the next image of the master needs to know of the workers in these slots (SIGUSR2)."""
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
        """The process was reaped: hold nothing of it any more. Returns whether it had read Boot."""
        del self.template_pids[generation]
        self.close_template(generation)
        was_loaded = generation in self.loaded
        self.loaded.discard(generation)
        return was_loaded

    def close_template(self, generation: int) -> None:
        """Close its channel: to a template, this is the dismissal."""
        self._close(self.templates.pop(generation, None))

    def close_worker(self, slot: int) -> None:
        """Close the channel and the memfd of a worker."""
        self._close(self.workers.pop(slot, None))
        if slot in self.dumps:
            close(self.dumps.pop(slot))

    def _close(self, inbox: Channel | None) -> None:
        if inbox is not None:
            forget(self._selector, inbox)
            inbox.close()


def send_signal(pid: int, signo: int) -> None:
    """Signal a child; a refusal (EPERM, after the application has become another user) is said in the log."""
    try:
        process.send_signal(pid, signo)
    except OSError as error:
        name = signal.strsignal(signo)
        log.error("process %d cannot be sent %s: kill: %s; end it by hand", pid, name, error.strerror)


def interrupt_import(slot: Slot) -> None:
    """End the import of a worker that has to leave (--lazy-apps): while it imports, it reads no orders. If the worker
    has just become ready, TERM drains it."""
    if slot.state is SlotState.DRAINING and slot.ready_s == inf and slot.pid:
        send_signal(slot.pid, Signals.SIGTERM)


def _send(inbox: Channel, message: messages.Message, fds: Sequence[int]) -> None:
    """Raises Refused if it could not be sent."""
    if not inbox.send(message, fds) and inbox.refusal:
        with named("sendmsg", type(message).__name__):
            raise inbox.refusal
