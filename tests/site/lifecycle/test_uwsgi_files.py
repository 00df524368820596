"""uwsgi.ini files like those of real sites: the settings that wsgid reads, the options that wsgid refuses, and two
files that serve."""

import fnmatch
import os
import pwd
import re
import textwrap
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from tests.conftest import Start
from tests.support import ROOT, client
from wsgid.config import merge, uwsgi_options, uwsgi_words
from wsgid.config.merge import Configuration
from wsgid.config.options import by_key, declared
from wsgid.config.uwsgi_options import Verdict
from wsgid.errors import ConfigError

FILES = Path(__file__).parent / "uwsgi_files"
PROCESSORS = len(os.sched_getaffinity(0))

APP = """
    import os, sys
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{os.getcwd()} {os.environ.get('COLOUR')} {sys.argv}".encode()]
"""


def read(name: str, **environ: str) -> Configuration:
    return merge.read(["--ini", str(FILES / name)], environ)


def of(configuration: Configuration) -> dict[str, Any]:
    """The settings of a file."""
    return {name: getattr(configuration.settings, name) for name in configuration.given if name != "ini"}


EXPECTED: dict[str, dict[str, Any]] = {
    "metasearch_container.ini": dict(
        uid=0,
        gid=0,
        workers=PROCESSORS,
        chmod_socket=0o666,
        lazy_apps=True,
        application="site_app:application",
        pythonpath=("/tmp",),
        chdir="/tmp",
        disable_logging=True,
        log_5xx=True,
        socket=("/tmp/app.sock",),
    ),
    "django_behind_nginx.ini": dict(
        application="mysite.wsgi",
        env=(("DJANGO_SETTINGS_MODULE", "mysite.settings"),),
        workers=10,
        chdir="/tmp",
        socket=("/tmp/mysite.sock",),
        chmod_socket=0o664,
        harakiri=60.0,
        max_requests=5000,
        gevent=200,
    ),
    "flask_tutorial.ini": dict(application="site_app:application", workers=5, socket=("app.sock",), chmod_socket=0o660),
    "production.ini": dict(
        disable_logging=True,
        log_4xx=True,
        log_5xx=True,
        log_slow=1000,
        harakiri=60.0,
        max_requests=1000,
        max_requests_delta=50,
        max_worker_lifetime=3600.0,
        reload_on_rss=2048,
        worker_reload_mercy=60.0,
        workers_min=8,
        workers_initial=16,
        workers=128,
        procname_prefix="shop ",
        listen=1024,
        socket=("/run/shop.sock",),
        wsgi_file="shop/wsgi.py",
        callable="app",
        log_format='%(addr) - %(user) [%(ltime)] "%(method) %(uri) %(proto)" %(status) %(size) %(msecs)ms',
    ),
    "gevent_websockets.ini": dict(
        gevent=1000,
        workers=1,
        application="chat:app",
        socket=(":5000",),
        socket_timeout=120.0,
        listen=4096,
        log_x_forwarded_for=True,
        logto="/var/log/chat.log",
        log_date="%Y-%m-%d %H:%M:%S",
    ),
    "templated.ini": dict(
        chdir="/tmp",
        application="templated_app:application",
        socket=(f"/tmp/templated-{PROCESSORS * 2}.sock",),
        workers=PROCESSORS * 2,
        pidfile="/tmp/templated.pid",
        touch_reload=("/tmp/templated-alpha", "/tmp/templated-beta"),
        pythonpath=("/tmp",),
    ),
    "with_include.ini": dict(
        application="site_app:application",
        workers=2,
        socket=("app.sock",),
        chmod_socket=0o660,
        harakiri=30.0,
        worker_reload_mercy=8.0,
    ),
    "debian_app.ini": dict(
        workers=2,
        pidfile="/tmp/debian-app.pid",
        socket=("/tmp/debian-app.sock",),
        chmod_socket=0o660,
        log_date="%Y-%m-%d %H:%M:%S",
        uid=pwd.getpwnam("daemon").pw_uid,
        gid=pwd.getpwnam("daemon").pw_gid,
        logto="/var/log/app.log",
        touch_logreopen=("/tmp/reopen",),
        application="site_app",
        callable="make",
    ),
    "api_container.ini": dict(
        chmod_socket=0o666,
        gevent=50,
        lazy_apps=True,
        log_x_forwarded_for=True,
        logto="/tmp/api.log",
        max_requests=10000,
        procname_prefix="api ",
        workers=4,
        socket_timeout=30.0,
        socket=("127.0.0.1:9292",),
        uid=0,
        worker_reload_mercy=80.0,
        wsgi_file="/tmp/api-wsgi",
        master_fifo=("/tmp/api.fifo",),
        stats="127.0.0.1:9191",
        stats_http=True,
        memory_report=True,
    ),
    "old_django.ini": dict(
        chdir="/tmp",
        application="django.core.handlers.wsgi:WSGIHandler()",
        pidfile="/tmp/project-master.pid",
        env=(("DJANGO_SETTINGS_MODULE", "mysite.settings"), ("LANG", "en_US.UTF-8")),
        socket=("127.0.0.1:49152",),
        workers=5,
        harakiri=20.0,
        max_requests=5000,
        pythonpath=("/",),
        virtualenv="/tmp",
        daemonize="/tmp/mysite.log",
        import_module=("site_tasks",),
        pyargv="--quiet run",
        umask=0o022,
        post_buffering=8192,
    ),
    "loggers.ini": dict(
        socket=("@loggers",),
        application="site_app:application",
        logger=("syslog:shop,local6",),
        access_log="/tmp/requests.log",
        log_format='{"addr":"%(addr)","ms":%(msecs),"at":"%(ftime)"}',
        logformat_strftime=True,
        log_date="%Y-%m-%d %H:%M:%S",
        disable_logging=False,
        touch_logreopen=("/tmp/reopen",),
    ),
    "api_behind_nginx.ini": dict(
        chmod_socket=0o666,
        socket=("/var/run/uwsgi/api.socket",),
        lazy_apps=True,
        worker_reload_mercy=80.0,
        workers=2,
        application="site_app:application",
        pyargv="--config-file /etc/api/api.conf --config-file /etc/api/plugins.ini",
    ),
    "bare.ini": dict(
        chmod_socket=0o666,
        lazy_apps=True,
        disable_logging=True,
        application="site_app:application",
        socket=("fd://0",),
        py_autoreload=True,
        evil_reload_on_rss=512,
    ),
}


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.glob("*.ini")))
def test_a_file_of_a_real_site_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # with_include.ini names the other file relative to this directory
    assert of(read(name, INSTALL_DIR="/tmp", LOCAL_DIR="/tmp")) == EXPECTED[name]


