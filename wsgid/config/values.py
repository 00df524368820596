"""Kinds of values: from the text that an operator has written to the value of a setting, and back.

Rules
* `parse` raises ValueError; its message says what was expected: "a whole number from 1 on".
* `show` is the inverse: parse(show(value)) == value.
* Nothing here knows an option or a source. Questions about this machine (users, directories, processors) are asked when
  a value is parsed.
"""

import glob
import grp
import os
import pwd
import re
from collections.abc import Callable
from typing import Any

from wsgid.cache import places
from wsgid.log import destination, request_format
from wsgid.protocol.forwarded import Trusted, parse_headers
from wsgid.records import dataclass, replace

_LIMIT_KEYS_MAX = 1 << 22  # each worker maps addresses for all of them: 16 GB for this many
_TRUE, _FALSE = ("true", "on", "yes"), ("false", "off", "no")
BOOLEANS = (*_TRUE, *_FALSE, "1", "0")


@dataclass(frozen=True, slots=True)
class ValueKind:
    """What an option's value may be.

    Args:
        name: for the docs, with the unit.
        parse: text to value; its ValueError says what was expected.
        show: value to text.
        is_number: whether uWSGI's ini may have a comment after the value, because atoi(3) stops there.
    """

    name: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str
    is_number: bool = False


def _flag(text: str) -> bool:
    if text.lower() in _TRUE or re.fullmatch("0*[1-9][0-9]*", text):
        return True
    if text.lower() in _FALSE or re.fullmatch("0+", text):
        return False
    raise ValueError("true, on, yes, 1, or false, off, no, 0")


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise ValueError("a whole number from 1 on")
    return int(text)


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("a whole number from 1 on, or 0 for none")
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


def _seconds_or_none(text: str) -> float:
    if re.fullmatch(r"0+(\.0+)?", text):
        return 0.0
    try:
        return _seconds(text)
    except ValueError:
        raise ValueError("seconds, such as 30 or 0.5, or 0 for none") from None


KEPT_S = 65.0  # longer than the usual 60 s of load balancers


def _keepalive(text: str) -> float:
    """uWSGI's http-keepalive is a switch (uwsgi_opt_set_int); a number above 1 is the time."""
    if text.lower() in BOOLEANS:
        return KEPT_S if _flag(text) else 0.0
    try:
        return _seconds(text)
    except ValueError:
        raise ValueError("seconds above 1, such as 65, or 1 for on, or 0 for off") from None


def _show_keepalive(value: float) -> str:
    return "1.0" if value == 1 else _show_seconds(value)


