"""uWSGI's cache_* functions, on wsgid.cache.

Rules
* wsgid.cache is imported when a function is first called: most sites need none of them.
* A name of uWSGI's cache is the name of a --cache. The functions without a name use the first --cache, as in uWSGI.
* Keys may be str or bytes. Values are bytes, as in uWSGI.
"""

from typing import Any

NAMES = ("cache_get", "cache_set", "cache_update", "cache_del", "cache_exists", "cache_clear", "cache_inc", "cache_dec")

Key = str | bytes

_first = ""  # the name of the first --cache
_opened: dict[str, Any] = {}


def use(first: str) -> None:
    """Use this cache where none is named."""
    global _first
    _first = first


def _cache(name: str | None) -> Any:
    name = name or _first
    if name not in _opened:
        from wsgid.cache import Cache

        _opened[name] = Cache(name)
    return _opened[name]


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def cache_get(key: Key, name: str | None = None) -> bytes | None:
    """Return the value, or None."""
    value = _cache(name).get(key)
    return None if value is None else _number(value) if isinstance(value, int) else _bytes(value)


def cache_set(key: Key, value: Key, expires: int = 0, name: str | None = None) -> bool | None:
    """Write a value if there is none. Returns None if there is one, as in uWSGI. `expires` is in seconds; 0: never."""
    return True if _cache(name).add(key, _bytes(value), ttl_s=expires or None) else None


def cache_update(key: Key, value: Key, expires: int = 0, name: str | None = None) -> bool:
    """Write a value."""
    _cache(name).set(key, _bytes(value), ttl_s=expires or None)
    return True


def cache_del(key: Key, name: str | None = None) -> bool | None:
    """Delete a value. Returns None if there was none, as in uWSGI."""
    return True if _cache(name).delete(key) else None


def cache_exists(key: Key, name: str | None = None) -> bool | None:
    """Whether there is a value: True or None, as in uWSGI."""
    return None if _cache(name).get(key) is None else True


def cache_clear(name: str | None = None) -> bool:
    """Delete all values."""
    _cache(name).clear()
    return True


def cache_inc(key: Key, amount: int = 1, expires: int = 0, name: str | None = None) -> bool:
    """Add to a number."""
    _cache(name).incr(key, amount, ttl_s=expires or None)
    return True


def cache_dec(key: Key, amount: int = 1, expires: int = 0, name: str | None = None) -> bool:
    """Subtract from a number."""
    return cache_inc(key, -amount, expires, name)


def _number(value: int) -> bytes:
    """A number of cache_inc: 64 bits, as uWSGI keeps it."""
    return value.to_bytes(8, "little", signed=True)
