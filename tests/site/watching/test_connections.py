"""wsgidctl connections, and the same counts in /metrics, with real databases and drivers."""

import json
import os
import re
import socket
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import psycopg
import pymysql
import pytest
import redis
from prometheus_client import parser

from faults import attacks
from tests.conftest import Start
from tests.support import client
from tests.support.ctl import refusal, said, wsgidctl
from tests.support.server import Server, eventually
from tools.databases import Database, MariaDb, Postgres, Redis

APP = """
    import http.client, os, socket, struct, threading, time
    from urllib.parse import parse_qs
    import gevent
    from gevent import monkey

    try:
        import psycogreen.gevent
        psycogreen.gevent.patch_psycopg()
    except ImportError:
        pass

    POSTGRES, MARIADB, REDIS = (os.environ.get(name, "") for name in ("POSTGRES", "MARIADB", "REDIS"))
    LOCK = "SELECT pg_advisory_lock_shared(7)"

    def psycopg2():
        import psycopg2
        return psycopg2.connect(host=POSTGRES, user="postgres"), sql(LOCK)

    def psycopg3():
        import psycopg
        return psycopg.connect(host=POSTGRES, user="postgres"), sql(LOCK)

    def pg8000():
        import pg8000.dbapi
        return pg8000.dbapi.connect("postgres", unix_sock=POSTGRES + "/.s.PGSQL.5432"), sql(LOCK)

    def pymysql():
        import pymysql
        return pymysql.connect(unix_socket=MARIADB, user="root"), sql("SELECT GET_LOCK('seven', 60)")

    def redis_py():
        import redis
        made = redis.Redis(unix_socket_path=REDIS)
        made.ping()
        return made, lambda it: it.blpop("seven", 60)

    def http_client():
        made = http.client.HTTPConnection("127.0.0.1", int(os.environ["HTTP"]))
        made.connect()
        def ask(it):
            it.request("GET", "/")
            it.getresponse().read()
        return made, ask

    def urllib3_pool():
        import urllib3
        pool = urllib3.HTTPConnectionPool("127.0.0.1", int(os.environ["HTTP"]))
        made = pool._get_conn()
        made.connect()
        pool._put_conn(made)
        return pool, lambda it: it.request("GET", "/")

    def django():
        from django.conf import settings
        settings.configure(DATABASES={"default": {
            "ENGINE": "django.db.backends.postgresql", "HOST": POSTGRES, "USER": "postgres", "NAME": "postgres",
            "CONN_MAX_AGE": None}})
        import django
        django.setup()
        from django.db import connection
        connection.ensure_connection()
        def wait(it):
            with it.cursor() as cursor:
                cursor.execute(LOCK)
        return connection, wait

    def sql(text):
        def wait(it):
            cursor = it.cursor()
            cursor.execute(text)
            cursor.fetchone()
        return wait

    class Lazy:
        @property
        def __class__(self):
            raise RuntimeError("an object that must not be asked")
        @property
        def fileno(self):
            raise RuntimeError("an object that must not be asked")

    pools, kept, local = {}, [], threading.local()

    def talk(driver, query):
        if driver == "django":  # its connection belongs to the greenlet
            if not hasattr(local, "django"):
                local.django = django()
            pools.setdefault(driver, []).append(local.django)
        elif driver not in pools:
            pools[driver] = [globals()[driver]() for _ in range(int(query["count"]))]
        if query["do"] == "wait":
            made, wait = pools[driver].pop()
            wait(made)
            pools[driver].append((made, wait))

    def serve(listener):
        while True:
            kept.append(listener.accept()[0])

    def listen():
        listener = socket.create_server(("127.0.0.1", 0))
        kept.extend(socket.socketpair())
        kept.append(socket.socket())
        gevent.spawn(serve, listener)
        return listener.getsockname()[1]

    def connect(family, address):
        made = socket.socket(getattr(socket, family))
        made.connect(tuple(address) if isinstance(address, list) else address)
        kept.append(made)

    def churn():
        import _socket
        while True:
            made = _socket.socket()
            # A connection that is reset needs no TIME_WAIT: otherwise there would be no free ports left (socket(7)).
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            try:
                made.connect(("127.0.0.1", int(os.environ["HTTP"])))
            except OSError:
                pass
            made.close()

    def application(environ, start_response):
        import json
        lazy = Lazy()
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
        path, body = environ["PATH_INFO"], b"x"
        if path == "/listen":
            body = str(listen()).encode()
        elif path == "/connect":
            connect(*json.loads(environ["wsgi.input"].read()))
        elif path == "/close":
            body = b"closed" if kept else b"this worker has no connection"
            if kept:
                kept.pop().close()
        elif path == "/churn":
            gevent.get_hub().threadpool.spawn(churn)
        elif path == "/hold":
            held = kept[-1]
            time.sleep(600)
        elif path == "/spin":
            held = kept[-1]
            while True:
                pass
        elif path == "/sleep":
            time.sleep(600)
        elif path != "/":
            talk(path[1:], query)
        start_response("200 OK", [])
        return [body]
"""


