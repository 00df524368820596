"""Counters, moving windows and sliding windows in the shared memory, for the storage (storage.py).

    counter          one key: the time at which it ends, and the count
    moving window    a ring with an entry for each call of `enter`: the time at which the entry leaves the window, and
                     how many requests came before; further keys for the next place of the ring and for the total
    sliding window   two counters, of the present and of the previous window

Rules
* Each word has the form of a window's: the ms at which it says nothing more, and 24 bits (table.py).
* Work on several keys happens under one lock of its own. If a process dies within it, the request that it decided about
  was not served, and is not counted.
* What finds no lock or no place fails open, as all limits do.
"""

import time
from collections.abc import Callable
from math import floor

from wsgid.limits.permit import Bounds, Kind
from wsgid.limits.table import USED_MAX, Table

_BITS = 24
_LIMIT_MAX = USED_MAX >> 1  # of a moving window: differences of totals have to be clear
_FAR_MS = 1 << 38  # nine years: a window cannot be longer


class Counters:
    """The counters of one storage.

    Args:
        name: of the storage; one name is one set of counters.
        table: returns the table of this process.
        wall_s: returns the seconds of time.time().
    """

    def __init__(self, name: str, table: Callable[[], Table], wall_s: Callable[[], float] = time.time) -> None:
        self._limiter = Bounds(Kind.COUNTER, f"counter {name}".encode(), name, False)
        self._table = table
        self._wall_s = wall_s

    # --- counters ---

    def add(self, key: str, expiry_s: float, amount: int) -> int:
        """Count. A counter begins at 0 when its time is over.

        Args:
            key: of the counter.
            expiry_s: how long a new counter lasts.
            amount: what to add; the counter stays between 0 and USED_MAX.

        Returns:
            the count; 0 if nothing could be counted.
        """

        def change(word: int, now_ms: int) -> int:
            ends_ms, count = word >> _BITS, word & USED_MAX
            if ends_ms <= now_ms:
                ends_ms, count = now_ms + _ms(expiry_s), 0
            return ends_ms << _BITS | min(max(count + amount, 0), USED_MAX)

        return max(self._table().change(self._limiter, key, change), 0) & USED_MAX

    def get(self, key: str) -> int:
        """Return the count; 0 if its time is over."""
        return self._live(key) & USED_MAX

    def ends_s(self, key: str) -> float:
        """Return the end of a counter as seconds of time.time(); the present time if there is no counter."""
        word = self._live(key)
        return self._wall(word >> _BITS) if word else self._wall_s()

    def clear(self, key: str) -> None:
        """Forget a counter and a moving window of this key."""
        number = self._table().take_key(self._limiter, key)
        try:
            size = self._live(_size(key)) & USED_MAX
            for place in range(size + 1 if size else 0):
                self._put(_ring(key, place), 0)
            for name in (key, _size(key), _next(key), _total(key)):
                self._put(name, 0)
        finally:
            self._free(number)

    def clear_all(self) -> int:
        """Forget everything. Returns how many keys there were."""
        return self._table().clear_counters()

    # --- moving windows ---

    def enter(self, key: str, limit: int, expiry_s: float, amount: int) -> bool:
        """Enter requests into a moving window if they all fit. Returns whether they did.

        Args:
            key: of the window.
            limit: of requests in the window.
            expiry_s: the length of the window.
            amount: of requests.
        """
        if amount > limit or limit > _LIMIT_MAX:
            return False
        number = self._table().take_key(self._limiter, key)
        try:
            following, total = self._live(_next(key)) & USED_MAX, self._live(_total(key)) & USED_MAX
            _, used = self._newest(key, limit, following, total)
            if used + amount > limit:
                return False
            ends = (self._table().clock() // 1_000_000 + _ms(expiry_s)) << _BITS
            self._put(_size(key), ends | limit)
            self._put(_ring(key, following), ends | total)
            self._put(_next(key), ends | (following + 1) % (limit + 1))
            self._put(_total(key), ends | (total + amount) & USED_MAX)
            return True
        finally:
            self._free(number)

    def window(self, key: str, limit: int, expiry_s: float) -> tuple[float, int]:
        """Return when the oldest request of a moving window came, as seconds of time.time(), and how many there are.
        Arguments are those of `enter`."""
        following, total = self._live(_next(key)) & USED_MAX, self._live(_total(key)) & USED_MAX
        oldest, used = self._newest(key, limit, following, total)
        return (self._wall((oldest >> _BITS) - _ms(expiry_s)) if used else self._wall_s()), used

    def _newest(self, key: str, limit: int, following: int, total: int) -> tuple[int, int]:
        """Return the word of the oldest entry that is still in the window, and how many requests are in the window.

        Args:
            following: the place of the next entry.
            total: of all requests so far.
        """
        low, high, oldest = 0, limit, 0  # the newest `low` entries are in the window, and at most `high` are
        while low < high:
            middle = (low + high) // 2
            word = self._live(_ring(key, (following - 1 - middle) % (limit + 1)))
            if word:
                low, oldest = middle + 1, word
            else:
                high = middle
        return oldest, (total - oldest) & USED_MAX if low else 0

    # --- sliding windows ---

    def slide(self, key: str, limit: int, expiry_s: int, amount: int) -> bool:
        """Count requests if they fit into a sliding window. Returns whether. Arguments are those of `enter`."""
        if amount > limit:
            return False
        number = self._table().take_key(self._limiter, key)
        try:
            before, before_s, count, _ = self.sliding(key, expiry_s)
            if floor(before * before_s / expiry_s + count) + amount > limit:
                return False
            self.add(f"{key}/{int(self._wall_s() / expiry_s)}", 2 * expiry_s, amount)
            return True
        finally:
            self._free(number)

    def sliding(self, key: str, expiry_s: int) -> tuple[int, float, int, float]:
        """Return the count of the previous window and its time left, and the same of the present window."""
        now_s = self._wall_s()
        before = self.get(f"{key}/{int((now_s - expiry_s) / expiry_s)}")
        before_s = (1 - (((now_s - expiry_s) / expiry_s) % 1)) * expiry_s if before else 0.0
        return before, before_s, self.get(f"{key}/{int(now_s / expiry_s)}"), (2 - (now_s / expiry_s) % 1) * expiry_s

    def clear_sliding(self, key: str, expiry_s: int) -> None:
        """Forget both windows."""
        now_s = self._wall_s()
        self._put(f"{key}/{int((now_s - expiry_s) / expiry_s)}", 0)
        self._put(f"{key}/{int(now_s / expiry_s)}", 0)

    # --- words ---

    def _live(self, key: str) -> int:
        """Return the word of a key; 0 if its time is over, or if there is none."""
        found = [0]

        def look(word: int, now_ms: int) -> int:
            if word >> _BITS > now_ms:
                found[0] = word
            return word

        self._table().change(self._limiter, key, look)
        return found[0]

    def _put(self, key: str, word: int) -> None:
        self._table().change(self._limiter, key, lambda _before, _now_ms: word)

    def _wall(self, ms: int) -> float:
        return self._wall_s() + ms / 1000 - self._table().clock() / 1e9

    def _free(self, number: int) -> None:
        if number >= 0:
            self._table().free_key(number)


def _ms(seconds: float) -> int:
    return min(max(round(seconds * 1000), 1), _FAR_MS)


def _next(key: str) -> str:
    return f"next\0{key}"


def _total(key: str) -> str:
    return f"total\0{key}"


def _size(key: str) -> str:
    return f"size\0{key}"


def _ring(key: str, place: int) -> str:
    return f"{place}\0{key}"
