"""What uWSGI's options mean together, and what a site that comes from uWSGI is told."""

import shlex
from pathlib import Path

import pytest

from wsgid.config import merge, values


def of_file(place: Path, *lines: str) -> merge.Configuration:
    (place / "u.ini").write_text("\n".join(["[uwsgi]", "module = a:b", *lines]))
    return merge.read([str(place / "u.ini")], {})


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ["processes = 4", "threads = 2"],
            "would take 2 in uWSGI. If the application needs real threads or counts on 2 ",
        ),
        (["processes = 4"], "counts on 1 request, set gevent = 1"),
        (["async = 50", "ugreen = true"], "set gevent = 50"),
    ],
)
def test_without_gevent_in_the_file_the_requests_at_once_are_told(tmp_path: Path, lines: list[str], says: str) -> None:
    (warning,) = of_file(tmp_path, *lines).warnings
    assert warning.startswith("gevent is not set: a worker takes up to 1000 requests at once here") and says in warning


def test_who_has_said_how_many_requests_or_does_not_come_from_uwsgi_is_told_nothing(tmp_path: Path) -> None:
    assert of_file(tmp_path, "gevent = 100", "threads = 2").warnings == []
    assert merge.read(shlex.split("--socket a.sock --workers 4 a:b"), {}).warnings == []
    assert merge.read(shlex.split("--master --gevent 5 a:b"), {}).warnings == []
    assert len(merge.read(shlex.split("--master --workers 4 a:b"), {}).warnings) == 1


@pytest.mark.parametrize(
    ("lines", "kept_s"),
    [
        (["http-keepalive = 1"], values.KEPT_S),
        (["http-keepalive"], values.KEPT_S),
        (["http-keepalive = true", "http-timeout = 30"], values.KEPT_S),
        (["http-keepalive = 1", "http-timeout = 300"], 300),
        (["http-keepalive = 20", "http-timeout = 300"], 20),
        (["http-keepalive = 0"], 0),
    ],
)
def test_http_keepalive_is_a_switch_or_a_time(tmp_path: Path, lines: list[str], kept_s: float) -> None:
    assert of_file(tmp_path, *lines).settings.http_keepalive == kept_s


def test_a_second_can_still_be_said() -> None:
    assert merge.read(["--http-keepalive", "1.0", "a:b"], {}).settings.http_keepalive == 1.0


def test_a_logger_of_uwsgi_that_is_a_file_gets_what_the_application_prints(tmp_path: Path) -> None:
    """Compared with uWSGI 2.0.31, whose master reads standard output and error for its loggers."""
    settings = of_file(tmp_path, "logger = file:/tmp/site.log").settings
    assert (settings.logto, settings.logger) == ("/tmp/site.log", ())
    settings = of_file(tmp_path, "logger = file:/tmp/site.log", "daemonize = /tmp/all.log").settings
    assert (settings.logto, settings.daemonize, settings.logger) == ("", "/tmp/all.log", ("file:/tmp/site.log",))
    settings = of_file(tmp_path, "logger = file:/tmp/site.log", "logger = syslog:site").settings
    assert (settings.logto, len(settings.logger)) == ("", 2)
    settings = merge.read(["--logger", "file:/tmp/site.log", "a:b"], {}).settings
    assert (settings.logto, settings.logger) == ("", ("file:/tmp/site.log",))
