"""The shared memory of the limits, as the master sees it: dead workers, and what an operator asks.

Rules
* After waitpid, and before the slot is used again, the master zeroes what the dead worker held, and adds its counts
  to those of earlier workers.  So no permit outlives its worker by more than the time until the master reaps it.
* The master maps one page. It reads and writes everything else with pread(2) and pwrite(2), if limits are used.
* The application can write into this memory. So numbers are only shown, and the size is sealed (layout.py).
"""

import errno
import heapq
import mmap
import os
import struct
from collections.abc import Iterator

from wsgid.limits.layout import (
    COUNTS,
    GAUGES,
    LIMITER_BYTES,
    LIMITERS_MAX,
    NAME_BYTES,
    PAGE_BYTES,
    PAST,
    TEXT_BYTES,
    WORD_BYTES,
    HeadWord,
    Layout,
    LimitCount,
    keep_or_create,
)
from wsgid.records import dataclass

_WORD_MAX = (1 << 64) - 1
_KINDS = {1: "rate", 2: "window", 3: "concurrency", 4: "storage"}
_AT_ONCE = 1 << 15  # places that are read together
_ZEROS_BYTES = 1 << 20
_ROW = struct.Struct(f"{LIMITERS_MAX * COUNTS}Q")


@dataclass(frozen=True, slots=True)
class LimiterView:
    """A limiter, and what all workers together have counted, dead ones included.

    Args:
        name: of the limiter; "others" for all limiters beyond LIMITERS_MAX.
        kind: rate, window or concurrency.
        dry_run: whether it only counts.
        counts: by LimitCount.
    """

    name: str
    kind: str
    dry_run: bool
    counts: tuple[int, ...]

    @property
    def level(self) -> int:
        """Permits that are held now."""
        return self.counts[LimitCount.HELD]


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key of a limiter, and how often it was admitted and rejected since it got its place."""

    limiter: str
    key: str
    admitted: int
    rejected: int


class Ledger:
    """The memory of one server.

    Args:
        fd: of the memory; the caller keeps it.
        keys: of --limit-keys.
    """

    def __init__(self, fd: int, keys: int) -> None:
        self.fd = fd
        self._layout = Layout(keys)
        self._head = memoryview(mmap.mmap(fd, PAGE_BYTES)).cast("Q")

    @classmethod
    def keep_or_create(cls, fd: int, keys: int) -> "Ledger":
        """Return the ledger of the memory that an earlier image of the master has left, if it fits; else of a new one.

        Args:
            fd: of that memory; -1: there is none.
            keys: of --limit-keys.
        """
        return cls(keep_or_create(fd, keys), keys)

    @property
    def is_used(self) -> bool:
        """Whether a limiter was ever used."""
        return bool(self._head[HeadWord.IN_USE])

    def note_spawn(self, slot: int) -> None:
        """A worker is about to live in this slot: from now on its permits count."""
        if self._head[HeadWord.SLOTS_USED] <= slot:
            self._head[HeadWord.SLOTS_USED] = slot + 1

    def clear(self, slot: int) -> None:
        """The worker in this slot is dead. Called after waitpid."""
        if not self.is_used:
            return
        layout = self._layout
        touched = layout.touched + slot * WORD_BYTES
        if any(os.pread(self.fd, WORD_BYTES, touched)):
            start = layout.held + slot * layout.column_bytes
            self._zero(start, start + layout.column_bytes)
            os.pwrite(self.fd, bytes(WORD_BYTES), touched)
        past, row = self._row(PAST), self._row(slot)
        if any(row):
            for place in GAUGES:
                row[place::COUNTS] = [0] * LIMITERS_MAX
            added = [(before + more) & _WORD_MAX for before, more in zip(past, row)]
            os.pwrite(self.fd, _ROW.pack(*added), self._row_start(PAST))
            os.pwrite(self.fd, bytes(layout.row_bytes), self._row_start(slot))

    def limiters(self) -> list[LimiterView]:
        """Return all limiters, in the order of their first use."""
        if not self.is_used:
            return []
        rows = [self._row(slot) for slot in (*range(min(self._head[HeadWord.SLOTS_USED], PAST)), PAST)]
        totals = [sum(words) & _WORD_MAX for words in zip(*rows)]
        return [
            LimiterView(name, kind, dry_run, tuple(totals[number * COUNTS : (number + 1) * COUNTS]))
            for number, name, kind, dry_run in self._names()
        ] + _others(totals)

    def top_keys(self, most: int) -> list[KeyView]:
        """Return the keys that were rejected most often, then those that were admitted most often."""
        if not self.is_used:
            return []
        layout = self._layout
        names = {number: name for number, name, _, _ in self._names()}
        used = (key for first in range(0, layout.places, _AT_ONCE) for key in self._keys(first))
        return [
            KeyView(names.get(meta >> 8 & 0xFFFFFF, "others"), self._text(place, meta >> 32), admitted, rejected)
            for rejected, admitted, place, meta in heapq.nlargest(most, used)
        ]

    def _keys(self, first: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield how often each key was rejected and admitted, its place and its meta word, for places from `first`."""
        layout = self._layout
        hashes = self._words(layout.hashes, first)
        if not any(hashes):
            return
        metas, admitted, rejected = (
            self._words(start, first) for start in (layout.metas, layout.admitted, layout.rejected)
        )
        for at, hashed in enumerate(hashes):
            if hashed and metas[at] & 0xFF in _KINDS:
                yield rejected[at], admitted[at], first + at, metas[at]

    def _zero(self, start: int, end: int) -> None:
        """Zero a part of the memory. Pages that nobody has written are left out (lseek(2), SEEK_DATA)."""
        while start < end:
            try:
                start = os.lseek(self.fd, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # there are no more
                    return
                raise
            hole = min(os.lseek(self.fd, start, os.SEEK_HOLE), end)
            while start < hole:
                start += os.pwrite(self.fd, bytes(min(hole - start, _ZEROS_BYTES)), start)

    def _names(self) -> Iterator[tuple[int, str, str, bool]]:
        """Yield number, name, kind and dry run of each limiter that has a row of its own."""
        rows = os.pread(self.fd, LIMITERS_MAX * LIMITER_BYTES, self._layout.limiters)
        for number in range(LIMITERS_MAX - 1):
            row = rows[number * LIMITER_BYTES : (number + 1) * LIMITER_BYTES]
            kind, _, _, dry_run = struct.unpack_from("4Q", row)
            if kind in _KINDS:
                yield number, _shown(row[32 : 32 + NAME_BYTES].rstrip(b"\0")), _KINDS[kind], bool(dry_run)

    def _text(self, place: int, size: int) -> str:
        return _shown(os.pread(self.fd, min(size, TEXT_BYTES), self._layout.texts + place * TEXT_BYTES))

    def _words(self, start: int, first: int) -> memoryview:
        size_bytes = min(_AT_ONCE, self._layout.places - first) * WORD_BYTES
        return memoryview(os.pread(self.fd, size_bytes, start + first * WORD_BYTES)).cast("Q")

    def _row_start(self, slot: int) -> int:
        return self._layout.counters + slot * self._layout.row_bytes

    def _row(self, slot: int) -> list[int]:
        return list(_ROW.unpack(os.pread(self.fd, self._layout.row_bytes, self._row_start(slot))))


def _others(totals: list[int]) -> list[LimiterView]:
    """Return the view of the limiters beyond LIMITERS_MAX, if there are any."""
    counts = tuple(totals[-COUNTS:])
    return [LimiterView("others", "rate", False, counts)] if any(counts) else []


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
