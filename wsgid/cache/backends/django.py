"""Django's cache framework on wsgid.cache.

    CACHES = {"default": {"BACKEND": "wsgid.cache.backends.django.WsgidCache", "LOCATION": "pages"}}

LOCATION is the NAME of a --cache. OPTIONS may have `local`: how many values each process also keeps as objects; views
must not change these.

Rules
* Everything behaves as Django's own backends do (https://docs.djangoproject.com/en/stable/topics/cache/).
* get_or_set with a callable makes a value once for all workers.
* A value that is too large is not kept, and an old value of its key does not stay, as with memcached.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from wsgid.cache import Cache
from wsgid.errors import CacheFull, NoSuchKey, ValueTooLarge

_MISSING = object()


class WsgidCache(BaseCache):  # type: ignore[misc]
    """A backend of Django.

    Args:
        location: the NAME of a --cache; outside of a server as for wsgid.cache.Cache.
        params: the entry of CACHES.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        options = params.get("OPTIONS") or {}
        self._cache = Cache(location or "default", local=int(options.get("local", 0)))

    def _ttl_s(self, timeout: Any) -> float | None:
        """Return Django's time-out for wsgid.cache; 0 or less: the value expires at once."""
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return None if seconds is None else max(float(seconds), 0.0)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return a value, or `default`."""
        return self._cache.get(self.make_and_validate_key(key, version=version), default)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """Write a value. A time-out of 0 deletes it."""
        self._set(self.make_and_validate_key(key, version=version), value, timeout)

    def _set(self, name: str, value: Any, timeout: Any) -> bool:
        ttl_s = self._ttl_s(timeout)
        try:
            if ttl_s != 0.0:
                self._cache.set(name, value, ttl_s)
                return True
        except (ValueTooLarge, CacheFull):
            self._cache.delete(name)
            return False
        self._cache.delete(name)
        return True

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Write a value if there is none. Returns whether it was written."""
        name, ttl_s = self.make_and_validate_key(key, version=version), self._ttl_s(timeout)
        try:
            return name not in self._cache if ttl_s == 0.0 else self._cache.add(name, value, ttl_s)
        except (ValueTooLarge, CacheFull):
            return False

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Change when a value expires. Returns whether it was there."""
        name, ttl_s = self.make_and_validate_key(key, version=version), self._ttl_s(timeout)
        return self._cache.delete(name) if ttl_s == 0.0 else self._cache.touch(name, ttl_s)

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Delete a value. Returns whether it was there."""
        return self._cache.delete(self.make_and_validate_key(key, version=version))

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the values that are there."""
        named = {self.make_and_validate_key(key, version=version): key for key in keys}
        return {named[str(name)]: value for name, value in self._cache.get_many(named).items()}

    def set_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """Write several values. Returns the keys that were too large."""
        named = {self.make_and_validate_key(key, version=version): key for key in data}
        return [key for name, key in named.items() if not self._set(name, data[key], timeout)]

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Delete several values."""
        self._cache.delete_many([self.make_and_validate_key(key, version=version) for key in keys])

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Add to a number. Raises ValueError if it is not there."""
        try:
            total = self._cache.incr(self.make_and_validate_key(key, version=version), delta, initial=None)
        except NoSuchKey:
            raise ValueError(f"Key '{key}' not found") from None
        return total  # type: ignore[return-value]

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Whether a value is there."""
        return self.make_and_validate_key(key, version=version) in self._cache

    def get_or_set(self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> Any:
        """Return a value, and make it if there is none. If `default` can be called, one worker makes the value."""
        ttl_s = self._ttl_s(timeout)
        if not callable(default) or ttl_s == 0.0:
            return super().get_or_set(key, default, timeout, version)
        make: Callable[[], Any] = default
        return self._cache.get_or_make(self.make_and_validate_key(key, version=version), make, ttl_s)

    def clear(self) -> None:
        """Delete all values of this LOCATION."""
        self._cache.clear()
