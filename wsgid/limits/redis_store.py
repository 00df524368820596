"""The decisions in Redis or Valkey, for several machines (--limit-store). docs/limits.md.

    rate           a key with the theoretical arrival time in us
    window         a key with the number of requests, which expires with the window
    concurrency    a sorted set of leases, by the time at which they end

Rules
* A decision is one script, whatever the number of limiters.  The clock is the store's own: machines have different
  clocks. With Redis Cluster a combined decision takes a script for each limiter, and is undone if a later one rejects.
* A permit is a lease. Its worker renews it. When a worker or a machine dies, its leases end after --limit-lease.
* Without the store, a limit fails open or closed (--limit-store-closed), and no request waits for it: breaker.py.
* The counters are in the shared memory, as those of all limiters.
"""

import hashlib
import itertools
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import NoScriptError
from redis.retry import Retry
from redis.sentinel import Sentinel

from wsgid.limits.breaker import StoreBreaker
from wsgid.limits.keys import key_bytes
from wsgid.limits.layout import LimitCount
from wsgid.limits.permit import Kind, Permit, Ruling
from wsgid.limits.table import Table

_NS_PER_US = 1000
_LOOK_S = 0.2
_CLOSED_WAIT_NS = 1_000_000_000
_NONE, _ADMITTED, _REJECTED, _WOULD_REJECT, _FAILED_OPEN, _FAILED_CLOSED = Ruling

