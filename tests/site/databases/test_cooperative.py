"""While a request waits for its database, other requests run. The log names a driver that prevents this, once, when the
driver is used."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.site.databases.services import Services, ask
from tests.support import client
from tests.support.server import eventually

COOPERATIVE = {
    "psycopg2": "postgres",  # with psycogreen
    "psycopg3": "postgres",
    "pg8000": "postgres",
    "django": "postgres",
    "pymysql": "mariadb",
    "mysql_connector": "mariadb",
    "redis": "redis",
    "pymemcache": "memcached",
    "http_client": "http",
}
TOGETHER = 5
BLOCKS = "blocks all requests of a worker while it waits for its server: "


def entered(address: Path) -> int:
    return int(client.get(address, "/entered").body)


@pytest.mark.parametrize("driver", COOPERATIVE)
def test_requests_that_wait_for_a_server_let_others_run(address: Path, services: Services, driver: str) -> None:
    before = entered(address)
    with ThreadPoolExecutor(TOGETHER) as clients:
        with services.of(COOPERATIVE[driver]).frozen():
            asked = [clients.submit(ask, address, driver, 10 + number) for number in range(TOGETHER)]
            eventually(lambda: entered(address) == before + TOGETHER, "all requests have begun, and none has ended")
        assert [answer.result() for answer in asked] == [(200, str(10 + number)) for number in range(TOGETHER)]


USERS = {
    "psycopg2": (
        ("--no-psycogreen",),
        f"psycopg2 {BLOCKS}install psycogreen and do not switch it off, or use psycopg 3",
    ),
    "mysql_connector_c": ((), f"mysql.connector {BLOCKS}connect with use_pure=True, or use PyMySQL"),
}


@pytest.mark.parametrize("driver", USERS)
def test_a_driver_that_waits_in_c_is_named_once_when_it_connects(serve: Start, driver: str) -> None:
    options, notice = USERS[driver]
    server = serve("--workers", "2", *options).wait_ready(2)
    address = server.directory / "app.sock"
    assert ask(address, "mysql_connector", 10) == (200, "10")  # the pure form of this driver is in the same module
    assert BLOCKS not in server.log
    for number in range(8):
        assert ask(address, driver, number) == (200, str(number))
    server.wait_for(f"WARNING: {notice}")
    assert server.log.count(BLOCKS) == 1


def test_psycopg2_waits_in_the_event_loop_where_psycogreen_is_installed(serve: Start) -> None:
    server = serve().wait_ready(1)
    assert ask(server.directory / "app.sock", "psycopg2", 10) == (200, "10")
    server.wait_for(
        "INFO: psycopg2 waits in the event loop, because psycogreen is installed; COPY and large objects do"
    )
    assert BLOCKS not in server.log


IMPORTED = {
    "psycopg2 by the application": ("import psycopg2", "psycopg2", ["--no-psycogreen"]),
    "psycopg2 with psycogreen": ("import psycopg2", "", []),
    "psycopg2, and psycogreen by the application": (
        "import psycopg2\nfrom psycogreen.gevent import patch_psycopg\npatch_psycopg()",
        "",
        ["--no-psycogreen"],
    ),
    "psycopg2 by SQLAlchemy": (
        "import sqlalchemy\nsqlalchemy.create_engine('postgresql+psycopg2://')",
        "psycopg2",
        ["--no-psycogreen"],
    ),
    "psycopg2 by Django": (
        "from django.conf import settings\n"
        "settings.configure(DATABASES={'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'x'}})\n"
        "from django.db import connection\nconnection.vendor",
        "",  # Django prefers psycopg 3
        ["--no-psycogreen"],
    ),
    "psycopg2 by peewee, which only looks for drivers": ("import peewee", "", ["--no-psycogreen"]),
    "mysql.connector": ("import mysql.connector", "", []),
    "grpc": ("import grpc", "grpc", []),
    "grpc with its switch": ("import grpc.experimental.gevent as g; g.init_gevent()", "", []),
    "grpc without its switch": ("import grpc.experimental.gevent", "grpc", []),
    "MySQLdb": ("import MySQLdb", "MySQLdb", []),
    "MySQLdb through threads": ("import MySQLdb, wsgid\nwsgid.offload(len)", "", []),
    "PyMySQL as MySQLdb": ("import pymysql\npymysql.install_as_MySQLdb()\nimport MySQLdb", "", []),
}


@pytest.mark.parametrize("case", IMPORTED)
def test_a_check_names_drivers_that_the_application_uses_and_no_others(tmp_path: Path, case: str) -> None:
    source, named, options = IMPORTED[case]
    (tmp_path / "MySQLdb").mkdir()  # in place of mysqlclient, which would have to be compiled
    (tmp_path / "MySQLdb" / "__init__.py").write_text("")
    (tmp_path / "app.py").write_text(f"{source}\ndef application(environ, start_response): ...\n")
    done = subprocess.run(
        [sys.executable, "-m", "wsgid", "--check", *options, "-s", "app.sock", "app:application"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = [line for line in done.stderr.splitlines() if BLOCKS in line]
    assert [f"WARNING: {named} {BLOCKS}" in line for line in found] == [True] * bool(named)
