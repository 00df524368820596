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


@pytest.mark.parametrize(
    ("lines", "mode"),
    [
        (["daemonize = /tmp/u.log"], 0o666),
        (["daemonize = /tmp/u.log", "chmod-socket = 660"], 0o660),
        (["daemonize = /tmp/u.log", "umask = 022"], None),
        (["logto = /tmp/u.log"], None),
    ],
)
def test_everybody_may_connect_to_the_socket_of_a_daemon_as_in_uwsgi(
    tmp_path: Path, lines: list[str], mode: int | None
) -> None:
    """uWSGI 2.0.31 sets the umask to 0 there, so its socket has the mode 777, and nginx's user can connect."""
    assert of_file(tmp_path, "socket = u.sock", *lines).settings.chmod_socket == mode
    assert merge.read(shlex.split("--socket a.sock --daemonize /tmp/u.log a:b"), {}).settings.chmod_socket is None


@pytest.mark.parametrize("line", ["static-map = /s=/srv", "static-map2 = /s=/srv", "check-static = /srv"])
def test_a_site_of_uwsgi_leaves_the_charset_to_its_files(tmp_path: Path, line: str) -> None:
    """uWSGI 2.0.31 sends `Content-Type: text/html`. A charset there would count more than the page's <meta charset>."""
    assert of_file(tmp_path, line).settings.static_charset == ""
    assert of_file(tmp_path, line, "static-charset = gbk").settings.static_charset == "gbk"
    assert of_file(tmp_path, "socket = u.sock").settings.static_charset == "utf-8"
    assert merge.read(shlex.split("--static-map /s=/srv a:b"), {}).settings.static_charset == "utf-8"


@pytest.mark.parametrize("name", ["log-format = %(uri)", "log-x-forwarded-for = true", "memory-report = true"])
def test_who_has_chosen_how_lines_look_is_told_that_there_are_none(tmp_path: Path, name: str) -> None:
    (warning,) = of_file(tmp_path, "gevent = 9", name).warnings
    assert warning.startswith(f"{name.split()[0]} is set, but no lines are logged for requests here")
    for more in ("disable-logging = true", "req-logger = stdio", "log-5xx = true"):
        assert of_file(tmp_path, "gevent = 9", name, more).warnings == []


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "TERM stops wsgid"),
        ([], "no line is logged for each request"),
        (["daemonize = /tmp/u.log"], "the umask stays as it is"),
        (["uid = 1"], "the application runs with the group of --uid"),
        (["uid = 1", "gid = 1"], "the master keeps its own user"),
        (["uid = 1", "gid = 1"], "gain no rights by a set-user-ID bit"),
        (["static-map = /s=/srv"], "names begin with a dot are not sent"),
        (["static-map = /s=/srv"], "a file without a known type is application/octet-stream"),
        (["logger = file:logfile=/tmp/a.log,maxsize=100"], "the log is not rotated at maxsize"),
        (["http = :80"], "uWSGI takes X-Forwarded-Proto from everybody"),
        (["http-socket = :80"], "a request that RFC 9112 forbids gets a 400"),
        (["socket = :80", "protocol = http"], "PATH_INFO has /../ if the client has sent it"),
    ],
)
def test_check_says_what_works_in_another_way_than_in_uwsgi(tmp_path: Path, lines: list[str], says: str) -> None:
    assert any(says in text for text in of_file(tmp_path, *lines).differences)
    quiet = ["die-on-term = true", "disable-logging = true", "umask = 022", "static-hidden = true"]
    assert not of_file(tmp_path, *quiet, "socket = a").differences
    assert not merge.read(["a:b"], {}).differences


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
