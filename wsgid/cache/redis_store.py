"""The store of several machines: Redis or Valkey, through redis-py.

    wsgid:NAME:v:KEY -> value        wsgid:NAME:l:KEY -> token of the holder of a lock

Rules
* A whole number of 64 bits is its digits, so that Redis can add to it. Other values begin with the tag of codec.py,
  which is no digit. A value that may be stale begins with STALE, and how many milliseconds of its life it is stale.
* Whatever reads and then writes is one Lua script, or is written only if nothing has changed.
* Redis gone: with fail=open everything is as with an empty cache, but a lock is never given; with fail=closed it is
  CacheUnavailable. No request waits (breaker.py).
* A lock ends with its time. Nobody sees the death of a process on another machine.
"""

import math
import struct
from array import array
from collections.abc import Callable
from typing import Any, TypeVar

from wsgid.cache import codec, forking, native
from wsgid.cache.board import LINE_WORDS, Board, Count
from wsgid.cache.breaker import Breaker
from wsgid.cache.places import Place
from wsgid.cache.redis_client import GONE, RedisUrl, redis
from wsgid.cache.redis_local import TrackedValues
from wsgid.cache.store import MISSING, Number, When
from wsgid.errors import CacheUnavailable, NoSuchKey, NotANumber

T = TypeVar("T")

STALE = b"\xfe"
_STALE_HEAD = struct.Struct(">cQ")
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_MAKERS = b"make:"  # locks of get_or_make (making.py)
_CLEARED_AT_ONCE = 1000
_ENDLESS = 0  # milliseconds: no end

_INCR = """
local found = redis.call('GET', KEYS[1])
if found and not string.match(found, '^-?%d+$') then return {'other', found} end
if not found then
  if ARGV[2] == '' then return {'missing', ''} end
  if ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2])
  else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
end
local done = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(done) == 'table' then return {'other', redis.call('GET', KEYS[1])} end
return {'sum', redis.call('GET', KEYS[1])}
"""
_SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '-1' then redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
elseif ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_KEEP_TIME = -1


