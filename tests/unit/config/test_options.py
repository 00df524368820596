"""Options from all sources: their values, the source that wins, and the error for a wrong option."""

import json
import os
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgid.config import merge, usage, values
from wsgid.config.merge import Settings, from_dict, read
from wsgid.config.options import Option, declared
from wsgid.errors import ConfigError
from wsgid.records import fields


def from_command_line(argv: list[str]) -> Settings:
    """The settings from this command line, without other sources."""
    return read(argv, {}).settings


def test_the_first_command_of_the_readme() -> None:
    settings = from_command_line(["--socket", "app.sock", "--workers", "4", "app:application"])
    assert settings == Settings(application="app:application", socket=("app.sock",), workers=4)


def test_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})  # with one processor, auto is the default
    settings = from_command_line(
        [
            "-s",
            "a.sock",
            "--socket",
            ":0",
            "--http",
            ":8000",
            "--http-keepalive",
            "4",
            "--http-keepalive-requests",
            "9",
            "--http-idle",
            "8",
            "--http-head-timeout",
            "6",
            "--http-line-size",
            "1k",
            "--http-head-size",
            "2k",
            "--uwsgi-module",
            "--websockets",
            "50",
            "--websocket-idle",
            "90",
            "--body-rate",
            "7",
            "--https",
            ":8443,/c,/k",
            "--ssl-socket",
            "a.ssl,/c,/k,/a",
            "--proxy-protocol",
            "--http-enable-proxy-protocol",
            "--forwarded-allow-ips",
            "10.0.0.0/8,unix",
            "--forwarded-headers",
            "forwarded",
            "--listen",
            "128",
            "--reuse-port",
            "--workers-min",
            "3",
            "--cheaper-initial",
            "4",
            "--cpu-affinity",
            "2",
            "--chmod-socket=660",
            "--chown-socket",
            "0:0",
            "--workers",
            "auto",
            "--gevent",
            "50",
            "--wsgi-file",
            "site.wsgi",
            "--callable",
            "site",
            "--chdir",
            "/",
            "--pythonpath",
            "/a",
            "--pythonpath",
            "/b",
            "--env",
            "A=B=C",
            "--env",
            "D=",
            "--virtualenv",
            "/tmp",
            "--lazy-apps",
            "--attach-daemon",
            "celery worker",
            "--smart-attach-daemon",
            "/run/m.pid memcached -d",
            "--uid",
            "root",
            "--gid",
            "0",
            "--worker-reload-mercy",
            "5",
            "--socket-timeout",
            "2.5",
            "--hub-timeout",
            "9",
            "--boot-timeout",
            "8",
            "--max-vars",
            "7",
            "--limit-req",
            "key=all rate=1r/s",
            "--limit-conn",
            "key=all limit=2",
            "--limit-keys",
            "77",
            "--limit-store",
            "redis://h/1",
            "--limit-store-closed",
            "--limit-store-timeout",
            "0.5",
            "--limit-lease",
            "5",
            "--check-static-docroot",
            "--smart-attach-daemon2",
            "/run/n.pid memcached",
            "--attach-daemon2",
            "cmd=celery,stopsignal=2",
            "--limit-as",
            "512",
            "--limit-post",
            "1m",
            "--drain-size",
            "1m",
            "--drain-timeout",
            "3",
            "--harakiri",
            "10",
            "--hub-warn",
            "2",
            "--max-requests",
            "1000",
            "--max-requests-delta",
            "50",
            "--max-worker-lifetime",
            "3600",
            "--max-worker-lifetime-delta",
            "60",
            "--reload-on-rss",
            "200",
            "--evil-reload-on-rss",
            "300",
            "--touch-reload",
            "/a",
            "--touch-reload",
            "/b",
            "--py-autoreload",
            "--shutdown-delay",
            "4",
            "--check",
            "--migrate",
            "--logto",
            "/tmp/log",
            "--log-json",
            "--log-level",
            "debug",
            "--logger",
            "stdio",
            "--access-log",
            "/tmp/access",
            "--log-format",
            "json",
            "--logformat-strftime",
            "--log-date",
            "%Y",
            "--disable-logging",
            "--log-4xx",
            "--log-5xx",
            "--log-slow",
            "500",
            "--log-x-forwarded-for",
            "--memory-report",
            "--touch-logreopen",
            "/c",
            "--stats",
            "stats.sock",
            "--stats-http",
            "--metrics",
            ":9117",
            "--control",
            "off",
            "--master-fifo",
            "/tmp/fifo",
            "--pidfile",
            "/tmp/pid",
            "--daemonize",
            "/tmp/daemon",
            "--procname-prefix",
            "site",
            "--umask",
            "022",
            "--import",
            "a.b",
            "--mount",
            "/x=shop:app",
            "--manage-script-name",
            "--paste",
            "config:site.ini",
            "--paste-logger",
            "-O",
            "2",
            "--protocol",
            "http",
            "--max-fd",
            "4096",
            "--pyargv",
            "a b",
            "--static-map",
            "/static=dir",
            "--static-safe",
            "/d",
            "--static-hidden",
            "--static-charset",
            "latin-1",
            "--check-static",
            "public",
            "--static-index",
            "index.html",
            "--static-skip-ext",
            ".php",
            "--static-expires",
            "path-mtime:^/a 60",
            "--static-gzip",
            "ext:.css",
            "--static-gzip-all",
            "--mimefile",
            "/types",
            "--honour-stdin",
            "--no-psycogreen",
            "--dev",
            "--new-privileges",
            "--post-buffering",
            "64k",
            "--cache",
            "pages=64m,/pages",
            "--cache",
            "r=redis://h/0",
        ]
    )
    assert settings == Settings(
        application="",
        socket=("a.sock", ":0"),
        http=(":8000",),
        http_keepalive=4.0,
        http_keepalive_requests=9,
        http_idle=8,
        http_head_timeout=6.0,
        http_line_size=1024,
        uwsgi_module=True,
        websockets=50,
        websocket_idle=90.0,
        body_rate=7,
        http_head_size=2048,
        https=((":8443", "/c", "/k"),),
        ssl_socket=(("a.ssl", "/c", "/k", "/a"),),
        proxy_protocol=True,
        http_enable_proxy_protocol=True,
        forwarded_allow_ips="10.0.0.0/8,unix",
        forwarded_headers="forwarded",
        listen=128,
        reuse_port=True,
        workers_min=3,
        workers_initial=4,
        cpu_affinity=2,
        chmod_socket=0o660,
        chown_socket=(0, 0),
        workers=3,
        gevent=50,
        wsgi_file="site.wsgi",
        callable="site",
        chdir="/",
        pythonpath=("/a", "/b"),
        env=(("A", "B=C"), ("D", "")),
        virtualenv="/tmp",
        lazy_apps=True,
        attach_daemon=("celery worker",),
        smart_attach_daemon=(("/run/m.pid", "memcached -d"),),
        check_static_docroot=True,
        smart_attach_daemon2=(("/run/n.pid", "memcached"),),
        attach_daemon2=((("command", "celery"), ("stopsignal", "2")),),
        limit_as=512,
        limit_post=1 << 20,
        uid=0,
        gid=0,
        worker_reload_mercy=5.0,
        socket_timeout=2.5,
        hub_timeout=9.0,
        boot_timeout=8.0,
        max_vars=7,
        limit_req=("key=all rate=1r/s",),
        limit_conn=("key=all limit=2",),
        limit_keys=77,
        limit_store="redis://h/1",
        limit_store_closed=True,
        limit_store_timeout=0.5,
        limit_lease=5.0,
        drain_size=1 << 20,
        drain_timeout=3.0,
        harakiri=10.0,
        hub_warn=2.0,
        max_requests=1000,
        max_requests_delta=50,
        max_worker_lifetime=3600.0,
        max_worker_lifetime_delta=60.0,
        reload_on_rss=200,
        evil_reload_on_rss=300,
        touch_reload=("/a", "/b"),
        py_autoreload=True,
        shutdown_delay=4.0,
        check=True,
        migrate=True,
        logto="/tmp/log",
        log_json=True,
        log_level="debug",
        logger=("stdio",),
        access_log="/tmp/access",
        log_format="json",
        logformat_strftime=True,
        log_date="%Y",
        disable_logging=True,
        log_4xx=True,
        log_5xx=True,
        log_slow=500,
        log_x_forwarded_for=True,
        memory_report=True,
        touch_logreopen=("/c",),
        stats="stats.sock",
        stats_http=True,
        metrics=":9117",
        control="off",
        master_fifo=("/tmp/fifo",),
        pidfile="/tmp/pid",
        daemonize="/tmp/daemon",
        procname_prefix="site",
        umask=0o022,
        import_module=("a.b",),
        pyargv="a b",
        mount=(("/x", "shop:app"),),
        manage_script_name=True,
        paste="config:site.ini",
        paste_logger=True,
        optimize=2,
        socket_protocol="http",
        max_fd=4096,
        static_map=(("/static", "dir"),),
        static_safe=("/d",),
        static_hidden=True,
        static_charset="latin-1",
        check_static=("public",),
        static_index=("index.html",),
        static_skip_ext=(".php",),
        static_expires=(("path", "^/a", 60, True),),
        static_gzip=(r"\.css$",),
        static_gzip_all=True,
        mimefile=("/types",),
        honour_stdin=True,
        psycogreen=False,
        dev=True,
        new_privileges=True,
        post_buffering=64 << 10,
        cache=(("pages", 64 << 20, "/pages", ""), ("r", 0, "redis://h/0", "")),
    )
    default = Settings()
    same = [field.name for field in fields(Settings) if getattr(settings, field.name) == getattr(default, field.name)]
    # The list above is complete. It leaves out --wsgi-file, which excludes the application, and options that name files
    # (below).
    assert same == ["application", "ini", "config", "set_placeholder"]


