"""`make apps` in short: a trial of a small application, and one of an application that fails."""

import sys
from pathlib import Path

import pytest
import requests

from apps import trial
from apps.catalogue import APPLICATIONS
from apps.trial import Application, Way, attempt
from tests.support import ROOT

SOURCE = """
def application(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        raise LookupError("broken")
    start_response("200 OK", [])
    return [b"fine"]
"""


def prepare(directory: Path, _programs: Path) -> None:
    (directory / "app.py").write_text(SOURCE)


def visit(url: str) -> None:
    assert requests.get(url).text == "fine"


def fail(url: str) -> None:
    assert requests.get(f"{url}/fail").status_code == 500


def differ(url: str) -> None:
    assert requests.get(url).text == "other", "the answer is another one"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages are those of the tests: nothing is installed."""
    monkeypatch.setattr(trial, "environment", lambda _application: Path(sys.prefix))


@pytest.mark.parametrize("way", Way)
def test_an_application_that_works_has_no_troubles(way: Way) -> None:
    assert attempt(Application("small", (), prepare, ("app:application",), visit), way) == []


def test_what_a_visitor_does_not_like_and_what_the_log_says_are_troubles() -> None:
    unlike = attempt(Application("unlike", (), prepare, ("app:application",), differ), Way.HTTP)
    assert len(unlike) == 1 and "the answer is another one" in unlike[0]
    failing = attempt(Application("failing", (), prepare, ("app:application",), fail), Way.HTTP)
    assert any("ERROR: GET /fail: the application failed" in line for line in failing)


def test_the_table_has_each_application_of_the_catalogue() -> None:
    table = (ROOT / "docs" / "applications.md").read_text().lower()
    for application in APPLICATIONS:
        assert f"\n| {application.name}" in table
