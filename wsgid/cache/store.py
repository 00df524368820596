"""What every store can do. Cache (cache.py) is the same over all of them.

Rules
* A key is bytes here, of KEY_MAX_BYTES at most. Cache makes it.
* A value has two ends: until the first it is fresh, and until the second it is stale, which only get_or_make sees.
* Times that are arguments are seconds from now; None is no end.
"""

import math
from enum import Enum, auto
from typing import Any, Protocol

KEY_MAX_BYTES = 480  # LMDB's limit is 511 (mdb_env_get_maxkeysize), and the checksum takes four

Number = int | float


class Missing(Enum):
    """The result of a read that finds nothing."""

    MISSING = auto()


MISSING = Missing.MISSING


class When(Enum):
    """In which case a value is written."""

    ALWAYS = auto()
    ABSENT = auto()  # as add
    PRESENT = auto()  # as replace


class Store(Protocol):
    """A store. All methods raise CacheError."""

    def get(self, name: bytes) -> Any:
        """Return a fresh value, or MISSING."""

    def peek(self, name: bytes) -> tuple[Any, bool]:
        """Return a value that may be stale, and whether it is fresh. (MISSING, False) if there is none."""

    def get_many(self, names: list[bytes]) -> list[Any]:
        """Return the fresh value of each key, or MISSING."""

    def set(self, name: bytes, value: Any, ttl_s: float | None, stale_s: float = 0.0, when: When = When.ALWAYS) -> bool:
        """Write a value. Returns whether it was written."""

    def set_many(self, values: dict[bytes, Any], ttl_s: float | None) -> None:
        """Write several values."""

    def incr(self, name: bytes, by: Number, initial: Number | None, ttl_s: float | None) -> Number:
        """Add to a number, and return the sum."""

    def delete(self, names: list[bytes]) -> int:
        """Delete keys. Returns how many were there."""

    def touch(self, name: bytes, ttl_s: float | None) -> bool:
        """Let a value expire at another time. Returns whether it was there."""

    def ttl(self, name: bytes) -> float | None:
        """Return the seconds until a value expires, math.inf if it never does; None if it is not there."""

    def clear(self) -> None:
        """Delete everything except locks."""

    def claim(self, name: bytes, token: int, ttl_s: float) -> bool:
        """Take a lock that nobody holds, or whose owner is dead or late. Returns whether it was taken."""

    def renew(self, name: bytes, token: int, ttl_s: float) -> bool:
        """Hold a lock for longer. Returns False if it is no longer held."""

    def release(self, name: bytes, token: int) -> bool:
        """Give a lock back. Returns False if it was no longer held."""

    def count(self, count: int, many: int = 1) -> None:
        """Add to a counter of this process (board.Count)."""


class LocalLevel(Protocol):
    """Hot values as objects in the process."""

    def get(self, key: str | bytes) -> Any:
        """Return a fresh value that is kept here, or MISSING."""

    def load(self, key: str | bytes, name: bytes) -> Any:
        """Return a fresh value of the store, or MISSING, and keep it."""


def checked_s(seconds: Any, name: str) -> float | None:
    """Return a time to live.

    Raises:
        ValueError: it is not above 0.
    """
    if seconds is None:
        return None
    if not isinstance(seconds, (int, float)) or not seconds > 0:  # also refuses NaN
        raise ValueError(f"{name} is {seconds!r}: it has to be a number of seconds above 0, or None for no end")
    return None if seconds == math.inf else float(seconds)
