"""Which values go when a store is full: expired ones first, then those that were used least recently.

Rules
* Nothing is written when a value is read, except the time of use in the board. So there is no list in the order of use.
* A window of WINDOW values is looked at, and some of them go (Pace). The window moves through all keys in the order of
  their checksums, which is a random sample: this is close to the exact order of use (Redis does the same with samples
  of 5 to 10, https://redis.io/docs/latest/develop/reference/eviction/).
* Everything happens inside the write transaction that needs the room.
"""

from enum import Enum
from typing import Any

from wsgid.cache import parts
from wsgid.cache.board import Board, Count, Head
from wsgid.cache.lmdb_files import Files
from wsgid.cache.record import ENDS

WINDOW = 16
_ALWAYS = -1.0  # before every time of use


class Pace(Enum):
    """How many windows one transaction looks at, and how many of a window's values go at least.

    Each leaf of the tree that a transaction changes takes a free page. In a full store there are few. So a transaction
    deletes little, and another one goes on.
    """

    GENTLE = (3, 2)  # beside a write: what is deleted makes gaps, which the next values fill
    FIRM = (3, WINDOW * 3 // 4)  # to make room for a large value: leaves that are empty are free


def used_bytes(transaction: Any, files: Files) -> tuple[int, int]:
    """Return the bytes that the values take, in whole pages, and their number."""
    data, large = transaction.stat(files.data), transaction.stat(files.parts)
    pages = data["branch_pages"] + data["leaf_pages"] + data["overflow_pages"]
    pages += large["branch_pages"] + large["leaf_pages"] + large["overflow_pages"]
    return pages * data["psize"], data["entries"]


def make_room(
    transaction: Any, files: Files, board: Board, limit_bytes: int, now_s: float, pace: Pace = Pace.GENTLE
) -> None:
    """Delete values, so that at most `limit_bytes` are used, or fewer than before.

    Args:
        transaction: a write transaction of LMDB, with buffers.
        files: of the store.
        now_s: of the store's clock.
    """
    windows, least = pace.value
    for _ in range(windows):
        used, items = used_bytes(transaction, files)
        if used <= limit_bytes or not items:
            return
        window = sorted(_window(transaction, files.data, board, now_s))
        expired = sum(used_s == _ALWAYS for used_s, _ in window)
        goes = window[: max(expired, least)]
        for _, key in goes:
            parts.delete(transaction, files.data, files.parts, key)
        board.line[Count.EXPIRED] += expired
        board.line[Count.EVICTIONS] += len(goes) - expired


def _window(transaction: Any, data: Any, board: Board, now_s: float) -> list[tuple[float, bytes]]:
    """Return the next keys, with the times of their use, and move on."""
    found: dict[bytes, float] = {}
    with transaction.cursor(data) as cursor:
        there = cursor.set_range((board.words[Head.HAND] & 0xFFFFFFFF).to_bytes(4, "big")) or cursor.first()
        while there and len(found) < WINDOW:
            key = bytes(cursor.key())
            if key in found:  # once around
                break
            gone = ENDS.unpack_from(cursor.value())[1] <= now_s
            found[key] = _ALWAYS if gone else board.uses[int.from_bytes(key[:4], "big") & board.mask]
            there = cursor.next() or cursor.first()
        board.words[Head.HAND] = int.from_bytes(cursor.key()[:4], "big") if there else 0
    return [(used_s, key) for key, used_s in found.items()]