# KEYS: one for each limiter. ARGV: commit, lease in us, name of the lease, then kind, two or three numbers, dry run.
_DECIDE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local commit, lease, name = ARGV[1] == '1', tonumber(ARGV[2]), ARGV[3]
local answer, stores = {0}, {}
local function text(number) return string.format('%.0f', number) end
for place, key in ipairs(KEYS) do
  local at = 4 + (place - 1) * 5
  local kind = ARGV[at]
  local first, second, third = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local ruling, wait, used = 1, 0, 0
  local left = 0
  local store
  if kind == '1' then
    local ahead = math.max(tonumber(redis.call('GET', key) or '0') - now, 0)
    ahead = math.min(ahead, second + first)
    if ahead > second then
      ruling, wait, used = 2, ahead - second, ahead
    else
      wait, used = ahead, ahead + first
      store = function() redis.call('SET', key, text(now + used), 'PX', text(math.ceil(used / 1000) + 1)) end
    end
  elseif kind == '2' then
    local count = tonumber(redis.call('GET', key) or '0')
    left = redis.call('PTTL', key)
    if left < 0 then count, left = 0, second end
    if count >= first then
      ruling, wait, used = 2, left * 1000, count
    else
      used = count + 1
      store = function()
        if count == 0 then redis.call('SET', key, '1', 'PX', text(second)) else redis.call('INCR', key) end
      end
    end
  else
    redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now))
    local level = redis.call('ZCARD', key)
    if level >= first + second then
      ruling, wait, used = 2, third, level
    else
      used = level + 1
      if level >= first then wait = third * math.floor(level / first) end
      store = function()
        redis.call('ZADD', key, text(now + lease), name)
        redis.call('PEXPIRE', key, text(math.ceil(lease / 1000) + 1000))
      end
    end
  end
  if ruling == 2 and ARGV[at + 4] == '1' then ruling, wait = 3, 0 end
  for _, number in ipairs({ruling, wait, used, left}) do answer[#answer + 1] = number end
  if ruling == 2 then return answer end
  if store then stores[#stores + 1] = store end
end
answer[1] = 1
if commit then for _, store in ipairs(stores) do store() end end
return answer
"""

_RENEW = """
local time = redis.call('TIME')
local ends = time[1] * 1000000 + time[2] + tonumber(ARGV[1])
redis.call('ZADD', KEYS[1], 'XX', string.format('%.0f', ends), ARGV[2])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(ARGV[1] / 1000) + 1000))
"""

_UNDO = """
if ARGV[1] == '3' then return redis.call('ZREM', KEYS[1], ARGV[3]) end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if ARGV[1] == '1' then return redis.call('DECRBY', KEYS[1], ARGV[2]) end
if tonumber(redis.call('GET', KEYS[1])) > 0 then return redis.call('DECR', KEYS[1]) end
"""

# redis-py has no types for these two.
_Node: Any = ClusterNode
_Sentinel: Any = Sentinel
_FAILURES = (redis.RedisError, OSError)


class LimitRedis:
    """The store, as one worker sees it.

    Args:
        table: has the counters.
        url: of --limit-store.
        closed: whether limits reject requests while the store is gone.
        timeout_s: how long a request waits for the store.
        lease_s: how long a permit outlives its worker.
    """

    def __init__(self, table: Table, url: str, closed: bool, timeout_s: float, lease_s: float) -> None:
        self.gone = False  # True in a process that was forked later
        self._table = table
        self._closed = closed
        self._lease_s = lease_s
        self._client, self._is_cluster = connect(url, timeout_s)
        self._shas: dict[str, str] = {}
        meaning = "requests are rejected" if closed else "requests go on without these limits"
        self._breaker = StoreBreaker(f"--limit-store {_shown(url)}", self._client.ping, meaning)
        self._me = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        self._leases: dict[int, bytes] = {}  # number of the lease -> key
        self._renewing = False

    # --- decisions, as in Table ---

    def decide(self, permit: Permit, commit: bool) -> None:
        """Decide about one permit; see Table.decide."""
        self.decide_all((permit,), commit)

    def decide_all(self, permits: Sequence[Permit], commit: bool) -> bool:
        """Decide about several permits at once; see Table.decide_all."""
        if self._is_cluster and len(permits) > 1:
            return self._decide_each(permits, commit)
        keys = [_key(permit) for permit in permits]
        number = next(self._numbers)
        arguments = [int(commit), round(self._lease_s * 1e6), self._lease(number)]
        for permit in permits:
            arguments += _arguments(permit)
        answer = self._run(_DECIDE, keys, arguments)
        if answer is None:
            return self._decide_alone(permits, commit)
        for place, permit in enumerate(permits):
            told = answer[1 + place * 4 : 5 + place * 4]
            if not told:
                break
            self._fill_in(permit, told)
            permit.hashed = number
        admitted = bool(answer[0])
        for permit, key in zip(permits, keys):
            self._settle(permit, key, admitted, commit)
        return admitted

    def _decide_each(self, permits: Sequence[Permit], commit: bool) -> bool:
        for place, permit in enumerate(permits):
            if not self.decide_all((permit,), commit):
                for before in permits[:place]:
                    if commit and before.ruling == _ADMITTED:
                        self.undo(before)
                    before.ruling = _NONE
                return False
        return True

    def _decide_alone(self, permits: Sequence[Permit], commit: bool) -> bool:
        """Decide without the store."""
        for permit in permits:
            fails_closed = self._closed and not permit.limiter.dry_run
            permit.ruling = _FAILED_CLOSED if fails_closed else _FAILED_OPEN
            permit.wait_ns = _CLOSED_WAIT_NS if fails_closed else 0
            permit.used = permit.value = permit.since_ns = 0
            if commit:
                self._table.count(permit.limiter, LimitCount.REJECTED if fails_closed else LimitCount.FAILED_OPEN, 1)
        return all(permit.ruling != _FAILED_CLOSED for permit in permits)

    def _fill_in(self, permit: Permit, told: Sequence[int]) -> None:
        ruling, wait_us, used, left_ms = told
        permit.ruling, permit.wait_ns = ruling, wait_us * _NS_PER_US
        permit.used = used * _NS_PER_US if permit.limiter.kind == Kind.RATE else used
        permit.since_ns = time.monotonic_ns()
        permit.value = (permit.since_ns // 1_000_000 + left_ms) << 24 | used & 0xFFFFFF if left_ms else 0

    def _settle(self, permit: Permit, key: bytes, admitted: bool, commit: bool) -> None:
        """LimitCount a decision, and begin the lease of a permit."""
        if not admitted and permit.ruling == _ADMITTED:
            permit.ruling = _NONE
        if not commit or permit.ruling == _NONE:
            return
        counted = {
            _ADMITTED: LimitCount.ADMITTED,
            _REJECTED: LimitCount.REJECTED,
            _WOULD_REJECT: LimitCount.WOULD_REJECT,
        }
        self._table.count(permit.limiter, counted[Ruling(permit.ruling)], 1)
        if permit.ruling != _ADMITTED:
            return
        permit.store = self
        if permit.wait_ns:
            self._table.count(permit.limiter, LimitCount.DELAYED, 1)
        if permit.limiter.kind == Kind.CONCURRENCY:
            permit.held = True
            self._table.count(permit.limiter, LimitCount.HELD, 1)
            self._leases[permit.hashed] = key
            self._renew_later()

    def release(self, permit: Permit) -> None:
        """Give back a permit that is held. Without the store, its lease ends by itself."""
        if not permit.held:
            return
        permit.held = False
        if not self.gone and self._leases.pop(permit.hashed, b""):
            self._table.count(permit.limiter, LimitCount.HELD, -1)
            self._run(_UNDO, [_key(permit)], [int(Kind.CONCURRENCY), 0, self._lease(permit.hashed)])

    def undo(self, permit: Permit) -> None:
        """Give a permit back as if it had never been given."""
        if self.gone:
            return
        if permit.held:
            self.release(permit)
        else:
            limiter = permit.limiter
            self._run(_UNDO, [_key(permit)], [int(limiter.kind), limiter.interval_ns // _NS_PER_US, ""])
        self._table.count(permit.limiter, LimitCount.UNDONE, 1)

    # --- leases ---

    def _lease(self, number: int) -> str:
        return f"{self._me}:{number}"

    def _renew_later(self) -> None:
        if not self._renewing:
            self._renewing = True
            threading.Thread(target=self._renew, daemon=True).start()

    def _renew(self) -> None:
        """Renew all leases in time, until there are none. Then the thread ends: a leaving worker does not wait for it.
        A lease that has ended meanwhile is not begun again (XX): its place may be another request's."""
        try:
            while not self.gone:
                until_s = time.monotonic() + self._lease_s / 3
                while time.monotonic() < until_s:
                    time.sleep(min(_LOOK_S, self._lease_s / 3))
                    if not self._leases:
                        return
                for number, key in list(self._leases.items()):
                    if number in self._leases:
                        self._run(_RENEW, [key], [round(self._lease_s * 1e6), self._lease(number)])
        finally:
            self._renewing = False

    # --- the store ---

    def _run(self, script: str, keys: Sequence[bytes], arguments: Sequence[Any]) -> Any:
        """Run a script. Returns None if the store does not answer."""
        if not self._breaker.lets_through():
            return None
        try:
            sha = self._shas.get(script)
            if sha is not None:
                try:
                    return _or_zero(self._client.evalsha(sha, len(keys), *keys, *arguments))
                except NoScriptError:  # the store was restarted
                    pass
            answer = self._client.eval(script, len(keys), *keys, *arguments)
            self._shas[script] = _sha(script)
            return _or_zero(answer)
        except _FAILURES as error:
            self._breaker.failed(error)
            return None


