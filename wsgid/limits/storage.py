"""A storage for the library `limits`, which Flask-Limiter and others use: its limits hold over all workers.

    Limiter(storage_uri=limits.storage_uri())      or: import wsgid.limits.storage, and storage_uri="wsgid://"

Rules
* All strategies of the library work: fixed window, moving window, sliding window counter.
* Outside of wsgid's workers the counters are in the memory of the process, as with memory://.
* The URI's host names a set of counters, wsgid://api. Without a name, all storages of the server share one set.
"""

from urllib.parse import urlsplit

from limits.storage.base import MovingWindowSupport, SlidingWindowCounterSupport, Storage, TimestampedSlidingWindow

from wsgid.limits.counters import Counters
from wsgid.limits.home import HOME

URI = "wsgid://"


class SharedStorage(Storage, MovingWindowSupport, SlidingWindowCounterSupport, TimestampedSlidingWindow):
    """The storage; limits.storage.storage_from_string makes it for the scheme `wsgid`.

    Args:
        uri: wsgid:// or wsgid://NAME.
        wrap_exceptions: of the library.
    """

    STORAGE_SCHEME = ["wsgid"]  # noqa: RUF012  # the library declares it so

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **options: float | str | bool) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions, **options)
        self._counters = Counters(f"limits {urlsplit(uri or URI).netloc}".rstrip(), HOME.table)

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count, and return the count."""
        return self._counters.add(key, expiry, amount)

    def decr(self, key: str, amount: int = 1) -> int:
        """Count down, at most to 0, and return the count."""
        return self._counters.add(key, 0.001, -amount)

    def get(self, key: str) -> int:
        """Return the count."""
        return self._counters.get(key)

    def get_expiry(self, key: str) -> float:
        """Return when the counter ends: seconds of time.time()."""
        return self._counters.ends_s(key)

    def check(self) -> bool:
        """Whether the storage works."""
        return True

    def reset(self) -> int | None:
        """Forget all keys of all storages with this scheme. Returns how many there were."""
        return self._counters.clear_all()

    def clear(self, key: str) -> None:
        """Forget this key."""
        self._counters.clear(key)

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Enter requests into a moving window if they fit. Returns whether they do."""
        return self._counters.enter(key, limit, expiry, amount)

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the moving window begins, and how many requests are in it."""
        return self._counters.window(key, limit, expiry)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count requests if they fit into a sliding window. Returns whether they do."""
        return self._counters.slide(key, limit, expiry, amount)

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return count and time left of the previous window, then of the present window."""
        return self._counters.sliding(key, expiry)

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget both windows."""
        self._counters.clear_sliding(key, expiry)
