"""The options, each declared once: from its declaration come the command line, the help and the typed setting.

Rules
* A Settings object is complete, valid and frozen; whoever has one never checks it again.
* The unit is in the name or in the help, and every limit of the server is an option here.
* A wrong value is a ConfigError which names the option, the value and what was expected.
"""

import argparse
import grp
import os
import pwd
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from wsgid import __version__, forms
from wsgid.errors import ConfigError

# --- parsers: text -> value, ValueError says what was expected ---


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise ValueError("a whole number from 1 on")
    return int(text)


def _workers(text: str) -> int:
    if text == "auto":
        return len(os.sched_getaffinity(0))
    try:
        return _count(text)
    except ValueError:
        raise ValueError("a whole number from 1 on, or 'auto' for one per processor") from None


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]+)?", text) or float(text) == 0:
        raise ValueError("seconds above 0, such as 30 or 0.5")
    return float(text)


def _size_bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12})([kKmMgG]?)", text)
    if match is None:
        raise ValueError("bytes, or with a unit: 65536, 64k, 16m, 1g")
    return int(match[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[match[2].lower()]


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError("an octal mode of three digits, such as 660")
    return int(text, 8)


def _user(text: str) -> int:
    try:
        return int(text) if text.isdecimal() else pwd.getpwnam(text).pw_uid
    except KeyError:
        raise ValueError("a user of this machine, by name or number") from None


def _group(text: str) -> int:
    try:
        return int(text) if text.isdecimal() else grp.getgrnam(text).gr_gid
    except KeyError:
        raise ValueError("a group of this machine, by name or number") from None


def _owner(text: str) -> tuple[int, int]:
    user, _, group = text.partition(":")
    return (_user(user) if user else -1, _group(group) if group else -1)


def _directory(text: str) -> str:
    if not Path(text).is_dir():
        raise ValueError("a directory that exists")
    return os.path.abspath(text)  # not resolved: a reload has to follow a symlink that was switched


def _environment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals) or "\0" in text:
        raise ValueError("NAME=VALUE")
    return name, value


def _static_map(text: str) -> tuple[str, str]:
    prefix, _, directory = text.partition("=")
    if not prefix.startswith("/") or not directory:
        raise ValueError("a prefix and a directory, such as /static=/srv/app/static")
    return prefix, directory


def _level(text: str) -> str:
    if text not in ("debug", "info", "warning", "error"):
        raise ValueError("debug, info, warning or error")
    return text


# --- the declarations ---


def option(default: Any, parse: Callable[[str], Any], metavar: str, text: str, **more: Any) -> Any:
    """Declare one option.

    Args:
        default: the value when nobody says anything; a tuple means that the option may be repeated.
        parse: from text to value; raises ValueError that says what was expected; bool means a flag without value.
        metavar: the value's name in the help.
        text: the help, with the unit.
        more: `names`, further spellings; `bare`, the text that stands for an option without a value.
    """
    return field(default=default, metadata={"parse": parse, "metavar": metavar, "text": text, **more})


@dataclass(frozen=True, slots=True)
class Settings:
    application: str = option("", str, "MODULE:CALLABLE", "the WSGI application; MODULE:FACTORY() calls a factory")
    socket: tuple[str, ...] = option(
        (), str, "ADDRESS", "listen here: a path, host:port, :port, [::1]:port or fd://N; repeatable", names=("-s",))
    http: tuple[str, ...] = option(
        (), str, "ADDRESS", "speak HTTP/1.1 here, without nginx; as in --socket; repeatable", names=("--http-socket",))
    http_keepalive: float = option(
        65.0, _seconds, "SECONDS", "how long a connection without a request is kept: longer than by the load balancer")
    http_keepalive_requests: int = option(1000, _count, "N", "requests of one connection")
    http_idle: int = option(1000, _count, "N", "connections without a whole request, per worker; beyond that, the one "
                            "that has waited longest is closed")
    http_head_timeout: float = option(10.0, _seconds, "SECONDS", "how long a request's head may take to arrive")
    http_line_size: int = option(8190, _size_bytes, "BYTES", "of a request line; longer ones are refused with a 414")
    http_head_size: int = option(64 << 10, _size_bytes, "BYTES", "of a request's headers; more are refused with a 431")
    listen: int = option(0, _count, "N", "backlog: connections that may wait to be accepted "
                         "(default: as many as the kernel allows, up to 4096)", names=("-l",))
    reuse_port: bool = option(False, bool, "", "each worker has a listening socket of its own (SO_REUSEPORT): for TCP")
    chmod_socket: int | None = option(
        None, _mode, "MODE", "mode of the socket file; without a value 666", names=("-C",), bare="666")
    chown_socket: tuple[int, int] = option((-1, -1), _owner, "USER:GROUP", "owner of the socket file")
    workers: int = option(1, _workers, "N", "worker processes, or 'auto' for one per processor",
                          names=("-p", "--processes"))
    cpu_affinity: int = option(0, _count, "N", "bind each worker to N processors, one worker after the other, of those "
                               "that wsgid itself may use (default: to all of them)")
    gevent: int = option(1000, _count, "N", "requests in flight per worker; at this limit it stops accepting")
    wsgi_file: str = option("", str, "PATH", "load the application from this file", names=("--file",))
    callable: str = option("", str, "NAME", "the application's name in its module "
                           "(default: application, then app)")
    chdir: str = option("", _directory, "DIR", "change to this directory before anything else")
    pythonpath: tuple[str, ...] = option((), os.path.abspath, "DIR", "put this in front of sys.path; repeatable",
                                         names=("--pp",))
    env: tuple[tuple[str, str], ...] = option((), _environment, "NAME=VALUE", "set an environment variable; repeatable")
    virtualenv: str = option("", _directory, "DIR", "use the packages of this virtual environment",
                             names=("--venv", "--home", "-H"))
    lazy_apps: bool = option(False, bool, "", "import the application in each worker instead of once before the fork")
    uid: int = option(-1, _user, "USER", "run the application as this user")
    gid: int = option(-1, _group, "GROUP", "run the application as this group")
    worker_reload_mercy: float = option(
        60.0, _seconds, "SECONDS", "what a leaving worker gets to finish the requests in flight")
    socket_timeout: float = option(
        30.0, _seconds, "SECONDS", "how long a read from or a write to nginx may stand still", names=("-z",))
    harakiri: float = option(0.0, _seconds, "SECONDS", "how long a request may take; it alone is ended, with a 504 "
                             "(default: as long as it likes)", names=("-t",))
    hub_timeout: float = option(0.0, _seconds, "SECONDS", "what has held a worker's event loop for this long is ended "
                                "(default: --harakiri, or 30)")
    hub_warn: float = option(1.0, _seconds, "SECONDS", "what has held it for this long is shown in the log")
    max_requests: int = option(0, _count, "N", "replace a worker that has served this many requests")
    max_requests_delta: int = option(
        0, _count, "N", "up to this many more, by chance, so that not all are replaced at once (default: a tenth)")
    max_worker_lifetime: float = option(0.0, _seconds, "SECONDS", "replace a worker that has lived this long")
    max_worker_lifetime_delta: float = option(
        0.0, _seconds, "SECONDS", "up to this much longer, by chance (default: a tenth)")
    reload_on_rss: int = option(0, _count, "MB", "replace a worker that has grown to this")
    evil_reload_on_rss: int = option(0, _count, "MB", "kill a worker that has grown to this, whatever it is doing")
    touch_reload: tuple[str, ...] = option(
        (), os.path.abspath, "PATH", "reload when this file changes, appears or is switched; repeatable",
        names=("--touch-chain-reload",))
    py_autoreload: bool = option(False, bool, "", "reload when a module of the application changes: for development")
    shutdown_delay: float = option(
        0.0, _seconds, "SECONDS", "after TERM go on accepting for this long, for load balancers that need it")
    check: bool = option(False, bool, "", "only see whether these options are right, and exit")
    logto: str = option("", os.path.abspath, "PATH", "write the log, and what the application prints, to this file; "
                        "USR1 reopens it")
    log_json: bool = option(False, bool, "", "write the server log as JSON, one object a line")
    log_level: str = option("info", _level, "LEVEL", "the least that the server log says: debug, info, warning, error")
    logger: tuple[str, ...] = option(
        (), str, "WHERE", "write the server log there: syslog:TAG,FACILITY, rsyslog:HOST:PORT,TAG, file:PATH or stdio; "
        "repeatable")
    access_log: str = option("", str, "FILE", "write a line for each request, to this file, or without a value where "
                             "the log goes; syslog: and rsyslog: as in --logger", names=("--req-logger",), bare="-")
    log_format: str = option("", str, "FORMAT", "of these lines: uwsgi, combined, json, or a text with uWSGI's "
                             "%(variables) (default: uwsgi)", names=("--logformat",))
    logformat_strftime: bool = option(False, bool, "", "%(ftime) in --log-format is as --log-date says")
    log_date: str = option("", str, "FORMAT", "of strftime, for %(ftime)", bare="%Y-%m-%d %H:%M:%S")
    disable_logging: bool = option(False, bool, "", "write no line for a request, but those of --log-4xx, --log-5xx "
                                   "and --log-slow", names=("-L",))
    log_4xx: bool = option(False, bool, "", "write a line for each request with a status of 4xx")
    log_5xx: bool = option(False, bool, "", "write a line for each request with a status of 5xx")
    log_slow: int = option(0, _count, "MS", "write a line for each request that took this many milliseconds")
    log_x_forwarded_for: bool = option(
        False, bool, "", "in these lines, the client is whom X-Forwarded-For names first")
    memory_report: bool = option(False, bool, "", "begin each line with the worker's memory", names=("-m",))
    touch_logreopen: tuple[str, ...] = option(
        (), os.path.abspath, "PATH", "reopen the logs when this file changes; repeatable")
    stats: str = option("", str, "ADDRESS", "serve uWSGI's statistics there, as JSON")
    stats_http: bool = option(False, bool, "", "serve them over HTTP")
    metrics: str = option("", str, "ADDRESS", "serve Prometheus's /metrics, and /healthz and /readyz, there over HTTP")
    control: str = option("", str, "PATH", "the socket of wsgidctl, or 'off' "
                          "(default: beside the first unix socket, with .ctl as its suffix)")
    master_fifo: tuple[str, ...] = option((), os.path.abspath, "PATH", "take uWSGI's one-letter commands from this "
                                          "FIFO; repeatable")
    pidfile: str = option("", os.path.abspath, "PATH", "write the master's pid to this file",
                          names=("--safe-pidfile", "--pidfile2", "--safe-pidfile2"))
    daemonize: str = option("", os.path.abspath, "PATH", "go to the background once the application serves, and log to "
                            "this file", names=("-d", "--daemonize2"))
    procname_prefix: str = option("", str, "TEXT", "begin the processes' titles with this",
                                  names=("--procname-prefix-spaced",))
    umask: int = option(-1, _mode, "MODE", "the umask of all processes")
    import_module: tuple[str, ...] = option((), str, "MODULE", "import this after the application; repeatable",
                                            names=("--import", "--shared-import"))
    pyargv: str = option("", str, "ARGUMENTS", "what the application finds in sys.argv")
    static_map: tuple[tuple[str, str], ...] = option(
        (), _static_map, "/PREFIX=DIR", "send files of this directory by ourselves, where nginx does not; repeatable")
    static_safe: tuple[str, ...] = option(
        (), os.path.abspath, "DIR", "symbolic links of a --static-map may lead into this directory too; repeatable")
    boot_timeout: float = option(
        60.0, _seconds, "SECONDS", "how long importing the application may take")
    max_vars: int = option(2000, _count, "N", "variables of one request; more are refused with a 431")
    drain_size: int = option(
        64 << 20, _size_bytes, "BYTES", "request body that is read and thrown away after a response that ignored it")
    drain_timeout: float = option(10.0, _seconds, "SECONDS", "how long that may take")

    @property
    def hub_timeout_s(self) -> float:
        return self.hub_timeout or self.harakiri or 30.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def from_dict(values: dict[str, Any]) -> Settings:
    """The settings that `as_dict` and JSON (which makes tuples lists) have carried to another process."""
    return Settings(**{name: _tuples(value) for name, value in values.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# --- the command line ---


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wsgid", allow_abbrev=False, fromfile_prefix_chars="@",
        description="Serve a WSGI application behind nginx's uwsgi_pass.",
        epilog="example: wsgid --socket app.sock --workers 4 app:application; @FILE stands for the arguments in FILE, "
               "one a line, which USR2 reads again")
    parser.add_argument("--version", action="version", version=f"wsgid {__version__} ({forms.described()})")
    for declared in fields(Settings):
        _add_argument(parser, declared)
    return parser


def _add_argument(parser: argparse.ArgumentParser, declared: "Field[Any]") -> None:
    says: Any = declared.metadata
    text = says["text"].replace("%", "%%")
    if declared.name == "application":
        parser.add_argument("application", nargs="?", metavar=says["metavar"], help=text, default=argparse.SUPPRESS)
        return
    flags = [flag_of(declared.name), *says.get("names", ())]
    if says["parse"] is bool:
        parser.add_argument(*flags, dest=declared.name, action="store_true", help=text, default=argparse.SUPPRESS)
        return
    if declared.default not in ((), "", None, 0, -1, (-1, -1)):
        text += f" (default: {declared.default:g})" if isinstance(declared.default, (int, float)) else ""
    parser.add_argument(
        *flags, dest=declared.name, help=text, default=argparse.SUPPRESS,
        metavar=says["metavar"], action="append" if declared.default == () else "store",
        **({"nargs": "?", "const": says["bare"]} if "bare" in says else {}))


def from_command_line(argv: Sequence[str]) -> Settings:
    """The settings of a command line.

    Raises:
        ConfigError: an option has a wrong value, or one that is needed is missing.
        SystemExit: argparse has printed the help, or a complaint (code 2).
    """
    given = vars(build_parser().parse_args(argv))
    values: dict[str, Any] = {}
    for declared in fields(Settings):
        if declared.name in given:
            values[declared.name] = _value(declared, given[declared.name])
    settings = Settings(**values)
    if not settings.application and not settings.wsgi_file:
        raise ConfigError("no application is named: add MODULE:CALLABLE, such as app:application, or --wsgi-file PATH")
    if settings.application and settings.wsgi_file:
        raise ConfigError(f"both {settings.application!r} and --wsgi-file {settings.wsgi_file!r} name an application: "
                          "leave one of them out")
    return settings


def _value(declared: "Field[Any]", given: Any) -> Any:
    assert declared.default is not MISSING
    parse = declared.metadata["parse"]
    if parse is bool:
        return given
    try:
        return tuple(map(parse, given)) if declared.default == () else parse(given)
    except ValueError as error:
        raise ConfigError(f"{flag_of(declared.name)} {_shown(given)} cannot be used: expected {error}") from error


def _shown(given: Any) -> str:
    return ", ".join(map(repr, given)) if isinstance(given, list) else repr(given)