def connect(url: str, timeout_s: float) -> tuple[Any, bool]:
    """Return a client, and whether it is one of a cluster. It connects when it is first used.

    Args:
        url: redis://, rediss://, unix://, redis+sentinel://HOST:PORT,HOST:PORT/NAME or redis+cluster://HOST:PORT,...;
            valkey in place of redis means the same.
        timeout_s: for connecting, and for each answer.
    """
    options: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    options["retry"] = Retry(NoBackoff(), 0)
    url = url.replace("valkey", "redis", 1)
    parts = urlsplit(url)
    secrets: dict[str, Any] = {"username": parts.username, "password": parts.password}
    if parts.scheme == "redis+sentinel":
        name, _, number = parts.path.strip("/").partition("/")
        sentinels: Any = _Sentinel(_hosts(parts.netloc), **options)
        return sentinels.master_for(name, db=int(number or 0), **secrets, **options), False
    if parts.scheme == "redis+cluster":
        nodes = [_Node(host, port) for host, port in _hosts(parts.netloc)]
        return _LazyCluster(nodes, {**secrets, **options}), True
    return redis.Redis.from_url(url, **options), False


class _LazyCluster:
    """A client of a cluster that connects when it is first used: RedisCluster connects at once, and raises if no node
    answers."""

    def __init__(self, nodes: list[Any], options: dict[str, Any]) -> None:
        self._nodes = nodes
        self._options = options
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = RedisCluster(startup_nodes=self._nodes, **self._options)
        return getattr(self._made, name)


def _hosts(netloc: str) -> list[tuple[str, int]]:
    places = [urlsplit(f"//{place}") for place in netloc.rpartition("@")[2].split(",")]
    return [(place.hostname or "localhost", place.port or 6379) for place in places]


def _key(permit: Permit) -> bytes:
    return b"wsgid:limit:%b:%b" % (permit.limiter.identity, key_bytes(permit.key))


def _arguments(permit: Permit) -> list[int]:
    """Return the numbers of a limiter for the script: times in us, those of a window in ms."""
    limiter = permit.limiter
    numbers = {
        Kind.RATE: (max(limiter.interval_ns // _NS_PER_US, 1), limiter.burst_ns // _NS_PER_US, 0),
        Kind.WINDOW: (limiter.count, limiter.window_ms, 0),
        Kind.CONCURRENCY: (limiter.count, limiter.burst, limiter.unit_ns // _NS_PER_US),
    }[Kind(limiter.kind)]
    # Plain numbers: redis-py would send the repr of an IntEnum.
    return [int(limiter.kind), *numbers, int(limiter.dry_run)]


def _or_zero(answer: Any) -> Any:
    return 0 if answer is None else answer


def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()  # that of SCRIPT LOAD


def _shown(url: str) -> str:
    """Return a URL without its password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
