"""The benchmark's databases count the connections that are made to them, and its pages make their queries."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pymysql
import pytest

from bench.databases import Counted, Databases
from bench.sample import Metric
from bench.shapes import SHAPES
from tests.support.server import eventually

CONNECT: dict[str, Callable[[str], Any]] = {
    "postgres": lambda address: psycopg.connect(host=address, user="postgres"),
    "mariadb": lambda address: pymysql.connect(unix_socket=address, user="root", ssl_disabled=True),
}

# What a server does with a page: one request, and the body of its answer.
ASK = """
import importlib, sys
from wsgiref.util import setup_testing_defaults
module, _, name = sys.argv[1].partition(":")
environ = {"PATH_INFO": "/uwsgi" + sys.argv[2]}
setup_testing_defaults(environ)
print(b"".join(getattr(importlib.import_module(module), name)(environ, lambda *_: None)).decode())
"""


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    before = dict(os.environ)
    with Databases() as running:
        yield running
    for variable in set(os.environ) - set(before):
        del os.environ[variable]


@pytest.fixture(params=["postgres", "mariadb"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_connections_are_counted_at_once_and_in_all(databases: Databases, kind: str) -> None:
    database: Counted = databases.get(kind)
    for at_once, opened in ((3, 5), (1, 2)):  # the second count does not contain connections of the first
        with databases.counting(kind) as counts:
            with ExitStack() as stack:
                for _ in range(at_once):
                    stack.enter_context(closing(CONNECT[kind](database.address)))
                assert database.connected() == at_once
            for _ in range(opened - at_once):
                wait_for_its_end(databases, kind)
                CONNECT[kind](database.address).close()
            assert counts() == {Metric.CONNECTIONS: at_once, Metric.OPENED: opened}


def wait_for_its_end(databases: Databases, kind: str) -> None:
    """A connection exists until the database notices that its client is gone."""
    eventually(lambda: not databases.get(kind).connected(), "the connections have ended")


def test_a_shape_without_a_database_counts_nothing(databases: Databases) -> None:
    with databases.counting("") as counts:
        assert counts() == {}


@pytest.mark.parametrize("name", [shape.name for shape in SHAPES.values() if shape.database])
def test_a_page_asks_its_database(databases: Databases, name: str) -> None:
    shape = SHAPES[name]
    with databases.counting(shape.database) as counts:
        command = [sys.executable, "-c", ASK, shape.application, shape.request.page]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.encode().strip() == shape.request.answer
        assert counts()[Metric.OPENED] >= 1


def test_a_page_is_measured_without_a_server() -> None:
    command = [sys.executable, "-m", "bench.page_alone", "--seconds", "0.5", "flask-5ms"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\| flask-5ms \| [\d.]+ µs \| [\d.]+ µs \|", done.stdout.splitlines()[-1])
