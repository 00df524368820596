"""get_or_make: of all callers in all workers, one makes the value.

    fresh                  -> returned
    stale, nobody makes it -> this caller makes it
    stale, somebody does   -> the stale value is returned
    nothing there          -> one makes it, the others wait for it

Rules
* Who makes holds a lock for `lock_s` at most. If its process dies, another caller makes the value at once.
* Callers that have waited while `make` failed in their process get its exception: otherwise each of them would try, one
  after the other. A maker that was ended (time-out, kill) has decided nothing: the next one makes the value.
* Exactly what `make` has returned is returned to its caller, even if it cannot be stored.
"""

from collections.abc import Callable
from typing import Any

from wsgid.cache.board import Count
from wsgid.cache.locks import Pauses, Turn, Turns, new_token
from wsgid.cache.store import MISSING, Store
from wsgid.records import dataclass

_PREFIX = b"make:"  # the locks of makers are no locks of the application


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a value is made and kept; Cache.get_or_make describes the fields."""

    make: Callable[[], Any]
    ttl_s: float | None
    stale_s: float
    negative_ttl_s: float | None
    lock_s: float

    def keep_s(self, value: Any) -> float | None:
        """How long a value is fresh."""
        return self.negative_ttl_s if value is None and self.negative_ttl_s is not None else self.ttl_s


def get_or_make(store: Store, turns: Turns, name: bytes, recipe: Recipe) -> Any:
    """Return the value of a key, and make it if it is not there."""
    value, fresh = store.peek(name)
    if fresh:
        return value
    lock = _PREFIX + name
    if value is not MISSING and turns.is_taken(lock):
        store.count(Count.STALE)
        return value
    turn = turns.join(lock)
    failures = turn.failures
    try:
        if not turn.lock.acquire(blocking=False):
            store.count(Count.LOCK_WAITS)
            turn.lock.acquire()
        try:
            if turn.failures > failures and turn.error is not None:
                raise turn.error
            return _in_turn(store, turn, name, lock, recipe)
        finally:
            turn.lock.release()
    finally:
        turns.leave(lock, turn)


def _in_turn(store: Store, turn: Turn, name: bytes, lock: bytes, recipe: Recipe) -> Any:
    """Wait until the value is there, or make it. Nobody else of this process is at it."""
    token, pauses, waited = new_token(), Pauses(None), False
    while True:
        value, fresh = store.peek(name)
        if fresh:
            return value
        if store.claim(lock, token, recipe.lock_s):
            break
        if value is not MISSING:
            store.count(Count.STALE)
            return value
        if not waited:
            store.count(Count.LOCK_WAITS)
        waited = True
        pauses.rest()
    try:
        value, fresh = store.peek(name)  # the one before may have made it just now
        return value if fresh else _make(store, turn, name, recipe)
    finally:
        store.release(lock, token)


def _make(store: Store, turn: Turn, name: bytes, recipe: Recipe) -> Any:
    store.count(Count.MAKES)
    try:
        value = recipe.make()
    except Exception as error:
        turn.failures += 1
        turn.error = error
        raise
    store.set(name, value, recipe.keep_s(value), recipe.stale_s)
    return value
