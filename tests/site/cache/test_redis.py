"""A cache in Redis: shared by servers on several machines, and no request waits for a Redis that is gone."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
import redis

from tests.conftest import Start
from tests.site.cache.conftest import APP
from tests.site.cache.questions import ask, memory_directory
from tests.support.ctl import said
from tests.support.server import Server, eventually
from tools.databases import Redis
from tools.nginx import free_port
from wsgid.cache import Cache
from wsgid.cache.redis_client import RedisUrl
from wsgid.errors import CacheError, CacheUnavailable


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A server that a test may stop."""
    with Redis() as server:
        yield server


def url(server: Redis, **options: str) -> str:
    return f"unix://{server.socket_path}?" + "&".join(f"{name}={value}" for name, value in options.items())


# --- URLs ---


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("redis://u:p@h:1/2", RedisUrl("redis://u:p@h:1/2", "server", 0.25, True)),
        ("valkeys://h", RedisUrl("rediss://h", "server", 0.25, True)),
        ("redis://h/0?fail=closed&timeout=2&health_check_interval=5",
         RedisUrl("redis://h/0?health_check_interval=5", "server", 2.0, False)),
        ("unix:///run/r.sock?db=1&timeout=1", RedisUrl("unix:///run/r.sock?db=1", "server", 1.0, True)),
        ("redis+cluster://h:7000", RedisUrl("redis://h:7000", "cluster", 0.25, True)),
    ],
)  # fmt: skip
def test_a_url_has_options_of_wsgid_and_of_redis(text: str, parsed: RedisUrl) -> None:
    assert RedisUrl.parse(text) == parsed


@pytest.mark.parametrize("query", ["timeout=0", "timeout=soon", "fail=maybe"])
def test_a_wrong_option_is_named(query: str) -> None:
    with pytest.raises(CacheError, match="timeout has to be seconds above 0, and fail has to be open or closed"):
        RedisUrl.parse(f"redis://h?{query}")


def test_sentinel_needs_a_service() -> None:
    with pytest.raises(CacheError, match="has to name Sentinel's service"):
        RedisUrl.parse("redis+sentinel://h:1,i:2").client()


# --- Sentinel and Cluster ---


