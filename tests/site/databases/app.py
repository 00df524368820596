"""The application of these tests: /NAME asks a service through the driver or pool of this name, as applications do.

    /psycopg3?number=12    the service answers 12
    /psycopg_pool/look     how many connections of this application the service counts, and which connection was used
    /entered               how many requests have begun since the start of this worker

A driver has one connection in a threading.local. A pool is made on first use, and has at most POOL_MAX connections.
"""

import http.client
import json
import os
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from wsgid.serving import greenlets

greenlets.TRIM_S = 0.3  # for the test of connections in reference cycles

POSTGRES, MARIADB = os.environ["POSTGRES"], os.environ["MARIADB"]
REDIS, MEMCACHED, HTTP = os.environ["REDIS"], os.environ["MEMCACHED"], os.environ["HTTP"]
POOL_MAX = 20
PATIENCE_S = 60


def postgres_look(pool: str) -> str:
    """The query of the pool whose connections have this name."""
    return f"""
        SELECT (SELECT count(*) FROM pg_stat_activity WHERE application_name = '{named(pool)}'), pg_backend_pid()
        FROM pg_sleep(0.05)
    """


MARIADB_LOOK = """
    SELECT (SELECT count(*) FROM information_schema.processlist WHERE user = 'pool'), connection_id(), sleep(0.05)
"""


def named(pool: str) -> str:
    return f"{pool}-{os.getppid()}"  # the server of the worker: its parent is the master


# --- drivers ---


def psycopg2() -> Callable[..., Any]:
    import psycopg2

    connection = psycopg2.connect(host=POSTGRES, user="postgres")
    return lambda number: select(connection, number)


def psycopg3() -> Callable[..., Any]:
    import psycopg

    connection = psycopg.connect(host=POSTGRES, user="postgres")
    return lambda number: select(connection, number)


def psycopg3_looked_after() -> Callable[..., Any]:
    """psycopg 3 with the settings that docs/databases.md recommends."""
    import psycopg

    options = "-c client_connection_check_interval=100ms"
    connection = psycopg.connect(host=POSTGRES, user="postgres", options=options, autocommit=True)

    def ask(number: int, more: str = "", limit: str = "0") -> Any:
        connection.execute("SELECT set_config('statement_timeout', %s, false)", (limit,))
        try:
            row = connection.execute(f"SELECT %s + 0{more}", (number,)).fetchone()
        except psycopg.errors.QueryCanceled as error:
            return type(error).__name__
        return row and row[0]

    return ask


def pg8000() -> Callable[..., Any]:
    import pg8000.dbapi

    connection = pg8000.dbapi.connect("postgres", unix_sock=POSTGRES + "/.s.PGSQL.5432")
    return lambda number: select(connection, number)


def pymysql() -> Callable[..., Any]:
    import pymysql

    connection = pymysql.connect(unix_socket=MARIADB, user="root")
    return lambda number: select(connection, number)


def mysql_connector() -> Callable[..., Any]:
    return of_mysql_connector(use_pure=True)


def mysql_connector_c() -> Callable[..., Any]:
    return of_mysql_connector(use_pure=False)


def of_mysql_connector(use_pure: bool) -> Callable[..., Any]:
    import mysql.connector

    connection = mysql.connector.connect(
        unix_socket=MARIADB, user="root", use_pure=use_pure, charset="utf8mb4", collation="utf8mb4_general_ci"
    )
    return lambda number: select(connection, number)


def select(connection: Any, number: int) -> Any:
    cursor = connection.cursor()
    cursor.execute("SELECT %s + 0", (number,))
    return cursor.fetchone()[0]


def redis() -> Callable[..., Any]:
    import redis

    connection: Any = redis.Redis(unix_socket_path=REDIS)
    return lambda number: connection.echo(str(number)).decode()


def pymemcache() -> Callable[..., Any]:
    from pymemcache.client.base import Client

    connection = Client(MEMCACHED)

    def ask(number: int) -> Any:
        return connection.get(f"key{number}").decode()

    for number in (*range(10, 20), 666):
        connection.set(f"key{number}", str(number), noreply=False)
    return ask


def http_client() -> Callable[..., Any]:
    connection = http.client.HTTPConnection("127.0.0.1", int(HTTP))

    def ask(number: int) -> Any:
        connection.request("GET", f"/{number}")
        return connection.getresponse().read().decode()

    return ask


def django() -> Callable[..., Any]:
    with_django()
    from django.db import connection

    def ask(number: int, more: str = "") -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s + 0" + more, [number])
            return cursor.fetchone()[0]

    return ask


