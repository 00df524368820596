"""All options, each declared once. The declaration defines the flag, the environment variable, the key in files, the
help, the row in docs/options.md and the typed setting.

Rules
* A Settings object is complete, valid and frozen; code that has one need not check it again.
* The unit is in the option's name or in its help. Every limit of the server is an option here.
* uWSGI's spellings are those of its own documentation. uwsgi_options.py lists uWSGI's options that wsgid accepts
  without an effect, and those that it refuses.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache
from typing import Any

from wsgid.config import values
from wsgid.config.values import ValueKind
from wsgid.errors import ConfigError
from wsgid.protocol.forwarded import LOCAL_PEERS, USUAL_HEADERS
from wsgid.records import asdict, dataclass, field, fields


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
    CACHE = "What workers share"
    RATES = "Limits of rate and concurrency"


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
    """All options with their values; frozen."""

    application: str = option(
        "",
        values.TEXT,
        "MODULE:CALLABLE",
        "The WSGI application. MODULE:FACTORY() calls a factory.",
        G.APPLICATION,
        uwsgi=("module", "wsgi"),
        flags=("--module", "--wsgi", "-w"),
    )
    wsgi_file: str = option(
        "",
        values.TEXT,
        "PATH",
        "Load the application from this file.",
        G.APPLICATION,
        uwsgi=("wsgi-file", "file"),
        flags=("--file",),
        common=True,
    )
    mount: tuple[tuple[str, str], ...] = option(
        (),
        values.MOUNT,
        "/PREFIX=APP",
        "Serve this application for paths with this prefix; MODULE:CALLABLE or a Python file. May be repeated. Other "
        "paths go to the first application.",
        G.APPLICATION,
        uwsgi=("mount",),
    )
    manage_script_name: bool = option(
        False,
        values.FLAG,
        "",
        "Give an application of --mount its prefix in SCRIPT_NAME, and the rest of the path in PATH_INFO.",
        G.APPLICATION,
        uwsgi=("manage-script-name",),
    )
    paste: str = option(
        "",
        values.TEXT,
        "URI",
        "Load the application with paste.deploy, from a file such as config:/srv/site/production.ini.",
        G.APPLICATION,
        uwsgi=("paste", "ini-paste", "ini-paste-logged"),
        formats={"ini-paste": "config:{}", "ini-paste-logged": "config:{}"},
    )
    paste_logger: bool = option(
        False,
        values.FLAG,
        "",
        "Let the file of --paste configure Python's logging, too.",
        G.APPLICATION,
        uwsgi=("paste-logger",),
    )
    callable: str = option(
        "",
        values.TEXT,
        "NAME",
        "The name of the application in its module (default: application, then app).",
        G.APPLICATION,
        uwsgi=("callable",),
    )
    chdir: str = option(
        "",
        values.DIRECTORY,
        "DIR",
        "Change to this directory before anything else.",
        G.APPLICATION,
        uwsgi=("chdir",),
        common=True,
    )
    virtualenv: str = option(
        "",
        values.DIRECTORY,
        "DIR",
        "Use the packages of this virtual environment.",
        G.APPLICATION,
        common=True,
        uwsgi=("virtualenv", "venv", "home", "pyhome"),
        after_chdir=True,
        flags=("--venv", "--home", "--pyhome", "-H"),
    )
    pythonpath: tuple[str, ...] = option(
        (),
        values.DIRECTORIES,
        "DIR",
        "Put this directory in front of sys.path. A pattern stands for all directories that match. May be repeated.",
        G.APPLICATION,
        uwsgi=("pythonpath", "python-path", "pp", "early-pythonpath"),
        flags=("--pp",),
        after_chdir=True,
    )
    env: tuple[tuple[str, str], ...] = option(
        (),
        values.ENVIRONMENT,
        "NAME=VALUE",
        "Set an environment variable. May be repeated.",
        G.APPLICATION,
        uwsgi=("env",),
        adds=True,
        common=True,
    )
    import_module: tuple[str, ...] = option(
        (),
        values.TEXT,
        "MODULE",
        "Import this module after the application. May be repeated.",
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
    uwsgi_module: bool = option(
        False,
        values.FLAG,
        "",
        "Let the application import the modules uwsgi and uwsgidecorators, with the functions that sites "
        "use most. Libraries that find these modules may behave as under uWSGI.",
        G.APPLICATION,
    )
    pyargv: str = option(
        "",
        values.TEXT,
        "ARGUMENTS",
        "The arguments that the application finds in sys.argv, separated by blanks.",
        G.APPLICATION,
        uwsgi=("pyargv",),
    )
    optimize: int = option(
        0,
        values.OPTIMIZE,
        "0, 1 or 2",
        "Run the application without assert (1), and without docstrings (2), as python -O and -OO do.",
        G.APPLICATION,
        uwsgi=("optimize",),
        flags=("-O",),
    )
    lazy_apps: bool = option(
        False,
        values.FLAG,
        "",
        "Import the application in each worker, instead of once before the workers are forked.",
        G.APPLICATION,
        uwsgi=("lazy-apps", "lazy", "lazy-app"),
    )
    boot_timeout: float = option(
        60.0, values.SECONDS, "SECONDS", "How long the import of the application may take.", G.APPLICATION
    )

    ini: tuple[str, ...] = option(
        (),
        values.TEXT,
        "FILE[:SECTION]",
        "Read options from this ini file of uWSGI. May be repeated. An argument that ends in .ini needs no --ini.",
        G.SOURCES,
        flags=("--include",),
        common=True,
    )
    config: str = option("", values.TEXT, "FILE", "Read options from this TOML file.", G.SOURCES, common=True)
    set_placeholder: tuple[tuple[str, str], ...] = option(
        (),
        values.ENVIRONMENT,
        "KEY=VALUE",
        "The text that %(KEY) stands for in ini files. May be repeated.",
        G.SOURCES,
        flags=("--set-ph", "--set"),
    )
    dev: bool = option(
        False,
        values.FLAG,
        "",
        "For development: serve on http://127.0.0.1:8000 or the next free port, reload when code changes, and show a "
        "line for each request. Without an application, use app.py, wsgi.py or Django's manage.py of the directory.",
        G.SOURCES,
        common=True,
    )
    migrate: bool = option(
        False,
        values.FLAG,
        "",
        "Print a TOML file for this site of uWSGI, with a comment for each line that was changed or left "
        "out, and a systemd unit. Nothing is started.",
        G.SOURCES,
    )
    check: bool = option(
        False,
        values.FLAG,
        "",
        "Only check these options and the import of the application. Print the resulting settings, and exit.",
        G.SOURCES,
        common=True,
    )

    socket: tuple[str, ...] = option(
        (),
        values.TEXT,
        "ADDRESS",
        "Listen here for nginx's uwsgi_pass: a path, host:port, :port, [::1]:port, @name (abstract) or "
        "fd://N. May be repeated.",
        G.SOCKETS,
        uwsgi=("socket", "uwsgi-socket"),
        flags=("-s", "--uwsgi-socket"),
        common=True,
    )
    socket_protocol: str = option(
        "uwsgi",
        values.PROTOCOL,
        "NAME",
        "What --socket speaks: uwsgi or http.",
        G.SOCKETS,
        uwsgi=("protocol", "socket-protocol"),
        flags=("--protocol",),
    )
    chmod_socket: int | None = option(
        None,
        values.MODE,
        "MODE",
        "The mode of the socket file. Without a value, the mode is 666.",
        G.SOCKETS,
        uwsgi=("chmod-socket", "chmod"),
        flags=("-C",),
        bare="666",
        common=True,
    )
    chown_socket: tuple[int, int] = option(
        (-1, -1),
        values.OWNER,
        "USER:GROUP",
        "The owner of the socket file (default: --uid and --gid).",
        G.SOCKETS,
        uwsgi=("chown-socket",),
    )
    listen: int = option(
        0,
        values.LIMIT,
        "N",
        "The backlog: how many connections may wait to be accepted (default: as many as the kernel allows, up "
        "to 4096).",
        G.SOCKETS,
        uwsgi=("listen",),
        flags=("-l",),
    )

    reuse_port: bool = option(
        False,
        values.FLAG,
        "",
        "Give each worker a listening socket of its own (SO_REUSEPORT). Only for TCP.",
        G.SOCKETS,
        uwsgi=("reuse-port",),
    )

    http: tuple[str, ...] = option(
        (),
        values.TEXT,
        "ADDRESS",
        "Speak HTTP/1.1 here, without nginx. Addresses are those of --socket. May be repeated.",
        G.HTTP,
        uwsgi=("http", "http-socket", "http11-socket"),
        flags=("--http-socket",),
        common=True,
    )
    http_keepalive: float = option(
        values.KEPT_S,
        values.KEEPALIVE,
        "SECONDS",
        "How long a connection without a request stays open. Choose a longer time than the load balancer does. As in "
        "uWSGI, 1 means on, with the default time, and 0 closes each connection after its request.",
        G.HTTP,
        uwsgi=("http-keepalive",),
        bare="on",
    )
    http_keepalive_requests: int = option(1000, values.COUNT, "N", "How many requests one connection may send.", G.HTTP)
    http_idle: int = option(
        1000,
        values.COUNT,
        "N",
        "How many connections of a worker may be without a whole request. Beyond that, the worker closes the "
        "connection that has waited longest.",
        G.HTTP,
    )
    http_head_timeout: float = option(
        10.0, values.SECONDS, "SECONDS", "How long the head of a request may take to arrive.", G.HTTP
    )
    body_rate: int = option(
        240,
        values.LIMIT,
        "BYTES",
        "How many bytes of a request's body must arrive each second. The average is taken over the time "
        "that a worker has waited for the body. It counts only when that time is longer than "
        "--socket-timeout. A slower client gets a 408. 0 means no limit.",
        G.HTTP,
    )
    http_line_size: int = option(
        8190, values.SIZE, "BYTES", "The largest request line. A longer line gets a 414.", G.HTTP
    )
    http_head_size: int = option(
        64 << 10,
        values.SIZE,
        "BYTES",
        "The most bytes that the headers of a request may have together. A request with more gets a 431.",
        G.HTTP,
    )
    https: tuple[tuple[str, ...], ...] = option(
        (),
        values.TLS_SOCKET,
        "ADDRESS,CERT,KEY[,CA]",
        "Speak HTTP/1.1 over TLS here, with these PEM files. With CA, clients must show a certificate that CA "
        "has signed. May be repeated.",
        G.HTTP,
        uwsgi=("https", "https-socket"),
        flags=("--https-socket",),
    )
    ssl_socket: tuple[tuple[str, ...], ...] = option(
        (),
        values.TLS_SOCKET,
        "ADDRESS,CERT,KEY[,CA]",
        "Listen here for nginx's `uwsgi_pass suwsgi://`, with PEM files as in --https. May be repeated.",
        G.HTTP,
        uwsgi=("suwsgi-socket",),
        flags=("--suwsgi-socket",),
    )
    proxy_protocol: bool = option(
        False,
        values.FLAG,
        "",
        "Connections of --http and --https must begin with a PROXY header (version 1 or 2), from a peer that "
        "--forwarded-allow-ips names.",
        G.HTTP,
    )
    http_enable_proxy_protocol: bool = option(
        False,
        values.FLAG,
        "",
        "Connections of --http and --https may begin with a PROXY header, from any peer, as in uWSGI. Connections "
        "without a header are served, too. Use --proxy-protocol where clients can reach the socket.",
        G.HTTP,
        uwsgi=("http-enable-proxy-protocol", "enable-proxy-protocol"),
    )
    forwarded_allow_ips: str = option(
        LOCAL_PEERS,
        values.PEERS,
        "LIST",
        "The trusted peers on --http and --https: their --forwarded-headers and PROXY headers count. Name "
        "addresses, networks, 'unix' for unix sockets, '*' for all peers, or '' for none.",
        G.HTTP,
    )
    forwarded_headers: str = option(
        USUAL_HEADERS,
        values.FORWARDED_HEADERS,
        "LIST",
        "The headers of trusted peers that count: some of x-forwarded-for, x-forwarded-proto, "
        "x-forwarded-host and x-forwarded-port, or forwarded alone. Name only headers that your proxy "
        "overwrites.",
        G.HTTP,
    )

    websockets: int = option(
        10_000,
        values.COUNT,
        "N",
        "How many upgraded connections (WebSockets) a worker may have, besides the requests of --gevent. Beyond that, "
        "a request with an Upgrade gets a 503.",
        G.HTTP,
    )
    websocket_idle: float = option(
        0.0,
        values.SECONDS_OR_NONE,
        "SECONDS",
        "How long an upgraded connection may be without a byte in either direction before it is closed (default: no "
        "limit).",
        G.HTTP,
    )

    static_map: tuple[tuple[str, str], ...] = option(
        (),
        values.STATIC_MAP,
        "/PREFIX=DIR",
        "Send files from this directory for paths with this prefix. Use it where nginx does not send them. "
        "May be repeated.",
        G.HTTP,
        uwsgi=("static-map", "static-map2"),
        formats={"static-map2": "whole:{}"},
    )
    check_static_docroot: bool = option(
        False,
        values.FLAG,
        "",
        "Send files from the directory that nginx names in DOCUMENT_ROOT, wherever the directory has one for the path.",
        G.HTTP,
        uwsgi=("check-static-docroot",),
    )
    check_static: tuple[str, ...] = option(
        (),
        values.TEXT,
        "DIR",
        "Send files from this directory wherever it has one for the path. May be repeated.",
        G.HTTP,
        uwsgi=("check-static", "static-check"),
    )
    static_index: tuple[str, ...] = option(
        (),
        values.TEXT,
        "NAME",
        "Send this file for a directory of --static-map or --check-static, such as index.html. May be repeated.",
        G.HTTP,
        uwsgi=("static-index",),
    )
    static_skip_ext: tuple[str, ...] = option(
        (),
        values.TEXT,
        "ENDING",
        "Send no files for paths with this ending, such as .php. May be repeated.",
        G.HTTP,
        uwsgi=("static-skip-ext",),
    )
    static_expires: tuple[tuple[str, str, int, bool], ...] = option(
        (),
        values.EXPIRES,
        "'REGEXP SECONDS'",
        "Let clients keep a file for this long, if the file's path on the disk matches. path:REGEXP "
        "compares the path of the request instead, and uri:REGEXP the request's URI. type:TYPE=SECONDS "
        "compares the type. May be repeated.",
        G.HTTP,
        uwsgi=(
            "static-expires",
            "static-expires-mtime",
            "static-expires-type",
            "static-expires-type-mtime",
            "static-expires-path-info",
            "static-expires-path-info-mtime",
            "static-expires-uri",
            "static-expires-uri-mtime",
        ),
        formats={
            "static-expires-mtime": "file-mtime:{}",
            "static-expires-type": "type:{}",
            "static-expires-type-mtime": "type-mtime:{}",
            "static-expires-path-info": "path:{}",
            "static-expires-path-info-mtime": "path-mtime:{}",
            "static-expires-uri": "uri:{}",
            "static-expires-uri-mtime": "uri-mtime:{}",
        },
    )
    static_gzip: tuple[str, ...] = option(
        (),
        values.PATTERN,
        "REGEXP",
        "Send FILE.br or FILE.gz, if there is one, instead of a FILE whose path on the disk matches. dir:DIR stands "
        "for a directory, ext:ENDING for an ending. May be repeated.",
        G.HTTP,
        uwsgi=("static-gzip", "static-gzip-dir", "static-gzip-prefix", "static-gzip-ext", "static-gzip-suffix"),
        formats={
            "static-gzip-dir": "dir:{}",
            "static-gzip-prefix": "dir:{}",
            "static-gzip-ext": "ext:{}",
            "static-gzip-suffix": "ext:{}",
        },
    )
    static_gzip_all: bool = option(
        False,
        values.FLAG,
        "",
        "Send FILE.br or FILE.gz, if there is one, instead of any FILE.",
        G.HTTP,
        uwsgi=("static-gzip-all",),
    )
    mimefile: tuple[str, ...] = option(
        (),
        values.PATH,
        "PATH",
        "Read types of files from here, as from /etc/mime.types. May be repeated.",
        G.HTTP,
        uwsgi=("mimefile", "mime-file"),
        after_chdir=True,
    )
    static_safe: tuple[str, ...] = option(
        (),
        values.PATH,
        "DIR",
        "Allow symbolic links of a --static-map to lead into this directory, too. May be repeated.",
        G.HTTP,
        uwsgi=("static-safe",),
    )
    static_charset: str = option(
        "utf-8",
        values.CHARSET,
        "NAME",
        "The charset in the type of text files of --static-map and the like, or 'none' to leave it to the file, as "
        "uWSGI and nginx do. A site of uWSGI has 'none', unless it says otherwise.",
        G.HTTP,
    )
    static_hidden: bool = option(
        False,
        values.FLAG,
        "",
        "Let a --static-map also send files under names that begin with a dot, such as .env and .git. Without "
        "this option, only .well-known is sent.",
        G.HTTP,
    )

    workers: int = option(
        1,
        values.WORKERS,
        "N",
        "The number of worker processes, or 'auto' for one per processor.",
        G.WORKERS,
        uwsgi=("workers", "processes"),
        flags=("-p", "--processes"),
        common=True,
    )
    workers_min: int = option(
        0,
        values.LIMIT,
        "N",
        "Let workers come and go with the load: at least N of them, and at most --workers (default: always --workers).",
        G.WORKERS,
        uwsgi=("cheaper",),
    )
    workers_initial: int = option(
        0,
        values.LIMIT,
        "N",
        "The workers at the start, with --workers-min (default: as many as --workers-min).",
        G.WORKERS,
        uwsgi=("cheaper-initial",),
    )
    cpu_affinity: int = option(
        0,
        values.LIMIT,
        "N",
        "Bind each worker to N processors, in turn, out of those that wsgid itself may use (default: all of them).",
        G.WORKERS,
        uwsgi=("cpu-affinity",),
    )
    gevent: int = option(
        1000,
        values.COUNT,
        "N",
        "How many requests a worker handles at once. A worker at this limit stops accepting.",
        G.WORKERS,
        uwsgi=("gevent",),
        common=True,
    )
    attach_daemon: tuple[str, ...] = option(
        (),
        values.TEXT,
        "COMMAND",
        "Run this command beside the workers, for example Celery in a container. The command starts when "
        "the application serves. It starts again when it has ended, and after a reload. It ends with "
        "the server. May be repeated.",
        G.WORKERS,
        uwsgi=("attach-daemon",),
    )
    smart_attach_daemon: tuple[tuple[str, str], ...] = option(
        (),
        values.SMART_DAEMON,
        "'PIDFILE COMMAND'",
        "As --attach-daemon, for a command that goes to the background and writes its pid to this file. A reload "
        "leaves it running. May be repeated.",
        G.WORKERS,
        uwsgi=("smart-attach-daemon",),
    )
    smart_attach_daemon2: tuple[tuple[str, str], ...] = option(
        (),
        values.SMART_DAEMON,
        "'PIDFILE COMMAND'",
        "As --smart-attach-daemon, for a command that stays in the foreground: the master writes its pid to the file. "
        "May be repeated.",
        G.WORKERS,
        uwsgi=("smart-attach-daemon2",),
    )
    attach_daemon2: tuple[tuple[tuple[str, str], ...], ...] = option(
        (),
        values.DAEMON,
        "command=COMMAND,KEY=VALUE",
        "As --attach-daemon, with more keys: pidfile=PATH, daemonize=1 (the master writes the pidfile), stopsignal=N, "
        "reloadsignal=N (in place of a new start), chdir=DIR, uid=USER and gid=GROUP. May be repeated.",
        G.WORKERS,
        uwsgi=("attach-daemon2",),
    )
    uid: int = option(
        -1, values.USER, "USER", "Run the application as this user.", G.WORKERS, uwsgi=("uid",), common=True
    )
    gid: int = option(
        -1, values.GROUP, "GROUP", "Run the application as this group.", G.WORKERS, uwsgi=("gid",), common=True
    )
    new_privileges: bool = option(
        False,
        values.FLAG,
        "",
        "After --uid, allow programs that the application starts to gain privileges by their set-user-ID bit. "
        "sudo and some sendmails need this.",
        G.WORKERS,
    )
    max_fd: int = option(
        0,
        values.LIMIT,
        "N",
        "How many files each process may have open (default: as many as wsgid itself may).",
        G.WORKERS,
        uwsgi=("max-fd",),
    )
    limit_as: int = option(
        0,
        values.MEGABYTES,
        "MB",
        "How much address space each process may have. --reload-on-rss limits what a worker really uses.",
        G.WORKERS,
        uwsgi=("limit-as",),
    )
    umask: int = option(-1, values.MODE, "MODE", "The umask of all processes.", G.WORKERS, uwsgi=("umask",))
    pidfile: str = option(
        "",
        values.PATH,
        "PATH",
        "Write the master's pid to this file.",
        G.WORKERS,
        common=True,
        uwsgi=("pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2"),
        flags=("--safe-pidfile", "--pidfile2", "--safe-pidfile2"),
    )
    daemonize: str = option(
        "",
        values.PATH,
        "PATH",
        "Go to the background when the application serves, and log to this file.",
        G.WORKERS,
        uwsgi=("daemonize", "daemonize2"),
        flags=("-d", "--daemonize2"),
    )
    psycogreen: bool = option(
        True,
        values.FLAG,
        "",
        "Let psycopg2 wait in the event loop if psycogreen is installed. --no-psycogreen leaves psycopg2 as it is.",
        G.WORKERS,
    )
    honour_stdin: bool = option(
        False,
        values.FLAG,
        "",
        "Leave standard input to the application, for a debugger. Without this option standard input is empty.",
        G.WORKERS,
        uwsgi=("honour-stdin",),
    )
    procname_prefix: str = option(
        "",
        values.TEXT,
        "TEXT",
        "Begin the titles of all processes with this text.",
        G.WORKERS,
        uwsgi=("procname-prefix", "procname-prefix-spaced"),
        flags=("--procname-prefix-spaced",),
        formats={"procname-prefix-spaced": "{} "},
    )

    harakiri: float = option(
        0.0,
        values.SECONDS_OR_NONE,
        "SECONDS",
        "How long a request may take. An overdue request is ended, with a 504; other requests go on (default: "
        "no limit).",
        G.TIMES,
        uwsgi=("harakiri",),
        flags=("-t",),
        common=True,
    )
    hub_timeout: float = option(
        0.0,
        values.SECONDS_OR_NONE,
        "SECONDS",
        "How long code may hold a worker's event loop. Code that holds it longer is ended (default: "
        "--harakiri, or 30).",
        G.TIMES,
    )
    hub_warn: float = option(
        1.0,
        values.SECONDS,
        "SECONDS",
        "How long code may hold a worker's event loop before the log shows its stack.",
        G.TIMES,
    )
    socket_timeout: float = option(
        30.0,
        values.SECONDS,
        "SECONDS",
        "How long a read from a peer, or a write to a peer, may make no progress.",
        G.TIMES,
        uwsgi=("socket-timeout",),
        flags=("-z",),
    )
    worker_reload_mercy: float = option(
        60.0,
        values.SECONDS,
        "SECONDS",
        "How long a leaving worker may take to finish its requests.",
        G.TIMES,
        uwsgi=("worker-reload-mercy", "reload-mercy"),
        flags=("--reload-mercy",),
    )
    shutdown_delay: float = option(
        0.0,
        values.SECONDS_OR_NONE,
        "SECONDS",
        "How long to go on accepting after TERM. Some load balancers need this.",
        G.TIMES,
    )

    max_requests: int = option(
        0,
        values.LIMIT,
        "N",
        "Replace a worker after this many requests.",
        G.RECYCLING,
        uwsgi=("max-requests",),
        flags=("-R",),
        common=True,
    )
    max_requests_delta: int = option(
        0,
        values.LIMIT,
        "N",
        "Add up to this many requests to --max-requests, at random, so that workers are not all replaced at "
        "once (default: a tenth).",
        G.RECYCLING,
        uwsgi=("max-requests-delta",),
    )
    max_worker_lifetime: float = option(
        0.0,
        values.SECONDS_OR_NONE,
        "SECONDS",
        "Replace a worker after this time.",
        G.RECYCLING,
        uwsgi=("max-worker-lifetime",),
    )
    max_worker_lifetime_delta: float = option(
        0.0,
        values.SECONDS_OR_NONE,
        "SECONDS",
        "Add up to this time to --max-worker-lifetime, at random (default: a tenth).",
        G.RECYCLING,
        uwsgi=("max-worker-lifetime-delta",),
    )
    reload_on_rss: int = option(
        0,
        values.MEGABYTES,
        "MB",
        "Replace a worker that has grown to this size.",
        G.RECYCLING,
        uwsgi=("reload-on-rss",),
    )
    evil_reload_on_rss: int = option(
        0,
        values.MEGABYTES,
        "MB",
        "Kill a worker that has grown to this size, whatever it is doing.",
        G.RECYCLING,
        uwsgi=("evil-reload-on-rss",),
    )
    touch_reload: tuple[str, ...] = option(
        (),
        values.PATH,
        "PATH",
        "Reload when this file appears or changes, or when the symbolic link is switched. May be repeated.",
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
        "Reload when a module of the application changes. For development only; --dev includes it.",
        G.RECYCLING,
        common=True,
        uwsgi=("py-autoreload", "py-auto-reload", "python-autoreload", "python-auto-reload"),
    )

    logto: str = option(
        "",
        values.PATH,
        "PATH",
        "Write the log, and what the application prints, to this file. USR1 reopens the file.",
        G.LOG,
        uwsgi=("logto", "logto2"),
        flags=("--logto2",),
        common=True,
    )
    log_json: bool = option(False, values.FLAG, "", "Write the server log as JSON, one object a line.", G.LOG)
    log_level: str = option(
        "info",
        values.LEVEL,
        "LEVEL",
        "The lowest level that the server log shows: debug, info, warning or error.",
        G.LOG,
    )
    logger: tuple[str, ...] = option(
        (),
        values.LOGGER,
        "WHERE",
        "Write the server log there: syslog:TAG,FACILITY, rsyslog:HOST:PORT,TAG, file:PATH or stdio. May be repeated.",
        G.LOG,
        uwsgi=("logger",),
    )
    touch_logreopen: tuple[str, ...] = option(
        (),
        values.PATH,
        "PATH",
        "Reopen the logs when this file changes. May be repeated.",
        G.LOG,
        uwsgi=("touch-logreopen",),
        after_chdir=True,
    )

    access_log: str = option(
        "",
        values.REQUEST_LOG,
        "FILE",
        "Write a line for each request to this file. Without a value, the line goes where the log goes. "
        "syslog: and rsyslog: work as in --logger.",
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
        "The format of a request's line: uwsgi, combined, json, short, or a text with uWSGI's %(variables) (default: "
        "uwsgi).",
        G.REQUEST_LOG,
        uwsgi=("log-format", "logformat"),
        flags=("--logformat",),
    )
    logformat_strftime: bool = option(
        False,
        values.FLAG,
        "",
        "Make %(ftime) in --log-format follow --log-date.",
        G.REQUEST_LOG,
        uwsgi=("logformat-strftime", "log-format-strftime"),
    )
    log_date: str = option(
        "",
        values.TEXT,
        "FORMAT",
        "The format of %(ftime), as for strftime.",
        G.REQUEST_LOG,
        uwsgi=("log-date", "logdate"),
        bare="%Y-%m-%d %H:%M:%S",
    )
    disable_logging: bool = option(
        False,
        values.FLAG,
        "",
        "Write lines only for requests that --log-4xx, --log-5xx or --log-slow name.",
        G.REQUEST_LOG,
        uwsgi=("disable-logging",),
        flags=("-L",),
    )
    log_4xx: bool = option(
        False, values.FLAG, "", "Write a line for each request with a status of 4xx.", G.REQUEST_LOG, uwsgi=("log-4xx",)
    )
    log_5xx: bool = option(
        False, values.FLAG, "", "Write a line for each request with a status of 5xx.", G.REQUEST_LOG, uwsgi=("log-5xx",)
    )
    log_slow: int = option(
        0,
        values.MILLISECONDS,
        "MS",
        "Write a line for each request that took this many milliseconds or more.",
        G.REQUEST_LOG,
        uwsgi=("log-slow",),
    )
    log_x_forwarded_for: bool = option(
        False,
        values.FLAG,
        "",
        "In the lines for requests, show the first address of X-Forwarded-For as the client.",
        G.REQUEST_LOG,
        uwsgi=("log-x-forwarded-for",),
    )
    memory_report: bool = option(
        False,
        values.FLAG,
        "",
        "Begin each line with the worker's memory.",
        G.REQUEST_LOG,
        uwsgi=("memory-report",),
        flags=("-m",),
    )

    stats: str = option(
        "",
        values.TEXT,
        "ADDRESS",
        "Serve uWSGI's statistics there, as JSON.",
        G.STATISTICS,
        uwsgi=("stats", "stats-server"),
    )
    stats_http: bool = option(
        False, values.FLAG, "", "Serve the statistics over HTTP.", G.STATISTICS, uwsgi=("stats-http",)
    )
    metrics: str = option(
        "",
        values.TEXT,
        "ADDRESS",
        "Serve Prometheus's /metrics, and /healthz and /readyz, there over HTTP.",
        G.STATISTICS,
    )
    control: str = option(
        "",
        values.TEXT,
        "PATH",
        "The socket for wsgidctl, or 'off' (default: beside the first unix socket, with .ctl as its suffix).",
        G.STATISTICS,
    )
    master_fifo: tuple[str, ...] = option(
        (),
        values.PATH,
        "PATH",
        "Follow uWSGI's one-letter commands from this FIFO. May be repeated.",
        G.STATISTICS,
        uwsgi=("master-fifo",),
    )

    max_vars: int = option(
        2000,
        values.COUNT,
        "N",
        "The most variables of one request. A request with more of them gets a 431.",
        G.LIMITS,
        uwsgi=("max-vars",),
        flags=("-v",),
    )
    post_buffering: int = option(
        0,
        values.SIZE,
        "BYTES",
        "Read the whole body of a request before the application is called, so that wsgi.input can seek. A "
        "body up to this size is kept in memory, a larger body in a temporary file (default: the application "
        "reads from the peer).",
        G.LIMITS,
        uwsgi=("post-buffering",),
    )
    limit_post: int = option(
        0,
        values.SIZE,
        "BYTES",
        "The largest body of a request. A larger body gets a 413, without a call of the application (default: no "
        "limit).",
        G.LIMITS,
        uwsgi=("limit-post",),
    )
    drain_size: int = option(
        64 << 20,
        values.SIZE,
        "BYTES",
        "How much of a request's body is read and thrown away, after a response that has ignored the body.",
        G.LIMITS,
    )
    drain_timeout: float = option(
        10.0, values.SECONDS, "SECONDS", "How long the reading for --drain-size may take.", G.LIMITS
    )

    cache: tuple[tuple[str, int, str, str], ...] = option(
        (),
        values.CACHE,
        "NAME=SIZE[,PATH]",
        "A cache that all workers share, for wsgid.cache.Cache(NAME): in shared memory, or in a file, which a restart "
        "keeps. NAME=redis://HOST:PORT/0 is a cache that several machines share. May be repeated.",
        G.CACHE,
        uwsgi=("cache2",),
        flags=("--cache2",),
    )

    @property
    def application_name(self) -> str:
        """The application as the operator has named it."""
        mounted = self.mount[0][1] if self.mount else ""
        return self.application or self.wsgi_file or self.paste or mounted

    @property
    def socket_owner(self) -> tuple[int, int]:
        """User and group of socket files: --chown-socket, else --uid and --gid, as in uWSGI. -1 leaves one as it is."""
        return self.chown_socket if self.chown_socket != (-1, -1) else (self.uid, self.gid)

    limit_req: tuple[str, ...] = option(
        (),
        values.LIMIT_REQ,
        "WORDS",
        "Limit the rate of requests for each key, over all workers: 'key=remote_addr rate=10r/s burst=20'. Further "
        "words are nodelay, path=/PREFIX, status=503, name=NAME and dry-run. May be repeated.",
        G.RATES,
    )
    limit_conn: tuple[str, ...] = option(
        (),
        values.LIMIT_CONN,
        "WORDS",
        "Limit the requests at the same time for each key, over all workers: 'key=http_x_api_key limit=5'. Further "
        "words are burst=N, delay=SECONDS, path=/PREFIX, status=503, name=NAME and dry-run. May be repeated.",
        G.RATES,
    )
    limit_keys: int = option(
        65_536,
        values.LIMIT_KEYS,
        "N",
        "How many keys limits can have at once. Idle keys make room for others. If there is no room, the "
        "requests of a new key are admitted, and are counted.",
        G.RATES,
    )

    limit_store: str = option(
        "",
        values.LIMIT_STORE,
        "URL",
        "Keep limits in Redis or Valkey, for several machines: redis://, rediss://, unix://, "
        "redis+sentinel://HOST:PORT/NAME or redis+cluster://HOST:PORT (default: in memory that the workers share).",
        G.RATES,
    )
    limit_store_closed: bool = option(
        False,
        values.FLAG,
        "",
        "Reject requests that have a limit while --limit-store does not answer. Without this option they go on.",
        G.RATES,
    )
    limit_store_timeout: float = option(
        0.25, values.SECONDS, "SECONDS", "How long a request waits for an answer of --limit-store.", G.RATES
    )
    limit_lease: float = option(
        10.0,
        values.SECONDS,
        "SECONDS",
        "How long a permit in --limit-store outlives a worker or a machine that has died.",
        G.RATES,
    )

    @property
    def hub_timeout_s(self) -> float:
        """How long code may hold the event loop: --hub-timeout, else --harakiri, else 30 s."""
        return self.hub_timeout or self.harakiri or 30.0

    @property
    def log_path(self) -> str:
        """The file that standard output and error go to; empty if they stay unchanged."""
        return self.logto or self.daemonize

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as a dict that JSON can carry; see from_dict."""
        return asdict(self)


