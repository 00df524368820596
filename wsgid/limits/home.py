"""Where the limits of this process are kept, and what they have to know of the request that runs.

    worker             the shared memory, in its own slot; permits end with their requests
    everything else    memory of this process alone, with the same semantics: manage.py, tests, the import, a fork

Rules
* The memory is mapped when a limiter is first used. A site without limits pays nothing.
* A process that is forked later has its own memory: the row of its parent has one writer.
* Each worker loads this module. The table is loaded by what uses limits (limiters.py, counters.py), in their import.
* This module knows no greenlet: the worker says what a request is (serving/permits.py).
"""

import mmap
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from wsgid.limits import locks
from wsgid.limits.layout import LOCKS, MUTEX_BYTES, SECRET_BYTES, WORD_BYTES, HeadWord, Layout

if TYPE_CHECKING:
    from wsgid.limits.permit import Permit
    from wsgid.limits.table import Table

KEYS = 65_536  # the default of --limit-keys


class Requests(Protocol):
    """What a worker knows of its requests."""

    def hold(self, permit: "Permit") -> None:
        """Give this permit back when the present request ends; nothing happens outside of a request."""

    def client_left(self) -> bool:
        """Whether the client of the present request has left. False if that is unknown."""


class NoRequests:
    """Where there is no worker."""

    def hold(self, permit: "Permit") -> None:
        """Nothing ends by itself here: the permit ends when it is released, or is not referred to any more."""

    def client_left(self) -> bool:
        return False


class LimitHome:
    """The state of this process. There is one: HOME."""

    def __init__(self) -> None:
        self.store: Any = None  # makes the decisions: a Table or a LimitRedis; None until a limiter is used
        self.requests: Requests = NoRequests()
        self._table: Table | None = None  # the counters are here in any case
        self._make_store: Callable[[Table], Any] | None = None
        self._shared: tuple[int, int, int] | None = None  # descriptor, --limit-keys, slot

    def begin(
        self, fd: int, keys: int, slot: int, requests: Requests, make_store: "Callable[[Table], Any] | None" = None
    ) -> None:
        """This process is a worker from now on.

        Args:
            fd: of the shared memory.
            keys: of --limit-keys.
            slot: of the worker.
            requests: of the worker.
            make_store: makes another store than the table, for --limit-store.
        """
        self.store = self._table = None
        self._shared = fd, keys, slot
        self.requests = requests
        self._make_store = make_store

    def open(self) -> Any:
        """Return what makes the decisions. Called when a limiter is first used."""
        if self.store is None:
            self.store = self._make_store(self.table()) if self._make_store else self.table()
        return self.store

    def table(self) -> "Table":
        """Return the table of this process."""
        if self._table is None:
            from wsgid.limits.table import Table

            if self._shared is None:
                self._table = private_table()
            else:
                fd, keys, slot = self._shared
                layout = Layout(keys)
                self._table = Table(mmap.mmap(fd, layout.size_bytes), layout, slot, fd)
        return self._table

    def forget(self) -> None:
        """This process was forked: what it knows belongs to its parent."""
        if self._table is not None:
            self._table.gone = True
        if self.store is not None:
            self.store.gone = True
        self.store = self._table = self._shared = self._make_store = None
        self.requests = NoRequests()


def private_table(keys: int = KEYS, clock: Callable[[], int] = time.monotonic_ns) -> "Table":
    """Return a table of this process alone.

    Args:
        keys: how many keys it can hold in any case.
        clock: returns nanoseconds.
    """
    from wsgid.limits.table import Table

    layout = Layout(keys)
    size_bytes = layout.held + layout.column_bytes  # one row: there is one process
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    words = memoryview(memory).cast("B")
    secret = layout.header + HeadWord.SECRET * WORD_BYTES
    words[secret : secret + SECRET_BYTES] = os.urandom(SECRET_BYTES)
    mutexes = locks.fresh(LOCKS, MUTEX_BYTES)
    words[layout.mutexes : layout.mutexes + len(mutexes)] = mutexes
    words[layout.header + HeadWord.SLOTS_USED * WORD_BYTES] = 1
    return Table(memory, layout, 0, clock=clock)


HOME = LimitHome()
os.register_at_fork(after_in_child=HOME.forget)
