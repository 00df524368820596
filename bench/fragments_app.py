"""A page of ten fragments of 2 KB, each from a store, for `python -m bench.shared_page`. FRAGMENTS names the store."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

KEYS = [f"fragment{number}" for number in range(10)]
VALUES = {key: f"<p>{key} {'y' * 2048}</p>\n".encode() for key in KEYS}
PAGE = b"".join(VALUES.values())


def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = b"".join(read())
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(body)))])
    return [body]


def _constant() -> Callable[[], Iterable[bytes]]:
    """No store: what is left is the cost of the server."""
    return VALUES.values


def _cache(local: int) -> Callable[[], Sequence[bytes]]:
    from wsgid.cache import Cache

    cache = Cache("bench", local=local)
    cache.set_many(VALUES)
    if local:
        return lambda: [cache.get(key) for key in KEYS]
    return lambda: list(cache.get_many(KEYS).values())


def _redis() -> Callable[[], Sequence[bytes]]:
    import redis

    client: Any = redis.Redis(unix_socket_path=os.environ["BENCH_REDIS"])
    client.mset(VALUES)
    return lambda: client.mget(KEYS)


STORES: dict[str, Callable[[], Callable[[], Iterable[bytes]]]] = {
    "constant": _constant,
    "cache": lambda: _cache(0),
    "local": lambda: _cache(1000),
    "redis": _redis,
}
read = STORES[os.environ.get("FRAGMENTS", "constant")]()
