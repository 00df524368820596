"""Locks in the store of one machine: a record for each, with its owner.

Rules
* A lock is free if there is no record, if its time is over, or if its owner is dead (board.py).
* Looking whether a lock is free takes no write lock: waiting callers do not slow the others down.
* Locks are never thrown out for want of room. When there are many, those that nobody holds are removed.
"""

import struct
from typing import Any

from wsgid.cache.lmdb_space import LmdbSpace, Opened

_RECORD = struct.Struct("<QqQd")  # token, line and incarnation of the owner, end
_PREFIX = b"="
_SWEPT = 256  # above this many


class LmdbLocks:
    """The locks of a store.

    Args:
        space: of the store.
    """

    def __init__(self, space: LmdbSpace) -> None:
        self._space = space

    def claim(self, name: bytes, token: int, ttl_s: float) -> bool:
        """Take a lock that nobody holds, or whose owner is dead or late. Returns whether it was taken."""
        key, space = _PREFIX + name, self._space
        with space.lock:
            opened = space.opened or space.open()
            with opened.environment.begin(db=opened.files.locks) as transaction:
                if _is_held(transaction.get(key), opened):
                    return False

        def change(transaction: Any, opened: Opened, now_s: float) -> bool:
            if _is_held(transaction.get(key, db=opened.files.locks), opened):
                return False
            _put(transaction, opened, key, token, now_s + ttl_s)
            if transaction.stat(opened.files.locks)["entries"] > _SWEPT:
                _sweep(transaction, opened)
            return True

        return space.write(change, ())

    def renew(self, name: bytes, token: int, ttl_s: float) -> bool:
        """Hold a lock for longer. Returns False if it is no longer held."""
        key = _PREFIX + name

        def change(transaction: Any, opened: Opened, now_s: float) -> bool:
            holds = _holds(transaction, opened, key, token)
            if holds:
                _put(transaction, opened, key, token, now_s + ttl_s)
            return holds

        return self._space.write(change, ())

    def release(self, name: bytes, token: int) -> bool:
        """Give a lock back. Returns False if it was no longer held."""
        key = _PREFIX + name

        def change(transaction: Any, opened: Opened, now_s: float) -> bool:
            return _holds(transaction, opened, key, token) and bool(transaction.delete(key, db=opened.files.locks))

        return self._space.write(change, ())


def _put(transaction: Any, opened: Opened, key: bytes, token: int, until_s: float) -> None:
    board = opened.board
    transaction.put(key, _RECORD.pack(token, board.line_number, board.incarnation, until_s), db=opened.files.locks)


def _holds(transaction: Any, opened: Opened, key: bytes, token: int) -> bool:
    record = transaction.get(key, db=opened.files.locks)
    return record is not None and _RECORD.unpack(record)[0] == token and _is_held(record, opened)


def _is_held(record: Any, opened: Opened) -> bool:
    if record is None:
        return False
    _, line_number, incarnation, until_s = _RECORD.unpack(record)
    return bool(until_s > opened.now_s() and opened.board.lives(line_number, incarnation))


def _sweep(transaction: Any, opened: Opened) -> None:
    with transaction.cursor(opened.files.locks) as cursor:
        cursor.set_range(_PREFIX)
        while bytes(cursor.key()[:1]) == _PREFIX:
            if _is_held(cursor.value(), opened):
                cursor.next()
            else:
                cursor.delete()