def test_a_bare_chmod_socket_means_666() -> None:
    assert from_command_line(["app:app", "--chmod-socket"]).chmod_socket == 0o666


def test_settings_travel_as_json() -> None:
    settings = from_command_line(["--socket", "a", "--env", "A=B", "--chown-socket", ":0", "app:app"])
    assert from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--workers", "0"], "--workers '0' cannot be used: expected a whole number from 1 on, or 'auto'"),
        (["--workers", "many"], "--workers 'many' cannot be used"),
        (["--gevent", "-1"], "--gevent '-1' cannot be used"),
        (["--gevent", "1e3"], "--gevent '1e3' cannot be used: expected a whole number"),
        (["--chmod-socket", "999"], "--chmod-socket '999' cannot be used: expected an octal mode"),
        (["--chown-socket", "nobody-of-this-name"], "expected a user of this machine"),
        (["--gid", "nogroup-of-this-name"], "expected a group of this machine"),
        (["--chdir", "/no/such"], "--chdir '/no/such' cannot be used: expected a directory that exists"),
        (["--env", "NOVALUE"], "--env 'NOVALUE' cannot be used: expected NAME=VALUE"),
        (["--socket-timeout", "0"], "expected seconds above 0"),
        (["--socket-timeout", "nan"], "expected seconds above 0"),
        (["--drain-size", "1t"], "expected bytes, or with a unit"),
    ],
)
def test_a_wrong_value_is_one_sentence(arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        from_command_line([*arguments, "app:application"])
    assert says in str(refusal.value)


def test_an_application_has_to_be_named() -> None:
    with pytest.raises(ConfigError, match="no application is named: add MODULE:CALLABLE"):
        from_command_line(["--socket", "app.sock"])


def test_abbreviations_are_refused() -> None:
    # --work may be another option in a later version
    with pytest.raises(ConfigError, match=r"unknown option --work: did you mean '--workers'?"):
        from_command_line(["--work", "4", "app:application"])


def test_every_option_is_in_the_whole_help_with_its_default() -> None:
    text = " ".join(usage.build_parser(everything=True).format_help().split())
    for option in declared():
        assert option.name == "application" or option.flag in text
    assert "(default: 1000)" in text and "(default: 60)" in text and "(default: 67108864)" in text


def test_the_short_help_has_the_important_options_and_names_the_whole_help() -> None:
    text = usage.build_parser(everything=False).format_help()
    shown = [option for option in declared() if f"  {option.flag}" in text]
    assert len(shown) == 22 and "--help-all" in text and "MODULE:CALLABLE names the application" in text
    assert "--drain-size" not in text


@pytest.mark.parametrize("command", [["wsgid"], [sys.executable, "-m", "wsgid"]])
def test_both_commands_are_the_same_program(command: list[str]) -> None:
    if command == ["wsgid"]:
        command = [str(Path(sys.executable).parent / "wsgid")]
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("wsgid 0.")
    refused = subprocess.run([*command, "--socket", "x.sock"], capture_output=True, text=True)
    assert refused.returncode == 2 and "no application is named" in refused.stderr
    assert "Traceback" not in refused.stderr


# --- one value, four sources ---


def text_of(option: Option) -> st.SearchStrategy[str]:
    """Texts that an operator may write for an option."""
    words = st.text(string.ascii_letters + string.digits + "/._-:%@,", min_size=1, max_size=20)
    numbers = st.integers(1, 999_999_999).map(str)
    kinds: dict[values.ValueKind, st.SearchStrategy[str]] = {
        values.FLAG: st.just("true"),
        values.DIRECTORY: st.sampled_from(["/", "/tmp"]),
        values.USER: st.just("root"),
        values.GROUP: st.just("0"),
        values.OWNER: st.sampled_from(["root:0", ":0", "0", "0:0"]),
        values.LEVEL: st.sampled_from(["debug", "error"]),
        values.CHARSET: st.sampled_from(["utf-8", "windows-1251", "none"]),
        values.MODE: st.integers(0, 0o777).map("{:03o}".format),
        values.WORKERS: st.one_of(st.just("auto"), numbers),
        values.SIZE: st.sampled_from(["1", "64k", "2G"]),
        values.ENVIRONMENT: st.tuples(words.filter(lambda text: "=" not in text), words).map("=".join),
        values.LOGGER: st.sampled_from(["stdio", "syslog:a,local0", "rsyslog:h:1,a"]),
        values.LOG_FORMAT: st.sampled_from(["json", "%(uri) %(status)"]),
        values.PEERS: st.sampled_from(["*", "10.0.0.0/8,unix"]),
        values.FORWARDED_HEADERS: st.sampled_from(["forwarded", "x-forwarded-for,x-forwarded-host"]),
        values.TLS_SOCKET: st.just(":1,/cert.pem,/key.pem"),
        values.STATIC_MAP: words.map("/{}=static".format),
        values.MOUNT: words.map("/{}=site:app".format),
        values.EXPIRES: st.sampled_from(["/x/.* 60", "type:text/css=5", "uri-mtime:^/a 0"]),
        values.PATTERN: st.sampled_from(["x+", "dir:/srv", "ext:.css"]),
        values.SMART_DAEMON: st.sampled_from(["/a.pid b", "/run/a.pid b -c d"]),
        values.DAEMON: st.sampled_from(["command=a", 'cmd="a -b c,d",stopsignal=2,pidfile=/a.pid,daemonize=1']),
        values.OPTIMIZE: st.sampled_from(["0", "1", "2"]),
        values.PROTOCOL: st.sampled_from(["uwsgi", "http"]),
        values.KEEPALIVE: st.one_of(
            st.sampled_from(["on", "1", "0", "1.0"]), st.decimals("1.5", 9999, places=1).map(str)
        ),
        values.CACHE: st.sampled_from(
            ["pages=64m", "a=1g,/tmp/a", "r=redis://h/0", "name=u,items=100,blocksize=65536"]
        ),
        values.LIMIT_REQ: st.sampled_from(["key=remote_addr rate=10r/s", "key=all rate=1r/m burst=2 nodelay"]),
        values.LIMIT_CONN: st.sampled_from(["key=remote_addr limit=5", "key=all limit=1 status=503 dry-run"]),
        values.LIMIT_STORE: st.sampled_from(["redis://h:1/0", "unix:///r.sock", "valkey+cluster://a:1,b:2"]),
        values.LIMIT_KEYS: st.integers(1, 10**6).map(str),
        values.SECONDS: st.decimals("0.001", 999_999, places=3).map(str),
        values.SECONDS_OR_NONE: st.decimals("0.001", 999_999, places=3).map(str),
    }
    plain = values.TEXT, values.PATH, values.DIRECTORIES, values.REQUEST_LOG
    texts = kinds.get(option.kind, words if option.kind in plain else numbers)
    if option.bare is not None:  # in an ini, `option = 1` and `option = true` are the option without a value
        texts = texts.filter(lambda text: text.lower() not in ("1", "true"))
    return texts


OPTIONS = [
    option for option in declared() if option.name not in ("check", "migrate", "ini", "config", "set_placeholder")
]
NEEDED = ["--wsgi-file", "needed.py"]


def settings_of(argv: list[str], **environ: str) -> Settings | str:
    try:
        return merge.read([*argv], environ).settings
    except ConfigError as error:
        # Only on a command line an option may have taken the application for its value.
        return re.sub("; [^;]* has taken the application .*", "", str(error).partition("expected")[2])


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
@given(data=st.data())
@settings(max_examples=3)
def test_every_option_means_the_same_from_each_source(
    tmp_path_factory: pytest.TempPathFactory, option: Option, data: Any
) -> None:
    texts = data.draw(st.lists(text_of(option), min_size=1, max_size=3 if option.repeatable else 1))
    place = tmp_path_factory.mktemp("options")
    other = [] if option.name in ("application", "wsgi_file", "paste") else NEEDED
    if option.name == "dev":
        other = [*other, "--socket", "app.sock"]  # otherwise --dev looks for a free port, which may change
    if option.name in ("static_map", "check_static", "check_static_docroot"):
        other = [*other, "--static-charset", "utf-8"]  # a site of uWSGI leaves the charset to its files
    if option.name == "daemonize":
        other = [*other, "--umask", "022"]  # without a umask, uWSGI's daemonize opens the socket to everybody
    flags = [option.flag] if option.name != "application" else ["--module"]
    line = [f"{flags[0]}={text}" for text in texts] if option.kind is not values.FLAG else flags
    escaped = [text.replace("%", "%%") for text in texts]
    if option.name == "py_autoreload":
        escaped = ["1"]  # a number of seconds in uWSGI, where `true` is 0
    (place / "site.ini").write_text("[uwsgi]\n" + "".join(f"{option.key} = {text}\n" for text in escaped))
    (place / "site.toml").write_text(f"{option.name} = {json.dumps(texts if option.repeatable else texts[0])}\n")
    from_line = settings_of([*other, *line])
    by_variable = settings_of(
        other,
        **{
            option.variable: "".join(f"{text}\n" for text in texts)[
                : None if len(texts) > 1 or option.repeatable else -1
            ]
        },
    )
    by_ini = settings_of([*other, "--ini", str(place / "site.ini")])
    by_toml = settings_of([*other, "--config", str(place / "site.toml")])
    assert from_line == by_variable == without_files(by_ini) == without_files(by_toml)


def without_files(settings: Settings | str) -> Settings | str:
    return settings if isinstance(settings, str) else from_dict({**settings.as_dict(), "ini": (), "config": ""})


@pytest.mark.parametrize("option", {option.kind: option for option in OPTIONS}.values(), ids=lambda option: option.name)
@given(data=st.data())
@settings(max_examples=20)
def test_the_shown_text_of_a_value_is_read_as_the_same_value(option: Option, data: Any) -> None:
    try:
        value = option.kind.parse(data.draw(text_of(option)))
    except ValueError:
        return
    for shown in value if option.kind is values.DIRECTORIES else [value]:
        again = option.kind.parse(option.show(shown))
        assert again == ((shown,) if option.kind is values.DIRECTORIES else shown)


def test_the_environment_and_files_know_every_option(tmp_path: Path) -> None:
    """With all spellings: names, flags and uWSGI's names."""
    for option in OPTIONS:
        for key in {option.key, option.name, *option.uwsgi}:
            text = (
                "/tmp"
                if option.kind is values.DIRECTORY
                else "0"
                if option.kind in (values.USER, values.GROUP)
                else {
                    values.MODE: "660",
                    values.ENVIRONMENT: "A=B",
                    values.LEVEL: "info",
                    values.CHARSET: "utf-8",
                    values.STATIC_MAP: "/a=b",
                    values.MOUNT: "/a=b:c",
                    values.EXPIRES: "x 60",
                    values.SMART_DAEMON: "/a.pid b",
                    values.DAEMON: "command=a",
                    values.PROTOCOL: "http",
                    values.PEERS: "*",
                    values.FORWARDED_HEADERS: "forwarded",
                    values.TLS_SOCKET: ":1,a.pem,b.pem",
                    values.LOGGER: "stdio",
                    values.CACHE: "pages=1m",
                    values.LOG_FORMAT: "json",
                    values.LIMIT_REQ: "key=all rate=1r/s",
                    values.LIMIT_CONN: "key=all limit=1",
                    values.LIMIT_STORE: "redis://h:1/0",
                }.get(option.kind, "1")
            )
            (tmp_path / "site.toml").write_text(f'{key} = "{text}"')
            other = [] if option.name in ("application", "wsgi_file", "paste") else NEEDED
            assert option.name in merge.read([*other, "--config", str(tmp_path / "site.toml")], {}).given
            assert option.name in merge.read(other, {option.variable: text}).given
            if "_" not in key:
                (tmp_path / "site.ini").write_text(f"[uwsgi]\n{key} = {text}")
                assert option.name in merge.read([*other, "--ini", str(tmp_path / "site.ini")], {}).given


# --- which source wins ---


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "site.ini").write_text("[uwsgi]\nmodule = a:b\nworkers = 1\ngevent = 1\nharakiri = 1\nsocket = a\n")
    read = merge.read(
        [str(tmp_path / "site.ini"), "--workers", "3", "--socket", "b"], {"WSGID_WORKERS": "2", "WSGID_GEVENT": "2"}
    )
    settings = read.settings
    assert (settings.workers, settings.gevent, settings.harakiri, settings.socket_timeout) == (3, 2, 1.0, 30.0)
    assert settings.socket == ("b",)  # a repeatable option comes from one source as a whole
    assert {name: said[-1].origin for name, said in read.given.items()} == {
        "application": f"{tmp_path}/site.ini:2",
        "workers": "command line",
        "gevent": "WSGID_GEVENT",
        "harakiri": f"{tmp_path}/site.ini:5",
        "socket": "command line",
        "ini": "command line",
    }


