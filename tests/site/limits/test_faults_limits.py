"""The short form of `make faults ONLY=limits`, and the examples with limits."""

from pathlib import Path

import pytest

from faults.report import Result
from faults.scenarios import limits
from tests.conftest import Start
from tests.support import client
from tests.support.server import Server
from tools.nginx import EXAMPLES


@pytest.mark.alone
def test_killed_workers_leave_no_permit_behind() -> None:
    results: list[Result] = limits.kill_run(25, 0.1, 6)
    assert results and [result for result in results if not result.held] == []


def example(start: Start, place: Path, directory: Path, application: str, **environ: str) -> Server:
    arguments = ("--socket", str(place / "app.sock"), "--workers", "2", "--chdir", str(directory), application)
    return start(*arguments, environ={"PYTHONDONTWRITEBYTECODE": "1", **environ}).wait_ready(2)


def test_the_flask_example(start: Start, tmp_path: Path) -> None:
    server = example(start, tmp_path, EXAMPLES, "flask_limits:application")
    address = server.directory / "app.sock"
    answers = [client.get(address, "/login", b"x", REQUEST_METHOD="POST") for _ in range(7)]
    assert [answer.status for answer in answers] == [200] * 5 + [429] * 2
    assert answers[-1].header("Retry-After") and answers[-1].header("RateLimit-Remaining") == "0"
    assert client.get(address, "/search").status == 200


def test_the_django_example(start: Start, tmp_path: Path) -> None:
    server = example(
        start,
        tmp_path,
        EXAMPLES / "django_site",
        "mysite.wsgi:application",
        DJANGO_LIMITS="1",
        DJANGO_DB=str(tmp_path / "db.sqlite3"),
    )
    address = server.directory / "app.sock"
    visitor = {"HTTP_HOST": "127.0.0.1"}
    assert [client.get(address, "/headers/", **visitor).status for _ in range(41)] == [200] * 41  # its burst
    # A rate is never exceeded on a machine that is slow enough. A number is.
    writer = {**visitor, "REMOTE_ADDR": "192.0.2.1", "REQUEST_METHOD": "POST"}
    statuses = [client.get(address, "/headers/", b"x", **writer).status for _ in range(31)]
    assert 429 not in statuses[:30] and statuses[30] == 429
