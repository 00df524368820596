"""The master's end of a child's channel: which messages a child may send, and how many.

Rules
* The application can write to its worker's channel, and during its import to its template's channel.  So the master
  checks each message before it acts on it. The first invalid message is the last: the master closes the channel and
  kills the child.
* A turn takes at most MESSAGES_PER_TURN messages of a child. So a flood delays nobody else, and fills no memory.
* The kernel tells which process has sent a message (ipc/channel.py).
"""

import time
from collections.abc import Iterator
from math import inf

from wsgid.counted import counted
from wsgid.errors import ControlError
from wsgid.ipc import messages
from wsgid.ipc.channel import Channel, close_all
from wsgid.log.rate_limit import RateLimit
from wsgid.supervisor.slots import Slot, TemplateRecord, TemplateState

MESSAGES_PER_TURN = 32
MESSAGES_PER_S = 50.0  # in the long run; an honest worker sends at most ten a second, when it asks to be replaced
MESSAGES_BURST = 500


class Inbox(Channel):
    """A channel whose other end is not trusted.

    Args:
        fd: the master's end; this object owns it from now on.
        kinds: the messages that this child may send.
    """

    def __init__(self, fd: int, kinds: messages.Kinds) -> None:
        super().__init__(fd, kinds)
        self._rate = RateLimit(MESSAGES_PER_S, MESSAGES_BURST)

    def read(self) -> Iterator[tuple[messages.Message | None, list[int]]]:
        """Yield the messages that have arrived, each with its descriptors; None at the end of the channel.

        Raises:
            ControlError: the child may not send this message, or sends too many.
        """
        for _ in range(MESSAGES_PER_TURN):
            try:
                received = self.receive()
            except BlockingIOError:
                return
            if received is None:
                yield None, []
                return
            message, fds = received
            if not self._rate.admit(time.monotonic()):
                close_all(fds)
                raise ControlError(f"it sends more than {MESSAGES_PER_S:g} messages a second")
            if len(fds) != messages.FDS.get(type(message), 0):
                close_all(fds)
                raise ControlError(f"{type(message).__name__} came with {counted(len(fds), 'descriptor')}")
            yield message, fds


def check_template(message: messages.Message, template: TemplateRecord, pid: int, sender_pid: int) -> None:
    """Check that a template may send this message now.

    Args:
        message: as received.
        template: its record.
        pid: of the template.
        sender_pid: of the process that has sent the message.

    Raises:
        ControlError: it may not.
    """
    if sender_pid != pid:
        raise ControlError(f"process {sender_pid} speaks in its name")
    if isinstance(message, messages.Hello):
        raise ControlError("Hello of a process that is no spare any more")
    booting = template.state is TemplateState.BOOTING
    if booting is isinstance(message, messages.SpawnFailed):
        raise ControlError(f"{type(message).__name__} while it is {template.state.name}")


def check_worker(message: messages.Message, slot: Slot, sender_pid: int) -> None:
    """Check that a worker may send this message now: first one Hello, then one Ready, or BootFailed instead of Ready.

    Args:
        message: as received.
        slot: of the worker; it has no pid until the Hello.
        sender_pid: of the process that has sent the message.

    Raises:
        ControlError: it may not.
    """
    name = type(message).__name__
    if isinstance(message, messages.Hello) is (slot.pid != 0):
        raise ControlError(f"{name} {'again' if slot.pid else 'before Hello'}")
    if slot.pid and sender_pid != slot.pid:
        raise ControlError(f"process {sender_pid} speaks in its name")
    is_ready = slot.ready_s < inf
    if is_ready and isinstance(message, messages.Ready | messages.BootFailed):
        raise ControlError(f"{name} after Ready")
    if not is_ready and isinstance(message, messages.Tired | messages.SourceChanged | messages.Connections):
        raise ControlError(f"{name} before Ready")
