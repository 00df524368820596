"""The options, each declared once: from its declaration come the command line, the environment, the keys of
configuration files, the help, docs/options.md and the typed setting.

Rules
* A Settings object is complete, valid and frozen; whoever has one never checks it again.
* The unit is in the name or in the help, and every limit of the server is an option here.
* uWSGI's spellings are those of its own documentation. What wsgid takes without an effect, or refuses, is in
  uwsgi_options.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from functools import cache
from typing import Any

from wsgid.config import values
from wsgid.config.values import ValueKind
from wsgid.errors import ConfigError
from wsgid.protocol.forwarded import USUAL_HEADERS


class Group(Enum):
    """The sections of --help-all and of docs/options.md, in this order."""

    APPLICATION = "The application"
    SOURCES = "Where options come from"
    SOCKETS = "Sockets"
    HTTP = "HTTP"
    WORKERS = "Workers and processes"
    TIMES = "Time limits"
    RECYCLING = "Replacing workers"
    LOG = "The log"
    REQUEST_LOG = "Lines for requests"
    STATISTICS = "Statistics and control"
    LIMITS = "Limits of a request"


def option(default: Any, kind: ValueKind, metavar: str, text: str, group: Group, **more: Any) -> Any:
    """Declare one option.

    Args:
        default: the value when nobody says anything; an empty tuple means that the option may be repeated.
        kind: what its value may be.
        metavar: the value's name in the help.
        text: the help, with the unit.
        more: `uwsgi`, its spellings in uWSGI's ini; `flags`, further flags of the command line; `bare`, the text that
            stands for an option without a value; `formats`, for a spelling that means a variant of the value, with {}
            for it; `common`, whether --help shows it; `after_chdir`, whether uWSGI takes its relative paths from chdir;
            `adds`, whether the values of all sources count.
    """
    return field(default=default, metadata={"kind": kind, "metavar": metavar, "text": text, "group": group, **more})


G = Group


@dataclass(frozen=True, slots=True)
class Settings:
    application: str = option(
        "",
        values.TEXT,
        "MODULE:CALLABLE",
        "the WSGI application; MODULE:FACTORY() calls a factory",
        G.APPLICATION,
        uwsgi=("module", "wsgi"),
        flags=("--module", "--wsgi", "-w"),
    )
    wsgi_file: str = option(
        "",
        values.TEXT,
        "PATH",
        "load the application from this file",
        G.APPLICATION,
        uwsgi=("wsgi-file", "file"),
        flags=("--file",),
    )
    callable: str = option(
        "",
        values.TEXT,
        "NAME",
        "the application's name in its module (default: application, then app)",
        G.APPLICATION,
        uwsgi=("callable",),
    )
    chdir: str = option(
        "",
        values.DIRECTORY,
        "DIR",
        "change to this directory before anything else",
        G.APPLICATION,
        uwsgi=("chdir",),
        common=True,
    )
    virtualenv: str = option(
        "",
        values.DIRECTORY,
        "DIR",
        "use the packages of this virtual environment",
        G.APPLICATION,
        common=True,
        uwsgi=("virtualenv", "venv", "home", "pyhome"),
        flags=("--venv", "--home", "--pyhome", "-H"),
    )
    pythonpath: tuple[str, ...] = option(
        (),
        values.DIRECTORIES,
        "DIR",
        "put this in front of sys.path; a pattern of paths is expanded; repeatable",
        G.APPLICATION,
        uwsgi=("pythonpath", "pp", "early-pythonpath"),
        flags=("--pp",),
        after_chdir=True,
    )
    env: tuple[tuple[str, str], ...] = option(
        (),
        values.ENVIRONMENT,
        "NAME=VALUE",
        "set an environment variable; repeatable",
        G.APPLICATION,
        uwsgi=("env",),
        adds=True,
        common=True,
    )
    import_module: tuple[str, ...] = option(
        (),
        values.TEXT,
        "MODULE",
        "import this after the application; repeatable",
        G.APPLICATION,
        uwsgi=(
            "import",
            "py-import",
            "pyimport",
            "python-import",
            "shared-import",
            "shared-py-import",
            "shared-pyimport",
            "shared-python-import",
        ),
        flags=("--import", "--shared-import"),
    )
    pyargv: str = option(
        "",
        values.TEXT,
        "ARGUMENTS",
        "what the application finds in sys.argv, separated by blanks",
        G.APPLICATION,
        uwsgi=("pyargv",),
    )
    lazy_apps: bool = option(
        False,
        values.FLAG,
        "",
        "import the application in each worker instead of once before the fork",
        G.APPLICATION,
        uwsgi=("lazy-apps", "lazy", "lazy-app"),
    )
    boot_timeout: float = option(
        60.0, values.SECONDS, "SECONDS", "how long importing the application may take", G.APPLICATION
    )

    ini: tuple[str, ...] = option(
        (),
        values.TEXT,
        "FILE[:SECTION]",
        "take options from uWSGI's ini; repeatable; as the first argument, a file that ends in .ini needs no --ini",
        G.SOURCES,
        common=True,
    )
    config: str = option("", values.TEXT, "FILE", "take options from this TOML file", G.SOURCES, common=True)
    set_placeholder: tuple[tuple[str, str], ...] = option(
        (),
        values.ENVIRONMENT,
        "KEY=VALUE",
        "what %(KEY) stands for in the ini; repeatable",
        G.SOURCES,
        flags=("--set-ph", "--set"),
    )
    check: bool = option(
        False,
        values.FLAG,
        "",
        "only see whether these options are right and the application can be imported; say what they come to, and exit",
        G.SOURCES,
        common=True,
    )

    socket: tuple[str, ...] = option(
        (),
        values.TEXT,
        "ADDRESS",
        "listen here: a path, host:port, :port, [::1]:port, @name (abstract) or fd://N; repeatable",
        G.SOCKETS,
        uwsgi=("socket", "uwsgi-socket"),
        flags=("-s", "--uwsgi-socket"),
        common=True,
    )
    chmod_socket: int | None = option(
        None,
        values.MODE,
        "MODE",
        "mode of the socket file; without a value 666",
        G.SOCKETS,
        uwsgi=("chmod-socket", "chmod"),
        flags=("-C",),
        bare="666",
        common=True,
    )
    chown_socket: tuple[int, int] = option(
        (-1, -1), values.OWNER, "USER:GROUP", "owner of the socket file", G.SOCKETS, uwsgi=("chown-socket",)
    )
    listen: int = option(
        0,
        values.LIMIT,
        "N",
        "backlog: connections that may wait to be accepted (default: as many as the kernel allows, up to 4096)",
        G.SOCKETS,
        uwsgi=("listen",),
        flags=("-l",),
    )

    reuse_port: bool = option(
        False,
        values.FLAG,
        "",
        "each worker has a listening socket of its own (SO_REUSEPORT): for TCP",
        G.SOCKETS,
        uwsgi=("reuse-port",),
    )

    http: tuple[str, ...] = option(
        (),
        values.TEXT,
        "ADDRESS",
        "speak HTTP/1.1 here, without nginx; as in --socket; repeatable",
        G.HTTP,
        uwsgi=("http", "http-socket", "http11-socket"),
        flags=("--http-socket",),
        common=True,
    )
    http_keepalive: float = option(
        65.0,
        values.SECONDS,
        "SECONDS",
        "how long a connection without a request is kept: longer than by the load balancer",
        G.HTTP,
    )
    http_keepalive_requests: int = option(1000, values.COUNT, "N", "requests of one connection", G.HTTP)
    http_idle: int = option(
        1000,
        values.COUNT,
        "N",
        "connections without a whole request, per worker; beyond that, the one that has waited longest is closed",
        G.HTTP,
    )
    http_head_timeout: float = option(
        10.0, values.SECONDS, "SECONDS", "how long a request's head may take to arrive", G.HTTP
    )
    body_rate: int = option(
        240,
        values.LIMIT,
        "BYTES",
        "how much of a request's body has to come a second, on average of the time that is "
        "spent waiting for it, once that is longer than --socket-timeout; a slower client gets a 408; 0: no limit",
        G.HTTP,
    )
    http_line_size: int = option(
        8190, values.SIZE, "BYTES", "of a request line; longer ones are refused with a 414", G.HTTP
    )
    http_head_size: int = option(
        64 << 10, values.SIZE, "BYTES", "of a request's headers; more are refused with a 431", G.HTTP
    )
    https: tuple[tuple[str, ...], ...] = option(
        (),
        values.TLS_SOCKET,
        "ADDRESS,CERT,KEY[,CA]",
        "speak HTTP/1.1 over TLS here; with CA, clients have to show a "
        "certificate that it has signed; PEM files; repeatable",
        G.HTTP,
        uwsgi=("https", "https-socket"),
        flags=("--https-socket",),
    )
    ssl_socket: tuple[tuple[str, ...], ...] = option(
        (),
        values.TLS_SOCKET,
        "ADDRESS,CERT,KEY[,CA]",
        "take nginx's `uwsgi_pass suwsgi://` here, files as in --https; repeatable",
        G.HTTP,
        uwsgi=("suwsgi-socket",),
        flags=("--suwsgi-socket",),
    )
    proxy_protocol: bool = option(
        False,
        values.FLAG,
        "",
        "--http and --https connections begin with a PROXY header, version 1 or 2, from a peer "
        "that --forwarded-allow-ips names",
        G.HTTP,
        uwsgi=("enable-proxy-protocol",),
    )
    forwarded_allow_ips: str = option(
        "127.0.0.1,::1,unix",
        values.PEERS,
        "LIST",
        "whose --forwarded-headers and PROXY headers count, on --http and "
        "--https: addresses, networks, 'unix' for unix sockets, '*' for everybody; '' for nobody",
        G.HTTP,
    )
    forwarded_headers: str = option(
        USUAL_HEADERS,
        values.FORWARDED_HEADERS,
        "LIST",
        "which headers of these peers count: x-forwarded-for, "
        "x-forwarded-proto, x-forwarded-host, x-forwarded-port, or forwarded alone; name those that your proxy "
        "overwrites",
        G.HTTP,
    )

    static_map: tuple[tuple[str, str], ...] = option(
        (),
        values.STATIC_MAP,
        "/PREFIX=DIR",
        "send files of this directory by ourselves, where nginx does not; repeatable",
        G.HTTP,
        uwsgi=("static-map",),
    )
    static_safe: tuple[str, ...] = option(
        (),
        values.PATH,
        "DIR",
        "symbolic links of a --static-map may lead into this directory too; repeatable",
        G.HTTP,
        uwsgi=("static-safe",),
    )
    static_hidden: bool = option(
        False,
        values.FLAG,
        "",
        "a --static-map also sends what lies under a name that begins with a dot, such as .env "
        "and .git; without this option, of such names only .well-known is sent",
        G.HTTP,
    )

    workers: int = option(
        1,
        values.WORKERS,
        "N",
        "worker processes, or 'auto' for one per processor",
        G.WORKERS,
        uwsgi=("workers", "processes"),
        flags=("-p", "--processes"),
        common=True,
    )
    cpu_affinity: int = option(
        0,
        values.LIMIT,
        "N",
        "bind each worker to N processors, one worker after the other, of those that wsgid "
        "itself may use (default: to all of them)",
        G.WORKERS,
        uwsgi=("cpu-affinity",),
    )
    gevent: int = option(
        1000,
        values.COUNT,
        "N",
        "requests in flight per worker; at this limit it stops accepting",
        G.WORKERS,
        uwsgi=("gevent",),
        common=True,
    )
    uid: int = option(
        -1, values.USER, "USER", "run the application as this user", G.WORKERS, uwsgi=("uid",), common=True
    )
    gid: int = option(
        -1, values.GROUP, "GROUP", "run the application as this group", G.WORKERS, uwsgi=("gid",), common=True
    )
    new_privileges: bool = option(
        False,
        values.FLAG,
        "",
        "after --uid, programs that the application starts may gain privileges by their "
        "set-user-ID bit, as sudo and some sendmails do",
        G.WORKERS,
    )
    umask: int = option(-1, values.MODE, "MODE", "the umask of all processes", G.WORKERS, uwsgi=("umask",))
    pidfile: str = option(
        "",
        values.PATH,
        "PATH",
        "write the master's pid to this file",
        G.WORKERS,
        common=True,
        uwsgi=("pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2"),
        flags=("--safe-pidfile", "--pidfile2", "--safe-pidfile2"),
    )
    daemonize: str = option(
        "",
        values.PATH,
        "PATH",
        "go to the background once the application serves, and log to this file",
        G.WORKERS,
        uwsgi=("daemonize", "daemonize2"),
        flags=("-d", "--daemonize2"),
    )
    honour_stdin: bool = option(
        False,
        values.FLAG,
        "",
        "leave standard input to the application, for a debugger; without this it is empty",
        G.WORKERS,
        uwsgi=("honour-stdin",),
    )
    procname_prefix: str = option(
        "",
        values.TEXT,
        "TEXT",
        "begin the processes' titles with this",
        G.WORKERS,
        uwsgi=("procname-prefix", "procname-prefix-spaced"),
        flags=("--procname-prefix-spaced",),
        formats={"procname-prefix-spaced": "{} "},
    )

    harakiri: float = option(
        0.0,
        values.SECONDS_OR_NONE,
        "SECONDS",
        "how long a request may take; it alone is ended, with a 504 (default: as long as it likes)",
        G.TIMES,
        uwsgi=("harakiri",),
        flags=("-t",),
        common=True,
    )
    hub_timeout: float = option(
        0.0,
        values.SECONDS_OR_NONE,
        "SECONDS",
        "what has held a worker's event loop for this long is ended (default: --harakiri, or 30)",
        G.TIMES,
    )
    hub_warn: float = option(
        1.0, values.SECONDS, "SECONDS", "what has held it for this long is shown in the log", G.TIMES
    )
    socket_timeout: float = option(
        30.0,
        values.SECONDS,
        "SECONDS",
        "how long a read from or a write to nginx may stand still",
        G.TIMES,
        uwsgi=("socket-timeout",),
        flags=("-z",),
    )
    worker_reload_mercy: float = option(
        60.0,
        values.SECONDS,
        "SECONDS",
        "what a leaving worker gets to finish the requests in flight",
        G.TIMES,
        uwsgi=("worker-reload-mercy", "reload-mercy"),
        flags=("--reload-mercy",),
    )
    shutdown_delay: float = option(
        0.0,
        values.SECONDS_OR_NONE,
        "SECONDS",
        "after TERM go on accepting for this long, for load balancers that need it",
        G.TIMES,
    )

    max_requests: int = option(
        0,
        values.LIMIT,
        "N",
        "replace a worker that has served this many requests",
        G.RECYCLING,
        uwsgi=("max-requests",),
        flags=("-R",),
        common=True,
    )
    max_requests_delta: int = option(
        0,
        values.LIMIT,
        "N",
        "up to this many more, by chance, so that not all are replaced at once (default: a tenth)",
        G.RECYCLING,
        uwsgi=("max-requests-delta",),
    )
    max_worker_lifetime: float = option(
        0.0,
        values.SECONDS_OR_NONE,
        "SECONDS",
        "replace a worker that has lived this long",
        G.RECYCLING,
        uwsgi=("max-worker-lifetime",),
    )
    max_worker_lifetime_delta: float = option(
        0.0,
        values.SECONDS_OR_NONE,
        "SECONDS",
        "up to this much longer, by chance (default: a tenth)",
        G.RECYCLING,
        uwsgi=("max-worker-lifetime-delta",),
    )
    reload_on_rss: int = option(
        0, values.MEGABYTES, "MB", "replace a worker that has grown to this", G.RECYCLING, uwsgi=("reload-on-rss",)
    )
    evil_reload_on_rss: int = option(
        0,
        values.MEGABYTES,
        "MB",
        "kill a worker that has grown to this, whatever it is doing",
        G.RECYCLING,
        uwsgi=("evil-reload-on-rss",),
    )
    touch_reload: tuple[str, ...] = option(
        (),
        values.PATH,
        "PATH",
        "reload when this file changes, appears or is switched; repeatable",
        G.RECYCLING,
        uwsgi=("touch-reload", "touch-chain-reload", "touch-workers-reload"),
        flags=("--touch-chain-reload",),
        after_chdir=True,
        common=True,
    )
    py_autoreload: bool = option(
        False,
        values.FLAG,
        "",
        "reload when a module of the application changes: for development",
        G.RECYCLING,
        uwsgi=("py-autoreload", "py-auto-reload", "python-autoreload", "python-auto-reload"),
    )

    logto: str = option(
        "",
        values.PATH,
        "PATH",
        "write the log, and what the application prints, to this file; USR1 reopens it",
        G.LOG,
        uwsgi=("logto", "logto2"),
        flags=("--logto2",),
        common=True,
    )
    log_json: bool = option(False, values.FLAG, "", "write the server log as JSON, one object a line", G.LOG)
    log_level: str = option(
        "info", values.LEVEL, "LEVEL", "the least that the server log says: debug, info, warning, error", G.LOG
    )
    logger: tuple[str, ...] = option(
        (),
        values.LOGGER,
        "WHERE",
        "write the server log there: syslog:TAG,FACILITY, rsyslog:HOST:PORT,TAG, file:PATH or stdio; repeatable",
        G.LOG,
        uwsgi=("logger",),
    )
    touch_logreopen: tuple[str, ...] = option(
        (),
        values.PATH,
        "PATH",
        "reopen the logs when this file changes; repeatable",
        G.LOG,
        uwsgi=("touch-logreopen",),
        after_chdir=True,
    )

    access_log: str = option(
        "",
        values.REQUEST_LOG,
        "FILE",
        "write a line for each request, to this file, or without a value where the log "
        "goes; syslog: and rsyslog: as in --logger",
        G.REQUEST_LOG,
        uwsgi=("req-logger", "logger-req"),
        flags=("--req-logger",),
        bare="-",
        common=True,
    )
    log_format: str = option(
        "",
        values.LOG_FORMAT,
        "FORMAT",
        "of these lines: uwsgi, combined, json, or a text with uWSGI's %(variables) (default: uwsgi)",
        G.REQUEST_LOG,
        uwsgi=("log-format", "logformat"),
        flags=("--logformat",),
    )
    logformat_strftime: bool = option(
        False,
        values.FLAG,
        "",
        "%(ftime) in --log-format is as --log-date says",
        G.REQUEST_LOG,
        uwsgi=("logformat-strftime", "log-format-strftime"),
    )
    log_date: str = option(
        "",
        values.TEXT,
        "FORMAT",
        "of strftime, for %(ftime)",
        G.REQUEST_LOG,
        uwsgi=("log-date", "logdate"),
        bare="%Y-%m-%d %H:%M:%S",
    )
    disable_logging: bool = option(
        False,
        values.FLAG,
        "",
        "write no line for a request, but those of --log-4xx, --log-5xx and --log-slow",
        G.REQUEST_LOG,
        uwsgi=("disable-logging",),
        flags=("-L",),
    )
    log_4xx: bool = option(
        False, values.FLAG, "", "write a line for each request with a status of 4xx", G.REQUEST_LOG, uwsgi=("log-4xx",)
    )
    log_5xx: bool = option(
        False, values.FLAG, "", "write a line for each request with a status of 5xx", G.REQUEST_LOG, uwsgi=("log-5xx",)
    )
    log_slow: int = option(
        0,
        values.MILLISECONDS,
        "MS",
        "write a line for each request that took this many milliseconds",
        G.REQUEST_LOG,
        uwsgi=("log-slow",),
    )
    log_x_forwarded_for: bool = option(
        False,
        values.FLAG,
        "",
        "in these lines, the client is whom X-Forwarded-For names first",
        G.REQUEST_LOG,
        uwsgi=("log-x-forwarded-for",),
    )
    memory_report: bool = option(
        False,
        values.FLAG,
        "",
        "begin each line with the worker's memory",
        G.REQUEST_LOG,
        uwsgi=("memory-report",),
        flags=("-m",),
    )

    stats: str = option(
        "",
        values.TEXT,
        "ADDRESS",
        "serve uWSGI's statistics there, as JSON",
        G.STATISTICS,
        uwsgi=("stats", "stats-server"),
    )
    stats_http: bool = option(False, values.FLAG, "", "serve them over HTTP", G.STATISTICS, uwsgi=("stats-http",))
    metrics: str = option(
        "",
        values.TEXT,
        "ADDRESS",
        "serve Prometheus's /metrics, and /healthz and /readyz, there over HTTP",
        G.STATISTICS,
    )
    control: str = option(
        "",
        values.TEXT,
        "PATH",
        "the socket of wsgidctl, or 'off' (default: beside the first unix socket, with .ctl as its suffix)",
        G.STATISTICS,
    )
    master_fifo: tuple[str, ...] = option(
        (),
        values.PATH,
        "PATH",
        "take uWSGI's one-letter commands from this FIFO; repeatable",
        G.STATISTICS,
        uwsgi=("master-fifo",),
    )

    max_vars: int = option(
        2000,
        values.COUNT,
        "N",
        "variables of one request; more are refused with a 431",
        G.LIMITS,
        uwsgi=("max-vars",),
        flags=("-v",),
    )
    post_buffering: int = option(
        0,
        values.SIZE,
        "BYTES",
        "read the whole body of a request before the application is called, so that "
        "wsgi.input can seek: in memory up to this, above it in a temporary file (default: the application reads from "
        "the peer)",
        G.LIMITS,
        uwsgi=("post-buffering",),
    )
    drain_size: int = option(
        64 << 20,
        values.SIZE,
        "BYTES",
        "request body that is read and thrown away after a response that ignored it",
        G.LIMITS,
    )
    drain_timeout: float = option(10.0, values.SECONDS, "SECONDS", "how long that may take", G.LIMITS)

    @property
    def hub_timeout_s(self) -> float:
        return self.hub_timeout or self.harakiri or 30.0

    @property
    def log_path(self) -> str:
        """The file that standard output and error are; empty if they stay what they were."""
        return self.logto or self.daemonize

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def from_dict(carried: dict[str, Any]) -> Settings:
    """The settings that `as_dict` and JSON (which makes tuples lists) have carried to another process."""
    return Settings(**{name: _tuples(value) for name, value in carried.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# --- the declarations, as objects ---


@dataclass(frozen=True, slots=True)
class Option:
    """One declaration; see `option`."""

    name: str
    default: Any
    kind: ValueKind
    metavar: str
    text: str
    group: Group
    uwsgi: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    bare: str | None = None
    formats: Mapping[str, str] = field(default_factory=dict)
    common: bool = False
    after_chdir: bool = False
    adds: bool = False

    @property
    def key(self) -> str:
        """Its name in files: with hyphens."""
        return self.name.replace("_", "-")

    @property
    def flag(self) -> str:
        return "--" + self.key

    @property
    def variable(self) -> str:
        return "WSGID_" + self.name.upper()

    @property
    def repeatable(self) -> bool:
        return bool(self.default == ())

    def show(self, value: Any) -> str:
        """A value as one text; of a repeatable option, one of its values."""
        return self.kind.show(value)


@dataclass(frozen=True, slots=True)
class Given:
    """What one source says of one option.

    Args:
        texts: one value; of a repeatable option, all of them that this place gives.
        said: as the operator has written it, for complaints: `--workers '0'`.
        origin: where: `uwsgi.ini:7`.
    """

    option: Option
    texts: tuple[str, ...]
    said: str
    origin: str

    def value(self) -> Any:
        """
        Raises:
            ConfigError: a text is no value of this option.
        """
        parsed: list[Any] = []
        for text in self.texts:
            try:
                if "\0" in text:
                    raise ValueError("a text without NUL bytes")
                value = self.option.kind.parse(text)
            except ValueError as error:
                raise ConfigError(f"{self.said} cannot be used: expected {error}") from error
            parsed += value if self.option.kind is values.DIRECTORIES else [value]
        return tuple(parsed) if self.option.repeatable else parsed[-1]


@cache
def declared() -> tuple[Option, ...]:
    """All options, in the order of their declarations."""
    return tuple(Option(one.name, one.default, **one.metadata) for one in fields(Settings))


@cache
def by_key() -> Mapping[str, Option]:
    """All spellings in files: ours, with - or _, and uWSGI's."""
    found = {spelling: one for one in declared() for spelling in (one.name, one.key)}
    return found | {spelling: one for one in declared() for spelling in one.uwsgi}


def nearest(name: str, known: Iterable[str]) -> str:
    """The most similar name, as a question to add to a complaint; empty if there is none."""
    import difflib  # the server itself has no use for it

    found = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {found[0]!r}?" if found else ""
