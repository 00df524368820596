"""A cache and locks that all workers share: `from wsgid.cache import Cache`. docs/cache.md has examples.

Modules

    Cache (cache.py) -> in the process (local.py) -> shared by the workers (lmdb_store.py)
                                                  '> shared by machines (redis_store.py)

places.py       --cache: the name, the size and the place of a store
files.py        the master's part: the files of the stores, made at the start and removed at the end
board.py        shared words beside a store: counters, versions, uses, and who lives
forking.py      what a child of fork(2) must not share with its parent
native.py       locks of the operating system, whatever gevent has patched
codec.py        values to bytes, and back
store.py        what every store can do
lmdb_store.py   the store of one machine: its values
lmdb_locks.py   its locks
lmdb_space.py   its transactions, opening and forks
lmdb_files.py   its files as LMDB sees them
record.py       a record of it
parts.py        large values in parts of one page
eviction.py     which values go when a store is full
redis_store.py  the store of several machines
redis_client.py a client of redis-py for a URL
redis_local.py  hot values as objects in the process, over Redis
breaker.py      keeps requests away from a Redis that does not answer
stores.py       the open stores of this process
locks.py        a lock, and the turns of greenlets that want it
making.py       get_or_make: one caller makes a value, the others wait
local.py        hot values as objects in the process
cache.py        Cache, which applications use
backends/       for Django, cachelib, dogpile.cache

Rules
* The master imports places.py, files.py and board.py only: they need nothing but the standard library.
* Nothing here imports gevent.  Waiting is time.sleep and threading.Lock, which gevent has patched in a worker.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["Cache"]

if TYPE_CHECKING:
    from wsgid.cache.cache import Cache
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        found = globals()[name] = importlib.import_module("wsgid.cache.cache").Cache
        return found
