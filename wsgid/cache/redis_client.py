"""A client of redis-py for a URL of --cache.

    redis://  rediss://  unix://  valkey://  valkeys://     one server
    redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB         the master that Sentinel names
    redis+cluster://HOST:PORT                               a cluster

Rules
* Options of wsgid stand in the query, and are taken out of it: `timeout` (seconds for a call), `fail` (open or closed).
  All others are redis-py's.
* A broken connection is replaced once, without a pause: a server that was restarted costs no error. A call that took
  too long is not made again.
"""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from wsgid.errors import CacheError
from wsgid.records import dataclass

try:
    import redis
    import redis.backoff
    import redis.cluster
    import redis.retry
    import redis.sentinel
except ImportError as error:
    raise CacheError("a cache in Redis needs redis-py: pip install 'redis>=5.1'") from error

TIMEOUT_S = 0.25
GONE = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError, redis.exceptions.ReadOnlyError)
_SENTINEL_PORT = 26379

__all__ = ["GONE", "RedisUrl", "redis"]


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A URL of --cache.

    Args:
        url: for redis-py.
        kind: "server", "sentinel" or "cluster".
        timeout_s: how long a call may take.
        fails_open: whether a Redis that is gone is like an empty cache; else it is an error.
    """

    url: str
    kind: str
    timeout_s: float
    fails_open: bool

    @classmethod
    def parse(cls, text: str) -> "RedisUrl":
        """Return the parts of a URL. Raises CacheError."""
        scheme, netloc, path, query, _ = urlsplit(text)
        fields = dict(parse_qsl(query))
        timeout, fail = fields.pop("timeout", str(TIMEOUT_S)), fields.pop("fail", "open")
        try:
            timeout_s = float(timeout)
        except ValueError:
            timeout_s = 0.0
        if timeout_s <= 0 or fail not in ("open", "closed"):
            raise CacheError(f"{text}: timeout has to be seconds above 0, and fail has to be open or closed")
        plain, _, kind = scheme.replace("valkey", "redis").partition("+")
        url = urlunsplit((plain, netloc, path, urlencode(fields), ""))
        if plain == "unix":  # urlunsplit drops the empty host before the path
            url = f"unix://{netloc}{path}" + (f"?{urlencode(fields)}" if fields else "")
        return cls(url, kind or "server", timeout_s, fail == "open")

    def client(self, **more: Any) -> Any:
        """Return a client. It connects when it is used.

        Args:
            more: for redis-py.
        """
        options: dict[str, Any] = {
            "socket_timeout": self.timeout_s,
            "socket_connect_timeout": self.timeout_s,
            "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 1, (redis.ConnectionError,)),
            **more,
        }
        if self.kind == "cluster":
            return redis.cluster.RedisCluster.from_url(self.url, **options)
        if self.kind == "sentinel":
            return self._by_sentinel(options)
        return redis.Redis.from_url(self.url, **options)

    def _by_sentinel(self, options: dict[str, Any]) -> Any:
        scheme, netloc, path, query, _ = urlsplit(self.url)
        login, _, hosts = netloc.rpartition("@")
        user, _, password = login.partition(":")
        service, _, database = path.strip("/").partition("/")
        if not service:
            raise CacheError(
                f"{self.url}: the path has to name Sentinel's service: redis+sentinel://HOST:PORT/SERVICE/DB"
            )
        given: dict[str, Any] = {**dict(parse_qsl(query)), "db": int(database or 0)}
        if login:
            given |= {"username": user or None, "password": password}
        if scheme == "rediss":
            given["ssl"] = True
        nodes = [
            (host, int(port or _SENTINEL_PORT)) for host, _, port in (node.partition(":") for node in hosts.split(","))
        ]
        waits = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout")}
        sentinel: Any = redis.sentinel.Sentinel  # not typed
        return sentinel(nodes, sentinel_kwargs=waits).master_for(service, **options, **given)
