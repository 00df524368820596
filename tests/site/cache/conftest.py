"""The cache over each store: LMDB in shared memory, LMDB in a file, and Redis."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.support.server import Server
from tools.databases import Redis
from wsgid.cache import Cache

MakeCache = Callable[..., Cache]
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
        paths["redis"] = f"unix://{server.socket_path}?db=0"
    path = paths[request.param]
    name = f"t{abs(hash(tmp_path))}"

    def make(**options: Any) -> Cache:
        return Cache(name, path=path, **{"size_bytes": 4 << 20, **options})

    return make


@pytest.fixture
def cache(make_cache: MakeCache) -> Cache:
    return make_cache()


@pytest.fixture
def serve(start: Start, tmp_path: Path) -> Start:
    """Start a server with the application of app.py: serve(*arguments, workers=2)."""
    shutil.copy(APP, tmp_path)

    def serve_one(*arguments: str, workers: int = 2, **options: Any) -> Server:
        line = ("--socket", "app.sock", "--workers", str(workers), "app:application")
        return start(*line, *(arguments or ("--cache", "values=4m")), **options)

    return serve_one