def test_an_option_without_effect_is_noted_with_its_place() -> None:
    notes = read("flask_tutorial.ini").notes
    assert notes == [
        f"{FILES}/flask_tutorial.ini:3: master: there always is one",
        f"{FILES}/flask_tutorial.ini:7: vacuum: wsgid always removes its sockets and its pidfile",
        f"{FILES}/flask_tutorial.ini:8: die-on-term: TERM always stops, and gracefully",
    ]


def test_a_comment_behind_a_number_is_no_part_of_it_and_warned_of() -> None:
    warnings = read("django_behind_nginx.ini").warnings
    assert [warning.partition(": ")[2] for warning in warnings] == [
        f"the text after '{number}' is taken for a comment; uWSGI's ini has no comments after a value: put the comment "
        "on a line of its own"
        for number in (60, 5000)
    ]


def test_a_comment_behind_a_text_is_part_of_it_and_warned_of(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text(
        "[uwsgi]\nmodule = a:b\nsocket = a.sock # here\nlog-format = %(uri) # %(ms)\ngevent = 9\nreq-logger = stdio\n"
    )
    configuration = read(str(tmp_path / "uwsgi.ini"))
    assert configuration.settings.socket == ("a.sock # here",)
    assert configuration.settings.log_format == "%(uri) # %(ms)"
    (warning,) = configuration.warnings
    assert f"{tmp_path}/uwsgi.ini:3: socket = 'a.sock # here': all of it is the value, as in uWSGI" in warning


def test_relative_paths_are_those_of_uwsgi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is used after chdir is relative to chdir. A path that is used before is relative to the start
    directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "u.ini").write_text(
        "[uwsgi]\nmodule = a:b\npythonpath = lib\ntouch-reload = stamp\nlogto = log\nchdir = site\npidfile = pid\n"
    )
    settings = merge.read(["u.ini"], {}).settings
    assert settings.pythonpath == (f"{tmp_path}/site/lib",) and settings.touch_reload == (f"{tmp_path}/site/stamp",)
    assert (settings.logto, settings.pidfile) == (f"{tmp_path}/log", f"{tmp_path}/pid")
    assert merge.read(["u.ini", "--chdir", "/"], {}).settings.pythonpath == ("/lib",)
    (tmp_path / "u.toml").write_text("application = 'a:b'\nchdir = 'site'\npythonpath = ['lib']\n")
    assert merge.read(["u.toml"], {}).settings.pythonpath == (f"{tmp_path}/site/lib",)