class SilentServer:
    """An HTTP server that answers only when the test allows it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._goes_on = threading.Event()
        self._ends = False

    def __enter__(self) -> "SilentServer":
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ends = True
        self._goes_on.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ends:
            threading.Thread(target=self._answer, args=self._listener.accept()).start()

    def _answer(self, connection: socket.socket, _: Any) -> None:
        with connection:
            try:
                while connection.recv(65536):
                    self._goes_on.wait()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            except OSError:  # the server has ended
                pass

    @contextmanager
    def silent(self) -> Iterator[None]:
        self._goes_on.clear()
        try:
            yield
        finally:
            self._goes_on.set()


Servers = dict[type, Any]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """The databases, started together."""
    kinds: tuple[type[Database], ...] = (Postgres, MariaDb, Redis)
    with ExitStack() as stack, ThreadPoolExecutor(len(kinds)) as pool:
        started = dict(zip(kinds, pool.map(lambda kind: stack.enter_context(kind()), kinds)))
        yield {**started, SilentServer: stack.enter_context(SilentServer())}


def start_one(directory: Path, servers: Servers, *options: str) -> Server:
    (directory / "app.py").write_text(textwrap.dedent(APP))
    return Server(
        directory,
        "--socket",
        "app.sock",
        "--hub-timeout",
        "600",
        *options,
        "app:application",
        environ={
            "POSTGRES": str(servers[Postgres].directory),
            "MARIADB": str(servers[MariaDb].socket_path),
            "REDIS": str(servers[Redis].socket_path),
            "HTTP": str(servers[SilentServer].port),
        },
    )


@pytest.fixture(scope="module")
def site(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a server with one worker."""
    directory = tmp_path_factory.mktemp("connections")
    server = start_one(directory, servers)
    try:
        server.wait_ready(1)
        yield directory
        assert "Traceback" not in server.log and "must not be asked" not in server.log
    finally:
        server.end()


def get(directory: Path, path: str, **query: object) -> bytes:
    answer = client.get(directory / "app.sock", path, QUERY_STRING="&".join(f"{k}={v}" for k, v in query.items()))
    assert answer.status == 200, answer.body
    return answer.body


def send(directory: Path, path: str, query: str = "") -> socket.socket:
    connected = client.connect(directory / "app.sock")
    connected.sendall(client.packet(path, QUERY_STRING=query))
    return connected


def connect_to(directory: Path, family: str, address: object) -> None:
    """Let the application connect, and keep the connection open."""
    packet = client.packet("/connect", json.dumps([family, address]).encode())
    assert client.parse(client.exchange(directory / "app.sock", packet)).status == 200


def shown(directory: Path, *arguments: str) -> dict[str, tuple[int, int]]:
    """How many connections there are, and how many are in use, by peer."""
    return {
        row["peer"]: (row["count"], row["in_use"]) for row in said(directory, "connections", *arguments)["connections"]
    }


# --- with drivers ---


