"""uwsgi.lock and uwsgi.unlock: a lock between greenlets of all workers.

Rules
* The kernel has the lock between processes (ipc/locks.py). Within a process an entry here keeps greenlets apart.
* Waiting is a pause of the greenlet, never of the event loop.
* uWSGI's lock ends with its worker, also when harakiri kills the worker. Here a worker goes on after a time-out. So a
  lock whose request has ended without unlock is released, and the log says so.
"""

from dataclasses import dataclass
from typing import Any

import gevent
import greenlet

from wsgid import log
from wsgid.ipc.locks import Locks

_PAUSES_S = (0.001, 0.05)  # the first and the longest pause between two tries
_LOOK_S = 1.0  # how often it is checked whether the holder's request still runs


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a lock.

    Args:
        greenlet: that has taken it.
        request: of that greenlet; None if it serves none.
    """

    greenlet: Any
    request: Any

    @property
    def is_gone(self) -> bool:
        """Whether the code that has taken the lock has ended."""
        return bool(self.greenlet.dead) or getattr(self.greenlet, "request", None) != self.request


class UwsgiLocks:
    """The locks by number, as one worker sees them.

    Args:
        locks: of the server; None outside of a worker, where there is one process.
    """

    def __init__(self, locks: Locks | None) -> None:
        self._locks = locks
        self._held: dict[int, Holder] = {}

    def lock(self, number: int = 0) -> None:
        """Wait for a lock, and take it."""
        pause_s, longest_s = _PAUSES_S
        while not self._take(number):
            gevent.sleep(pause_s)
            pause_s = min(pause_s * 2, longest_s)

    def unlock(self, number: int = 0) -> None:
        """Release a lock. As in uWSGI, any code of the worker may do so."""
        if self._held.pop(number, None) is not None and self._locks is not None:
            self._locks.release(_name(number))

    def is_locked(self, number: int = 0) -> bool:
        """Whether some greenlet of some worker has the lock."""
        return number in self._held or (self._locks is not None and self._locks.holder(_name(number)) != 0)

    def _take(self, number: int) -> bool:
        if number in self._held or (self._locks is not None and not self._locks.take(_name(number))):
            return False
        current = greenlet.getcurrent()
        holder = self._held[number] = Holder(current, getattr(current, "request", None))
        if self._locks is not None:
            gevent.spawn_later(_LOOK_S, self._watch, number, holder)
        return True

    def _watch(self, number: int, holder: Holder) -> None:
        while self._held.get(number) is holder:
            if holder.is_gone:
                log.error("uwsgi.lock(%d): its request has ended without uwsgi.unlock; the lock is released", number)
                self.unlock(number)
                return
            gevent.sleep(_LOOK_S)


def _name(number: int) -> str:
    return f"uwsgi.lock {number}"
