"""A lock that all processes of a store share, and the turns of greenlets that wait for the same thing.

Rules
* A lock ends when it is released, when its time is over, or when its owner dies: the kernel tells which processes live
  (board.py). In a network store only the time counts.
* Of the greenlets of a process that want the same lock, one asks the store, again and again with short pauses. The
  others wait for their turn without a pause. So a crowd costs no more than one caller.
* Pauses are time.sleep: in a worker, the event loop runs on.
"""

import os
import random
import threading
import time
from types import TracebackType
from typing import Any, Self

from wsgid.cache.board import Count
from wsgid.cache.store import Store
from wsgid.errors import LockNotAcquired

PAUSE_FIRST_S, PAUSE_MAX_S = 0.001, 0.02


class Turn:
    """Greenlets and threads of this process that want the same thing, in a line."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting = 0
        self.failures = 0  # how often making the value has failed (making.py)
        self.error: Exception | None = None


class Turns:
    """All turns of a store in this process, by the name of what is wanted."""

    def __init__(self) -> None:
        self._turns: dict[bytes, Turn] = {}

    def join(self, name: bytes) -> Turn:
        """Return the turn of this name, and count the caller. `leave` has to follow."""
        turn = self._turns.setdefault(name, Turn())
        turn.waiting += 1
        return turn

    def leave(self, name: bytes, turn: Turn) -> None:
        """Go away."""
        turn.waiting -= 1
        if not turn.waiting:
            self._turns.pop(name, None)

    def is_taken(self, name: bytes) -> bool:
        """Whether somebody of this process is at it."""
        return name in self._turns

    def forked(self) -> None:
        """In a child: the greenlets that waited are the parent's."""
        self._turns.clear()


class Pauses:
    """Short sleeps that become longer.

    Args:
        until_s: of time.monotonic: no pause goes beyond it; None: there is no such time.
    """

    def __init__(self, until_s: float | None) -> None:
        self._until_s = until_s
        self._next_s = PAUSE_FIRST_S

    def rest(self) -> bool:
        """Sleep. Returns False if the time is over."""
        pause_s = self._next_s * random.uniform(0.8, 1.2)
        if self._until_s is not None:
            pause_s = min(pause_s, self._until_s - time.monotonic())
            if pause_s <= 0:
                return False
        time.sleep(pause_s)
        self._next_s = min(2 * self._next_s, PAUSE_MAX_S)
        return True


def new_token() -> int:
    """A number that no other holder of a lock has."""
    return int.from_bytes(os.urandom(8), "little") >> 1  # a Lua script may compare it as text; no sign


class Lock:
    """A lock, made by Cache.lock. Use it with `with`, or call acquire and release.

    Args:
        store: of the cache.
        turns: of this process.
        name: of the lock.
        shown: the name for errors.
        ttl_s: how long it is held at most.
        wait_s: how long `with` waits for it; None: as long as it takes.
    """

    def __init__(
        self, store: Store, turns: Turns, name: bytes, shown: str | bytes, ttl_s: float, wait_s: float | None
    ) -> None:
        self._store = store
        self._turns = turns
        self._name = name
        self._shown = shown
        self._ttl_s = ttl_s
        self._wait_s = wait_s
        self._token = new_token()

    def acquire(self, wait_s: float | None = None) -> bool:
        """Take the lock. Returns False if it was not free within `wait_s` seconds; None waits as long as it takes."""
        until_s = None if wait_s is None else time.monotonic() + wait_s
        if not self._turns.is_taken(self._name) and self._store.claim(self._name, self._token, self._ttl_s):
            return True
        if wait_s is not None and wait_s <= 0:
            return False
        self._store.count(Count.LOCK_WAITS)
        turn = self._turns.join(self._name)
        try:
            if not turn.lock.acquire(timeout=-1 if wait_s is None else wait_s):
                return False
            try:
                return self._ask(Pauses(until_s))
            finally:
                turn.lock.release()
        finally:
            self._turns.leave(self._name, turn)

    def _ask(self, pauses: Pauses) -> bool:
        while not self._store.claim(self._name, self._token, self._ttl_s):
            if not pauses.rest():
                return False
        return True

    def release(self) -> bool:
        """Give the lock back. Returns False if it was no longer held: its time was over."""
        return self._store.release(self._name, self._token)

    def extend(self, ttl_s: float | None = None) -> bool:
        """Hold the lock for `ttl_s` seconds from now. Returns False if it is no longer held."""
        return self._store.renew(self._name, self._token, self._ttl_s if ttl_s is None else ttl_s)

    def __enter__(self) -> Self:
        if not self.acquire(self._wait_s):
            raise LockNotAcquired(f"the lock {self._shown!r} was not free within {self._wait_s:g} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def names_of(values: Any) -> list[Any]:
    """A list of keys, from any iterable but a text."""
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{values!r} is one key: give a list of keys")
    return list(values)
