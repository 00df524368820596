"""The examples with databases: stored texts are found again, pools are bounded, and a restart causes no error.

PostgreSQL, MariaDB and Redis are private. The sites run as `make demo-databases` runs them.
"""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.support.server import Server, eventually
from tools.databases import Database, MariaDb, Postgres, Redis
from tools.demo_databases import DemoSite, examples, prepare

WORKERS = 2
POOL_MAX = 10  # as in both examples
AT_ONCE = 200


@dataclass(frozen=True)
class Running:
    """An example that is served, with the databases that it uses."""

    site: DemoSite
    server: Server
    databases: tuple[Database, ...]

    @property
    def url(self) -> str:
        return f"{self.site.url}/"

    def connections(self, database: Database) -> int:
        """The connections of the database: sockets of its name that the kernel lists as connected, without the
        listener."""
        lines = Path("/proc/net/unix").read_text().splitlines()
        return sum(line.endswith(f" {database.socket_path}") and line.split()[5] == "03" for line in lines)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """Both examples, each with two workers."""
    directory = tmp_path_factory.mktemp("examples")
    with ExitStack() as stack:
        kinds: tuple[type[Database], ...] = (Postgres, MariaDb, Redis)
        with ThreadPoolExecutor(len(kinds)) as pool:
            postgres, mariadb, redis = pool.map(lambda kind: stack.enter_context(kind()), kinds)
        assert isinstance(postgres, Postgres) and isinstance(mariadb, MariaDb) and isinstance(redis, Redis)
        django, flask = examples(postgres, mariadb, redis)
        found = {"django": serve(django, directory, postgres, redis), "flask": serve(flask, directory, mariadb)}
        try:
            for each in found.values():
                each.server.wait_ready(WORKERS)
            yield found
            for each in found.values():
                assert each.server.stop() == 0
                each.server.assert_nothing_left()
                assert "Traceback" not in each.server.log
        finally:
            for each in found.values():
                each.server.end()


def serve(site: DemoSite, directory: Path, *databases: Database) -> Running:
    prepare(site)
    options = ("--http", site.url.removeprefix("http://"), "--chdir", str(site.directory), "--workers", str(WORKERS))
    environ = {**site.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return Running(site, Server(directory, *options, site.application, environ=environ), databases)


@pytest.fixture(params=["django", "flask"])
def example(running: dict[str, Running], request: pytest.FixtureRequest) -> Running:
    found: Running = running[request.param]
    return found


def visits(page: requests.Response) -> tuple[int, int]:
    """The number of the visit, and the pid of the worker."""
    assert page.status_code == 200
    found = re.search(r"visit number (\d+), served by worker (\d+)", page.text)
    assert found
    return int(found[1]), int(found[2])


def write(url: str, session: requests.Session, title: str) -> requests.Response:
    """Fill in the form of the first page, and send the form as a browser does."""
    page = session.get(url).text
    [form] = re.findall(r'<form method="post"(?: action="([^"]+)")?', page)
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)"', page))
    return session.post(url.rstrip("/") + (form or "/"), data={**hidden, "title": title})


def test_a_session_lasts_over_requests_and_workers(example: Running) -> None:
    session = requests.Session()
    met: list[tuple[int, int]] = []

    def visit_until_both_workers_were_met() -> bool:
        session.headers["Connection"] = "close"  # a new connection may go to the other worker
        met.append(visits(session.get(example.url)))
        return len({pid for _, pid in met}) == WORKERS

    eventually(visit_until_both_workers_were_met, "both workers have served the visitor")
    assert [number for number, _ in met] == list(range(1, len(met) + 1))
    assert visits(requests.get(example.url))[0] == 1  # another client


def test_what_is_written_is_read_back(example: Running) -> None:
    answer = write(example.url, requests.Session(), "Tschüß & <b>hello</b>")
    assert answer.status_code == 200 and answer.url == example.url
    assert "Tschüß &amp; &lt;b&gt;hello&lt;/b&gt;" in requests.get(example.url).text


def test_many_requests_at_once_share_the_connections_of_the_pool(example: Running) -> None:
    most = dict.fromkeys(example.databases, 0)
    with ThreadPoolExecutor(AT_ONCE) as crowd:
        asked = [crowd.submit(requests.get, example.url) for _ in range(AT_ONCE)]
        while not all(answer.done() for answer in asked):
            time.sleep(0.005)
            most = {database: max(count, example.connections(database)) for database, count in most.items()}
    assert {answer.result().status_code for answer in asked} == {200}
    assert all(2 <= count <= WORKERS * POOL_MAX for count in most.values()), most


def test_a_restart_of_a_database_costs_no_error(example: Running) -> None:
    for database in example.databases:
        with ThreadPoolExecutor(AT_ONCE) as crowd:  # so that the pools are full of connections that will be cut
            list(crowd.map(requests.get, [example.url] * AT_ONCE))
        before = example.connections(database)
        database.restart()
        with ThreadPoolExecutor(AT_ONCE) as crowd:
            answers = list(crowd.map(requests.get, [example.url] * AT_ONCE))
        assert before >= 2 and {answer.status_code for answer in answers} == {200}
