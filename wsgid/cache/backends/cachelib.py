"""cachelib's interface on wsgid.cache, for Flask-Caching and Flask-Session.

    CACHE_TYPE = "wsgid.cache.backends.cachelib.CachelibCache"      # Flask-Caching
    CACHE_ARGS = ["pages"]                                          # the NAME of a --cache
    CACHE_OPTIONS = {"key_prefix": "site."}

    SESSION_TYPE = "cachelib"                                       # Flask-Session
    SESSION_CACHELIB = CachelibCache("sessions")

Rules
* Everything behaves as cachelib documents it (https://cachelib.readthedocs.io/): a time-out of 0 is no end.
* clear deletes all values of the NAME. So give each use a NAME of its own.
"""

from datetime import timedelta
from typing import Any

from cachelib.base import BaseCache

from wsgid.cache import Cache
from wsgid.errors import CacheFull, ValueTooLarge


class CachelibCache(BaseCache):
    """A cache of cachelib.

    Args:
        name: of a --cache; outside of a server as for wsgid.cache.Cache.
        default_timeout: seconds, if a call names none; 0 is no end.
        key_prefix: stands before each key.
        local: as for wsgid.cache.Cache.
        ignore_delete_many_errors: has no effect, because a key that is not there is no error here.
    """

    def __init__(
        self,
        name: str = "default",
        default_timeout: int = 300,
        key_prefix: str = "",
        local: int = 0,
        ignore_delete_many_errors: bool = False,
    ) -> None:
        super().__init__(default_timeout, ignore_delete_many_errors)
        self._cache = Cache(name, local=local)
        self._prefix = key_prefix

    def _ttl_s(self, timeout: int | timedelta | None) -> float | None:
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        return (self.default_timeout if seconds is None else seconds) or None

    def get(self, key: str) -> Any:
        """Return a value, or None."""
        return self._cache.get(self._prefix + key)

    def get_many(self, *keys: str) -> list[Any]:
        """Return the value of each key, or None."""
        found = self._cache.get_many([self._prefix + key for key in keys])
        return [found.get(self._prefix + key) for key in keys]

    def set(self, key: str, value: Any, timeout: int | timedelta | None = None) -> bool:
        """Write a value. Returns whether it was kept."""
        ttl_s = self._ttl_s(timeout)
        try:
            if ttl_s is None or ttl_s > 0:
                self._cache.set(self._prefix + key, value, ttl_s)
                return True
        except (ValueTooLarge, CacheFull):
            self._cache.delete(self._prefix + key)
            return False
        self._cache.delete(self._prefix + key)
        return True

    def add(self, key: str, value: Any, timeout: int | timedelta | None = None) -> bool:
        """Write a value if there is none. Returns whether it was written."""
        ttl_s = self._ttl_s(timeout)
        try:
            return (ttl_s is None or ttl_s > 0) and self._cache.add(self._prefix + key, value, ttl_s)
        except (ValueTooLarge, CacheFull):
            return False

    def delete(self, key: str) -> bool:
        """Delete a value. Returns whether it was there."""
        return self._cache.delete(self._prefix + key)

    def has(self, key: str) -> bool:
        """Whether a value is there."""
        return self._prefix + key in self._cache

    def clear(self) -> bool:
        """Delete all values of the NAME."""
        self._cache.clear()
        return True

    def inc(self, key: str, delta: int = 1) -> int | None:
        """Add to a number; one that is not there begins with 0. Unlike cachelib's own, in one step."""
        return int(self._cache.incr(self._prefix + key, delta, ttl_s=self._ttl_s(None)))

    def dec(self, key: str, delta: int = 1) -> int | None:
        """Subtract from a number."""
        return self.inc(key, -delta)
