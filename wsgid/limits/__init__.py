"""Limits of rate and concurrency that all workers share (docs/limits.md).

    from wsgid import limits

    api = limits.RequestRate("10r/s", burst=20)
    with api.acquire(client):
        ...

Modules

    layout.py       the shared memory: its words and their places
    locks.py        its locks, in two forms
    permit.py       a decision, and the numbers of a limiter
    keys.py         the keys: the place of each, and which one makes room
    table.py        the decisions, in shared memory
    home.py         which table this process uses, and the request that it serves
    limiters.py     RequestRate, WindowCount, Concurrency, combine
    rules.py        the texts of --limit-req and --limit-conn
    gate.py         these options in front of the application (WSGI)
    ledger.py       what the master does: dead workers, statistics
    counters.py     counters and moving windows for the storage
    storage.py      a storage for the library `limits`, which Flask-Limiter uses
    redis_store.py  the decisions in Redis, for several machines
    breaker.py      what happens while Redis does not answer

The names below are imported when they are used: the master needs none of them.
"""

from typing import TYPE_CHECKING, Any

from wsgid.errors import Rejected

__all__ = ["Concurrency", "Permit", "Rejected", "RequestRate", "WindowCount", "combine", "storage_uri"]

if TYPE_CHECKING:
    from wsgid.limits.limiters import Concurrency, RequestRate, WindowCount, combine, storage_uri
    from wsgid.limits.permit import Permit
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        found = globals()[name] = getattr(importlib.import_module("wsgid.limits.limiters"), name)
        return found
