"""--limit-store: limits over several machines. Two masters stand for two machines; the Redis is a real one."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import Start
from tests.support import ROOT, client
from tests.support.ctl import said
from tests.support.processes import kill_tree
from tests.support.server import Server, eventually
from tools.databases import Redis
from tools.nginx import free_port
from wsgid import limits
from wsgid.limits.home import HOME, private_table
from wsgid.limits.permit import Ruling
from wsgid.limits.redis_store import LimitRedis

pytestmark = pytest.mark.hot

APP = """
    import os, time
    from wsgid import limits
    held = limits.Concurrency(1, name="held")
    def application(environ, start_response):
        permit = held.acquire("k") if environ["PATH_INFO"] in ("/held", "/sleep") else True
        start_response("200 OK" if permit else "429 Too Many Requests", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/sleep" and permit:
            open(environ["QUERY_STRING"], "w").close()
            time.sleep(600)
        return [b"hello"]
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def store(running: Redis) -> str:
    """The URL of an empty Redis."""
    redis.Redis(unix_socket_path=str(running.socket_path)).flushall()
    return f"unix://{running.socket_path}"


def serve(start: Start, name: str, store: str, *options: str, workers: int = 2) -> Server:
    arguments = ("--socket", f"{name}.sock", "--workers", str(workers), "--limit-store", store, *options)
    return start(*arguments, "app:application", app=APP).wait_ready(workers)


def statuses(server: Server, name: str, number: int, path: str = "/", **variables: str) -> list[int]:
    return [client.get(server.directory / f"{name}.sock", path, **variables).status for _ in range(number)]


def test_a_rate_holds_over_two_servers(start: Start, store: str) -> None:
    rule = ("--limit-req", "key=remote_addr rate=1r/h burst=4 nodelay name=api")
    one, two = serve(start, "one", store, *rule), serve(start, "two", store, *rule)
    answers = [status for _ in range(4) for status in (*statuses(one, "one", 1), *statuses(two, "two", 1))]
    assert answers == [200] * 5 + [429] * 3
    assert statuses(one, "one", 1, REMOTE_ADDR="10.0.0.2") == [200]
    answer = client.get(one.directory / "one.sock")
    assert answer.header("RateLimit-Limit") == "5" and int(answer.header("Retry-After") or 0) > 3000
    [limit] = said(one.directory, "--control", "one.ctl", "limits")["limits"]
    assert (limit["admitted"], limit["rejected"]) == (4, 2)


def test_a_permit_ends_with_its_request_on_either_server(start: Start, store: str) -> None:
    one, two = serve(start, "one", store), serve(start, "two", store)
    assert statuses(one, "one", 3, "/held") == statuses(two, "two", 3, "/held") == [200] * 3
    connection = sleeping(one, "one")
    assert statuses(two, "two", 2, "/held") == [429] * 2
    connection.close()


def sleeping(server: Server, name: str) -> Any:
    """A connection with a request that holds the permit."""
    mark = server.directory / f"{name}.begun"
    connection = client.connect(server.directory / f"{name}.sock")
    connection.sendall(client.packet("/sleep", QUERY_STRING=mark.name))
    eventually(mark.exists, "the request has its permit")
    return connection


def test_a_permit_is_renewed_as_long_as_its_request_runs(start: Start, store: str, running: Redis) -> None:
    server = serve(start, "one", store, "--limit-lease", "2")
    connection = sleeping(server, "one")
    asked: Any = redis.Redis(unix_socket_path=str(running.socket_path))
    [key] = asked.keys("wsgid:limit:*")
    ends: dict[float, None] = {}
    eventually(
        lambda: len(ends | ends.__ior__({asked.zrange(key, 0, -1, withscores=True)[0][1]: None})) > 3, "it is renewed"
    )
    assert statuses(server, "one", 1, "/held") == [429]
    connection.close()


def test_permits_of_a_machine_that_dies_end_with_their_lease(start: Start, store: str) -> None:
    one = serve(start, "one", store, "--limit-lease", "3")
    two = serve(start, "two", store, "--limit-lease", "3")
    connection = sleeping(one, "one")
    assert statuses(two, "two", 1, "/held") == [429]
    kill_tree(one.pid)
    eventually(lambda: statuses(two, "two", 1, "/held") == [200], "the lease has ended")
    connection.close()
    (one.directory / "one.sock").unlink()
    (one.directory / "one.ctl").unlink(missing_ok=True)


@pytest.mark.parametrize(("options", "status"), [((), 200), (("--limit-store-closed",), 503)], ids=["open", "closed"])
def test_without_the_store_limits_fail_open_or_closed_and_come_back(
    start: Start, options: tuple[str, ...], status: int
) -> None:
    rule = ("--limit-req", "key=all rate=1r/h name=api")
    with Redis() as own:
        server = serve(start, "one", f"unix://{own.socket_path}", *rule, *options, workers=1)
        assert statuses(server, "one", 2) == [200, 429]
        own.restart()  # without its data, and without the script
        assert statuses(server, "one", 2) == [200, 429]
        with own.frozen():
            assert statuses(server, "one", 20) == [status] * 20
        server.wait_for("does not answer: ")
        eventually(lambda: statuses(server, "one", 1) and "answers again" in server.log, "the store is back")
        assert statuses(server, "one", 2) == [429, 429]
    errors = [line for line in server.lines if "does not answer" in line]
    assert len(errors) <= 10  # one in a second at most, and there were 20 requests
    [limit] = said(server.directory, "--control", "one.ctl", "limits")["limits"]
    assert limit["failed_open"] >= 19 if status == 200 else limit["failed_open"] == 0


@pytest.mark.parametrize("url", ["redis://", "redis:/x", "http://x", "redis://a b", ""])
def test_a_wrong_url_is_named(start: Start, url: str) -> None:
    server = start("--socket", "app.sock", "--limit-store", url, "app:application", app=APP)
    assert server.wait() == 2
    assert f"--limit-store '{url}' cannot be used: expected a URL such as redis://HOST:6379/0" in server.log


# --- the same decisions as in shared memory ---


@pytest.fixture
def decisions(store: str) -> Iterator[LimitRedis]:
    HOME.forget()
    made = HOME.store = LimitRedis(private_table(), store, False, 5.0, 10.0)
    yield made
    HOME.forget()


def test_the_limiters_decide_as_in_shared_memory(decisions: LimitRedis) -> None:
    rate, count, held = limits.RequestRate("1r/h", 1), limits.WindowCount(2, 3600), limits.Concurrency(1, 1, delay=9)
    for limiter in (rate, count, held):
        kept = [limiter.peek("k"), limiter.acquire("k", wait=False), limiter.acquire("k", wait=False)]
        assert all(kept) and not limiter.peek("k") and not limiter.acquire("k")
        assert limiter.acquire("other")
        last: Any = kept[-1]
        assert last.remaining == 0
        last.undo()
        assert limiter.acquire("k", wait=False)
    permit: Any = rate.acquire("new", wait=False), rate.acquire("new", wait=False)
    assert permit[0].delay_s == 0 and 3599 < permit[1].delay_s <= 3600


def test_combined_limits_spend_together_or_not_at_all(decisions: LimitRedis) -> None:
    one, three = limits.WindowCount(1, 60), limits.WindowCount(3, 60)
    both = limits.combine(three, one)
    assert [bool(both.acquire("k")) for _ in range(4)] == [True, False, False, False]
    left: Any = three.peek("k")
    assert left.remaining == 1 and left.used == 2


def test_a_dry_run_and_a_given_back_permit(decisions: LimitRedis) -> None:
    dry: Any = limits.RequestRate("1r/h", dry_run=True)
    assert [dry.acquire("k").outcome for _ in range(2)] == [Ruling.ADMITTED, Ruling.WOULD_REJECT]
    held = limits.Concurrency(1)
    for _ in range(3):
        with held.acquire("k"):
            assert not held.peek("k")


# --- sentinels and clusters ---


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Any]:
    """Start redis-server with a configuration; returns its port."""
    started: list[subprocess.Popen[bytes]] = []

    def run(configuration: str, *arguments: str) -> int:
        port = free_port("127.0.0.1")
        file = tmp_path / f"{port}.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsave ''\n{configuration}".replace("PORT", str(port))
        )
        started.append(subprocess.Popen(["redis-server", str(file), *arguments], stdout=subprocess.DEVNULL))
        asked = redis.Redis(port=port)

        def answers() -> bool:
            try:
                return bool(asked.ping())
            except redis.RedisError:
                return False

        eventually(answers, "redis-server answers")
        asked.close()
        return port

    yield run
    for each in started:
        each.terminate()
        each.wait()