def with_django() -> None:
    """Configure Django with connections that its threads keep, and with a pool."""
    from django.conf import settings

    if settings.configured:
        return
    database = {"ENGINE": "django.db.backends.postgresql", "HOST": POSTGRES, "USER": "postgres", "NAME": "postgres"}
    bounded = {"min_size": 0, "max_size": POOL_MAX, "timeout": PATIENCE_S}
    settings.configure(
        DATABASES={
            "default": {**database, "CONN_MAX_AGE": None, "OPTIONS": {"application_name": "of Django"}},
            "pooled": {
                **database,
                "CONN_HEALTH_CHECKS": True,
                "OPTIONS": {"application_name": named("django_pool"), "pool": bounded},
            },
        }
    )
    import django

    django.setup()


# --- pools ---


def psycopg_pool() -> Callable[..., Any]:
    from psycopg_pool import ConnectionPool

    pool = ConnectionPool(
        f"host={POSTGRES} user=postgres application_name={named('psycopg_pool')}",
        min_size=0,
        max_size=POOL_MAX,
        timeout=PATIENCE_S,
        check=ConnectionPool.check_connection,
        open=True,
    )

    def look() -> Any:
        with pool.connection() as connection:
            return connection.execute(postgres_look("psycopg_pool")).fetchone()

    return look


def sqlalchemy_psycopg() -> Callable[..., Any]:
    return of_sqlalchemy(
        "postgresql+psycopg://postgres@",
        {"host": POSTGRES, "application_name": named("sqlalchemy")},
        postgres_look("sqlalchemy"),
    )


def sqlalchemy_pymysql() -> Callable[..., Any]:
    return of_sqlalchemy("mysql+pymysql://pool@", {"unix_socket": MARIADB, "ssl_disabled": True}, MARIADB_LOOK)


def of_sqlalchemy(url: str, options: dict[str, Any], query: str) -> Callable[..., Any]:
    import sqlalchemy

    engine = sqlalchemy.create_engine(
        url, connect_args=options, pool_size=POOL_MAX, max_overflow=0, pool_timeout=PATIENCE_S, pool_pre_ping=True
    )

    def look() -> Any:
        with engine.connect() as connection:
            return tuple(connection.exec_driver_sql(query).one())[:2]

    return look


def django_pool() -> Callable[..., Any]:
    with_django()
    from django import db

    def look() -> Any:
        db.reset_queries()
        db.close_old_connections()  # as Django does at the beginning and the end of each request
        try:
            with db.connections["pooled"].cursor() as cursor:
                cursor.execute(postgres_look("django_pool"))
                return cursor.fetchone()
        finally:
            db.connections["pooled"].close()

    return look


def redis_pool() -> Callable[..., Any]:
    import redis

    pool = redis.BlockingConnectionPool.from_url(
        f"unix://{REDIS}", max_connections=POOL_MAX, timeout=PATIENCE_S, client_name=named("redis_pool")
    )
    client = redis.Redis(connection_pool=pool)

    def look() -> Any:
        client.blpop("no such list", 0.05)
        return sum(found["name"] == named("redis_pool") for found in client.client_list()), client.client_id()

    return look


def urllib3() -> Callable[..., Any]:
    import urllib3

    pool = urllib3.HTTPConnectionPool("127.0.0.1", int(HTTP), maxsize=POOL_MAX, block=True, timeout=PATIENCE_S)
    return lambda: json.loads(pool.request("GET", "/look").data)


# --- the application ---

local = threading.local()
made: dict[str, Callable[..., Any]] = {}
making = threading.Lock()
entered = 0


def of_thread(name: str) -> Any:
    if not hasattr(local, name):
        setattr(local, name, globals()[name]())
    return getattr(local, name)


def of_process(name: str) -> Any:
    with making:
        if name not in made:
            made[name] = globals()[name]()
    return made[name]


def answer(environ: dict[str, Any]) -> Any:
    global entered
    path = environ["PATH_INFO"][1:]
    if path == "entered":
        return entered
    entered += 1
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    if "harakiri" in query:
        environ["wsgid.harakiri"](float(query["harakiri"]))
    name, _, action = path.partition("/")
    if action == "look":
        connections, connection = of_process(name)()
        return json.dumps({"connections": connections, "connection": connection, "worker": os.getpid()})
    options = {option: query[option] for option in ("more", "limit") if option in query}
    return of_thread(name)(int(query["number"]), **options)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    body = str(answer(environ)).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
