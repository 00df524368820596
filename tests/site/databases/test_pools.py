"""Pools: many requests share a limited number of connections, and each request gets its own answer."""

import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import Signals

import pg8000.dbapi
import psutil
import pymysql
import pytest

from tests.conftest import Start
from tests.site.databases.services import Services, look, look_together
from tests.support import client
from tests.support.server import Server, eventually

POOLS = {
    "psycopg_pool": "postgres",
    "sqlalchemy_psycopg": "postgres",
    "sqlalchemy_pymysql": "mariadb",
    "django_pool": "postgres",
    "redis_pool": "redis",
    "urllib3": "http",
}
POOL_MAX = 20  # as in app.py
CROWD = 200


@pytest.mark.parametrize("pool", POOLS)
def test_a_crowd_shares_the_connections_of_a_pool(address: Path, pool: str) -> None:
    seen = look_together(address, pool, CROWD)
    assert {found.status for found in seen} == {200}
    assert 1 <= max(found.connections for found in seen) <= POOL_MAX


@pytest.mark.parametrize("pool", POOLS)
def test_requests_that_were_ended_take_no_connection_with_them(address: Path, services: Services, pool: str) -> None:
    look(address, pool)
    with services.of(POOLS[pool]).frozen(), ThreadPoolExecutor(POOL_MAX + 4) as clients:
        ended = clients.map(
            lambda _number: client.get(address, f"/{pool}/look", QUERY_STRING="harakiri=0.3").status,
            range(POOL_MAX + 4),
        )
        assert set(ended) == {504}
    seen = look_together(address, pool, POOL_MAX + 4)
    assert {found.status for found in seen} == {200}
    assert max(found.connections for found in seen) <= POOL_MAX


@pytest.mark.parametrize("pool", POOLS)
def test_no_connection_is_used_by_two_workers(serve: Start, pool: str) -> None:
    server = serve("--workers", "3").wait_ready(3)
    users: dict[int, set[int]] = {}
    workers: set[int] = set()
    while len(workers) < 3:
        for found in look_together(server.directory / "app.sock", pool, 30):
            assert found.status == 200
            users.setdefault(found.connection, set()).add(found.worker)
            workers.add(found.worker)
    assert {len(found) for found in users.values()} == {1}


ENDS: dict[str, Callable[[Server], None]] = {
    "a reload": lambda server: server.send_signal(Signals.SIGHUP),
    "a stop": lambda server: server.send_signal(Signals.SIGTERM),
    "kill -9 of the worker": lambda server: psutil.Process(server.worker_pids()[0]).kill(),
    "kill -9 of the master": lambda server: server.send_signal(Signals.SIGKILL),
}


@pytest.mark.parametrize("end", ENDS)
def test_connections_are_closed_when_their_worker_ends(serve: Start, services: Services, end: str) -> None:
    server = serve().wait_ready(1)
    used = {
        pool: {found.connection for found in look_together(server.directory / "app.sock", pool, 5)}
        for pool in ("psycopg_pool", "sqlalchemy_pymysql", "redis_pool", "urllib3")
    }
    assert all(numbers & services.clients(POOLS[pool]) for pool, numbers in used.items())
    ENDS[end](server)

    def left() -> set[int]:
        return set().union(*(numbers & services.clients(POOLS[pool]) for pool, numbers in used.items()))

    eventually(lambda: not left(), "all connections are closed")


@pytest.mark.parametrize("pool", [pool for pool, service in POOLS.items() if service != "http"])
def test_a_restart_of_the_database_costs_no_request(address: Path, services: Services, pool: str) -> None:
    assert {found.status for found in look_together(address, pool, POOL_MAX)} == {200}
    services.of(POOLS[pool]).restart()
    assert {found.status for found in look_together(address, pool, 3 * POOL_MAX)} == {200}


def test_drivers_of_python_make_no_tls_context_where_none_is_wanted(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making a context takes tens of milliseconds, and the event loop stands still meanwhile."""
    monkeypatch.setattr(ssl, "create_default_context", None)  # a call fails
    monkeypatch.setattr(ssl, "SSLContext", None)
    postgres, mariadb = str(services.postgres.socket_path), str(services.mariadb.socket_path)
    pymysql.connect(unix_socket=mariadb, user="root", ssl_disabled=True).close()
    pg8000.dbapi.connect("postgres", unix_sock=postgres, ssl_context=False).close()