def from_dict(carried: dict[str, Any]) -> Settings:
    """Return the settings that `as_dict` and JSON have carried from another process. JSON turns tuples into lists."""
    return Settings(**{name: _tuples(value) for name, value in carried.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# --- the declarations as objects ---


@dataclass(frozen=True, slots=True)
class Option:
    """One declaration; `option` describes the fields."""

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
        """The option's name in files, with hyphens."""
        return self.name.replace("_", "-")

    @property
    def flag(self) -> str:
        """The flag on the command line."""
        return "--" + self.key

    @property
    def variable(self) -> str:
        """The name of the environment variable."""
        return "WSGID_" + self.name.upper()

    @property
    def repeatable(self) -> bool:
        """Whether the option may be repeated."""
        return bool(self.default == ())

    def show(self, value: Any) -> str:
        """Return a value as text. For a repeatable option, the value is one of its values."""
        return self.kind.show(value)


@dataclass(frozen=True, slots=True)
class Given:
    """What one source says of one option.

    Args:
        option: the option.
        texts: one value; for a repeatable option, all values that this place gives.
        said: the option and its value as the operator has written them, for errors: `--workers '0'`.
        origin: the place: `uwsgi.ini:7`.
    """

    option: Option
    texts: tuple[str, ...]
    said: str
    origin: str

    def value(self) -> Any:
        """Return the value of the setting.

        Raises:
            ConfigError: a text is no valid value of this option.
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
    """Return all options, in the order of their declarations."""
    return tuple(Option(entry.name, entry.default, **entry.metadata) for entry in fields(Settings))


@cache
def by_key() -> Mapping[str, Option]:
    """Return all spellings in files: wsgid's own, with - or _, and uWSGI's."""
    found = {spelling: declaration for declaration in declared() for spelling in (declaration.name, declaration.key)}
    return found | {spelling: declaration for declaration in declared() for spelling in declaration.uwsgi}


def also_given(option: Option, name: str, origin: str) -> list[Given]:
    """Return the other options that one of uWSGI's names stands for.

    Args:
        option: the option of the name.
        name: as it is written.
        origin: the place.
    """
    if option.name != "paste" or not name.endswith("-logged"):
        return []
    return [Given(by_key()["paste_logger"], ("true",), name, origin)]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the most similar name, as a question for the end of an error; empty if no name is similar."""
    import difflib  # the server itself does not need it

    found = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {found[0]!r}?" if found else ""
