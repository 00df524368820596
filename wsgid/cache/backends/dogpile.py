"""dogpile.cache on wsgid.cache.

    region = make_region().configure("wsgid", expiration_time=60, arguments={"name": "pages"})

dogpile.cache finds the name "wsgid" by its entry point. Arguments: `name`, the NAME of a --cache; `local`, as for
wsgid.cache.Cache; `ttl_s`, when a value is removed at the latest; `lock_s`, how long a value may be made (30).

Rules
* A lock of a region is one for all workers, and ends with its owner.
* Everything behaves as dogpile.cache documents it (https://dogpilecache.sqlalchemy.org/).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from dogpile.cache.api import NO_VALUE, CacheBackend, CacheMutex

from wsgid.cache import Cache
from wsgid.cache.locks import Lock


class WsgidBackend(CacheBackend):
    """A backend of dogpile.cache.

    Args:
        arguments: of region.configure.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._cache = Cache(arguments.get("name", "default"), local=arguments.get("local", 0))
        self._ttl_s = arguments.get("ttl_s")
        self._lock_s = arguments.get("lock_s", 30.0)

    def has_lock_timeout(self) -> bool:
        """A lock ends by itself after lock_s."""
        return True

    def get_mutex(self, key: str) -> CacheMutex:
        """Return the lock of a key."""
        return Mutex(self._cache.lock(key, self._lock_s))

    def get(self, key: str) -> Any:
        """Return a value, or NO_VALUE."""
        return self._cache.get(key, NO_VALUE)

    def get_multi(self, keys: Iterable[str]) -> list[Any]:
        """Return the value of each key, or NO_VALUE."""
        wanted = list(keys)
        found = self._cache.get_many(wanted)
        return [found.get(key, NO_VALUE) for key in wanted]

    def set(self, key: str, value: Any) -> None:
        """Write a value."""
        self._cache.set(key, value, self._ttl_s)

    def set_multi(self, mapping: Mapping[str, Any]) -> None:
        """Write several values."""
        self._cache.set_many(mapping, self._ttl_s)

    def delete(self, key: str) -> None:
        """Delete a value."""
        self._cache.delete(key)

    def delete_multi(self, keys: Iterable[str]) -> None:
        """Delete several values."""
        self._cache.delete_many(keys)


class Mutex(CacheMutex):
    """A lock with the methods that dogpile.cache wants.

    Args:
        lock: of wsgid.cache.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    def acquire(self, wait: bool = True) -> bool:
        """Take the lock. Returns whether it was taken."""
        return self._lock.acquire(None if wait else 0.0)

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def locked(self) -> bool:
        """Whether somebody holds the lock."""
        if self._lock.acquire(0.0):
            self._lock.release()
            return False
        return True
