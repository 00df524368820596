"""The decisions about keys, in shared memory. layout.py describes the memory, and keys.py says where a key is in it.

    RATE         one word: the time at which the bucket will be empty again (GCRA, the theoretical arrival time), in ns
    WINDOW       one word: the end of the window in ms, and the number of requests (24 bits)
    CONCURRENCY  no word: each worker slot has a number of its own, and the level is their sum. Its word is the delay

Rules
* Read, decide and store is one section under the lock of the key's bucket, and ends with one store.  What a dead
  process leaves behind is the old state or the new. Only `release` takes no lock.
* No section switches greenlets. A lock that is not free is tried again, at the end with pauses of this greenlet only.
* A limit fails open: if there is no lock within LOCK_WAIT_S, or no place for a key, the request goes on, and is
  counted.
* Nothing can lock a client out for longer than its limit says: a word that no decision could have stored is cut to the
  largest that could.
* Times are CLOCK_MONOTONIC, which is the same in all processes of the machine, and does not jump.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from wsgid.limits.keys import USED_BITS, Keys
from wsgid.limits.layout import COUNTS, KEY_LOCKS, LIMITERS_MAX, STRIPES, WAYS, WORD_BYTES, HeadWord, Layout, LimitCount
from wsgid.limits.locks import StripeLocks
from wsgid.limits.permit import Bounds, Kind, Permit, Ruling

LOCK_WAIT_S = 2.0
_SPINS = 200
_PAUSE_S = 0.0005
USED_MAX = (1 << USED_BITS) - 1
_USED_BITS = int(USED_BITS)
_NS_PER_MS = 1_000_000

_RATE, _WINDOW, _CONCURRENCY, _COUNTER = map(int, Kind)
_NONE, _ADMITTED, _REJECTED, _WOULD_REJECT, _FAILED_OPEN, _ = map(int, Ruling)
_C_ADMITTED, _C_REJECTED, _C_DELAYED, _C_WOULD_REJECT, _C_FAILED_OPEN, _C_UNDONE, _C_HELD, _C_WAITING = map(
    int, LimitCount
)
_N_COUNTS = int(COUNTS)
_N_WAYS, _N_STRIPES = int(WAYS), int(STRIPES)


class Table:
    """The memory, as one process sees it.

    Args:
        memory: mapped, of layout.size_bytes.
        layout: of the memory.
        slot: of this worker.
        fd: of the memory, for its locks; -1: the memory is of this process alone.
        clock: returns nanoseconds.
    """

    def __init__(
        self, memory: Any, layout: Layout, slot: int, fd: int = -1, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._keys = Keys(memory, layout)
        self._slot = slot
        self.clock = clock
        self.gone = False  # True in a process that was forked later: the memory is that of its parent
        self._locks = StripeLocks(fd, memory, layout.mutexes)
        self._key_locks = StripeLocks(fd, memory, layout.mutexes)
        self._buckets = layout.buckets
        self._places = layout.places
        self._words = self._keys.words
        self._held = self._keys.held
        self._hashes = layout.hashes // WORD_BYTES
        self._values = layout.values // WORD_BYTES
        self._metas = layout.metas // WORD_BYTES
        self._admitted = layout.admitted // WORD_BYTES
        self._rejected = layout.rejected // WORD_BYTES
        self._row = (layout.counters + slot * layout.row_bytes) // WORD_BYTES
        self._own = slot * layout.places
        self._touched = layout.touched // WORD_BYTES + slot

    # --- decisions ---

    def decide(self, permit: Permit, commit: bool) -> None:
        """Decide about one permit.

        Args:
            permit: is filled in.
            commit: whether to spend; otherwise the decision changes nothing, and is not counted.

        Raises:
            TypeError: the key is no str, bytes or int.
        """
        limiter = permit.limiter
        if limiter.store is not self:
            self._register(limiter)
        permit.hashed, stripe, hint = limiter.places.get(permit.key) or self._keys.hash(limiter, permit.key)
        locks = self._locks
        try:
            taken = locks.take(stripe) or self._wait(locks, [stripe])
        except OSError:  # the application has closed the descriptor, or written into the memory
            taken = False
        if not taken:
            self._fail_open(permit, commit)
            return
        try:
            if hint >= 0 and self._words[self._hashes + hint] == permit.hashed:
                permit.place = hint
            else:
                self._keys.find(permit)
            permit.since_ns = now_ns = self.clock()
            if self._weigh(permit, now_ns):
                permit.ruling = _ADMITTED
                if commit:
                    self._store(permit, now_ns)
            else:
                self._reject(permit, commit)
        finally:
            locks.free(stripe)

    def decide_all(self, permits: Sequence[Permit], commit: bool) -> bool:
        """Decide about several permits at once: all are admitted, or none. Returns whether they are.

        Args:
            permits: of different limiters; they are filled in. Those behind the first rejection stay NONE.
            commit: as in `decide`.

        Raises:
            TypeError: a key is no str, bytes or int.
        """
        used: set[int] = set()
        for permit in permits:
            if permit.limiter.store is not self:
                self._register(permit.limiter)
            permit.hashed, stripe, _ = self._keys.hash(permit.limiter, permit.key)
            used.add(stripe)
        stripes = sorted(used)
        if not self._take_all(stripes):
            for permit in permits:
                self._fail_open(permit, commit)
            return True
        try:
            return self._decide_locked(permits, commit)
        finally:
            self._locks.free_all(stripes)

    def _decide_locked(self, permits: Sequence[Permit], commit: bool) -> bool:
        now_ns = self.clock()
        for permit in permits:
            self._keys.find(permit)
            permit.since_ns = now_ns
            if self._weigh(permit, now_ns):
                permit.ruling = _ADMITTED
            else:
                self._reject(permit, commit)
            if permit.ruling == _REJECTED:
                _undecide(other for other in permits if other is not permit)
                return False
        if commit:
            # Keys with a place come first. A key without a place may evict another, but never one that is stored.
            for permit in sorted(permits, key=_lacks_place):
                if permit.ruling == _ADMITTED:
                    self._store(permit, now_ns)
        return True

    def _weigh(self, permit: Permit, now_ns: int) -> bool:
        """Decide whether the permit can be given now. Fills in wait_ns, used and value."""
        limiter = permit.limiter
        place = permit.place
        if limiter.kind == _RATE:
            ahead_ns = self._words[self._values + place] - now_ns if place >= 0 else 0
            burst_ns, interval_ns = limiter.burst_ns, limiter.interval_ns
            if ahead_ns < 0:
                ahead_ns = 0
            elif ahead_ns > burst_ns + interval_ns:
                ahead_ns = burst_ns + interval_ns
                self._words[self._values + place] = now_ns + ahead_ns
            if ahead_ns > burst_ns:
                permit.used, permit.value, permit.wait_ns = ahead_ns, 0, ahead_ns - burst_ns
                return False
            permit.wait_ns = ahead_ns
            permit.used = ahead_ns = ahead_ns + interval_ns
            permit.value = now_ns + ahead_ns
            return True
        return self._weigh_window(permit, now_ns) if limiter.kind == _WINDOW else self._weigh_level(permit)

    def _weigh_level(self, permit: Permit) -> bool:
        limiter = permit.limiter
        place = permit.place
        permit.value = 0
        level = self._keys.level(place) if place >= 0 else 0
        unit_ns = (self._words[self._values + place] if place >= 0 else 0) or limiter.unit_ns
        if level >= limiter.count + limiter.burst:
            permit.used, permit.wait_ns = level, unit_ns
            return False
        permit.used = level + 1
        permit.wait_ns = unit_ns * (level // limiter.count) if level >= limiter.count else 0
        return True

    def _weigh_window(self, permit: Permit, now_ns: int) -> bool:
        limiter = permit.limiter
        word = self._words[self._values + permit.place] if permit.place >= 0 else 0
        now_ms = now_ns // _NS_PER_MS
        ends_ms, used = word >> _USED_BITS, word & USED_MAX
        if ends_ms <= now_ms:
            ends_ms, used = now_ms + limiter.window_ms, 0
        elif ends_ms > now_ms + limiter.window_ms:
            ends_ms = now_ms + limiter.window_ms
            self._words[self._values + permit.place] = ends_ms << _USED_BITS | used
        if used >= limiter.count:
            permit.used, permit.value = used, ends_ms << _USED_BITS | used
            permit.wait_ns = ends_ms * _NS_PER_MS - now_ns
            return False
        permit.used, permit.wait_ns = used + 1, 0
        permit.value = ends_ms << _USED_BITS | permit.used
        return True

    def _store(self, permit: Permit, now_ns: int) -> None:
        """Give the permit. The last store of all makes the decision."""
        limiter = permit.limiter
        place = permit.place
        if place < 0:
            place = self._keys.make_place(permit, now_ns)
            if place < 0:
                self._fail_open(permit, True)
                return
        words = self._words
        counts = self._row + limiter.number * _N_COUNTS
        words[counts + _C_ADMITTED] += 1
        words[self._admitted + place] += 1
        if permit.wait_ns > 0:
            words[counts + _C_DELAYED] += 1
        permit.store = self
        if limiter.kind == _CONCURRENCY:
            words[self._hashes + place] = permit.hashed
            words[self._touched] = 1
            words[counts + _C_HELD] += 1
            permit.held = True
            self._held[self._own + place] += 1
        else:
            words[self._values + place] = permit.value
            words[self._hashes + place] = permit.hashed

    def _reject(self, permit: Permit, commit: bool) -> None:
        limiter = permit.limiter
        permit.ruling = _WOULD_REJECT if limiter.dry_run else _REJECTED
        if not commit:
            return
        counted = _C_WOULD_REJECT if limiter.dry_run else _C_REJECTED
        self._words[self._row + limiter.number * _N_COUNTS + counted] += 1
        if permit.place >= 0:
            self._words[self._rejected + permit.place] += 1

    def _fail_open(self, permit: Permit, commit: bool) -> None:
        permit.ruling = _FAILED_OPEN
        permit.wait_ns = permit.used = permit.value = permit.since_ns = 0
        permit.place = -1
        if commit:
            self._words[self._row + permit.limiter.number * _N_COUNTS + _C_FAILED_OPEN] += 1

    # --- what becomes of a permit ---

    def release(self, permit: Permit) -> None:
        """Give back a permit that is held. The next delay of this key is the average of how long permits are held.

        This needs no lock. The number of permits has one writer. A decision that still counts this permit admits too
        few requests, and never too many. The key keeps its place until the number is stored. If two processes store the
        average at the same time, one of the two times does not count.
        """
        if not permit.held:
            return
        permit.held = False
        if self.gone:
            return
        if permit.ruling == _ADMITTED:
            held_ns = self.clock() - permit.since_ns - permit.wait_ns
            value = self._values + permit.place
            before_ns = self._words[value] or permit.limiter.unit_ns
            self._words[value] = max((held_ns + before_ns) // 2, 1)
        self._give_back(permit)

    def undo(self, permit: Permit) -> None:
        """Give a permit back as if it had never been given."""
        if self.gone:
            return
        stripe = permit.hashed % self._buckets % _N_STRIPES
        if not self._take(stripe):
            return
        try:
            words = self._words
            if permit.held:
                permit.held = False
                self._give_back(permit)
            elif words[self._hashes + permit.place] == permit.hashed:
                self._take_back(permit)
            words[self._row + permit.limiter.number * _N_COUNTS + _C_UNDONE] += 1
        finally:
            self._locks.free(stripe)

    def _give_back(self, permit: Permit) -> None:
        self._held[self._own + permit.place] -= 1
        self._words[self._row + permit.limiter.number * _N_COUNTS + _C_HELD] -= 1

    def _take_back(self, permit: Permit) -> None:
        """Take one request out of a rate's bucket, or out of a window that still lasts."""
        at = self._values + permit.place
        if permit.limiter.kind == _RATE:
            self._words[at] -= permit.limiter.interval_ns
        elif self._words[at] >> _USED_BITS == permit.value >> _USED_BITS and self._words[at] & USED_MAX:
            self._words[at] -= 1

    def count(self, limiter: Bounds, count: int, change: int) -> None:
        """Change a counter of a limiter.

        Args:
            limiter: whose counter.
            count: a LimitCount.
            change: what to add.
        """
        if self.gone:
            return
        if limiter.store is not self:
            self._register(limiter)
        self._words[self._row + limiter.number * _N_COUNTS + count] += change

    def change(self, limiter: Bounds, key: Any, change: Callable[[int, int], int]) -> int:
        """Replace the word of a key. Returns the new word; -1 if there is no lock or no place for the key.

        Args:
            limiter: of the kind COUNTER.
            key: a str, bytes or int.
            change: takes the word (0 if there is none) and the present ms, and returns the new word: the time in ms at
                which it says nothing more, and 24 bits.
        """
        permit = Permit(limiter, key)
        if limiter.store is not self:
            self._register(limiter)
        permit.hashed, stripe, _ = self._keys.hash(limiter, key)
        if not self._take(stripe):
            self._fail_open(permit, True)
            return -1
        try:
            now_ns = self.clock()
            self._keys.find(permit)
            before = self._words[self._values + permit.place] if permit.place >= 0 else 0
            after = change(before, now_ns // _NS_PER_MS)
            if after != before and permit.place < 0 and self._keys.make_place(permit, now_ns) < 0:
                self._fail_open(permit, True)
                return -1
            if after != before:
                self._words[self._values + permit.place] = after
                self._words[self._hashes + permit.place] = permit.hashed
            return after
        finally:
            self._locks.free(stripe)

    def clear_counters(self) -> int:
        """Forget all keys of the kind COUNTER. Returns how many there were."""
        cleared = 0
        for place in range(self._places):
            hashed = self._words[self._hashes + place]
            if not hashed or self._words[self._metas + place] & 0xFF != _COUNTER:
                continue
            stripe = place // _N_WAYS % _N_STRIPES
            if self._take(stripe):
                if self._words[self._hashes + place] == hashed:
                    self._words[self._hashes + place] = 0
                    cleared += 1
                self._locks.free(stripe)
        return cleared

    def counts(self, limiter: Bounds) -> list[int]:
        """Return the counters of a limiter in the row of this worker, in the order of LimitCount."""
        start = self._row + limiter.number * _N_COUNTS
        return [self._words[start + place] for place in range(_N_COUNTS)]

    # --- locks ---

    def take_key(self, limiter: Bounds, key: Any) -> int:
        """Take the lock for work on several keys that belong together. Returns its number, for `free_key`; -1 if it
        cannot be had within LOCK_WAIT_S.

        Args:
            limiter: of the keys.
            key: stands for all of them.
        """
        if limiter.store is not self:
            self._register(limiter)
        number = _N_STRIPES + 1 + self._keys.hash(limiter, key)[0] % KEY_LOCKS
        try:
            return number if self._key_locks.take(number) or self._wait(self._key_locks, [number]) else -1
        except OSError:
            return -1

    def free_key(self, number: int) -> None:
        """Free a lock of `take_key`."""
        self._key_locks.free(number)

    def _take(self, stripe: int) -> bool:
        try:
            return self._locks.take(stripe) or self._wait(self._locks, [stripe])
        except OSError:  # the application has closed the descriptor, or written into the memory
            return False

    def _take_all(self, stripes: list[int]) -> bool:
        try:
            return self._locks.take_all(stripes) or self._wait(self._locks, stripes)
        except OSError:
            return False

    def _wait(self, locks: StripeLocks, stripes: list[int]) -> bool:
        """Try again until the locks are free, at most LOCK_WAIT_S. Returns whether they are taken."""
        for _ in range(_SPINS):
            if locks.take_all(stripes):
                return True
        until_s = time.monotonic() + LOCK_WAIT_S
        while time.monotonic() < until_s:
            time.sleep(_PAUSE_S)  # in a worker, only this greenlet sleeps
            if locks.take_all(stripes):
                return True
        return False

    # --- limiters ---

    def _register(self, limiter: Bounds) -> None:
        """Find the row of a limiter, or make it. Without a lock, no row can be made: then it uses the last row."""
        self._keys.begin(limiter)
        limiter.number = LIMITERS_MAX - 1
        if self._take(_N_STRIPES):
            try:
                limiter.number = self._keys.row_of(limiter)
            finally:
                self._locks.free(_N_STRIPES)
        limiter.store = self
        self._words[HeadWord.IN_USE] = 1


def _undecide(permits: Iterable[Permit]) -> None:
    for permit in permits:
        permit.ruling = _NONE


def _lacks_place(permit: Permit) -> bool:
    return permit.place < 0
