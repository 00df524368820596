"""The keys of the limits, in shared memory: which place a key has, and which key has to make room for another.

Rules
* A key has a place in the bucket of its hash, or none. The caller holds the lock of the bucket (table.py).
* A key gives up its place only when the key says nothing more: an empty bucket of a rate, a window that is over, no
  permit held.
* A hash has a secret of this server in it. So nobody can choose two keys with one hash.
* A limiter has a row of counters. All limiters behind the last row share that row.
"""

import hashlib
from typing import Any

from wsgid.limits.layout import (
    HELD_BYTES,
    LIMITER_BYTES,
    LIMITERS_MAX,
    NAME_BYTES,
    SECRET_BYTES,
    STRIPES,
    TEXT_BYTES,
    WAYS,
    WORD_BYTES,
    HeadWord,
    Layout,
)
from wsgid.limits.permit import Bounds, Kind, Permit

_KNOWN_MAX = 8192  # keys whose places a process remembers, for each limiter
USED_BITS = 24
_NS_PER_MS = 1_000_000

_RATE, _CONCURRENCY = int(Kind.RATE), int(Kind.CONCURRENCY)
_N_WAYS, _N_STRIPES = int(WAYS), int(STRIPES)
_SLOTS_USED = int(HeadWord.SLOTS_USED)


class Keys:
    """The keys in a memory.

    Args:
        memory: mapped, of layout.size_bytes.
        layout: of the memory.
    """

    def __init__(self, memory: Any, layout: Layout) -> None:
        self._memory = memory
        self._layout = layout
        self._buckets = layout.buckets
        self._places = layout.places
        self.words = memoryview(memory).cast("q")
        self.held = memoryview(memory)[layout.held : layout.held + layout.column_bytes * _rows(memory, layout)].cast(
            "i"
        )
        self._hashes = layout.hashes // WORD_BYTES
        self._values = layout.values // WORD_BYTES
        self._metas = layout.metas // WORD_BYTES
        self._admitted = layout.admitted // WORD_BYTES
        self._rejected = layout.rejected // WORD_BYTES
        secret = layout.header + HeadWord.SECRET * WORD_BYTES
        self._secret = bytes(memoryview(memory)[secret : secret + SECRET_BYTES])

    # --- the place of a key ---

    def hash(self, limiter: Bounds, key: Any) -> tuple[int, int, int]:
        """Return the hash of a key, the lock of its bucket, and its place if this process remembers it, else -1. The
        hash is never 0, and has 63 bits, so that it is positive.

        Raises:
            TypeError: the key is no str, bytes or int.
        """
        known = limiter.places.get(key)
        if known is not None:
            return known
        made = limiter.started.copy()
        made.update(key_bytes(key))
        hashed = int.from_bytes(made.digest(), "little") >> 1 | 1
        return hashed, hashed % self._buckets % _N_STRIPES, -1

    def find(self, permit: Permit) -> None:
        """Fill in the place of the key; -1 if it has none."""
        permit.place = self._search(permit.hashed)
        if permit.place >= 0:
            self._remember(permit)

    def _search(self, hashed: int) -> int:
        start = hashed % self._buckets * _N_WAYS
        for place in range(start, start + _N_WAYS):
            if self.words[self._hashes + place] == hashed:
                return place
        return -1

    def _remember(self, permit: Permit) -> None:
        places = permit.limiter.places
        if len(places) >= _KNOWN_MAX:
            places.clear()
        places[permit.key] = (permit.hashed, permit.hashed % self._buckets % _N_STRIPES, permit.place)

    def make_place(self, permit: Permit, now_ns: int) -> int:
        """Make a place for a new key: a free one, or that of a key that says nothing more. Returns -1 if all places of
        the bucket are in use. The hash is stored by the caller, at the end."""
        words = self.words
        place = self._free_place(permit.hashed, now_ns)
        if place < 0:
            return -1
        words[self._hashes + place] = 0
        words[self._values + place] = 0
        words[self._admitted + place] = 0
        words[self._rejected + place] = 0
        text = key_bytes(permit.key)[:TEXT_BYTES]
        words[self._metas + place] = permit.limiter.kind | permit.limiter.number << 8 | len(text) << 32
        start = self._layout.texts + place * TEXT_BYTES
        self._memory[start : start + len(text)] = text
        permit.place = place
        self._remember(permit)
        return place

    def _free_place(self, hashed: int, now_ns: int) -> int:
        start = hashed % self._buckets * _N_WAYS
        idle = -1
        for place in range(start, start + _N_WAYS):
            if not self.words[self._hashes + place]:
                return place
            if idle < 0 and self._is_idle(place, now_ns):
                idle = place
        return idle

    def _is_idle(self, place: int, now_ns: int) -> bool:
        """Whether the key in this place says nothing more."""
        kind = self.words[self._metas + place] & 0xFF
        if kind == _CONCURRENCY:
            return not self.level(place)
        value = self.words[self._values + place]
        return value <= now_ns if kind == _RATE else (value >> USED_BITS) * _NS_PER_MS <= now_ns

    def level(self, place: int) -> int:
        """Return how many permits of the key in this place are held, by all workers."""
        total = 0
        at = place
        for _ in range(self.words[_SLOTS_USED]):
            total += self.held[at]
            at += self._places
        return total

    # --- limiters ---

    def begin(self, limiter: Bounds) -> None:
        """Prepare the hashes of a limiter's keys in this process."""
        limiter.places = {}
        limiter.started = hashlib.blake2b(limiter.identity + b"\0", digest_size=8, key=self._secret)

    def row_of(self, limiter: Bounds) -> int:
        """Return the row of a limiter: its own, a free one, or the last, which all further limiters share."""
        name = limiter.name.encode("utf-8", "replace")[:NAME_BYTES].ljust(NAME_BYTES, b"\0")
        numbers = (limiter.kind, limiter.interval_ns + limiter.window_ms, limiter.burst_ns + limiter.count)
        for number in range(LIMITERS_MAX - 1):
            start = self._layout.limiters + number * LIMITER_BYTES
            word = start // WORD_BYTES
            found = tuple(self.words[word : word + 3])
            if found == numbers and bytes(self._memory[start + 32 : start + 32 + NAME_BYTES]) == name:
                return number
            if not found[0]:
                self._memory[start + 32 : start + 32 + NAME_BYTES] = name
                self.words[word + 1], self.words[word + 2] = numbers[1:]
                self.words[word + 3] = limiter.dry_run
                self.words[word] = limiter.kind
                return number
        return LIMITERS_MAX - 1


def key_bytes(key: Any) -> bytes:
    """Return a key as bytes.

    Raises:
        TypeError: the key is no str, bytes or int.
    """
    if type(key) is str:
        return key.encode("utf-8", "surrogatepass")
    if type(key) is bytes:
        return key
    if type(key) is int:
        return str(key).encode()
    raise TypeError(f"a limit's key is a str, bytes or int, and {key!r} is a {type(key).__name__}")


def _rows(memory: Any, layout: Layout) -> int:
    """Return how many rows of held permits the memory has: one, if it is of this process alone."""
    return (len(memory) - layout.held) // (layout.places * HELD_BYTES)
