"""Hot values as objects in the process, over Redis: Redis says which keys have changed (client-side caching).

    CLIENT TRACKING ON BCAST PREFIX wsgid:NAME:v:    on one connection of the process (RESP3)
    invalidate KEY ...                               from Redis, as soon as any client has written the key

Rules
* Another machine's write is seen after the way through the network, not at once. While the connection is broken,
  nothing is kept here.
* A value that is being read when its key changes is not kept: `load` notes the key before it asks.
* redis-py's own client-side cache refuses Valkey, and Redis before 7.4. So its connection is used, and not its cache.
* In a cluster each node tells its own keys only; there, nothing is kept.
"""

import threading
import time
from typing import Any, Protocol

from wsgid.cache import forking
from wsgid.cache.board import Count
from wsgid.cache.breaker import AGAIN_S, Breaker
from wsgid.cache.redis_client import GONE, RedisUrl, redis
from wsgid.cache.store import MISSING

_IDLE_S = 30.0  # after so long without news, the connection is asked whether it lives


class TimedStore(Protocol):
    """The store below."""

    breaker: Breaker

    def timed(self, name: bytes) -> tuple[Any, float]:
        """Return a value and the seconds until it expires."""

    def count(self, count: int, many: int = 1) -> None:
        """Add to a counter of this process."""


class TrackedValues:
    """The values of one Cache object.

    Args:
        store: where they come from.
        url: of the server.
        prefix: of the keys.
        size: how many values are kept.
    """

    def __init__(self, store: TimedStore, url: RedisUrl, prefix: bytes, size: int) -> None:
        self._store = store
        self._url = url
        self._prefix = prefix
        self._size = size
        self._values: dict[bytes, tuple[float, Any]] = {}
        self._names: dict[str | bytes, bytes] = {}
        self._asked: set[bytes] = set()  # keys that are read just now, and have not changed since
        self._listens = False
        self._listener: threading.Thread | None = None
        forking.on_fork(self)

    def forked(self) -> None:
        """In a child: who listens is a thread of the parent."""
        self._forget()
        self._listener = None

    def get(self, key: str | bytes) -> Any:
        """Return a fresh value that is kept here, or MISSING."""
        kept = self._values.get(self._names.get(key, b"\0"))
        if kept is not None and kept[0] > time.monotonic():
            self._store.count(Count.LOCAL_HITS)
            return kept[1]
        return MISSING

    def load(self, key: str | bytes, name: bytes) -> Any:
        """Return a fresh value of the store, or MISSING, and keep it."""
        if self._listener is None and self._url.kind != "cluster":
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()
        listens = self._listens
        self._asked.add(name)
        value, left_s = self._store.timed(name)
        if listens and self._listens and name in self._asked and value is not MISSING:
            self._keep(key, name, value, left_s)
        self._asked.discard(name)
        return value

    def _keep(self, key: str | bytes, name: bytes, value: Any, left_s: float) -> None:
        while len(self._values) >= self._size:
            self._values.pop(next(iter(self._values)), None)
        if len(self._names) >= 2 * self._size:
            self._names.clear()
        self._names[key] = name
        self._values[name] = time.monotonic() + left_s, value

    # --- listening ---

    def _listen(self) -> None:
        """Follow what Redis says, without an end."""
        while True:
            try:
                self._follow()
            except (*GONE, OSError):
                pass
            finally:
                self._forget()
            time.sleep(AGAIN_S)

    def _follow(self) -> None:
        client = self._url.client(protocol=3, single_connection_client=False)
        connection = client.connection_pool.get_connection()
        try:
            connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._prefix)
            connection.read_response()
            connection._parser.set_invalidation_push_handler(self._on_changed)
            self._listens = True
            while True:
                try:
                    connection.read_response(push_request=True, timeout=_IDLE_S, disconnect_on_error=False)
                except redis.TimeoutError:
                    connection.send_command("PING")
        finally:
            self._listens = False
            connection.disconnect()
            client.close()

    def _on_changed(self, message: Any) -> None:
        """Redis says that keys have changed; None stands for all of them (FLUSHDB)."""
        if message[1] is None:
            self._forget(listens=True)
            return
        for key in message[1]:
            name = bytes(key)[len(self._prefix) :]
            self._values.pop(name, None)
            self._asked.discard(name)

    def _forget(self, listens: bool = False) -> None:
        self._listens = listens
        self._values.clear()
        self._asked.clear()