def test_variables_add_up_over_all_sources(tmp_path: Path) -> None:
    (tmp_path / "site.ini").write_text("[uwsgi]\nmodule = a:b\nenv = A=file\nenv = B=file\n")
    settings = merge.read(["--ini", str(tmp_path / "site.ini"), "--env", "A=line"], {"WSGID_ENV": "C=1;D=2"}).settings
    assert dict(settings.env) == {"A": "line", "B": "file", "C": "1", "D": "2"}


def test_the_higher_source_names_the_application(tmp_path: Path) -> None:
    (tmp_path / "site.ini").write_text("[uwsgi]\nwsgi-file = site.py\n")
    settings = merge.read(["--ini", str(tmp_path / "site.ini"), "app:app"], {}).settings
    assert (settings.application, settings.wsgi_file) == ("app:app", "")


def test_a_flag_can_be_denied(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('application = "a:b"\nlazy-apps = true\nlog-4xx = true\n')
    settings = merge.read([str(tmp_path / "site.toml"), "--no-lazy-apps"], {}).settings
    assert (settings.lazy_apps, settings.log_4xx) == (False, True)


def test_none_takes_a_limit_away(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('[wsgid]\napplication = "a:b"\nharakiri = 1.5\nmax_requests = 9\n')
    line = ["--config", str(tmp_path / "site.toml"), "--harakiri", "0", "--max-requests", "0"]
    settings = merge.read(line, {}).settings
    assert (settings.harakiri, settings.max_requests) == (0.0, 0)


def test_files_can_be_named_as_in_uwsgi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = a:b\nworkers = 2\n[fast]\nini = :uwsgi\nworkers = 8\n")
    assert from_command_line(["uwsgi.ini"]).workers == 2
    assert from_command_line(["uwsgi.ini:fast"]).workers == 8
    assert from_command_line(["--ini", "uwsgi.ini", "--ini", "uwsgi.ini:fast"]).workers == 8
    assert merge.read([], {"WSGID_INI": "uwsgi.ini"}).settings.workers == 2
    assert from_command_line(["uwsgi.ini", "c:d"]).application == "c:d"
    (tmp_path / "named.ini").write_text("[uwsgi]\nmodule = %(name):app\n")
    assert from_command_line(["named.ini", "--set", "name=site"]).application == "site:app"
    assert from_command_line(["pack.ini:app"]).application == "pack.ini:app"  # there is no such file, so it is a module


def test_arguments_in_a_file_and_a_value_that_begins_with_at(tmp_path: Path) -> None:
    (tmp_path / "args").write_text("--workers\n3\n")
    settings = from_command_line([f"@{tmp_path}/args", "--socket", "@name", "-s=@other", "a:b"])
    assert settings.workers == 3 and settings.socket[0] == "@name"
    with pytest.raises(ConfigError, match=r"arguments in @no-file cannot .*before an address that begins with @"):
        from_command_line(["@no-file"])


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"WSGID_WORKER": "4"}, "the environment's WSGID_WORKER is no option: did you mean 'WSGID_WORKERS'?"),
        ({"WSGID_WORKERS": "x"}, "WSGID_WORKERS='x' cannot be used: expected a whole number from 1 on, or 'auto'"),
        ({"WSGID_ENV": "A=1;B"}, "WSGID_ENV='A=1;B' cannot be used: expected NAME=VALUE"),
        ({"WSGID_LAZY_APPS": "maybe"}, "expected true, on, yes, 1, or false, off, no, 0"),
    ],
)
def test_an_error_in_the_environment_is_one_sentence(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        merge.read(["app:application"], environ)
    assert says in str(refusal.value)


def test_the_environment_takes_an_options_other_names_but_not_two_at_once() -> None:
    environ = {"WSGID_PROCESSES": "3", "WSGID_PROCNAME_PREFIX_SPACED": "shop", "WSGID_PP": "/a;/b"}
    settings = merge.read(["a:b"], environ).settings
    assert (settings.workers, settings.procname_prefix, settings.pythonpath) == (3, "shop ", ("/a", "/b"))
    with pytest.raises(ConfigError, match="WSGID_PROCESSES and WSGID_WORKERS are the same option: leave one of them"):
        merge.read(["a:b"], {"WSGID_PROCESSES": "3", "WSGID_WORKERS": "3"})


def test_a_variable_that_only_begins_like_an_option_is_ignored_with_a_warning() -> None:
    environ = {"WSGID_METRICS_PORT": "tcp://10.0.0.1", "WSGID_PURE": "1", "WSGID_WORKERS": "", "HOME": "/"}
    read = merge.read(["a:b"], environ)
    assert read.settings == Settings(application="a:b")
    assert read.warnings == ["the environment's WSGID_METRICS_PORT is no option: ignored"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("worker = 4", "site.toml: unknown option 'worker': did you mean 'workers'?"),
        ("workers = 'x'", "site.toml: workers = 'x' cannot be used: expected a whole number"),
        ("workers = [1, 2]", "site.toml: workers = [1, 2] cannot be used: expected one text, number, true or false"),
        ("socket = {a = 1}", "cannot be used: expected a text, a number, or a list of them"),
        ("workers = true", "workers = True cannot be used: expected a whole number"),
        ('pidfile = "a\\u0000b"', "expected a text without NUL bytes"),
        ("workers = ", "site.toml is no TOML: "),
        ("check = true", "site.toml: check belongs on the command line"),
        ("[wsgid]\nwrkers = 1", "did you mean 'workers'?"),
    ],
)
def test_an_error_in_a_toml_file_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(ConfigError) as refusal:
        merge.read(["app:application", "--config", str(tmp_path / "site.toml")], {})
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", "/no/such.toml"], "--config /no/such.toml cannot be read: No such file"),
        (["--ini", "/no/such.ini"], "/no/such.ini cannot be read: No such file"),
        (["--ini", "a.ini", "--config", "b.toml"], "both --ini a.ini and --config b.toml are given: put the options"),
        (["--workers", "--lazy-apps"], "--workers needs a value: write --workers VALUE, or --workers=VALUE"),
        (["--ini", "u.ini", "--set", "workers=3"], "--set-placeholder workers=3 names an option: write --workers 3"),
        (["--uid", "4294967295"], "expected a user of this machine"),
        (["--no-harakiri"], "unknown option --no-harakiri"),
        (["uwsgi.yaml"], "uwsgi.yaml is no ini: write the options into an ini or into a TOML file"),
        (["b:c"], "'b:c' and 'app:application' both name an application"),
        (
            ["--https2", ":80"],
            "--https2 = :80: wsgid does not have this: use https = ADDRESS,CERTIFICATE,KEY, or nginx",
        ),
        (
            ["--master", "--cron", "1", "--workrs=3", "-L"],
            "--cron = 1: wsgid does not have this: use a task queue such as Celery, or a systemd timer\n"
            "unknown option --workrs: did you mean '--workers'?",
        ),
        (["--lazy-apps=maybe"], "--lazy-apps takes no value but true or false: write --lazy-apps"),
    ],
)
def test_an_error_on_the_command_line_is_one_sentence(arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        from_command_line([*arguments, "app:application"])
    assert says in str(refusal.value)


@pytest.mark.parametrize("flag", ["--access-log", "--log-date"])
def test_an_option_that_has_taken_the_application_as_its_value_is_named(flag: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        from_command_line(["--socket", "a.sock", flag, "app:application"])
    assert f"{flag} 'app:application'" in str(refusal.value)
    assert f"has taken the application for its value: write {flag}=" in str(refusal.value)


def test_arguments_in_files_that_name_each_other_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "args").write_text(f"--workers\n2\n@{tmp_path}/args\n")
    with pytest.raises(ConfigError, match="the argument files include each other"):
        from_command_line([f"@{tmp_path}/args"])


# --- any input ---

FLAGS = st.sampled_from(
    [flag for option in declared() for flag in (option.flag, *option.flags) if option.name not in ("ini", "config")]
    + ["--", "-", "--no-lazy-apps", "--workers=2", "a:b", "-x"]
)


@given(st.lists(st.one_of(FLAGS, st.text(max_size=8).filter(lambda text: text not in ("-h",))), max_size=8))
def test_any_command_line_gives_settings_or_one_sentence(argv: list[str]) -> None:
    try:
        from_command_line(argv)
    except ConfigError as error:
        assert str(error)


@given(
    st.dictionaries(
        st.sampled_from([option.variable for option in OPTIONS] + ["WSGID_X", "WSGID_"]),
        st.text(max_size=8),
        max_size=4,
    )
)
def test_any_environment_gives_settings_or_one_sentence(environ: dict[str, str]) -> None:
    try:
        merge.read([], environ)
    except ConfigError as error:
        assert str(error)


VALUES = st.recursive(
    st.one_of(st.text(max_size=5), st.integers(), st.floats(), st.booleans()),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([option.key for option in declared()] + ["wsgid", "x"]), VALUES, max_size=4))
def test_any_toml_gives_settings_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    path.write_text("\n".join(lines).replace("Infinity", "inf").replace("NaN", "nan"))
    try:
        merge.read(["--config", str(path)], {})
    except ConfigError as error:
        assert str(error)
