"""An application for the tests of the cache: /CALL?argument=..., answered with a JSON list: the pid, and the result."""

import json
import os
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl

from wsgid import offload
from wsgid.cache import Cache
from wsgid.errors import CacheError

values = Cache("values")
hot = Cache("values", local=100)
values.set("imported", os.getpid())  # in the template: the workers open the store again
stuck: list[Any] = []


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    call = CALLS[environ["PATH_INFO"][1:]]
    result = call(**dict(parse_qsl(environ["QUERY_STRING"])))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([os.getpid(), result]).encode()]


def put(key: str, value: str, ttl_s: str = "60") -> None:
    values.set(key, value, float(ttl_s))


def make(key: str, takes_s: str = "0", gate: str = "") -> int:
    """Return the pid of the worker that has made the value. Making lasts until the file `gate` exists, if it is
    named."""

    def made() -> int:
        time.sleep(float(takes_s))
        while gate and not os.path.exists(gate):
            time.sleep(0.01)
        return os.getpid()

    return values.get_or_make(key, made, 60)  # type: ignore[no-any-return]


@offload(threads=4)
def make_in_thread(key: str) -> int:
    return make(key, "0.3")


def fill(takes_s: str) -> int:
    """Write and read 8 MB in parts, in this time at least. Returns how much was written."""
    written, evicted, until_s = 0, 0, time.monotonic() + float(takes_s)
    while written < 8_000_000 or time.monotonic() < until_s:
        value = bytes([written % 251]) * 40_000
        values.set(f"fill{written}", value, 60)
        found = values.get(f"fill{written}")
        assert found in (value, None)
        evicted += found is None  # another worker has filled the store meanwhile
        written += len(value)
        time.sleep(0.001)
    assert evicted * 40_000 < written / 2
    return min(written, 8_000_000)


def hold(key: str, ttl_s: str) -> bool:
    """Take a lock, and keep it."""
    lock = values.lock(key, float(ttl_s))
    stuck.append(lock)
    return lock.acquire(0)


def take(key: str, wait_s: str) -> bool:
    """Whether a lock is free within this time. It is given back."""
    lock = values.lock(key, 60)
    taken = lock.acquire(float(wait_s))
    if taken:
        lock.release()
    return taken


def fork() -> tuple[int, int]:
    """The pid of a child, and the pid that the child has written."""
    pid = os.fork()
    if pid == 0:
        values.set("child", os.getpid())
        with values.lock("child", 60):
            os._exit(0)
    os.waitpid(pid, 0)
    with values.lock("child", 60, wait_s=0):
        return pid, values.get("child")


def unknown() -> str:
    try:
        return str(Cache("unknown").get("x"))
    except CacheError as error:
        return str(error)


def beat() -> None:
    """Wait for some turns of the event loop."""
    for _ in range(20):
        time.sleep(0.001)


CALLS: dict[str, Callable[..., Any]] = {
    "get": lambda key: values.get(key),
    "hot": lambda key: hot.get(key),
    "put": put,
    "incr": lambda key: values.incr(key),
    "delete": lambda key: values.delete(key),
    "make": make,
    "make_in_thread": make_in_thread,
    "hold": hold,
    "fill": fill,
    "take": take,
    "fork": fork,
    "unknown": unknown,
    "beat": beat,
}