@contextmanager
def postgres_waits(server: Postgres) -> Iterator[None]:
    """Within this, a client that asks for the lock waits."""
    with psycopg.connect(host=str(server.directory), user="postgres", autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(7)")
        yield


@contextmanager
def mariadb_waits(server: MariaDb) -> Iterator[None]:
    with pymysql.connect(unix_socket=str(server.socket_path), user="root") as connection:
        connection.cursor().execute("SELECT GET_LOCK('seven', 0)")
        yield


@contextmanager
def redis_waits(server: Redis) -> Iterator[None]:
    with redis.Redis(unix_socket_path=str(server.socket_path)) as connection:
        connection.delete("seven")
        yield
        connection.rpush("seven", "x")


def waits(servers: Servers, kind: type) -> AbstractContextManager[None]:
    server = servers[kind]
    match server:
        case Postgres():
            return postgres_waits(server)
        case MariaDb():
            return mariadb_waits(server)
        case Redis():
            return redis_waits(server)
        case _:
            return server.silent()  # type: ignore[no-any-return]


def peer(servers: Servers, kind: type) -> str:
    server = servers[kind]
    return f"127.0.0.1:{server.port}" if kind is SilentServer else str(server.socket_path)


@pytest.mark.parametrize(
    ("driver", "kind"),
    [
        ("psycopg2", Postgres),
        ("psycopg3", Postgres),
        ("pg8000", Postgres),
        ("django", Postgres),
        ("pymysql", MariaDb),
        ("redis_py", Redis),
        ("http_client", SilentServer),
        ("urllib3_pool", SilentServer),
    ],
)
def test_a_query_that_runs_is_in_use_and_connections_that_idle_in_a_pool_are_not(
    tmp_path: Path, servers: Servers, driver: str, kind: type
) -> None:
    count = 1 if driver == "django" else 3
    server = start_one(tmp_path, servers).wait_ready(1)
    try:
        with send(tmp_path, "/sleep"):  # a request without a connection
            eventually(lambda: said(tmp_path, "requests")["total"] == 1, "the request runs")
            get(tmp_path, f"/{driver}", do="nothing", count=count)
            assert shown(tmp_path) == {peer(servers, kind): (count, 0)}
            with waits(servers, kind):
                waiting = send(tmp_path, f"/{driver}", "do=wait")
                eventually(lambda: shown(tmp_path) == {peer(servers, kind): (count, 1)}, "one connection is in use")
            with waiting:
                assert client.parse(client.read_all(waiting)).status == 200
            assert shown(tmp_path).get(peer(servers, kind), (0, 0))[1] == 0
        assert "Traceback" not in server.log and "must not be asked" not in server.log
    finally:
        server.end()


# --- which sockets are connections ---


def test_only_what_goes_out_is_a_connection(site: Path, servers: Servers) -> None:
    port = int(get(site, "/listen"))
    before = shown(site)
    with ExitStack() as stack:
        for name in ("127.0.0.1", "127.0.0.2"):  # the application accepts requests for both addresses
            stack.enter_context(socket.create_connection((name if name == "127.0.0.1" else "127.0.0.1", port)))
        stack.enter_context(send(site, "/sleep"))
        eventually(lambda: said(site, "requests")["total"] == 1, "the visitor's connection was accepted")
        assert shown(site) == before


def test_connections_of_clients_do_not_count_also_when_the_listener_is_closed(start: Start, tmp_path: Path) -> None:
    server = start("--http", "127.0.0.1:0", "app:application", app=APP).wait_ready(1)
    with socket.create_connection(server.tcp_addresses()[0]) as visitor:
        visitor.sendall(b"GET /sleep HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually(lambda: said(tmp_path, "requests")["total"] == 1, "the request runs")
        assert shown(tmp_path) == {}
        server.send_signal(Signals.SIGTERM)
        eventually(lambda: said(tmp_path, "status")["workers"][0]["state"] == "draining", "the worker leaves")
        assert shown(tmp_path) == {}


@pytest.mark.parametrize(
    ("family", "address", "name"),
    [
        ("AF_INET", "127.0.0.1", "127.0.0.1:{port}"),
        ("AF_INET6", "::1", "[::1]:{port}"),
        ("AF_INET6", "::ffff:127.0.0.1", "127.0.0.1:{port}"),
    ],
)
def test_a_peer_is_named_by_its_address(site: Path, family: str, address: str, name: str) -> None:
    with socket.socket(getattr(socket, family)) as listener:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        connect_to(site, family, [address, port])
        assert shown(site)[name.format(port=port)] == (1, 0)
        get(site, "/close")
        assert name.format(port=port) not in shown(site)


def test_an_abstract_peer_has_an_at_sign(site: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{tmp_path}")
        listener.listen()
        connect_to(site, "AF_UNIX", f"\0{tmp_path}")
        assert shown(site)[f"@{tmp_path}"] == (1, 0)
        get(site, "/close")


def test_sockets_that_come_and_go_while_they_are_looked_at_are_no_error(tmp_path: Path, servers: Servers) -> None:
    server = start_one(tmp_path, servers, "--metrics", "metrics.sock").wait_ready(1)
    try:
        get(tmp_path, "/churn")
        for _ in range(20):
            assert set(shown(tmp_path)) <= {peer(servers, SilentServer)}
        assert "Traceback" not in server.log
    finally:
        server.end()


# --- what the table shows ---


def test_the_age_counts_from_when_a_connection_was_there_first(site: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "peer.sock"))
        listener.listen()
        connect_to(site, "AF_UNIX", str(tmp_path / "peer.sock"))

        def row() -> dict[str, Any]:
            rows = said(site, "connections")["connections"]
            return next(row for row in rows if row["peer"] == str(tmp_path / "peer.sock"))

        eventually(lambda: row()["oldest_s"] >= 1, "the connection gets older")
        connect_to(site, "AF_UNIX", str(tmp_path / "peer.sock"))
        found = row()  # the second connection came when the first was a second old
        assert found["oldest_s"] - found["youngest_s"] > 0.8 and found["count"] == 2
        table = wsgidctl(site, "connections").stdout
        assert re.search(rf"^ +0 +{tmp_path}/peer.sock +2 +0 +2 +\d+\.\ds +\d+\.\ds$", table, re.MULTILINE), table
        get(site, "/close")
        get(site, "/close")


def test_each_worker_reports_its_own_connections(start: Start, tmp_path: Path) -> None:
    start("--socket", "app.sock", "--workers", "2", "app:application", app=APP).wait_ready(2)
    assert said(tmp_path, "connections") == {"connections": [], "total": 0, "silent": {}}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "peer.sock"))
        listener.listen()
        connect_to(tmp_path, "AF_UNIX", str(tmp_path / "peer.sock"))
        [row] = said(tmp_path, "connections")["connections"]
        other = 1 - row["worker"]
        assert said(tmp_path, "connections", "--worker", str(other))["total"] == 0
        assert "there is no worker 7" in refusal(tmp_path, "connections", "--worker", "7")
        assert wsgidctl(tmp_path, "connections").stdout.endswith("1 connection\n")