# --- refusals ---


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("processes = many", "processes = 'many' cannot be used: expected a whole number from 1 on, or 'auto'"),
        ("processes =", "processes = '' cannot be used: a value is missing"),
        ("harakiri = -1", "harakiri = '-1' cannot be used: expected seconds, such as 30 or 0.5, or 0 for none"),
        ("chdir = /tmp ; home", "chdir = '/tmp ; home' cannot be used: expected a directory that exists"),
        ("https2 = :443", "https2 = :443: wsgid does not have this: use https = ADDRESS,CERTIFICATE,KEY, or nginx"),
        ("protocol = fastcgi", "expected uwsgi or http: wsgid speaks no other protocol"),
        ("static-expires = ( 60", "static-expires = '( 60' cannot be used: expected a regular expression of Python"),
        ("static-expires = /x", "expected 'REGEXP SECONDS', such as '/static/.* 86400', or type:TYPE=SECONDS"),
        ("static-map = /static", "expected a prefix and a directory, such as /static=/srv/app/static"),
        ("mount = shop.example=app.py", "expected a prefix and an application, such as /shop=shop.wsgi:application"),
        ("emperor = /etc/vassals", "use a systemd template unit"),
        ("vassals-include = x", "systemd template unit"),
        ("zerg = /tmp/zerg", "an upstream block of nginx"),
        ("subscribe-to = host:1", "an upstream block of nginx"),
        ("fastrouter = :1", "an upstream block of nginx"),
        ("smart-attach-daemon = x", "expected a pidfile and a command, such as /run/memcached.pid memcached -d"),
        ("smart-attach-daemon2 = x", "expected a pidfile and a command"),
        ("attach-daemon2 = pidfile=/x", "expected a command, such as command=celery -A site worker"),
        ("attach-daemon2 = cmd=a,touch=/x", "notifypid, not 'touch'"),
        ("attach-daemon2 = cmd=a,stopsignal=TERM", "expected the number of a signal, such as 15 for TERM"),
        ("cron = 59 2 -1 -1 -1 run", "use a task queue such as Celery, or a systemd timer"),
        ("spooler = /tmp", "use a task queue such as Celery"),
        ("mules = 2", "use a task queue such as Celery"),
        ("mule = work.py", "write attach-daemon = python FILE"),
        ("cache-store = /x", "use cache2 = name=NAME,items=N,blocksize=BYTES"),
        ("queue = 100", "wsgid has nothing of the kind; use wsgid.cache"),
        ("legion = x", "use keepalived"),
        ("route = ^/x http:127.0.0.1:80", "let nginx decide"),
        ("route-if = equal:${HTTPS};off redirect-permanent:https://x/", "return 301 https://$host$request_uri;"),
        ("route = ^/x addheader:A: b", "add_header NAME VALUE always;"),
        ("route-run = harakiri:30", 'with environ["wsgid.harakiri"]'),
        ("add-header = X: y", "add_header NAME VALUE always"),
        ("loop = asyncio", "the workers are gevent's"),
        ("hook-master-start = exec:/bin/true", "use ExecStartPre="),
        ("hook-post-fork = x", "use ExecStartPre="),
        ("exec-asap = x", "ExecStartPre=COMMAND in the systemd unit, or COMMAND && exec wsgid"),
        ("logger = djangoerror file:./x.log", "named loggers do not exist here: write file:./x.log"),
        ("log-encoder = json", "write --log-json (the server's log) and log-format = json"),
        ("log-route = x y", "let the reader of the log sort its lines"),
        ("req-logger = socket:127.0.0.1:1", "expected stdio, file:PATH, syslog:TAG,FACILITY or rsyslog:"),
    ],
)
def test_a_refusal_names_file_line_and_remedy(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "uwsgi.ini").write_text(f"[uwsgi]\nmodule = a:b\nsocket = a.sock\n{line}\n")
    with pytest.raises(ConfigError) as refusal:
        read(str(tmp_path / "uwsgi.ini"))
    place = f"{tmp_path}/uwsgi.ini:4: " if "name an application" not in says else ""
    assert str(refusal.value).startswith(place) and says in str(refusal.value)


