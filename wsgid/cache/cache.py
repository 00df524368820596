"""Cache: what an application uses.

    from wsgid.cache import Cache

    pages = Cache("pages")
    pages.set("home", html, ttl_s=60)
    html = pages.get_or_make("home", render_home, ttl_s=60, stale_s=300)

Rules
* Keys are str or bytes; a str is its UTF-8. Long keys are stored by their checksum.
* A value may be gone at any time: when it has expired, when there was no room, when the server was started again. Only
  locks are never thrown out.
* Everything that is missing is an ordinary result. Exceptions are CacheError, or a wrong type or number of the caller.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wsgid.cache import forking, stores
from wsgid.cache.locks import Lock, Turns, names_of
from wsgid.cache.making import Recipe, get_or_make
from wsgid.cache.store import KEY_MAX_BYTES, MISSING, LocalLevel, Number, When, checked_s

Key = str | bytes
LOCK_S = 30.0  # how long a caller of get_or_make may make a value, before another one does


class Cache:
    """A cache that all workers share.

    Args:
        name: of a --cache. Outside of a server: a name of the environment's WSGID_CACHE, or else a private store of
            this process.
        local: how many values are also kept as objects in the process; 0 for none. These objects must not be changed.
        path: outside of a server, the file of a store.
        size_bytes: of this store, or of a private one.

    Raises:
        NoSuchCache: the server has no store with this name.
        CacheError: LMDB or redis-py is missing, or the store cannot be opened.
    """

    def __init__(
        self, name: str = "default", *, local: int = 0, path: str | None = None, size_bytes: int = stores.PRIVATE_BYTES
    ) -> None:
        self.name = name
        self._store = stores.find(name, path, size_bytes)
        self._turns = _turns_of(self._store)
        self._local: LocalLevel | None = self._store.local(local) if local else None

    # --- values ---

    def get(self, key: Key, default: Any = None) -> Any:
        """Return a value, or `default` if there is none."""
        local = self._local
        if local is not None:
            value = local.get(key)
            if value is MISSING:
                value = local.load(key, name_of(key))
        else:
            value = self._store.get(name_of(key))
        return default if value is MISSING else value

    def get_many(self, keys: Iterable[Key]) -> dict[Key, Any]:
        """Return the values that are there, by key."""
        wanted = names_of(keys)
        values = self._store.get_many([name_of(key) for key in wanted])
        return {key: value for key, value in zip(wanted, values) if value is not MISSING}

    def set(self, key: Key, value: Any, ttl_s: float | None = None, *, stale_s: float = 0.0) -> None:
        """Write a value.

        Args:
            key: its name.
            value: bytes, str, a number, a bool or None; anything else is pickled.
            ttl_s: seconds until it expires; None: never.
            stale_s: how many seconds longer get_or_make may use it.

        Raises:
            ValueTooLarge: it takes more than a fourth of the store.
            CacheFull: there is no room, although other values were removed.
        """
        self._store.set(name_of(key), value, checked_s(ttl_s, "ttl_s"), stale_s)

    def set_many(self, values: Mapping[Any, Any], ttl_s: float | None = None) -> None:
        """Write several values."""
        if values:
            named = {name_of(key): value for key, value in values.items()}
            self._store.set_many(named, checked_s(ttl_s, "ttl_s"))

    def add(self, key: Key, value: Any, ttl_s: float | None = None) -> bool:
        """Write a value if there is none. Returns whether it was written."""
        written: bool = self._store.set(name_of(key), value, checked_s(ttl_s, "ttl_s"), when=When.ABSENT)
        return written

    def replace(self, key: Key, value: Any, ttl_s: float | None = None) -> bool:
        """Write a value if there is one. Returns whether it was written."""
        written: bool = self._store.set(name_of(key), value, checked_s(ttl_s, "ttl_s"), when=When.PRESENT)
        return written

    def incr(self, key: Key, by: Number = 1, initial: Number | None = 0, ttl_s: float | None = None) -> Number:
        """Add to a number, in one step that no other process interrupts. Returns the sum.

        Args:
            key: its name.
            by: what is added; may be negative.
            initial: what a missing number begins with; None: it is an error.
            ttl_s: seconds until a number that begins now expires. A number that is there keeps its time.

        Raises:
            NoSuchKey: there is no number, and `initial` is None.
            NotANumber: the value is no number.
        """
        total: Number = self._store.incr(name_of(key), by, initial, checked_s(ttl_s, "ttl_s"))
        return total

    def delete(self, key: Key) -> bool:
        """Delete a value. Returns whether it was there."""
        return bool(self._store.delete([name_of(key)]))

    def delete_many(self, keys: Iterable[Key]) -> int:
        """Delete values. Returns how many were there."""
        deleted: int = self._store.delete([name_of(key) for key in names_of(keys)])
        return deleted

    def touch(self, key: Key, ttl_s: float | None = None) -> bool:
        """Let a value expire in `ttl_s` seconds, or never. Returns whether it was there."""
        touched: bool = self._store.touch(name_of(key), checked_s(ttl_s, "ttl_s"))
        return touched

    def ttl(self, key: Key) -> float | None:
        """Return the seconds until a value expires, math.inf if it never does, None if it is not there."""
        left_s: float | None = self._store.ttl(name_of(key))
        return left_s

    def clear(self) -> None:
        """Delete all values."""
        self._store.clear()

    def __contains__(self, key: Key) -> bool:
        return self.ttl(key) is not None

    # --- locks ---

    def lock(self, key: Key, ttl_s: float = 30.0, *, wait_s: float | None = None) -> Lock:
        """Return a lock for `with`. Waiting callers leave the event loop to others.

            with cache.lock("import", ttl_s=60): ...

        Args:
            key: its name. Locks and values have separate names.
            ttl_s: the lock ends after so many seconds, even if its owner is still at work. It ends at once if the
                owner's process ends.
            wait_s: how many seconds `with` waits for it; None: as long as it takes.

        Raises:
            ValueError: ttl_s is not above 0.
            LockNotAcquired: by `with`, after wait_s.
        """
        held_s = checked_s(ttl_s, "ttl_s")
        if held_s is None:
            raise ValueError("ttl_s is None: a lock has to end some day")
        return Lock(self._store, self._turns, b"lock:" + name_of(key), key, held_s, wait_s)

    def get_or_make(
        self,
        key: Key,
        make: Callable[[], Any],
        ttl_s: float | None = None,
        stale_s: float = 0.0,
        negative_ttl_s: float | None = None,
        *,
        lock_s: float = LOCK_S,
    ) -> Any:
        """Return a value, and make it if there is none. In all workers together, one caller makes it.

        While it is made, the others get the value that has expired, or else wait.

        Args:
            key: its name.
            make: is called without arguments.
            ttl_s: how many seconds the value is fresh; None: always.
            stale_s: how many seconds longer it may be used while another caller makes the next one.
            negative_ttl_s: how many seconds None is fresh, if `make` returns it; None: as any value.
            lock_s: after so many seconds of making, another caller tries, too.

        Raises:
            BaseException: what `make` raises.
        """
        if self._local is not None:
            value = self.get(key, MISSING)
            if value is not MISSING:
                return value
        recipe = Recipe(make, checked_s(ttl_s, "ttl_s"), stale_s, checked_s(negative_ttl_s, "negative_ttl_s"), lock_s)
        return get_or_make(self._store, self._turns, name_of(key), recipe)

    def cached(
        self, key: Key, ttl_s: float | None = None, stale_s: float = 0.0
    ) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
        """Decorate a function without arguments: its result is kept under this key."""

        def decorate(make: Callable[[], Any]) -> Callable[[], Any]:
            return functools.wraps(make)(lambda: self.get_or_make(key, make, ttl_s, stale_s))

        return decorate


def name_of(key: Key) -> bytes:
    """Return a key for the store.

    Raises:
        TypeError: it is neither str nor bytes.
    """
    if type(key) is str:
        name = key.encode("utf-8", "surrogatepass")
    elif isinstance(key, bytes):
        name = key
    elif isinstance(key, str):  # a subclass, such as Django's SafeString
        name = str(key).encode("utf-8", "surrogatepass")
    else:
        raise TypeError(f"a key is str or bytes, and {key!r} is {type(key).__name__}")
    return name if len(name) <= KEY_MAX_BYTES else b"\0" + hashlib.blake2b(name, digest_size=32).digest()


_all_turns: dict[int, Turns] = {}


def _turns_of(store: Any) -> Turns:
    """The turns of a store are the same for all its Cache objects in this process."""
    if id(store) not in _all_turns:  # stores live as long as the process
        made = _all_turns[id(store)] = Turns()
        forking.on_fork(made)
    return _all_turns[id(store)]
