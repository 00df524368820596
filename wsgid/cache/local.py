"""Hot values as objects in the process: Cache(NAME, local=1000).

Rules
* A value is kept with the version of its bucket in shared memory, and the version is compared at each use. So a write
  of any process is seen at once: the writer changes the version before its write can be seen.
* All callers get the same object. It must not be changed.
* At most `size` values are kept. The oldest goes first: a hot value comes back with its next use.
"""

import time
from typing import Any

from wsgid.cache import forking
from wsgid.cache.board import Count, Head
from wsgid.cache.store import MISSING

_clock = time.clock_gettime
_BOOTTIME = time.CLOCK_BOOTTIME
_EPOCH = int(Head.EPOCH)
_LOCAL_HITS = int(Count.LOCAL_HITS)


class LocalValues:
    """The values of one Cache object.

    Args:
        store: where they come from, an LmdbStore.
        size: how many values are kept.
    """

    def __init__(self, store: Any, size: int) -> None:
        self._store = store
        self._size = size
        self._values: dict[str | bytes, tuple[int, int, float, Any]] = {}
        self._versions: Any = ()
        self._words: Any = ()
        self._line: Any = ()
        forking.on_fork(self)

    def forked(self) -> None:
        """In a child: forget everything, also the parent's line of counters."""
        self._values.clear()
        self._versions = self._words = self._line = ()

    def get(self, key: str | bytes) -> Any:
        """Return a fresh value that is kept here, or MISSING."""
        kept = self._values.get(key)
        if kept is not None:
            bucket, version, until_s, value = kept
            if self._versions[bucket] + self._words[_EPOCH] == version and until_s > _clock(_BOOTTIME):
                self._line[_LOCAL_HITS] += 1
                return value
        return MISSING

    def load(self, key: str | bytes, name: bytes) -> Any:
        """Return a fresh value of the store, or MISSING, and keep it.

        Args:
            key: as the application gives it.
            name: the same for the store.
        """
        found = self._store.record(name)
        if not self._line:
            board = self._store.opened.board
            self._versions, self._words, self._line = board.versions, board.words, board.line
        if found[2] > 0:
            values = self._values
            values.pop(key, None)
            if len(values) >= self._size:
                values.pop(next(iter(values)), None)
            values[key] = found
        return found[3]
