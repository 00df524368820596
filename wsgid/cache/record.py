"""A record of the store in LMDB: two ends, then the value (codec.py).

    fresh_until_s  gone_at_s  tag  data

The key of a record is the checksum of the name, and the name. So records are in a random order, and eviction finds a
random sample beside each other.
"""

import math
import struct
from zlib import crc32

ENDS = struct.Struct("<dd")
VALUE_AT = ENDS.size


def ends(now_s: float, ttl_s: float | None, stale_s: float) -> bytes:
    """Return both ends, for a value that is written now.

    Args:
        now_s: of the store's clock.
        ttl_s: how long it is fresh; None: always.
        stale_s: how much longer it is kept.
    """
    if ttl_s is None:
        return _NO_END
    return ENDS.pack(now_s + ttl_s, now_s + ttl_s + stale_s)


_NO_END = ENDS.pack(math.inf, math.inf)


def key_of(name: bytes) -> tuple[int, bytes]:
    """Return the checksum of a name, and its key."""
    checksum = crc32(name)
    return checksum, checksum.to_bytes(4, "big") + name