def test_a_worker_whose_loop_is_held_up_answers_too(start: Start, tmp_path: Path) -> None:
    options = ("--socket", "app.sock", "--hub-warn", "300", "--hub-timeout", "600")
    start(*options, "app:application", app=APP).wait_ready(1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "peer.sock"))
        listener.listen()
        for _ in range(2):
            connect_to(tmp_path, "AF_UNIX", str(tmp_path / "peer.sock"))
        with send(tmp_path, "/spin"):
            eventually(
                lambda: said(tmp_path, "status")["workers"][0]["heartbeat_age_s"] > 1, "the event loop is held up"
            )
            assert shown(tmp_path) == {str(tmp_path / "peer.sock"): (2, 1)}


# --- /metrics ---


def metric(directory: Path, name: str) -> dict[str, float]:
    """The samples of a metric, by their only label."""
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    text = client.parse(client.exchange(directory / "metrics.sock", request)).body.decode()
    samples = [sample for family in parser.text_string_to_metric_families(text) for sample in family.samples]
    return {next(iter(sample.labels.values())): sample.value for sample in samples if sample.name == name}


def metrics_site(start: Start, workers: int = 1) -> Server:
    options = ("--socket", "app.sock", "--workers", str(workers), "--metrics", "metrics.sock", "app:application")
    return start(*options, app=APP).wait_ready(workers)


@contextmanager
def listening(*paths: str) -> Iterator[None]:
    with ExitStack() as stack:
        for path in paths:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(path)
            listener.listen()
        yield


