"""The command line: what each option becomes, and what is said of a wrong one."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from wsgid import config
from wsgid.config import Settings, from_command_line, from_dict
from wsgid.errors import ConfigError


def test_the_first_command_of_the_readme() -> None:
    settings = from_command_line(["--socket", "app.sock", "--workers", "4", "app:application"])
    assert settings == Settings(application="app:application", socket=("app.sock",), workers=4)


def test_every_option() -> None:
    settings = from_command_line([
        "-s", "a.sock", "--socket", ":0", "--http", ":8000", "--http-keepalive", "4", "--http-keepalive-requests", "9",
        "--http-idle", "8", "--http-head-timeout", "6", "--http-line-size", "1k", "--http-head-size", "2k",
        "--listen", "128", "--reuse-port", "--cpu-affinity", "2",
        "--chmod-socket=660", "--chown-socket", "0:0",
        "--workers", "auto", "--gevent", "50", "--wsgi-file", "site.wsgi", "--callable", "site", "--chdir", "/",
        "--pythonpath", "/a", "--pythonpath", "/b", "--env", "A=B=C", "--env", "D=", "--virtualenv", "/tmp",
        "--lazy-apps", "--uid", "root", "--gid", "0", "--worker-reload-mercy", "5", "--socket-timeout", "2.5",
        "--hub-timeout", "9", "--boot-timeout", "8", "--max-vars", "7", "--drain-size", "1m", "--drain-timeout", "3",
        "--harakiri", "10", "--hub-warn", "2", "--max-requests", "1000", "--max-requests-delta", "50",
        "--max-worker-lifetime", "3600", "--max-worker-lifetime-delta", "60", "--reload-on-rss", "200",
        "--evil-reload-on-rss", "300", "--touch-reload", "/a", "--touch-reload", "/b", "--py-autoreload",
        "--shutdown-delay", "4", "--check", "--logto", "/tmp/log", "--log-json", "--log-level", "debug",
        "--logger", "stdio", "--access-log", "/tmp/access", "--log-format", "json", "--logformat-strftime",
        "--log-date", "%Y", "--disable-logging", "--log-4xx", "--log-5xx", "--log-slow", "500",
        "--log-x-forwarded-for", "--memory-report", "--touch-logreopen", "/c", "--stats", "stats.sock",
        "--stats-http", "--metrics", ":9117", "--control", "off", "--master-fifo", "/tmp/fifo", "--pidfile", "/tmp/pid",
        "--daemonize", "/tmp/daemon", "--procname-prefix", "site", "--umask", "022", "--import", "a.b",
        "--pyargv", "a b", "--static-map", "/static=dir", "--static-safe", "/d"])
    assert settings == Settings(
        application="", socket=("a.sock", ":0"), http=(":8000",), http_keepalive=4.0, http_keepalive_requests=9,
        http_idle=8, http_head_timeout=6.0, http_line_size=1024, http_head_size=2048, listen=128,
        reuse_port=True, cpu_affinity=2, chmod_socket=0o660, chown_socket=(0, 0),
        workers=len(os.sched_getaffinity(0)), gevent=50, wsgi_file="site.wsgi", callable="site", chdir="/",
        pythonpath=("/a", "/b"), env=(("A", "B=C"), ("D", "")), virtualenv="/tmp", lazy_apps=True, uid=0, gid=0,
        worker_reload_mercy=5.0, socket_timeout=2.5, hub_timeout=9.0, boot_timeout=8.0, max_vars=7,
        drain_size=1 << 20, drain_timeout=3.0, harakiri=10.0, hub_warn=2.0, max_requests=1000, max_requests_delta=50,
        max_worker_lifetime=3600.0, max_worker_lifetime_delta=60.0, reload_on_rss=200, evil_reload_on_rss=300,
        touch_reload=("/a", "/b"), py_autoreload=True, shutdown_delay=4.0, check=True, logto="/tmp/log",
        log_json=True, log_level="debug", logger=("stdio",), access_log="/tmp/access", log_format="json",
        logformat_strftime=True, log_date="%Y", disable_logging=True, log_4xx=True, log_5xx=True, log_slow=500,
        log_x_forwarded_for=True, memory_report=True, touch_logreopen=("/c",), stats="stats.sock", stats_http=True,
        metrics=":9117", control="off", master_fifo=("/tmp/fifo",), pidfile="/tmp/pid", daemonize="/tmp/daemon",
        procname_prefix="site", umask=0o022, import_module=("a.b",), pyargv="a b",
        static_map=(("/static", "dir"),), static_safe=("/d",))
    default = Settings()
    same = [one.name for one in fields(Settings) if getattr(settings, one.name) == getattr(default, one.name)]
    assert same == ["application"]  # the list above is complete


def test_a_bare_chmod_socket_means_666() -> None:
    assert from_command_line(["app:app", "--chmod-socket"]).chmod_socket == 0o666


def test_settings_travel_as_json() -> None:
    settings = from_command_line(["--socket", "a", "--env", "A=B", "--chown-socket", ":0", "app:app"])
    assert from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


@pytest.mark.parametrize(("arguments", "says"), [
    (["--workers", "0"], "--workers '0' cannot be used: expected a whole number from 1 on, or 'auto'"),
    (["--workers", "many"], "--workers 'many' cannot be used"),
    (["--gevent", "-1"], "--gevent '-1' cannot be used"),
    (["--gevent", "1e3"], "--gevent '1e3' cannot be used: expected a whole number"),
    (["--chmod-socket", "999"], "--chmod-socket '999' cannot be used: expected an octal mode"),
    (["--chown-socket", "nobody-of-this-name"], "expected a user of this machine"),
    (["--gid", "nogroup-of-this-name"], "expected a group of this machine"),
    (["--chdir", "/no/such"], "--chdir '/no/such' cannot be used: expected a directory that exists"),
    (["--env", "NOVALUE"], "--env 'NOVALUE' cannot be used: expected NAME=VALUE"),
    (["--socket-timeout", "0"], "expected seconds above 0"), (["--socket-timeout", "nan"], "expected seconds above 0"),
    (["--drain-size", "1t"], "expected bytes, or with a unit"),
    (["--wsgi-file", "x.py"], "both 'app:application' and --wsgi-file 'x.py' name an application"),
])
def test_a_wrong_value_is_one_sentence(arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        from_command_line([*arguments, "app:application"])
    assert says in str(refusal.value)


def test_an_application_has_to_be_named() -> None:
    with pytest.raises(ConfigError, match="no application is named: add MODULE:CALLABLE"):
        from_command_line(["--socket", "app.sock"])


def test_abbreviations_are_refused() -> None:
    with pytest.raises(SystemExit):  # --work might be another option tomorrow
        from_command_line(["--work", "4", "app:application"])


def test_every_option_is_in_the_help_with_its_default() -> None:
    text = config.build_parser().format_help()
    for declared in fields(Settings):
        assert declared.name == "application" or config.flag_of(declared.name) in text
    assert "(default: 1000)" in text and "(default: 60)" in text


@pytest.mark.parametrize("command", [["wsgid"], [sys.executable, "-m", "wsgid"]])
def test_both_commands_are_the_same_program(command: list[str]) -> None:
    if command == ["wsgid"]:
        command = [str(Path(sys.executable).parent / "wsgid")]
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("wsgid 0.")
    refused = subprocess.run([*command, "--socket", "x.sock"], capture_output=True, text=True)
    assert refused.returncode == 2 and "no application is named" in refused.stderr
    assert "Traceback" not in refused.stderr