@contextmanager
def running(directory: Path, *arguments: str) -> Iterator[None]:
    process = subprocess.Popen([Redis.ensure(), *arguments], cwd=directory, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> Any:
    """A client of a server that has just been started."""
    client: Any = redis.Redis(port=port)

    def pings() -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    eventually(pings, f"Redis answers on port {port}")
    return client


def test_a_master_is_found_by_sentinel(tmp_path: Path) -> None:
    master, sentinel = free_port("127.0.0.1"), free_port("127.0.0.1")
    (tmp_path / "sentinel.conf").write_text(f"port {sentinel}\nsentinel monitor main 127.0.0.1 {master} 1\n")
    with (
        running(tmp_path, "--port", str(master), "--save", ""),
        running(tmp_path, str(tmp_path / "sentinel.conf"), "--sentinel"),
    ):
        answers(master)
        answers(sentinel)
        cache = Cache("s", path=f"redis+sentinel://127.0.0.1:{sentinel},127.0.0.1:1/main/0?fail=closed&timeout=5")
        cache.set("key", 1, 60)
        assert cache.incr("key") == 2
        assert redis.Redis(port=master).get("wsgid:s:v:key") == b"2"


def test_keys_of_all_nodes_of_a_cluster_are_read_at_once(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    line = (
        "--port",
        str(port),
        "--cluster-port",
        str(free_port("127.0.0.1")),
        "--cluster-enabled",
        "yes",
        "--save",
        "",
    )
    with running(tmp_path, *line):
        node = answers(port)
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        eventually(lambda: b"cluster_state:ok" in node.execute_command("CLUSTER", "INFO"), "the cluster serves")
        cache = Cache("c", local=5, path=f"redis+cluster://127.0.0.1:{port}?fail=closed&timeout=5")
        cache.set_many({f"k{number}": number for number in range(20)}, 60)
        assert cache.get_many([f"k{number}" for number in range(21)]) == {f"k{number}": number for number in range(20)}
        assert (cache.get("k1"), cache.incr("k1", 5), cache.get("k1")) == (1, 6, 6)
        with cache.lock("job", 60):
            assert not cache.lock("job").acquire(0)
        cache.clear()
        assert cache.get("k1") is None


# --- gone, and back ---


def test_a_redis_that_is_gone_is_an_empty_cache_that_gives_no_locks(own_redis: Redis) -> None:
    cache = Cache("gone", path=url(own_redis))
    cache.set("key", 1)
    own_redis.stop()
    assert (cache.get("key", "default"), cache.get_many(["key"]), cache.ttl("key")) == ("default", {}, None)
    cache.set("key", 2)
    cache.set_many({"key": 2})
    cache.clear()
    assert not cache.add("key", 3) and not cache.delete("key") and not cache.touch("key", 1)
    assert (cache.incr("n", 5, initial=1), cache.incr("f", 0.5)) == (6, 0.5)
    assert cache.get_or_make("key", lambda: "made", 60) == "made"
    assert Cache("gone", local=5, path=url(own_redis)).get("key") is None
    with pytest.raises(CacheUnavailable, match="the cache gone"):
        cache.lock("job").acquire(0)


def test_with_fail_closed_it_is_an_error(own_redis: Redis) -> None:
    cache = Cache("closed", path=url(own_redis, fail="closed"))
    cache.set("key", 1)
    own_redis.stop()
    for call in (lambda: cache.get("key"), lambda: cache.set("key", 1), lambda: cache.incr("n"),
                 lambda: cache.get_or_make("key", lambda: 1)):  # fmt: skip
        with pytest.raises(CacheUnavailable):
            call()


def test_only_calls_in_flight_wait_for_a_redis_that_hangs_and_all_comes_back(own_redis: Redis) -> None:
    cache = Cache("hangs", path=url(own_redis, timeout="1"))
    cache.set("key", 1)
    breaker = cache._store.breaker
    with own_redis.frozen():
        assert cache.get("key") is None  # waits for the time-out
        assert breaker.is_open
        begun_s = time.monotonic()
        for _ in range(1000):
            assert cache.get("key") is None
        assert time.monotonic() - begun_s < 1000 * 1 / 4  # a bound far away: each of them would have waited
    eventually(lambda: not breaker.is_open, "the breaker closes by itself")
    assert cache.get("key") == 1


def test_no_value_of_the_process_outlives_a_flush_of_redis(own_redis: Redis) -> None:
    hot = Cache("f", path=url(own_redis, timeout="10"), local=10)
    hot.set("key", [1])
    eventually(lambda: hot.get("key") is hot.get("key"), "the value is kept")
    redis.Redis(unix_socket_path=str(own_redis.socket_path)).flushdb()
    eventually(lambda: hot.get("key") is None, "the value is gone")
    hot.set("key", [2])
    eventually(lambda: hot.get("key") == [2] and hot.get("key") is hot.get("key"), "the new value is kept again")


def test_clear_deletes_more_keys_than_one_command_takes(own_redis: Redis) -> None:
    cache, other = (Cache(name, path=url(own_redis, timeout="10")) for name in ("many", "other"))
    cache.set_many({f"k{number}": number for number in range(2500)})
    other.set("key", 1)
    cache.clear()
    assert cache.get_many(f"k{number}" for number in range(2500)) == {} and other.get("key") == 1


def test_a_restarted_redis_costs_no_error(own_redis: Redis) -> None:
    cache = Cache("restarted", path=url(own_redis, fail="closed", timeout="5"))
    cache.set("key", 1)
    own_redis.restart()
    assert cache.get("key") is None


def test_two_servers_share_a_cache_and_answer_without_redis(serve: Start, own_redis: Redis, tmp_path: Path) -> None:
    where = f"values={url(own_redis, timeout='10')}"
    first = serve("--cache", where).wait_ready(2)
    ask(first, "put", key="a", value="1")
    (tmp_path / "other").mkdir()
    shutil.copy(APP, tmp_path / "other")
    second = Server(tmp_path / "other", "--socket", "app.sock", "--cache", where, "app:application")
    try:
        second.wait_ready(1)
        assert (ask(second, "get", key="a"), ask(second, "hot", key="a")) == ("1", "1")
    finally:
        second.end()
    since = len(first.lines)
    own_redis.stop()
    assert [ask(first, "get", key="a") for _ in range(200)] == [None] * 200
    assert ask(first, "make", key="m") in first.worker_pids()
    first.wait_for(r"the cache values \(unix://\S+\) does not answer: .*; nothing waits for it", since=since)
    (shown,) = said(tmp_path, "cache")["caches"]
    assert (shown["remote"], shown["items"], shown["hits"]) == (True, None, 0) and shown["errors"] > 200


def test_a_lock_of_a_killed_server_ends_with_its_time(serve: Start, own_redis: Redis) -> None:
    where = f"values={url(own_redis, timeout='10')}"
    first = serve("--cache", where).wait_ready(2)
    assert ask(first, "hold", key="job", ttl_s="1")
    pids = [first.pid, *first.worker_pids(), *first.template_pids(), *first.spare_pids()]
    for pid in pids:
        os.kill(pid, Signals.SIGKILL)
    assert Cache("values", path=url(own_redis, timeout="10")).lock("job").acquire(20)
    shutil.rmtree(memory_directory(first))  # the next server would remove it
