"""A permit, and what the table has to know of a limiter to decide about it.

Rules
* A permit is one decision about one key. The table fills it in (table.py), whatever the outcome is.
* A permit that holds something (Concurrency) is given back once: by `release`, by the end of its `with`, by the end of
  its request (serving/permits.py), or when nobody refers to it any more.
* Nothing here is shared with other processes.
"""

import math
from enum import IntEnum
from types import TracebackType
from typing import Any


class Kind(IntEnum):
    """The kinds of limiters."""

    RATE = 1
    WINDOW = 2
    CONCURRENCY = 3
    COUNTER = 4  # of the storage for the library `limits`


class Ruling(IntEnum):
    """The outcomes of a decision."""

    NONE = 0
    ADMITTED = 1
    REJECTED = 2
    WOULD_REJECT = 3  # admitted by a limiter that only counts (dry run)
    FAILED_OPEN = 4  # admitted without a look: there was no place for the key, no lock, or no store
    FAILED_CLOSED = 5  # rejected without a look: there is no store


_NONE, _ADMITTED, _REJECTED, _WOULD_REJECT, _FAILED_OPEN, _FAILED_CLOSED = map(int, Ruling)
_NS = 1_000_000_000


class Bounds:
    """The numbers of a limiter.

    Args:
        kind: of the limiter.
        identity: tells the limiter from others; the same in all workers.
        name: for statistics.
        dry_run: whether the limiter only counts.
        interval_ns: RATE: the time between two requests.
        burst_ns: RATE: the time of the burst.
        count: WINDOW: the requests of a window; CONCURRENCY: the permits without a delay.
        window_ms: WINDOW: the length of a window.
        burst: CONCURRENCY: further permits, which are delayed.
        unit_ns: CONCURRENCY: the first value of the delay.
    """

    __slots__ = (
        "kind",
        "identity",
        "name",
        "dry_run",
        "interval_ns",
        "burst_ns",
        "count",
        "window_ms",
        "burst",
        "unit_ns",
        "store",
        "number",
        "places",
        "started",
    )

    def __init__(
        self,
        kind: int,
        identity: bytes,
        name: str,
        dry_run: bool,
        interval_ns: int = 0,
        burst_ns: int = 0,
        count: int = 0,
        window_ms: int = 0,
        burst: int = 0,
        unit_ns: int = 0,
    ) -> None:
        self.kind = kind
        self.identity = identity
        self.name = name
        self.dry_run = dry_run
        self.interval_ns = interval_ns
        self.burst_ns = burst_ns
        self.count = count
        self.window_ms = window_ms
        self.burst = burst
        self.unit_ns = unit_ns
        # Of this process: the table that the limiter is registered in, its number there, and for keys that it has met:
        # the hash, the lock and the place.
        self.store: Any = None
        self.number = 0
        self.places: dict[Any, tuple[int, int, int]] = {}
        self.started: Any = None


class Permit:
    """One decision. A permit is true; use it in a `with`, or leave it to the end of the request.

    Args:
        limiter: decides.
        key: a str, bytes or int.
    """

    __slots__ = ("limiter", "key", "store", "ruling", "hashed", "place", "wait_ns", "value", "used", "held", "since_ns")

    # The table fills in the rest.
    hashed: int
    place: int
    value: int  # the word that was stored
    used: int  # RATE: ns of the bucket that are in use; WINDOW: requests; CONCURRENCY: permits
    since_ns: int  # when the decision was made

    def __init__(self, limiter: Bounds, key: Any) -> None:
        self.limiter = limiter
        self.key = key
        self.store: Any = None
        self.ruling = _NONE
        self.wait_ns = 0  # the delay; after a rejection: how long to wait before the next try
        self.held = False

    def __enter__(self) -> "Permit":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.held:
            self.store.release(self)

    def release(self) -> None:
        """Give the permit back. A second call does nothing, and neither does a call for a rate or a window."""
        if self.held:
            self.store.release(self)

    def undo(self) -> None:
        """Give the permit back as if it had never been given. Only the first call does something."""
        if self.store is not None and self.ruling == _ADMITTED:
            self.store.undo(self)
            self.ruling = _NONE

    @property
    def admitted(self) -> bool:
        """Whether the request may go on."""
        return self.ruling not in (_NONE, _REJECTED, _FAILED_CLOSED)

    @property
    def outcome(self) -> Ruling:
        """The outcome of the decision."""
        return Ruling(self.ruling)

    @property
    def store_is_gone(self) -> bool:
        """Whether the request is rejected only because --limit-store does not answer."""
        return self.ruling == _FAILED_CLOSED

    @property
    def delay_s(self) -> float:
        """How long the request has to wait, or has waited, in seconds."""
        return self.wait_ns / _NS if self.ruling == _ADMITTED else 0.0

    @property
    def retry_after_s(self) -> float:
        """After a rejection: when the next try makes sense, in seconds."""
        return self.wait_ns / _NS if self.ruling in (_REJECTED, _FAILED_CLOSED) else 0.0

    @property
    def limit(self) -> int:
        """How many requests a client can make at once."""
        limiter = self.limiter
        if limiter.kind == Kind.RATE:
            return limiter.burst_ns // limiter.interval_ns + 1
        return limiter.count + limiter.burst

    @property
    def remaining(self) -> int:
        """How many requests more are admitted now."""
        limiter = self.limiter
        if self.ruling not in (_ADMITTED, _NONE):
            return 0 if self.ruling in (_REJECTED, _FAILED_CLOSED) else self.limit
        if limiter.kind == Kind.RATE:
            return max((limiter.burst_ns + limiter.interval_ns - self.used) // limiter.interval_ns, 0)
        return max(self.limit - self.used, 0)

    @property
    def reset_s(self) -> float:
        """When the whole limit is free again if no request comes, in seconds. For a Concurrency: 0."""
        limiter = self.limiter
        if limiter.kind == Kind.RATE:
            return self.used / _NS
        if limiter.kind == Kind.WINDOW:
            return max((self.value >> 24) / 1000 - self.since_ns / _NS, 0.0)
        return self.retry_after_s

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that tell a client about its limit: those of draft-ietf-httpapi-ratelimit-headers-06, and
        Retry-After (RFC 9110, 10.2.3) after a rejection."""
        told = []
        if self.limiter.kind != Kind.CONCURRENCY:
            told = [
                ("RateLimit-Limit", str(self.limit)),
                ("RateLimit-Remaining", str(self.remaining)),
                ("RateLimit-Reset", str(math.ceil(self.reset_s))),
            ]
        if not self.admitted:
            told.append(("Retry-After", str(max(math.ceil(self.retry_after_s), 1))))
        return told


class HeldPermit(Permit):
    """A permit that is given back when nobody refers to it any more."""

    __slots__ = ()

    def __del__(self) -> None:
        if self.held:
            self.store.release(self)