def test_all_mistakes_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = a:b\nhttps2 = :80\nhttp = \nworkers = x\nmaster = 1\n")
    with pytest.raises(ConfigError) as refusal:
        read(str(tmp_path / "uwsgi.ini"))
    assert [line.split(": ")[0].rpartition(":")[2] for line in str(refusal.value).splitlines()] == ["3", "4", "5"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "deamonize = /tmp/log",
            "deamonize is no option, of uWSGI neither, and has no effect: did you mean 'daemonize'?",
        ),
        ("process = 4", "did you mean 'processes'?"),
        ("thread = 4", "did you mean 'threads'?"),
        ("no-orphan = true", "did you mean 'no-orphans'?"),
        ("vaccum = true", "did you mean 'vacuum'?"),
        ("zzz = 1", "zzz is no option, of uWSGI neither, and has no effect: remove the line"),
        ("lazy_apps = true", "did you mean 'lazy-apps'?"),
        ("check = true", "check is no option, of uWSGI neither"),
    ],
)
def test_a_key_that_uwsgi_does_not_know_either_is_a_warning_and_an_error_with_strict(
    tmp_path: Path, line: str, says: str
) -> None:
    (tmp_path / "uwsgi.ini").write_text(f"[uwsgi]\nmodule = a:b\n{line}\ngevent = 9\n")
    (warning,) = read(str(tmp_path / "uwsgi.ini")).warnings
    assert warning.startswith(f"{tmp_path}/uwsgi.ini:3: ") and says in warning
    (tmp_path / "uwsgi.ini").write_text(f"[uwsgi]\nmodule = a:b\n{line}\nstrict = true\n")
    with pytest.raises(ConfigError, match=f"uwsgi.ini:3: unknown option '{line.split()[0]}'.*the file has strict"):
        read(str(tmp_path / "uwsgi.ini"))


def test_an_error_of_a_line_an_include_and_a_missing_application_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nini = none.ini\nworkers = x\nenv = A=@(none)\n")
    with pytest.raises(ConfigError) as refusal:
        merge.read(["--hub-warn", "many", "--nothing", str(tmp_path / "uwsgi.ini")], {"WSGID_GEVENT": "0"})
    assert [re.sub(".*uwsgi.ini:", "", line)[:20] for line in str(refusal.value).splitlines()] == [
        "unknown option --not",
        "--hub-warn 'many' ca",
        "WSGID_GEVENT='0' can",
        "2: none.ini cannot b",
        "4: env: none cannot ",
        "3: workers = 'x' can",
        "no application is na",
    ]


def test_a_comment_close_behind_the_application_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = app:app ;the file, the name\nsocket = a#b ;c\ngevent = 9\n")
    (warning,) = read(str(tmp_path / "uwsgi.ini")).warnings
    assert "uwsgi.ini:2: module = 'app:app ;the file, the name': all of it is the value, as in uWSGI" in warning


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "socket = /run/%(projekt).sock",
            "%(projekt) stays as it is, because no line sets projekt: add a line projekt =",
        ),
        ("socket = $(SOCK)", "$(SOCK) stays as it is, because the environment has no SOCK: set it, or write $(SOCK:-"),
    ],
)
def test_a_variable_that_nothing_sets_is_named(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "uwsgi.ini").write_text(
        f"[uwsgi]\nmodule = a:b\ngevent = 9\n{line}\nlog-format = %(uri) %(nothing)\nreq-logger = stdio\n"
    )
    (warning,) = read(str(tmp_path / "uwsgi.ini")).warnings
    assert warning.startswith(f"{tmp_path}/uwsgi.ini:4: socket: ") and says in warning