def check(url: str) -> None:
    HOME.forget()
    HOME.store = LimitRedis(private_table(), url, True, 5.0, 10.0)
    rate, count = limits.RequestRate("1r/h"), limits.WindowCount(2, 60)
    first, second = rate.acquire("k"), rate.acquire("k")
    assert first and isinstance(second, limits.Rejected) and second.permit.ruling == Ruling.REJECTED
    both = limits.combine(count, rate)
    assert not both.acquire("k")  # the rate rejects, and the window is not spent
    kept: Any = count.acquire("k")
    assert kept.used == 1 and kept.ruling == Ruling.ADMITTED
    HOME.forget()


def test_the_master_that_a_sentinel_names(process: Any) -> None:
    master = process("")
    sentinel = process(f"sentinel monitor limits 127.0.0.1 {master} 1\n", "--sentinel")
    check(f"redis+sentinel://127.0.0.1:{sentinel}/limits")


def test_a_cluster(process: Any) -> None:
    # Without cluster-port, the port of the nodes is the port of the clients plus 10,000: there may be no such port.
    bus = free_port("127.0.0.1")
    node = process(f"cluster-enabled yes\ncluster-config-file nodes-PORT.conf\ncluster-port {bus}\n")
    asked: Any = redis.Redis(port=node, decode_responses=True)
    asked.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    eventually(lambda: "cluster_state:ok" in str(asked.execute_command("CLUSTER", "INFO")), "the cluster serves")
    asked.close()
    check(f"valkey+cluster://127.0.0.1:{node}")


def test_the_bench_of_what_workers_share() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.shared_limits", "--seconds", "0.02"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^\| .* \| [14] \| [\d.]+ \| [\d,]+ \| [\d.]+ \|$", done.stdout, re.MULTILINE)) == 14