class RedisStore:
    """A store; wsgid.cache.store.Store describes the methods.

    Args:
        place: its URL, and its board.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._url = RedisUrl.parse(place.where)
        self._client: Any = self._url.client()
        self._values = f"wsgid:{place.name}:v:".encode()
        self._locks = f"wsgid:{place.name}:l:".encode()
        self._scripts = {text: self._client.register_script(text) for text in (_INCR, _SWAP, _RENEW, _RELEASE)}
        self.breaker = Breaker(f"the cache {place.name} ({_shown(place.where)})", self._client.ping, GONE)
        self.lock = native.recursive_lock()
        self._board: Board | None = None
        self._line: Any = None
        forking.guard(self)

    # --- the process ---

    def open(self) -> None:
        """Nothing: the server may come later."""

    def close_files(self) -> None:
        """Before a fork: nothing, because redis-py opens other connections in the child."""

    def forked(self) -> None:
        """In a child: the board is the parent's."""
        board, self._board, self._line = self._board, None, None
        if board is not None:
            board.close()

    def local(self, size: int) -> TrackedValues:
        """Return the level in the process, for one Cache object."""
        return TrackedValues(self, self._url, self._values, size)

    def count(self, count: int, many: int = 1) -> None:
        """Add to a counter of this process."""
        if self._line is None:
            self._line = self._open_line()
        self._line[count] += many

    def _open_line(self) -> Any:
        if not self._place.board:  # outside of a server, and for --check
            return array("Q", bytes(LINE_WORDS * 8))
        self._board = Board(self._place.board, 0)
        return self._board.line

    def _ask(self, otherwise: T, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> T | Any:
        """Call the client. Returns `otherwise` if Redis is gone, and the operator wants it so."""
        try:
            return self.breaker.call(function, *arguments, **keywords)
        except CacheUnavailable:
            self.count(Count.ERRORS)
            if self._url.fails_open:
                return otherwise
            raise

    def _run(self, otherwise: Any, script: str, name: bytes, *arguments: Any) -> Any:
        return self._ask(otherwise, self._scripts[script], keys=[name], args=list(arguments))

    # --- reading ---

    def get(self, name: bytes) -> Any:
        """Return a fresh value, or MISSING."""
        value, fresh = self.peek(name)
        return value if fresh else MISSING

    def peek(self, name: bytes) -> tuple[Any, bool]:
        """Return a value that may be stale, and whether it is fresh."""
        key = self._values + name
        return self._judged(key, self._ask(None, self._client.get, key))

    def _judged(self, key: bytes, raw: bytes | None) -> tuple[Any, bool]:
        if raw is None:
            self.count(Count.MISSES)
            return MISSING, False
        fresh = raw[:1] != STALE or self._ask(0, self._client.pttl, key) > _STALE_HEAD.unpack_from(raw)[1]
        self.count(Count.HITS if fresh else Count.MISSES)
        return _decoded(raw), fresh

    def get_many(self, names: list[bytes]) -> list[Any]:
        """Return the fresh value of each key, or MISSING."""
        keys = [self._values + name for name in names]
        if not keys:
            return []
        read = self._client.mget_nonatomic if self._url.kind == "cluster" else self._client.mget
        found = self._ask([None] * len(keys), read, keys)
        judged = (self._judged(key, raw) for key, raw in zip(keys, found))
        return [value if fresh else MISSING for value, fresh in judged]

    def timed(self, name: bytes) -> tuple[Any, float]:
        """Return a value and the seconds until it expires. (MISSING, 0.0) if there is none (redis_local.py)."""
        key = self._values + name
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.get(key)
            pipeline.pttl(key)
            raw, left_ms = self._ask((None, 0), pipeline.execute)
        value, fresh = self._judged(key, raw)
        if raw is None or not fresh:
            return MISSING, 0.0
        stale_ms = _STALE_HEAD.unpack_from(raw)[1] if raw[:1] == STALE else 0
        return value, math.inf if left_ms == -1 else (left_ms - stale_ms) / 1000

    def ttl(self, name: bytes) -> float | None:
        """Return the seconds until a value expires; None if it is not there."""
        value, left_s = self.timed(name)
        return None if value is MISSING else left_s

    # --- writing ---

    def set(self, name: bytes, value: Any, ttl_s: float | None, stale_s: float = 0.0, when: When = When.ALWAYS) -> bool:
        """Write a value. Returns whether it was written."""
        key, data, life_ms = self._values + name, _encoded(value), _ms(ttl_s, stale_s)
        if stale_s and life_ms:
            data = _STALE_HEAD.pack(STALE, max(int(stale_s * 1000), 1)) + data
        written = self._write(key, data, life_ms, when)
        self.count(Count.SETS, written)
        return written

    def _write(self, key: bytes, data: bytes, life_ms: int, when: When) -> bool:
        options: dict[str, Any] = {"px": life_ms} if life_ms else {}
        only = {When.ALWAYS: {}, When.ABSENT: {"nx": True}, When.PRESENT: {"xx": True}}[when]
        if when is not When.ALWAYS:
            raw = self._ask(None, self._client.get, key)
            if raw is not None and raw[:1] == STALE and not self._judged(key, raw)[1]:
                # A stale value counts as none.
                return when is When.ABSENT and bool(self._run(0, _SWAP, key, raw, data, life_ms))
        return bool(self._ask(False, self._client.set, key, data, **options, **only))

    def set_many(self, values: dict[bytes, Any], ttl_s: float | None) -> None:
        """Write several values, in one round."""
        life_ms = _ms(ttl_s, 0.0)
        with self._client.pipeline(transaction=False) as pipeline:
            for name, value in values.items():
                pipeline.set(self._values + name, _encoded(value), px=life_ms or None)
            self._ask(None, pipeline.execute)
        self.count(Count.SETS, len(values))

    def incr(self, name: bytes, by: Number, initial: Number | None, ttl_s: float | None) -> Number:
        """Add to a number, and return the sum."""
        key, life_ms = self._values + name, _ms(ttl_s, 0.0)
        self.count(Count.SETS)
        gone = ("sum", by + (initial or 0))
        if _is_int(by) and (initial is None or _is_int(initial)):
            state, found = self._run(gone, _INCR, key, by, "" if initial is None else initial, life_ms)
            if state in (b"sum", "sum"):
                return int(found)
        while True:  # until nobody has written between the read and the write
            raw = self._ask(None, self._client.get, key)
            if raw is None and initial is None:
                raise NoSuchKey(f"incr({name!r}): there is no value, and no `initial` is given")
            total = (initial or 0) + by if raw is None else _number(name, raw) + by
            if self.breaker.is_open or self._replaced(key, raw, total, life_ms):
                return total

    def _replaced(self, key: bytes, raw: bytes | None, total: Number, life_ms: int) -> bool:
        if raw is None:
            return self._write(key, _encoded(total), life_ms, When.ABSENT)
        head = raw[: _STALE_HEAD.size] if raw[:1] == STALE else b""
        return bool(self._run(1, _SWAP, key, raw, head + _encoded(total), _KEEP_TIME))

    def delete(self, names: list[bytes]) -> int:
        """Delete keys. Returns how many were there."""
        keys = [self._values + name for name in names]
        deleted = int(self._ask(0, self._client.delete, *keys)) if keys else 0
        self.count(Count.DELETES, deleted)
        return deleted

    def touch(self, name: bytes, ttl_s: float | None) -> bool:
        """Let a value expire at another time. Returns whether it was there."""
        key, life_ms = self._values + name, _ms(ttl_s, 0.0)
        raw = self._ask(None, self._client.get, key)
        if raw is None or not self._judged(key, raw)[1]:
            return False
        inner = raw[_STALE_HEAD.size :] if raw[:1] == STALE else raw
        return bool(self._run(0, _SWAP, key, raw, inner, life_ms or _ENDLESS))

    def clear(self) -> None:
        """Delete everything except locks. Looks at every key of the database."""

        def delete_all() -> None:
            found: list[bytes] = []
            for key in self._client.scan_iter(match=self._values + b"*", count=_CLEARED_AT_ONCE):
                found.append(key)
                if len(found) == _CLEARED_AT_ONCE:
                    self._client.unlink(*found)
                    found.clear()
            if found:
                self._client.unlink(*found)

        self._ask(None, delete_all)

    # --- locks ---

    def claim(self, name: bytes, token: int, ttl_s: float) -> bool:
        """Take a lock that nobody holds. Returns whether it was taken.

        Raises:
            CacheUnavailable: Redis is gone, and the lock is not one of get_or_make, which makes the value then.
        """
        try:
            return bool(self.breaker.call(self._client.set, self._locks + name, token, nx=True, px=_ms(ttl_s, 0.0)))
        except CacheUnavailable:
            self.count(Count.ERRORS)
            if self._url.fails_open and name.startswith(_MAKERS):
                return True
            raise

    def renew(self, name: bytes, token: int, ttl_s: float) -> bool:
        """Hold a lock for longer. Returns False if it is no longer held."""
        return bool(self._run(0, _RENEW, self._locks + name, token, _ms(ttl_s, 0.0)))

    def release(self, name: bytes, token: int) -> bool:
        """Give a lock back. Returns False if it was no longer held."""
        return bool(self._run(0, _RELEASE, self._locks + name, token))


def _ms(ttl_s: float | None, stale_s: float) -> int:
    """A life in milliseconds; 0: no end."""
    return _ENDLESS if ttl_s is None else max(int((ttl_s + stale_s) * 1000), 1)


def _is_int(value: Any) -> bool:
    return type(value) is int and _INT_MIN <= value <= _INT_MAX


def _encoded(value: Any) -> bytes:
    return b"%d" % value if _is_int(value) else codec.encode(value)


def _decoded(raw: bytes) -> Any:
    at = _STALE_HEAD.size if raw[:1] == STALE else 0
    return codec.decode(raw, at) if raw[at] < 0x20 else int(raw[at:])


def _number(name: bytes, raw: bytes) -> Number:
    value = _decoded(raw)
    if type(value) not in (int, float):
        raise NotANumber(f"incr({name!r}): the value is no number")
    number: Number = value
    return number


def _shown(url: str) -> str:
    """A URL without its password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}".partition("?")[0]


__all__ = ["RedisStore", "redis"]