def test_metrics_have_the_connections_of_all_workers_by_peer(start: Start, tmp_path: Path) -> None:
    server = metrics_site(start, workers=2)
    path = str(tmp_path / "peer.sock")
    assert metric(tmp_path, "wsgid_connections") == {}
    with listening(path):
        for _ in range(5):
            connect_to(tmp_path, "AF_UNIX", path)
        eventually(lambda: metric(tmp_path, "wsgid_connections") == {path: 5}, "all connections are counted")
        eventually(lambda: get(tmp_path, "/close") == b"closed", "a worker with a connection has closed it")
        eventually(lambda: metric(tmp_path, "wsgid_connections") == {path: 4}, "one connection fewer is counted")
        for pid in server.worker_pids():
            os.kill(pid, Signals.SIGSTOP)
        assert metric(tmp_path, "wsgid_connections") == {path: 4}  # no worker is asked
        for pid in server.worker_pids():
            os.kill(pid, Signals.SIGKILL)
        eventually(lambda: metric(tmp_path, "wsgid_connections") == {}, "the connections have ended with their workers")


def test_metrics_have_a_bounded_number_of_peers(start: Start, tmp_path: Path) -> None:
    metrics_site(start)
    paths = [str(tmp_path / f"peer{number}.sock") for number in range(25)]
    with listening(*paths):
        for path in [paths[0], *paths]:
            connect_to(tmp_path, "AF_UNIX", path)
        eventually(lambda: sum(metric(tmp_path, "wsgid_connections").values()) == 26, "all connections are counted")
        found = metric(tmp_path, "wsgid_connections")
        assert len(found) == 21 and found[paths[0]] == 2 and found["other"] == 5


def test_without_metrics_no_worker_reports(start: Start, tmp_path: Path) -> None:
    """The master would treat a report as an attack."""
    server = start("--socket", "app.sock", "app:application", app=APP).wait_ready(1)
    path = str(tmp_path / "peer.sock")
    with listening(path):
        connect_to(tmp_path, "AF_UNIX", path)
        eventually(
            lambda: said(tmp_path, "connections")["connections"][0]["oldest_s"] > 2,
            "the connection was seen several times",
        )
        assert shown(tmp_path) == {path: (1, 0)} and len(server.worker_pids()) == 1
    assert "is killed" not in server.log


def test_a_worker_that_sends_wrong_counts_changes_only_these_numbers(start: Start, tmp_path: Path) -> None:
    server = start("--socket", "app.sock", "--metrics", "metrics.sock", "app:application", app=attacks.APP).wait_ready(
        1
    )
    text = json.dumps({"type": "Connections", "counts": {'a"} 1\nwsgid_up 7\x1b': 3}})
    client.exchange(tmp_path / "app.sock", client.packet("/attack", json.dumps(["say", {"text": text}]).encode()))
    found = eventually(lambda: metric(tmp_path, "wsgid_connections"), "the lie has arrived")
    assert found == {'a"} 1\\nwsgid_up 7\\x1b': 3} and metric(tmp_path, "wsgid_up") == {}
    assert "killed" not in server.log


# --- idle greenlets ---


def test_idle_greenlets_are_counted(start: Start, tmp_path: Path) -> None:
    metrics_site(start)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(send(tmp_path, "/sleep"))
        eventually(lambda: said(tmp_path, "requests")["total"] == 5, "the requests run")
        busy = said(tmp_path, "status")["workers"][0]["idle_greenlets"]
        with ExitStack() as more:
            for _ in range(3):
                more.enter_context(client.connect(tmp_path / "app.sock"))  # this client has sent nothing yet
            eventually(
                lambda: said(tmp_path, "status")["workers"][0]["in_flight"] == 8, "all connections have a greenlet"
            )
        eventually(
            lambda: said(tmp_path, "status")["workers"][0]["idle_greenlets"] >= max(busy, 3), "three are idle again"
        )
        idle = said(tmp_path, "status")["workers"][0]["idle_greenlets"]
        assert metric(tmp_path, "wsgid_idle_greenlets") == {"0": idle}
        assert re.search(r" in flight +idle +lag ", wsgidctl(tmp_path, "status").stdout)
