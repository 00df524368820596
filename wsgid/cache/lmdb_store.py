"""The store of one machine: values in LMDB (lmdb_space.py), with ends of life and counters.

Rules
* Nothing is written when a value is read, except its time of use and a counter.
* A value that has expired is not there, for all but get_or_make, which may use it while it is stale. It is removed when
  there is no room, or when the key is written again.
"""

import time
from collections.abc import Iterator
from typing import Any

from wsgid.cache import codec, parts
from wsgid.cache.board import Count, Head
from wsgid.cache.lmdb_locks import LmdbLocks
from wsgid.cache.lmdb_space import LmdbSpace, Opened
from wsgid.cache.local import LocalValues
from wsgid.cache.record import ENDS, VALUE_AT, ends, key_of
from wsgid.cache.store import MISSING, Number, When
from wsgid.errors import NoSuchKey, NotANumber

_BATCH_MAX = 256  # values in one transaction of set_many


class LmdbStore:
    """A store; wsgid.cache.store.Store describes the methods.

    Args:
        space: of the store.
    """

    def __init__(self, space: LmdbSpace) -> None:
        self._space = space
        locks = LmdbLocks(space)
        self.claim, self.renew, self.release = locks.claim, locks.renew, locks.release
        self.clear = space.clear

    @property
    def opened(self) -> Opened:
        """The open files. Raises CacheError."""
        return self._space.opened or self._space.open()

    def open(self) -> None:
        """Open the files now. Raises CacheError."""
        self._space.open()

    def local(self, size: int) -> LocalValues:
        """Return the level in the process, for one Cache object."""
        return LocalValues(self, size)

    def count(self, count: int, many: int = 1) -> None:
        """Add to a counter of this process."""
        self.opened.board.line[count] += many

    # --- reading ---

    def get(self, name: bytes) -> Any:
        """Return a fresh value, or MISSING."""
        value, fresh = self.peek(name)
        return value if fresh else MISSING

    def peek(self, name: bytes) -> tuple[Any, bool]:
        """Return a value that may be stale, and whether it is fresh."""
        space = self._space
        opened = space.opened or space.open()
        checksum, key = key_of(name)
        board = opened.board
        _, record = space.read(key)
        if record is not None:
            now_s = time.clock_gettime(time.CLOCK_BOOTTIME) + opened.offset_s
            fresh_until_s, gone_at_s = ENDS.unpack_from(record)
            if gone_at_s > now_s:
                board.uses[checksum & board.mask] = now_s
                fresh = fresh_until_s > now_s
                board.line[Count.HITS if fresh else Count.MISSES] += 1
                return codec.decode(record, VALUE_AT), fresh
        board.line[Count.MISSES] += 1
        return MISSING, False

    def record(self, name: bytes) -> tuple[int, int, float, Any]:
        """Return a fresh value with what tells later whether it is still right (local.py).

        Returns:
            bucket, version, the end in seconds of CLOCK_BOOTTIME, value. The value is MISSING if there is none. The end
            is 0 for a value that is just being written.
        """
        opened = self.opened
        checksum, key = key_of(name)
        board = opened.board
        bucket = checksum & board.mask
        # In this order: a write that begins now changes the version that is kept.
        version, epoch = board.versions[bucket], board.words[Head.EPOCH]
        seen, record = self._space.read(key)
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        fresh_until_s = ENDS.unpack_from(record)[0] - opened.offset_s if record is not None else 0.0
        if fresh_until_s <= now_s:
            board.line[Count.MISSES] += 1
            return bucket, 0, 0.0, MISSING
        board.uses[bucket] = now_s + opened.offset_s
        board.line[Count.HITS] += 1
        until_s = fresh_until_s if seen >= version and seen >= epoch else 0.0
        return bucket, version + epoch, until_s, codec.decode(record, VALUE_AT)

    def get_many(self, names: list[bytes]) -> list[Any]:
        """Return the fresh value of each key, or MISSING."""
        opened = self.opened
        board = opened.board
        keys = [key_of(name) for name in names]
        records = self._space.read_many([key for _, key in keys])
        now_s, values = opened.now_s(), []
        for (checksum, _), record in zip(keys, records):
            fresh = _is_fresh(record, now_s)
            if fresh:
                board.uses[checksum & board.mask] = now_s
            values.append(codec.decode(record, VALUE_AT) if fresh else MISSING)
        missing = sum(value is MISSING for value in values)
        board.line[Count.HITS] += len(values) - missing
        board.line[Count.MISSES] += missing
        return values

    def ttl(self, name: bytes) -> float | None:
        """Return the seconds until a value expires; None if it is not there."""
        opened = self.opened
        _, record = self._space.read(key_of(name)[1])
        left_s = ENDS.unpack_from(record)[0] - opened.now_s() if record is not None else 0.0
        return left_s if left_s > 0 else None

    # --- writing ---

    def set(self, name: bytes, value: Any, ttl_s: float | None, stale_s: float = 0.0, when: When = When.ALWAYS) -> bool:
        """Write a value. Returns whether it was written."""
        encoded = codec.encode(value)
        checksum, key = key_of(name)
        if len(encoded) > self._space.large_bytes:
            self._space.prepare_for(encoded)

        def change(transaction: Any, opened: Opened, now_s: float) -> bool:
            if when is not When.ALWAYS and _is_fresh(transaction.get(key), now_s) is (when is When.ABSENT):
                return False
            parts.put(transaction, opened.files.parts, key, ends(now_s, ttl_s, stale_s), encoded)
            return True

        written = self._space.write(change, (checksum,))
        self.count(Count.SETS, written)
        return written

    def set_many(self, values: dict[bytes, Any], ttl_s: float | None) -> None:
        """Write several values, in as many transactions as it needs."""
        encoded = [(*key_of(name), codec.encode(value)) for name, value in values.items()]
        for _, _, data in encoded:
            if len(data) > self._space.large_bytes:
                self._space.prepare_for(data)
        for batch in _batches(encoded, self._space.large_bytes):
            self._put_all(batch, ttl_s)
        self.count(Count.SETS, len(encoded))

    def _put_all(self, batch: list[tuple[int, bytes, bytes]], ttl_s: float | None) -> None:
        def change(transaction: Any, opened: Opened, now_s: float) -> None:
            both = ends(now_s, ttl_s, 0.0)
            for place, (_, key, data) in enumerate(batch):
                parts.put(transaction, opened.files.parts, key, both, data, place)

        self._space.write(change, [checksum for checksum, _, _ in batch])

    def incr(self, name: bytes, by: Number, initial: Number | None, ttl_s: float | None) -> Number:
        """Add to a number, and return the sum."""
        checksum, key = key_of(name)

        def change(transaction: Any, opened: Opened, now_s: float) -> Number:
            record = transaction.get(key)
            if _is_fresh(record, now_s):
                data = bytes(record)
                if not codec.is_number(data, VALUE_AT):
                    raise NotANumber(f"incr({name!r}): the value is no number")
                total: Number = codec.decode(data, VALUE_AT) + by
                both = data[:VALUE_AT]
            elif initial is None:
                raise NoSuchKey(f"incr({name!r}): there is no value, and no `initial` is given")
            else:
                total, both = initial + by, ends(now_s, ttl_s, 0.0)
            parts.put(transaction, opened.files.parts, key, both, codec.encode(total))
            return total

        total = self._space.write(change, (checksum,))
        self.count(Count.SETS)
        return total

    def delete(self, names: list[bytes]) -> int:
        """Delete keys. Returns how many were there."""
        keys = [key_of(name) for name in names]

        def change(transaction: Any, opened: Opened, now_s: float) -> int:
            deleted = 0
            for _, key in keys:
                fresh = _is_fresh(transaction.get(key), now_s)
                deleted += parts.delete(transaction, opened.files.data, opened.files.parts, key) and fresh
            return deleted

        deleted = self._space.write(change, [checksum for checksum, _ in keys])
        self.count(Count.DELETES, deleted)
        return deleted

    def touch(self, name: bytes, ttl_s: float | None) -> bool:
        """Let a value expire at another time. Returns whether it was there."""
        checksum, key = key_of(name)

        def change(transaction: Any, opened: Opened, now_s: float) -> bool:
            record = transaction.get(key)
            if not _is_fresh(record, now_s):
                return False
            transaction.put(key, ends(now_s, ttl_s, 0.0) + bytes(record[VALUE_AT:]))  # its parts stay
            return True

        return self._space.write(change, (checksum,))


def _is_fresh(record: Any, now_s: float) -> bool:
    return record is not None and ENDS.unpack_from(record)[0] > now_s


def _batches(records: list[tuple[int, bytes, bytes]], limit_bytes: int) -> Iterator[list[tuple[int, bytes, bytes]]]:
    """Split records, so that no transaction has more than `limit_bytes` of values, or holds the lock for long."""
    batch: list[tuple[int, bytes, bytes]] = []
    size_bytes = 0
    for record in records:
        size_bytes += len(record[2])
        if batch and (size_bytes > limit_bytes or len(batch) == _BATCH_MAX):
            yield batch
            batch, size_bytes = [], len(record[2])
        batch.append(record)
    yield batch
