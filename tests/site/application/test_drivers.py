"""A request that was ended in the middle of a query leaves nothing to the next visitor: with real servers and drivers.

Each driver has one connection in a threading.local, as applications have.  The server is frozen after it has got a
query, the request is ended by --harakiri, the server answers (666), and the next requests ask for other numbers.
"""

import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any

import psycopg
import pytest

from tests.support import client
from tests.support.server import Server, eventually
from tools.databases import Database, MariaDb, Memcached, Postgres, Redis

UNREAD = 666  # the answer of the query that was ended
ASKED = range(10, 20)

APP = """
    import http.client, os, threading
    from urllib.parse import parse_qs
    import gevent
    from wsgid.serving import greenlets
    greenlets.TRIM_S = 0.3  # of the test of connections in cycles

    POSTGRES, MARIADB = os.environ["POSTGRES"], os.environ["MARIADB"]
    REDIS, MEMCACHED, HTTP = os.environ["REDIS"], os.environ["MEMCACHED"], os.environ["HTTP"]

    def psycopg2():
        import psycopg2
        connection = psycopg2.connect(host=POSTGRES, user="postgres")
        return lambda number: select(connection, number)

    def psycopg3():
        import psycopg
        connection = psycopg.connect(host=POSTGRES, user="postgres")
        return lambda number: select(connection, number)

    def pg8000():
        import pg8000.dbapi
        connection = pg8000.dbapi.connect("postgres", unix_sock=POSTGRES + "/.s.PGSQL.5432")
        return lambda number: select(connection, number)

    def pymysql():
        import pymysql
        connection = pymysql.connect(unix_socket=MARIADB, user="root")
        return lambda number: select(connection, number)

    def mysql_connector():
        import mysql.connector
        connection = mysql.connector.connect(unix_socket=MARIADB, user="root", use_pure=True,
                                             charset="utf8mb4", collation="utf8mb4_general_ci")
        return lambda number: select(connection, number)

    def select(connection, number):
        cursor = connection.cursor()
        cursor.execute("SELECT %s + 0", (number,))
        return cursor.fetchone()[0]

    def redis():
        import redis
        connection = redis.Redis(unix_socket_path=REDIS)
        return lambda number: connection.echo(str(number)).decode()

    def pymemcache():
        from pymemcache.client.base import Client
        connection = Client(MEMCACHED)
        def ask(number):
            return connection.get(f"key{number}").decode()
        for number in (*range(10, 20), 666):
            connection.set(f"key{number}", str(number), noreply=False)
        return ask

    def http_client():
        connection = http.client.HTTPConnection("127.0.0.1", int(HTTP))
        def ask(number):
            connection.request("GET", f"/{number}")
            return connection.getresponse().read().decode()
        return ask

    def django():
        from django.conf import settings
        if not settings.configured:
            settings.configure(DATABASES={"default": {
                "ENGINE": "django.db.backends.postgresql", "HOST": POSTGRES, "USER": "postgres", "NAME": "postgres",
                "CONN_MAX_AGE": None, "OPTIONS": {"application_name": "of Django"}}})
            import django
            django.setup()
        from django.db import connection
        def ask(number, more=""):
            with connection.cursor() as cursor:
                cursor.execute("SELECT %s + 0" + more, [number])
                return cursor.fetchone()[0]
        return ask

    local = threading.local()

    def application(environ, start_response):
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        driver = environ["PATH_INFO"][1:]
        if not hasattr(local, driver):
            setattr(local, driver, globals()[driver]())
        ask = getattr(local, driver)
        if "harakiri" in query:
            environ["wsgid.harakiri"](float(query["harakiri"]))
        body = ask(int(query["number"]), *([query["more"]] if "more" in query else []))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(body).encode()]
"""


class HttpServer:
    """One more that can be frozen: in the middle of a response."""

    def __init__(self) -> None:
        self._goes_on = threading.Event()
        self._goes_on.set()
        goes_on = self._goes_on

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.path[1:].encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:1])
                goes_on.wait()
                self.wfile.write(body[1:])

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def __enter__(self) -> "HttpServer":
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self._goes_on.clear()
        try:
            yield
        finally:
            self._goes_on.set()


Servers = dict[type, Any]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """The databases, started together."""
    kinds: tuple[type[Database], ...] = (Postgres, MariaDb, Redis, Memcached)
    with ExitStack() as stack, ThreadPoolExecutor(len(kinds)) as pool:
        started = dict(zip(kinds, pool.map(lambda kind: stack.enter_context(kind()), kinds)))
        yield {**started, HttpServer: stack.enter_context(HttpServer())}


@pytest.fixture(scope="module")
def address(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with one worker, so that the next visitor is served where the last one was."""
    directory = tmp_path_factory.mktemp("drivers")
    (directory / "app.py").write_text(textwrap.dedent(APP))
    server = Server(
        directory,
        "--socket",
        "app.sock",
        "app:application",
        environ={
            "POSTGRES": str(servers[Postgres].directory),
            "MARIADB": str(servers[MariaDb].socket_path),
            "REDIS": str(servers[Redis].socket_path),
            "MEMCACHED": str(servers[Memcached].socket_path),
            "HTTP": str(servers[HttpServer].port),
        },
    )
    try:
        server.wait_ready(1)
        yield directory / "app.sock"
    finally:
        server.end()


def ask(address: Path, driver: str, number: int, more: str = "") -> tuple[int, str]:
    answer = client.get(address, f"/{driver}", QUERY_STRING=f"number={number}{more}")
    return answer.status, answer.body.decode()


@pytest.mark.parametrize(
    ("driver", "kind"),
    [
        ("psycopg2", Postgres),
        ("psycopg3", Postgres),
        ("pg8000", Postgres),
        ("django", Postgres),
        ("pymysql", MariaDb),
        ("mysql_connector", MariaDb),
        ("redis", Redis),
        ("pymemcache", Memcached),
        ("http_client", HttpServer),
    ],
)
def test_after_a_query_that_was_ended_the_next_answers_are_right(
    address: Path, servers: Servers, driver: str, kind: type
) -> None:
    assert [ask(address, driver, number) for number in ASKED[:3]] == [(200, "10"), (200, "11"), (200, "12")]
    with servers[kind].frozen():
        assert ask(address, driver, UNREAD, "&harakiri=0.3")[0] == 504
    assert [ask(address, driver, number) for number in ASKED] == [(200, str(number)) for number in ASKED]


def test_connections_in_cycles_are_closed_when_their_greenlets_were_let_go(address: Path, servers: Servers) -> None:
    with psycopg.connect(host=str(servers[Postgres].directory), user="postgres", autocommit=True) as connection:

        def open_ones() -> int:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'of Django'"
            ).fetchone()
            assert row
            return int(row[0])

        connection.execute("SELECT pg_advisory_lock(1)")
        with ThreadPoolExecutor(80) as pool:
            wait = "&more=+FROM+pg_advisory_lock_shared(1)"
            asked = [pool.submit(ask, address, "django", number, wait) for number in range(80)]
            eventually(lambda: open_ones() >= 80, "all wait at once, each with a connection of its own")
            connection.execute("SELECT pg_advisory_unlock(1)")
        assert [future.result() for future in asked] == [(200, str(number)) for number in range(80)]
        eventually(lambda: open_ones() <= 2, "the connections of greenlets that are gone are closed")
