"""A request that was ended in the middle of a query leaves nothing to the next request.

Each driver has one connection in a threading.local, as applications have. The service is frozen after it has received a
query, and --harakiri ends the request. Then the service answers (666), and the next requests ask for other numbers.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.site.databases.services import Services, ask
from tests.support.server import eventually

UNREAD = 666  # the answer of the query that was ended
ASKED = range(10, 20)


@pytest.mark.parametrize(
    ("driver", "service"),
    [
        ("psycopg2", "postgres"),
        ("psycopg3", "postgres"),
        ("pg8000", "postgres"),
        ("django", "postgres"),
        ("pymysql", "mariadb"),
        ("mysql_connector", "mariadb"),
        ("redis", "redis"),
        ("pymemcache", "memcached"),
        ("http_client", "http"),
    ],
)
def test_after_a_query_that_was_ended_the_next_answers_are_right(
    address: Path, services: Services, driver: str, service: str
) -> None:
    assert [ask(address, driver, number) for number in ASKED[:3]] == [(200, "10"), (200, "11"), (200, "12")]
    with services.of(service).frozen():
        assert ask(address, driver, UNREAD, "&harakiri=0.3")[0] == 504
    assert [ask(address, driver, number) for number in ASKED] == [(200, str(number)) for number in ASKED]


def test_connections_in_cycles_are_closed_when_their_greenlets_were_let_go(address: Path, services: Services) -> None:
    with psycopg.connect(host=str(services.postgres.directory), user="postgres", autocommit=True) as connection:

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
            eventually(lambda: open_ones() >= 80, "all requests wait at once, each with a connection of its own")
            connection.execute("SELECT pg_advisory_unlock(1)")
        assert [future.result() for future in asked] == [(200, str(number)) for number in range(80)]
        eventually(lambda: open_ones() <= 2, "the connections of greenlets that are gone are closed")


def test_the_database_ends_the_query_of_an_ended_request_if_it_checks_its_clients(
    address: Path, services: Services
) -> None:
    """Without the setting (PostgreSQL 14 and newer), PostgreSQL does not notice that its client is gone."""
    with psycopg.connect(host=str(services.postgres.directory), user="postgres", autocommit=True) as connection:

        def asks() -> bool:
            query = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT%pg_sleep(600%' AND state = 'active'"
            return connection.execute(query + " AND pid <> pg_backend_pid()").fetchone() is not None

        assert ask(address, "psycopg3_looked_after", 10, "&more=+FROM+pg_sleep(600)&harakiri=0.3")[0] == 504
        eventually(lambda: not asks(), "the query is over")


def test_a_query_that_takes_too_long_is_an_error_that_the_application_can_answer(address: Path) -> None:
    assert ask(address, "psycopg3_looked_after", 10, "&more=+FROM+pg_sleep(60)&limit=100ms")[1] == "QueryCanceled"
    assert ask(address, "psycopg3_looked_after", 11) == (200, "11")
