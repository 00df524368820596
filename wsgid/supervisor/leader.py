"""Which worker leads: it alone calls the timers of wsgid.hooks that one worker of the server calls.

Rules
* A worker leads as long as it is READY. When it drains, stalls, dies or leaves, the READY worker with the lowest seat
  follows it; workers of the newest generation come first.
* The worker is told, and may hear of it late: its event loop may stand still. So the workers also use a lock
  (application/hook_runner.py), and two calls never overlap.
* Workers that were taken over from the image before USR2 do not know any more who leads. They are told.
"""

from collections.abc import Callable, Iterable, Sequence

from wsgid.ipc import messages
from wsgid.supervisor.slots import LEAVING, Slot, SlotState

Tell = Callable[[int, messages.Message], None]  # takes a slot, and the order for its worker


class Leader:
    """The worker that leads.

    Args:
        tell: sends an order to a worker.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._leads: tuple[int, int] | None = None  # slot and pid
        self._vacant_since_s: float | None = None  # None before the first leader

    def take_over(self, slots: Iterable[Slot]) -> None:
        """Tell the workers of the image before USR2 that nobody leads."""
        for slot in slots:
            self._tell(slot.number, messages.Lead(False, 0.0))

    def turn(self, slots: Sequence[Slot], now_s: float) -> None:
        """Choose a leader, if there is none.

        Args:
            slots: of all workers.
            now_s: the time.
        """
        if self._leads is not None:
            number, pid = self._leads
            if slots[number].pid == pid and slots[number].state is SlotState.READY:
                return
            self._lose(slots[number], pid, now_s)
        ready = [slot for slot in slots if slot.state is SlotState.READY]
        if ready:
            chosen = min(ready, key=lambda slot: (-slot.generation, slot.tired, slot.seat))
            vacant_s = 0.0 if self._vacant_since_s is None else max(now_s - self._vacant_since_s, 0.0)
            self._leads = chosen.number, chosen.pid
            self._tell(chosen.number, messages.Lead(True, vacant_s))

    def _lose(self, slot: Slot, pid: int, now_s: float) -> None:
        self._leads, self._vacant_since_s = None, now_s
        if slot.pid == pid and slot.state is not SlotState.VACANT and slot.state not in LEAVING:
            self._tell(slot.number, messages.Lead(False, 0.0))
