"""python -m bench shared: what one call of a cache costs, in one process and in four at once.

    get, set, incr    a value of 300 bytes
    page              ten fragments of 2 KB, in one call where the cache has one

Rules
* Each process does nothing but calls, for SLICE_S seconds a kind. The first slice warms up and is thrown away.
* `CPU` is the processor time of the callers and of the server that they ask, for each call. It depends little on what
  else the machine does.
* Caches of one process (Django's LocMem) are there to compare with, and share nothing.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from bench import shared_limits, shared_page
from tools.databases import Redis

PROCESSES = (1, 4)
SLICE_S = 1.0
VALUE = "x" * 300
FRAGMENTS = {f"fragment{number}": "y" * 2048 for number in range(10)}
KEYS = [f"key{number}" for number in range(1000)]
KINDS = ("get", "set", "incr", "page")
_UWSGI_APP = "import os\nfrom bench import shared\nshared.run_in_uwsgi(os.environ['SHARED_RESULTS'])\n"

Calls = dict[str, Callable[[str], object]]  # by kind; the argument is a key


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="wsgid-bench-", dir="/dev/shm") as directory, Redis() as redis:
        for processes in PROCESSES:
            print(f"## Calls of a cache, {processes} {'process' if processes == 1 else 'processes'} (`shared`)\n")
            print("| | " + " | ".join(f"{kind}: µs | CPU µs | calls/s" for kind in KINDS) + " |")
            print("| --- |" + " --- |" * 3 * len(KINDS))
            for name, make in PEERS.items():
                place = Path(directory, f"{name.replace(' ', '-')}-{processes}")
                place.mkdir()
                with make(place, redis, processes) as results:
                    print(_row(name, results), flush=True)
            print()
    print("## Decisions of limits (`shared`)\n")
    shared_limits.main()
    print("\n## A page of ten fragments over HTTP (`shared`)\n")
    return shared_page.main()


def _row(name: str, results: list[dict[str, Any]]) -> str:
    cells = []
    for kind in KINDS:
        found = [result[kind] for result in results]
        calls = sum(each["calls"] for each in found)
        seconds, cpu_s = sum(each["s"] for each in found), sum(each["cpu_s"] for each in found)
        cells += [f"{seconds / calls * 1e6:.1f}", f"{cpu_s / calls * 1e6:.1f}", f"{calls / seconds * len(found):,.0f}"]
    return f"| {name} | " + " | ".join(cells) + " |"


# --- measuring, in the process that calls ---


def measure(calls: Calls, server_cpu_s: Callable[[], float] = lambda: 0.0) -> dict[str, Any]:
    """Return, for each kind, how many calls there were, how long they took, and the processor time.

    Args:
        calls: of the cache.
        server_cpu_s: the processor time of the server so far. Of several callers, only the first counts it.
    """
    for key in KEYS:
        calls["set"](key)
    return {kind: [_slice(calls[kind], server_cpu_s) for _ in range(2)][-1] for kind in KINDS}


def _slice(call: Callable[[str], object], server_cpu_s: Callable[[], float]) -> dict[str, float]:
    keys, count = itertools.cycle(KEYS), 0
    cpu_s, begun_s = time.process_time() + server_cpu_s(), time.perf_counter()
    while time.perf_counter() - begun_s < SLICE_S:
        for _ in range(50):
            call(next(keys))
        count += 50
    return {"calls": count, "s": time.perf_counter() - begun_s, "cpu_s": time.process_time() + server_cpu_s() - cpu_s}


def _cpu_s(pid: int) -> float:
    """The processor time of a process; 0 for no process."""
    return sum(psutil.Process(pid).cpu_times()[:2]) if pid else 0.0


def _in_processes(processes: int, make: Callable[[], Calls], server: int = 0) -> list[dict[str, Any]]:
    """Measure in so many processes at once.

    Args:
        make: opens the cache, in the process that uses it.
        server: the pid of the cache's server; 0 if it has none.
    """
    readers = []
    for place in range(processes):
        read_fd, write_fd = os.pipe()
        if os.fork() == 0:
            code = 1
            try:
                os.close(read_fd)
                found = measure(make(), partial(_cpu_s, server if place == 0 else 0))
                os.write(write_fd, json.dumps(found).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(write_fd)
        readers.append(read_fd)
    results = []
    for read_fd in readers:
        with os.fdopen(read_fd, "rb") as reader:
            results.append(json.loads(reader.read()))
        os.wait()
    return results


# --- the caches ---


def _wsgid(local: int = 0) -> Any:
    @contextmanager
    def peer(place: Path, redis: Redis, processes: int) -> Iterator[list[dict[str, Any]]]:
        from wsgid.cache import Cache

        def make() -> Calls:
            cache = Cache("bench", path=str(place / "values"), size_bytes=64 << 20)
            read = Cache("bench", path=str(place / "values"), size_bytes=64 << 20, local=local) if local else cache
            cache.set_many(FRAGMENTS)
            fragments = list(FRAGMENTS)
            page = (lambda _: [read.get(key) for key in fragments]) if local else lambda _: cache.get_many(fragments)
            return {
                "get": read.get,
                "set": lambda key: cache.set(key, VALUE, 600),
                "incr": _counter(cache),
                "page": page,
            }

        yield _in_processes(processes, make)

    return peer


def _counter(cache: Any) -> Callable[[str], object]:
    return lambda _: cache.incr("count")


@contextmanager
def _redis(place: Path, redis: Redis, processes: int) -> Iterator[list[dict[str, Any]]]:
    assert redis.process is not None

    def make() -> Calls:
        import redis as client_of

        client: Any = client_of.Redis(unix_socket_path=str(redis.socket_path))
        client.mset(FRAGMENTS)
        return {
            "get": client.get,
            "set": lambda key: client.set(key, VALUE, ex=600),
            "incr": lambda _: client.incr("count"),
            "page": lambda _: client.mget(list(FRAGMENTS)),
        }

    yield _in_processes(processes, make, redis.process.pid)


@contextmanager
def _wsgid_on_redis(place: Path, redis: Redis, processes: int) -> Iterator[list[dict[str, Any]]]:
    from wsgid.cache import Cache

    assert redis.process is not None

    def make() -> Calls:
        cache = Cache("bench", path=f"unix://{redis.socket_path}")
        cache.set_many(FRAGMENTS)
        calls: Calls = {"get": cache.get, "set": lambda key: cache.set(key, VALUE, 600), "incr": _counter(cache)}
        return {**calls, "page": lambda _: cache.get_many(list(FRAGMENTS))}

    yield _in_processes(processes, make, redis.process.pid)


@contextmanager
def _diskcache(place: Path, redis: Redis, processes: int) -> Iterator[list[dict[str, Any]]]:
    import diskcache

    def make() -> Calls:
        cache = diskcache.Cache(str(place))
        for key, value in FRAGMENTS.items():
            cache.set(key, value)
        return {
            "get": cache.get,
            "set": lambda key: cache.set(key, VALUE, expire=600),
            "incr": _counter(cache),
            "page": lambda _: [cache.get(key) for key in FRAGMENTS],
        }

    yield _in_processes(processes, make)


def _django(backend: str) -> Any:
    @contextmanager
    def peer(place: Path, redis: Redis, processes: int) -> Iterator[list[dict[str, Any]]]:
        from django.conf import settings
        from django.utils.module_loading import import_string

        if not settings.configured:
            settings.configure()

        def make() -> Calls:
            cache = import_string(backend)(str(place), {"OPTIONS": {"MAX_ENTRIES": 10_000}})
            cache.set_many(FRAGMENTS)
            cache.set("count", 0)
            calls: Calls = {"get": cache.get, "set": lambda key: cache.set(key, VALUE, 600), "incr": _counter(cache)}
            return {**calls, "page": lambda _: cache.get_many(FRAGMENTS)}

        yield _in_processes(processes, make)

    return peer


@contextmanager
def _uwsgi(place: Path, redis: Redis, processes: int) -> Iterator[list[dict[str, Any]]]:
    (place / "measured.py").write_text(_UWSGI_APP)
    root = Path(__file__).parent.parent
    line = [str(Path(sys.executable).with_name("uwsgi")), "--master", "--processes", str(processes), "--lazy-apps"]
    line += ["--cache2", "name=bench,items=20000,blocksize=4096", "--socket", str(place / "s"), "--die-on-term"]
    line += ["--wsgi-file", str(place / "measured.py"), "--pythonpath", str(root), "--disable-logging"]
    environ = {**os.environ, "SHARED_RESULTS": str(place)}
    process = subprocess.Popen(line, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while len(list(place.glob("*.json"))) < processes:
            if process.poll() is not None:
                raise SystemExit("uwsgi has ended before it had measured")
            time.sleep(0.1)
        yield [json.loads(path.read_text()) for path in place.glob("*.json")]
    finally:
        process.terminate()
        process.wait()


def run_in_uwsgi(results: str) -> None:
    """Measure uWSGI's cache, in one of its workers."""
    uwsgi = import_module("uwsgi")  # only there inside of uWSGI
    for key, value in FRAGMENTS.items():
        uwsgi.cache_update(key, value.encode(), 0, "bench")
    fragments = list(FRAGMENTS)
    found = measure(
        {
            "get": lambda key: uwsgi.cache_get(key, "bench"),
            "set": lambda key: uwsgi.cache_update(key, VALUE.encode(), 600, "bench"),
            "incr": lambda _: uwsgi.cache_inc("count", 1, 0, "bench"),
            "page": lambda _: [uwsgi.cache_get(key, "bench") for key in fragments],
        }
    )
    path = Path(results, f"{os.getpid()}.part")
    path.write_text(json.dumps(found))
    path.rename(path.with_suffix(".json"))


PEERS: dict[str, Any] = {
    "wsgid": _wsgid(),
    "wsgid, local=1000": _wsgid(1000),
    "wsgid on Redis, unix socket": _wsgid_on_redis,
    "Redis, unix socket, redis-py": _redis,
    "uWSGI's cache": _uwsgi,
    "diskcache": _diskcache,
    "Django's LocMem (one process)": _django("django.core.cache.backends.locmem.LocMemCache"),
    "Django's files": _django("django.core.cache.backends.filebased.FileBasedCache"),
}
