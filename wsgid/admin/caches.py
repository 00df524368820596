"""The caches of the server: what the boards of their stores say (cache/board.py).

Rules
* A store that nobody has used yet counts 0. A board that cannot be read is left out: a made-up 0 would be believed.
* How much a network store holds is not known here.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from wsgid.cache import board
from wsgid.cache.board import COUNTS, Count, Reading
from wsgid.cache.places import Place
from wsgid.records import dataclass

NOT_USED = Reading(0, 0, 0, dict.fromkeys(COUNTS, 0))
# The counters with their names for operators, and their meaning.
MEANINGS: dict[Count, str] = {
    Count.HITS: "Values that were read from the store.",
    Count.MISSES: "Reads that found no fresh value.",
    Count.LOCAL_HITS: "Values that were found as objects in the process; not among the hits.",
    Count.STALE: "Expired values that get_or_make has returned while another caller made the next one.",
    Count.SETS: "Values that were written.",
    Count.DELETES: "Values that the application has deleted.",
    Count.EVICTIONS: "Values that went for want of room.",
    Count.EXPIRED: "Expired values that were removed.",
    Count.MAKES: "Values that get_or_make has made.",
    Count.LOCK_WAITS: "Callers that had to wait for a lock, or for a value that another caller made.",
    Count.FULL: "Values that were refused because they are too large, or for want of room.",
    Count.ERRORS: "Calls that a network store has not answered.",
}


@dataclass(frozen=True, slots=True)
class CacheView:
    """A store.

    Args:
        name: of the --cache.
        is_remote: whether it is in a network.
        size_bytes: of the store; 0 for a network store.
        reading: of its board.
    """

    name: str
    is_remote: bool
    size_bytes: int
    reading: Reading


def views(values: Iterable[tuple[str, int, str, str]]) -> tuple[CacheView, ...]:
    """Return the stores of --cache."""
    found = []
    for place in (Place(*value) for value in values):
        with suppress(OSError):
            reading = board.read(place.board) or NOT_USED
            found.append(CacheView(place.name, place.is_remote, place.size_bytes, reading))
    return tuple(found)


def as_dict(view: CacheView) -> dict[str, Any]:
    """Return a store for `wsgidctl cache`. What is not known is None."""
    reading = view.reading
    return {
        "name": view.name,
        "remote": view.is_remote,
        "size_bytes": None if view.is_remote else view.size_bytes,
        "used_bytes": None if view.is_remote else reading.used_bytes,
        "items": None if view.is_remote else reading.items,
        "changed_s": reading.changed_s,
        **{count.name.lower(): reading.counts[count] for count in COUNTS},
    }


def uwsgi(view: CacheView) -> dict[str, Any]:
    """Return a store as uWSGI's statistics show a cache. The store has no table of a fixed size: these fields are 0."""
    counts = view.reading.counts
    return {
        "name": view.name,
        "hash": "crc32",
        "hashsize": 0,
        "keysize": 0,
        "max_items": 0,
        "blocks": view.size_bytes // 4096,
        "blocksize": 4096,
        "items": view.reading.items,
        "hits": counts[Count.HITS] + counts[Count.LOCAL_HITS],
        "miss": counts[Count.MISSES],
        "full": counts[Count.FULL],
        "last_modified_at": view.reading.changed_s,
    }