def _show_seconds(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _size_bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12})([kKmMgG]?)", text)
    if match is None:
        raise ValueError("bytes, or with a unit: 65536, 64k, 16m, 1g")
    return int(match[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[match[2].lower()]


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError("an octal mode of three digits, such as 660")
    return int(text, 8)


_NUMBER_MAX = (1 << 32) - 2  # user and group numbers; the next number means "leave it" (chown(2))


def _user(text: str) -> int:
    try:
        if re.fullmatch("[0-9]{1,10}", text) and int(text) <= _NUMBER_MAX:
            return int(text)
        return pwd.getpwnam(text).pw_uid
    except (KeyError, UnicodeError):
        raise ValueError("a user of this machine, by name or number") from None


def _group(text: str) -> int:
    try:
        if re.fullmatch("[0-9]{1,10}", text) and int(text) <= _NUMBER_MAX:
            return int(text)
        return grp.getgrnam(text).gr_gid
    except (KeyError, UnicodeError):
        raise ValueError("a group of this machine, by name or number") from None


def _owner(text: str) -> tuple[int, int]:
    user, _, group = text.partition(":")
    return (_user(user) if user else -1, _group(group) if group else -1)


def _show_owner(value: tuple[int, int]) -> str:
    return ":".join("" if number == -1 else str(number) for number in value)


def _path(text: str) -> str:
    if not text:
        raise ValueError("a path")
    return os.path.abspath(text)


def _directory(text: str) -> str:
    if not os.path.isdir(text):
        raise ValueError("a directory that exists")
    return os.path.abspath(text)  # not resolved, because a reload has to follow a switched symlink


def _directories(text: str) -> tuple[str, ...]:
    return tuple(map(_path, sorted(glob.glob(text)) or [text]))


def _environment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError("NAME=VALUE")
    return name, value


def _static_map(text: str) -> tuple[str, str]:
    whole = text.startswith("whole:")  # uWSGI's static-map2: the prefix is a part of the file's path, too
    prefix, _, directory = text.removeprefix("whole:").partition("=")
    if not prefix.startswith("/") or not directory:
        raise ValueError("a prefix and a directory, such as /static=/srv/app/static")
    return prefix, directory.rstrip("/") + prefix if whole else directory


def _pattern(text: str) -> str:
    kind, _, rest = text.partition(":")
    if kind == "dir" and rest:
        text = f"^{re.escape(rest)}"
    elif kind == "ext" and rest:
        text = f"{re.escape(rest)}$"
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"a regular expression of Python: {error}") from None
    return text


_EXPIRES = re.compile(
    r"((?P<subject>file|type|path|uri)(?P<mtime>-mtime)?:)?(?P<pattern>.+?)[ =]\s*(?P<seconds>[0-9]{1,9})"
)


def _expires(text: str) -> tuple[str, str, int, bool]:
    match = _EXPIRES.fullmatch(text.strip())
    if match is None:
        raise ValueError("'REGEXP SECONDS', such as '/static/.* 86400', or type:TYPE=SECONDS")
    subject = match["subject"] or "file"
    pattern = match["pattern"] if subject == "type" else _pattern(match["pattern"])
    return subject, pattern, int(match["seconds"]), match["mtime"] is not None


def _show_expires(value: tuple[str, str, int, bool]) -> str:
    subject, pattern, after_s, from_mtime = value
    return f"{subject}{'-mtime' * from_mtime}:{pattern} {after_s}"


def _smart_daemon(text: str) -> tuple[str, str]:
    pidfile, _, command = text.partition(" ")
    pidfile = pidfile.partition(",")[0]  # uWSGI's PIDFILE,FREQUENCY
    if not (pidfile and command.strip()):
        raise ValueError("a pidfile and a command, such as /run/memcached.pid memcached -d -P /run/memcached.pid")
    return os.path.abspath(pidfile), command.strip()


_DAEMON_KEYS = {"cmd": "command", "exec": "command", "daemon": "daemonize"}
_DAEMON_KEYS |= {"stop_signal": "stopsignal", "reload_signal": "reloadsignal"}
_DAEMON_KEYS |= {name: name for name in ("command", "pidfile", "daemonize", "stopsignal", "reloadsignal", "chdir")}
_DAEMON_KEYS |= {name: name for name in ("uid", "gid", "freq", "max_throttle", "notifypid")}


def _daemon(text: str) -> tuple[tuple[str, str], ...]:
    """Read uWSGI's KEY=VALUE,... (uwsgi_opt_add_daemon2). A comma within double quotes is a part of the value."""
    found: dict[str, str] = {}
    for pair in re.findall(r'(?:[^,"\\]|\\.|"(?:[^"\\]|\\.)*")+', text):
        key, equals, value = pair.partition("=")
        if not equals or key not in _DAEMON_KEYS:
            known = ", ".join(dict.fromkeys(_DAEMON_KEYS.values()))
            raise ValueError(f"KEY=VALUE,KEY=VALUE with some of the keys {known}, not {key!r}")
        found[_DAEMON_KEYS[key]] = re.sub(r"\\(.)", r"\1", value[1:-1] if value[:1] == '"' == value[-1:] else value)
    if not found.get("command"):
        raise ValueError("a command, such as command=celery -A site worker,stopsignal=15")
    return tuple((key, str(_DAEMON_VALUES.get(key, str)(value))) for key, value in found.items())


def _signal(text: str) -> int:
    if not re.fullmatch("[0-9]{1,2}", text):
        raise ValueError("the number of a signal, such as 15 for TERM")
    return int(text)


_DAEMON_VALUES: dict[str, Callable[[str], Any]] = {
    "stopsignal": _signal,
    "reloadsignal": _signal,
    "uid": _user,
    "gid": _group,
    "pidfile": _path,
    "chdir": _path,
}


def _show_daemon(value: tuple[tuple[str, str], ...]) -> str:
    escaped = ((key, re.sub(r'([\\",])', r"\\\1", text)) for key, text in value)
    return ",".join(f"{key}={text}" for key, text in escaped)


def _mount(text: str) -> tuple[str, str]:
    prefix, _, application = text.partition("=")
    if (prefix.rstrip("/") and not prefix.startswith("/")) or not application:
        raise ValueError("a prefix and an application, such as /shop=shop.wsgi:application or /=site.py")
    return prefix.rstrip("/"), application


def _show_mount(value: tuple[str, str]) -> str:
    return f"{value[0] or '/'}={value[1]}"


def _optimize(text: str) -> int:
    if text not in ("0", "1", "2"):
        raise ValueError("0, 1 or 2")
    return int(text)


def _protocol(text: str) -> str:
    if text.lower() in ("http", "http11"):
        return "http"
    if text.lower() != "uwsgi":
        raise ValueError("uwsgi or http: wsgid speaks no other protocol")
    return "uwsgi"


def _tls_socket(text: str) -> tuple[str, ...]:
    """Return address, certificate, key and, if given, the authority of client certificates."""
    address, *files = text.split(",")
    if len(files) not in (2, 3) or not all((address, *files)):
        raise ValueError("ADDRESS,CERTIFICATE,KEY or ADDRESS,CERTIFICATE,KEY,CA, the last three being PEM files")
    return address, *map(os.path.abspath, files)


def _cache(text: str) -> tuple[str, int, str, str]:
    name, size_bytes, where, board = places.parse(text)
    return name, size_bytes, where, board  # a plain tuple, as JSON brings it back


def _peers(text: str) -> str:
    Trusted(text)
    return text


def _forwarded_headers(text: str) -> str:
    parse_headers(text)
    return text


def _level(text: str) -> str:
    if text not in ("debug", "info", "warning", "error"):
        raise ValueError("debug, info, warning or error")
    return text


def _charset(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:+-]*", text):
        raise ValueError("the name of a charset, such as utf-8, or none")
    return "" if text.lower() == "none" else text


def _logger(text: str) -> str:
    return str(destination.parse(text))


def _request_log(text: str) -> str:
    return str(destination.parse_file(text)).removeprefix("file:")


def _log_format(text: str) -> str:
    if text not in request_format.PRESETS and ("%(" not in text or not text.replace("\t", "").isprintable()):
        raise ValueError(f"{', '.join(request_format.PRESETS)}, or a text of one line with variables such as %(uri)")
    return text


def _limit_req(text: str) -> str:
    from wsgid.limits import rules  # only here: who has no such option does not load it

    rules.parse_req(text)
    return text


def _limit_conn(text: str) -> str:
    from wsgid.limits import rules

    rules.parse_conn(text)
    return text


def _limit_keys(text: str) -> int:
    if not re.fullmatch("[0-9]{1,8}", text) or not 1 <= int(text) <= _LIMIT_KEYS_MAX:
        raise ValueError(f"a whole number from 1 to {_LIMIT_KEYS_MAX}")
    return int(text)


def _limit_store(text: str) -> str:
    if not re.fullmatch(r"((redis|valkey)(s|\+sentinel|\+cluster)?|unix)://[^\s]+", text):
        raise ValueError("a URL such as redis://HOST:6379/0, redis+sentinel://HOST:26379/NAME or unix:///PATH")
    return text


TEXT = ValueKind("text", str)
FLAG = ValueKind("flag", _flag, lambda value: "true" if value else "false", is_number=True)
COUNT = ValueKind("number", _count, is_number=True)
LIMIT = ValueKind("number, 0 for none", _limit, is_number=True)
MEGABYTES = replace(LIMIT, name="megabytes, 0 for none")
MILLISECONDS = replace(LIMIT, name="milliseconds, 0 for none")
WORKERS = ValueKind("number or `auto`", _workers, is_number=True)
SECONDS = ValueKind("seconds", _seconds, _show_seconds, is_number=True)
SECONDS_OR_NONE = ValueKind("seconds, 0 for none", _seconds_or_none, _show_seconds, is_number=True)
KEEPALIVE = ValueKind("seconds, 1 for on, 0 for off", _keepalive, _show_keepalive, is_number=True)
SIZE = ValueKind("bytes, or with k, m, g", _size_bytes, is_number=True)
MODE = ValueKind("octal mode", _mode, "{:03o}".format, is_number=True)
USER = ValueKind("user, name or number", _user)
GROUP = ValueKind("group, name or number", _group)
OWNER = ValueKind("user:group", _owner, _show_owner)
DIRECTORY = ValueKind("directory", _directory)
DIRECTORIES = ValueKind(
    "directory, or a pattern of some", _directories
)  # the only kind in which one text gives several values
PATH = ValueKind("path", _path)
ENVIRONMENT = ValueKind("NAME=VALUE", _environment, "=".join)
TLS_SOCKET = ValueKind("address,certificate,key[,CA]", _tls_socket, ",".join)
PEERS = ValueKind("addresses and networks", _peers)
FORWARDED_HEADERS = ValueKind("names of headers", _forwarded_headers)
CACHE = ValueKind("NAME=SIZE[,PATH] or NAME=URL", _cache, places.show)
STATIC_MAP = ValueKind("/prefix=directory", _static_map, "=".join)
PATTERN = ValueKind("regular expression", _pattern)
EXPIRES = ValueKind("pattern and seconds", _expires, _show_expires)
SMART_DAEMON = ValueKind("pidfile and command", _smart_daemon, " ".join)
DAEMON = ValueKind("command=COMMAND,KEY=VALUE", _daemon, _show_daemon)
MOUNT = ValueKind("/prefix=application", _mount, _show_mount)
OPTIMIZE = ValueKind("0, 1 or 2", _optimize, is_number=True)
PROTOCOL = ValueKind("uwsgi or http", _protocol)
LEVEL = ValueKind("debug, info, warning, error", _level)
CHARSET = ValueKind("charset or `none`", _charset, lambda value: value or "none")
LOGGER = ValueKind("stdio, file:, syslog: or rsyslog:", _logger)
LOG_FORMAT = ValueKind("preset or text", _log_format)
LIMIT_REQ = ValueKind("words: key=, rate= and others", _limit_req)
LIMIT_CONN = ValueKind("words: key=, limit= and others", _limit_conn)
LIMIT_KEYS = ValueKind("number", _limit_keys, is_number=True)
LIMIT_STORE = ValueKind("URL", _limit_store)
REQUEST_LOG = ValueKind("path, stdio, syslog: or rsyslog:", _request_log)
