"""A number and a switch are read as uWSGI reads them, in its files, variables and command lines, and nowhere else."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from wsgid.config import merge
from wsgid.errors import ConfigError


def of_file(place: Path, line: str) -> merge.Configuration:
    (place / "u.ini").write_text(f"[uwsgi]\nmodule = a:b\ngevent = 9\nreq-logger = stdio\n{line}\n")
    return merge.read([str(place / "u.ini")], {})


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("harakiri = 60s", "harakiri", 60),
        ("harakiri = 1m", "harakiri", 1),
        ("harakiri = none", "harakiri", 0),
        ("harakiri = $(HARAKIRI)", "harakiri", 0),
        ("processes = 4x", "workers", 4),
        ("workers = +3", "workers", 3),
        ("reload-on-rss = 512M", "reload_on_rss", 512),
        ("max-requests = 5k", "max_requests", 5),
        ("max-requests = 99999999999", "max_requests", 999_999_999),
        ("listen = 1024,", "listen", 1024),
        ("post-buffering = 64kb", "post_buffering", 64),
        ("max-fd = 10000 files", "max_fd", 10_000),
        ("worker-reload-mercy = 8sec", "worker_reload_mercy", 8),
        ("socket-timeout = 30s", "socket_timeout", 30),
        ("log-slow = 500ms", "log_slow", 500),
        ("max-vars = 100v", "max_vars", 100),
        ("optimize = 2x", "optimize", 2),
        ("lazy-apps = maybe", "lazy_apps", True),
        ("disable-logging = flase", "disable_logging", True),
        ("py-autoreload = true", "py_autoreload", False),
    ],
)
def test_the_digits_at_the_beginning_count_with_a_warning(tmp_path: Path, line: str, name: str, value: Any) -> None:
    """Compared with atoi(3), strtoul(3) and uwsgi_opt_true of uWSGI 2.0.31."""
    configuration = of_file(tmp_path, line)
    assert getattr(configuration.settings, name) == value
    assert f"u.ini:5: {line.split()[0]} = " in configuration.warnings[0]


@pytest.mark.parametrize(
    "line", ["harakiri = 60", "post-buffering = 8k", "workers = auto", "py-autoreload = 2", "py-autoreload = 0"]
)
def test_a_value_that_is_right_is_taken_without_a_word(tmp_path: Path, line: str) -> None:
    assert of_file(tmp_path, line).warnings == []


@pytest.mark.parametrize("line", ["harakiri = -1", "processes = four", "socket-timeout = soon", "workers = 0"])
def test_a_number_that_no_server_can_use_is_an_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=f"u.ini:5: {line.split()[0]} = .* cannot be used"):
        of_file(tmp_path, line)


def test_a_command_line_and_a_variable_of_uwsgi_are_read_in_the_same_way() -> None:
    configuration = merge.read(
        shlex.split("--master --harakiri 60s -p 2x --http :80 a:b"), {"UWSGI_MAX_REQUESTS": "100x"}
    )
    settings = configuration.settings
    assert (settings.harakiri, settings.workers, settings.max_requests) == (60, 2, 100)
    said = [warning.split(" = ")[0] for warning in configuration.warnings]
    assert said[:3] == [
        "the command line's --harakiri: harakiri",
        "the command line's -p: processes",
        "the environment's UWSGI_MAX_REQUESTS: max-requests",
    ]


@pytest.mark.parametrize(
    ("line", "environ"), [("--harakiri 60s a:b", {}), ("--workers 2x a:b", {}), ("a:b", {"WSGID_HARAKIRI": "60s"})]
)
def test_who_writes_for_wsgid_is_told_a_mistake(line: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="cannot be used: expected"):
        merge.read(shlex.split(line), environ)
