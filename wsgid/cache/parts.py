"""Large values in parts of one page each.

    data:  key -> ends, PARTED, number, count          parts: number, 0 -> part
                                                              number, 1 -> part

LMDB keeps a value above half a page in pages of its own, which must lie beside each other. In a full store with values
of all sizes there soon is no such row of free pages, however many are free. A single free page always fits a part.

Rules
* A number is used once: it is the number of the transaction, and of the value in it.
* Whoever replaces or deletes a record deletes its parts in the same transaction.
"""

import struct
from typing import Any

from wsgid.cache.record import VALUE_AT

PARTED = 0xFF  # where other records have the tag of their value (codec.py)
WHOLE_MAX_BYTES = 4000  # such a record has one page at most: 4096 - 16 of the page's head, and the ends
_PART_BYTES = 4080
_HEAD = struct.Struct("<BQI")
_PART_KEY = struct.Struct(">QI")
_PER_TRANSACTION = 1 << 12  # numbers of one transaction


def put(transaction: Any, parts: Any, key: bytes, both: bytes, encoded: bytes, place: int = 0) -> None:
    """Write a value.

    Args:
        transaction: to write in; its default database is the data.
        parts: the database of parts.
        key: of the record.
        both: its ends.
        encoded: the value.
        place: of the value among those that this transaction writes.
    """
    drop(transaction, parts, transaction.get(key))
    if len(encoded) <= WHOLE_MAX_BYTES:
        transaction.put(key, both + encoded)
        return
    number = transaction.id() * _PER_TRANSACTION + place
    starts = range(0, len(encoded), _PART_BYTES)
    view = memoryview(encoded)
    for count, start in enumerate(starts):
        transaction.put(_PART_KEY.pack(number, count), view[start : start + _PART_BYTES], db=parts)
    transaction.put(key, both + _HEAD.pack(PARTED, number, len(starts)))


def delete(transaction: Any, data: Any, parts: Any, key: bytes) -> bool:
    """Delete a record with its parts. Returns whether it was there."""
    record = transaction.get(key, db=data)
    drop(transaction, parts, record)
    return record is not None and bool(transaction.delete(key, db=data))


def drop(transaction: Any, parts: Any, record: Any) -> None:
    """Delete the parts of a record, if it has any."""
    if record is None or record[VALUE_AT] != PARTED:
        return
    _, number, count = _HEAD.unpack_from(record, VALUE_AT)
    with transaction.cursor(parts) as cursor:
        there = cursor.set_key(_PART_KEY.pack(number, 0))
        for _ in range(count if there else 0):
            cursor.delete()


def whole(transaction: Any, parts: Any, record: bytes) -> bytes:
    """Return a record with its value, if the value is in parts."""
    _, number, count = _HEAD.unpack_from(record, VALUE_AT)
    with transaction.cursor(parts) as cursor:
        cursor.set_key(_PART_KEY.pack(number, 0))
        found = [cursor.value()]
        while len(found) < count and cursor.next():
            found.append(cursor.value())
    return b"".join([record[:VALUE_AT], *found])
