"""The cache over each store: LMDB in shared memory, LMDB in a file, and Redis."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from tests.conftest import Start
from tests.support.server import Server
from tools.databases import Redis
from wsgid.cache import Cache, local, redis_local

MakeCache = Callable[..., Cache]
Later = Callable[[float], None]
APP = Path(__file__).with_name("app.py")


@pytest.fixture(scope="package")
def redis_server() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(params=["private", "file", "redis"])
def make_cache(request: pytest.FixtureRequest, tmp_path: Path) -> MakeCache:
    """Make Cache objects of the same empty store: make_cache(local=10)."""
    paths: dict[str, Any] = {"private": None, "file": str(tmp_path / "values.cache")}
    if request.param == "redis":
        server: Redis = request.getfixturevalue("redis_server")
        # a busy Redis is not one that is gone
        paths["redis"] = f"unix://{server.socket_path}?db=0&timeout=10"
    path = paths[request.param]
    name = f"t{abs(hash(tmp_path))}"

    def make(**options: Any) -> Cache:
        return Cache(name, path=path, **{"size_bytes": 4 << 20, **options})

    return make


@pytest.fixture
def cache(make_cache: MakeCache) -> Cache:
    return make_cache()


@pytest.fixture
def later(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Later:
    """Let so many seconds pass at once: later(61). The clocks of the stores in LMDB, and of the values that a process
    keeps, go forward. The clock of Redis cannot be set: there, all keys get so much less time to live."""
    passed_s = 0.0
    clock_gettime = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda clock: clock_gettime(clock) + passed_s)
    monkeypatch.setattr(local, "_clock", time.clock_gettime)
    moved = SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s, sleep=time.sleep)
    monkeypatch.setattr(redis_local, "time", moved)

    def pass_by(seconds: float) -> None:
        nonlocal passed_s
        passed_s += seconds
        if "redis_server" in request.fixturenames or "redis" in request.node.name:
            shorten(request.getfixturevalue("redis_server"), seconds)

    return pass_by


def shorten(server: Redis, seconds: float) -> None:
    """Take seconds from the time to live of each key. PEXPIRE deletes a key whose time is over."""
    with redis.Redis(unix_socket_path=str(server.socket_path)) as client:
        for key in client.scan_iter():
            left_ms: Any = client.pttl(key)
            if left_ms > 0:
                client.pexpire(key, max(left_ms - round(seconds * 1000), 0))


@pytest.fixture
def serve(start: Start, tmp_path: Path) -> Start:
    """Start a server with the application of app.py: serve(*arguments, workers=2)."""
    shutil.copy(APP, tmp_path)

    def serve_one(*arguments: str, workers: int = 2, **options: Any) -> Server:
        line = ("--socket", "app.sock", "--workers", str(workers), "app:application")
        return start(*line, *(arguments or ("--cache", "values=4m")), **options)

    return serve_one