def test_a_variable_that_nothing_sets_is_named_in_the_error_about_the_value(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = a:b\nchdir = %(base)/site\n")
    with pytest.raises(
        ConfigError, match=r"expected a directory that exists; %\(base\) stays as it is, because no line"
    ):
        read(str(tmp_path / "uwsgi.ini"))


def test_a_route_that_only_keeps_lines_out_of_the_log_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = a:b\nroute = ^/health donotlog:\nroute = ^/x continue:\n")
    assert len(read(str(tmp_path / "uwsgi.ini")).notes) == 2


def test_true_is_no_number(tmp_path: Path) -> None:
    """atoi(3) makes 0 of it, in uWSGI 2.0.31."""
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = a:b\ngevent = 9\npost-buffering = true\nmax-requests = on\n")
    configuration = read(str(tmp_path / "uwsgi.ini"))
    assert (configuration.settings.post_buffering, configuration.settings.max_requests) == (0, 0)
    assert (
        "uwsgi.ini:4: post-buffering = 'true' is 0, as in uWSGI, which reads the digits at the start: write a number"
        in configuration.warnings[0]
    )


def test_uwsgis_own_variables_are_options_too(tmp_path: Path) -> None:
    """As in the images that are made for uWSGI: UWSGI_INI is read after the files of the command line."""
    (tmp_path / "base.ini").write_text("[uwsgi]\nsocket = a.sock\nprocesses = 16\ngevent = 9\n")
    (tmp_path / "site.ini").write_text("[uwsgi]\nmodule = a:b\nprocesses = 3\n")
    environ = {"UWSGI_INI": f"{tmp_path}/site.ini", "UWSGI_CHEAPER": "2", "UWSGI_MASTER": "1", "UWSGI_NOTHING": "x"}
    configuration = merge.read(["--ini", str(tmp_path / "base.ini")], environ)
    settings = configuration.settings
    assert (settings.application, settings.workers, settings.workers_min) == ("a:b", 3, 2)
    (tmp_path / "site.ini").write_text("[uwsgi]\nmodule = a:b\n")
    (warning,) = merge.read([f"{tmp_path}/site.ini"], {"UWSGI_THREADS": "8"}).warnings
    assert "set gevent = 8" in warning
    assert configuration.notes == ["the environment's UWSGI_MASTER: there always is one"]
    assert (
        merge.read(
            ["--ini", str(tmp_path / "base.ini"), "-p", "5"], {**environ, "UWSGI_PROCESSES": "4"}
        ).settings.workers
        == 5
    )
    with pytest.raises(ConfigError, match="the environment's UWSGI_CRON = 1: wsgid does not have this"):
        merge.read(["a:b"], {"UWSGI_CRON": "1"})


def test_what_is_refused_may_be_switched_off(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nmodule = a:b\nhonour-range = false\ncheap = 0\nexit = no\n")
    assert len(read(str(tmp_path / "uwsgi.ini")).notes) == 3


def test_an_unknown_key_is_accepted_if_the_file_uses_it(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text(
        "[uwsgi]\ncache_dir = /srv\ncron-name = x\ncontrol = site\ncheck = 1\n"
        "module = %(control):%(cron-name)\nenv = D=%(cache_dir)%(check)\n"
    )
    assert of(read(str(tmp_path / "uwsgi.ini"))) == {"application": "site:x", "env": (("D", "/srv1"),)}


# --- the table ---


def test_every_option_that_the_sample_of_deployments_has_is_known() -> None:
    """The options of 104 configurations that were examined, by the number of configurations that have the option."""
    seen = [
        "master",
        "processes",
        "workers",
        "module",
        "wsgi",
        "socket",
        "chdir",
        "vacuum",
        "wsgi-file",
        "file",
        "gevent",
        "virtualenv",
        "home",
        "buffer-size",
        "http",
        "threads",
        "chmod-socket",
        "enable-threads",
        "uid",
        "gid",
        "callable",
        "die-on-term",
        "max-requests",
        "lazy-apps",
        "disable-logging",
        "http-socket",
        "harakiri",
        "env",
        "pidfile",
        "safe-pidfile",
        "pythonpath",
        "pp",
        "static-map",
        "single-interpreter",
        "memory-report",
        "thunder-lock",
        "plugins",
        "plugin",
        "touch-reload",
        "gevent-early-monkey-patch",
        "daemonize",
        "socket-timeout",
        "http-websockets",
        "stats",
        "log-format",
        "logformat",
        "logto",
        "logto2",
        "post-buffering",
        "auto-procname",
        "procname-prefix",
        "log-4xx",
        "log-5xx",
        "need-app",
        "reload-mercy",
        "worker-reload-mercy",
        "http-timeout",
        "logger",
        "req-logger",
        "log-master",
        "offload-threads",
        "reload-on-rss",
        "evil-reload-on-rss",
        "harakiri-verbose",
        "attach-daemon",
        "attach-daemon2",
        "smart-attach-daemon",
        "strict",
        "master-fifo",
        "hook-master-start",
        "listen",
        "import",
        "shared-import",
        "log-date",
        "logformat-strftime",
        "add-header",
        "exit-on-reload",
        "protocol",
        "gevent-monkey-patch",
        "no-orphans",
        "async",
        "subscribe-to",
        "harakiri-graceful-timeout",
        "log-x-forwarded-for",
        "max-worker-lifetime",
        "max-worker-lifetime-delta",
        "limit-as",
        "mount",
        "manage-script-name",
        "py-call-osafterfork",
        "chown-socket",
        "emperor",
        "route",
        "ugreen",
        "vhost",
        "cheap",
        "cheaper",
        "idle",
        "cron",
        "unique-cron",
        "spooler",
        "cache2",
        "metrics-dir",
        "cgroup",
        "ignore-sigpipe",
        "ignore-write-errors",
        "disable-write-exception",
        "touch-chain-reload",
        "cheaper-algo",
        "log-slow",
        "honour-range",
        "close-on-exec",
        "umask",
        "wsgi-disable-file-wrapper",
        "skip-atexit-teardown",
        "pyargv",
    ]
    assert [name for name in seen if name not in by_key() and uwsgi_options.find(name, "") is None] == []


def test_an_option_is_in_one_place_only() -> None:
    nowhere = (None, uwsgi_options.OTHERS)
    both = [name for option in declared() for name in option.uwsgi if uwsgi_options.find(name, "") not in nowhere]
    # for some options the result depends on the value
    assert both == [] and len(set(uwsgi_options.names())) >= len(uwsgi_options.names()) - 6


SAMPLES = (
    "",
    "gevent",
    "Connection: close",
    "Connection: keep-alive",
    "work.py",
    "unix_signal:15 gracefully_kill_them_all",
    "^/x donotlog:",
    "^/ redirect:/y",
    "^/ addheader:X: y",
    "^/ basicauth:a",
    "^/ static:/srv",
    "^/ rewrite:/x",
    "^/ harakiri:5",
    "^/ gzip:",
    "json",
)


def test_every_row_of_the_table_can_be_reached_and_says_something() -> None:
    for row in uwsgi_options.TABLE:
        value = next(sample for sample in SAMPLES if re.fullmatch(row.when, sample, re.IGNORECASE))
        for pattern in row.patterns.split():
            names = fnmatch.filter(sorted(uwsgi_words.names()), pattern) if "*" in pattern else [pattern]
            assert row in [uwsgi_options.find(name, value) for name in names], pattern
        assert row.text and not row.text.endswith(".")
        assert row.verdict is Verdict.NEEDLESS or len(row.text) > 8


# --- with real servers ---


def test_the_flask_tutorials_file_serves(start: Start, tmp_path: Path) -> None:
    (tmp_path / "site_app.py").write_text(textwrap.dedent(APP))
    server = start(str(FILES / "flask_tutorial.ini"), environ={"WSGID_WORKERS": "2"}).wait_ready(2)
    assert client.get(tmp_path / "app.sock").body.decode() == f"{tmp_path} None ['wsgid']"
    assert server.stop() == 0
    server.assert_nothing_left()


def test_a_container_like_file_with_includes_serves_and_upgrades(start: Start, tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "site_app.py").write_text("from app import application\n")
    (tmp_path / "base.ini").write_text("[uwsgi]\nmaster = true\nplugins = python3\nworkers = 1\nenv = COLOUR=green\n")
    (tmp_path / "site.ini").write_text(
        "[uwsgi]\nini = base.ini\nname = site_app\nsocket = $(PLACE)/app.sock\n"
        "chdir = %ddeploy\npythonpath = ..\nmodule = %(name)\nworkers = 2 ; not one\n"
        "hook-master-start = unix_signal:15 gracefully_kill_them_all\n"
    )
    server = start("--ini", "site.ini", app=APP, environ={"PLACE": str(tmp_path)}).wait_ready(2)
    assert client.get(tmp_path / "app.sock").body.decode() == f"{tmp_path}/deploy green ['wsgid']"
    server.wait_for(r"WARNING: site.ini:8: the text after '2' is taken for a comment")
    (tmp_path / "base.ini").write_text("[uwsgi]\nenv = COLOUR=blue\n")
    server.send_signal(Signals.SIGUSR2)
    server.wait_for(r"worker \d+ \(generation 0, .* exited with code 0", 2)
    assert client.get(tmp_path / "app.sock").body.decode() == f"{tmp_path}/deploy blue ['wsgid']"
    assert server.stop() == 0
    server.assert_nothing_left()


def test_a_file_that_is_refused_starts_nothing(start: Start, tmp_path: Path) -> None:
    (tmp_path / "site.ini").write_text("[uwsgi]\nmodule = app:application\nsocket = app.sock\nhttps2 = :80\n")
    server = start("site.ini", app=APP)
    assert server.wait() == 2
    server.wait_for("site.ini:4: https2 = :80: wsgid does not have this: use https")
    server.assert_nothing_left()
