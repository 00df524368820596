"""The services of these tests, and the clients that each service counts."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import redis

from tests.site.databases.http_server import HttpServer
from tests.support import client
from tools.databases import MariaDb, Memcached, Postgres, Redis

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Services:
    """The services, each with the name of its field in `of`."""

    postgres: Postgres
    mariadb: MariaDb
    redis: Redis
    memcached: Memcached
    http: HttpServer

    def of(self, name: str) -> Any:
        return {field.name: getattr(self, field.name) for field in fields(self)}[name]

    def environ(self) -> dict[str, str]:
        """The variables that tell app.py where the services are."""
        return {
            "POSTGRES": str(self.postgres.directory),
            "MARIADB": str(self.mariadb.socket_path),
            "REDIS": str(self.redis.socket_path),
            "MEMCACHED": str(self.memcached.socket_path),
            "HTTP": str(self.http.port),
        }

    def clients(self, name: str) -> set[int]:
        """The connections of a service, by its own numbers. /look of app.py uses the same numbers."""
        return _CLIENTS[name](self)


def _of_postgres(services: Services) -> set[int]:
    with psycopg.connect(host=str(services.postgres.directory), user="postgres") as connection:
        return {pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity")}


def _of_mariadb(services: Services) -> set[int]:
    with pymysql.connect(unix_socket=str(services.mariadb.socket_path), user="root") as connection:
        cursor: Any = connection.cursor()
        cursor.execute("SELECT id FROM information_schema.processlist")
        return {number for (number,) in cursor.fetchall()}


def _of_redis(services: Services) -> set[int]:
    with redis.Redis(unix_socket_path=str(services.redis.socket_path)) as connection:
        return {int(found["id"]) for found in connection.client_list()}


_CLIENTS: dict[str, Callable[[Services], set[int]]] = {
    "postgres": _of_postgres,
    "mariadb": _of_mariadb,
    "redis": _of_redis,
    "http": lambda services: set(services.http.connections),
}


# --- questions to app.py ---


def ask(address: Path, driver: str, number: int, more: str = "") -> tuple[int, str]:
    """Ask for a number through this driver. Returns the status and the body."""
    answer = client.get(address, f"/{driver}", QUERY_STRING=f"number={number}{more}")
    return answer.status, answer.body.decode()


@dataclass(frozen=True)
class Look:
    """What one request through a pool has found."""

    status: int
    connections: int = 0
    connection: int = 0
    worker: int = 0


def look(address: Path, pool: str) -> Look:
    """Use this pool in one request."""
    answer = client.get(address, f"/{pool}/look")
    return Look(answer.status, **json.loads(answer.body)) if answer.status == 200 else Look(answer.status)


def look_together(address: Path, pool: str, count: int) -> list[Look]:
    """Use this pool in this many requests at once."""
    with ThreadPoolExecutor(count) as clients:
        return list(clients.map(lambda _number: look(address, pool), range(count)))
