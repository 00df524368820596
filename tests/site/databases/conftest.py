"""Database servers, and wsgid with the application of app.py beside this file."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pymysql
import pytest

from tests.conftest import Start
from tests.site.databases.http_server import HttpServer
from tests.site.databases.services import Services
from tests.support.server import Server
from tools.databases import Database, MariaDb, Memcached, Postgres, Redis

KINDS: tuple[type[Database], ...] = (Postgres, MariaDb, Redis, Memcached)
APP = Path(__file__).with_name("app.py")


@pytest.fixture(scope="package")
def services() -> Iterator[Services]:
    """The services, started together."""
    with ExitStack() as stack, ThreadPoolExecutor(len(KINDS)) as pool:
        started = dict(zip(KINDS, pool.map(lambda kind: stack.enter_context(kind()), KINDS)))
        with pymysql.connect(unix_socket=str(started[MariaDb].socket_path), user="root") as connection:
            connection.cursor().execute("CREATE USER pool@localhost")
        yield Services(
            postgres=started[Postgres],
            mariadb=started[MariaDb],
            redis=started[Redis],
            memcached=started[Memcached],
            http=stack.enter_context(HttpServer()),
        )


@pytest.fixture(scope="package")
def address(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a server with one worker. So the next request runs in the worker of the last request."""
    directory = tmp_path_factory.mktemp("databases")
    shutil.copy(APP, directory)
    server = Server(directory, "--socket", "app.sock", "app:application", environ=services.environ())
    try:
        server.wait_ready(1)
        yield directory / "app.sock"
    finally:
        server.end()


@pytest.fixture
def serve(start: Start, services: Services, tmp_path: Path) -> Start:
    """Start a server for one test, with this application: serve(*arguments)."""
    shutil.copy(APP, tmp_path)

    def start_one(*arguments: str, **options: object) -> Server:
        return start("--socket", "app.sock", "app:application", *arguments, environ=services.environ(), **options)

    return start_one
