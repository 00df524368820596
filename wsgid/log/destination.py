"""The destination of log lines, as the operator writes it in --logger and --access-log.

stdio or -                     standard error
file:PATH                      a file, which USR1 reopens
syslog[:TAG[,FACILITY]]        the syslog of this machine, at /dev/log
rsyslog:HOST[:PORT][,TAG]      another machine's, over UDP
"""

import os
import re
import syslog
from enum import Enum

from wsgid.records import dataclass

EXPECTED = "stdio, file:PATH, syslog:TAG,FACILITY or rsyslog:HOST:PORT,TAG"
SYSLOG_PATH = "/dev/log"  # the same path on every Linux
SYSLOG_PORT = 514  # RFC 5426, 3.3

_TAG = re.compile(r"[\x21-\x2b\x2d-\x39\x3b-\x5a\x5c\x5e-\x7e]{1,32}")  # printable, without comma, colon and brackets
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_.-]+)(?::([0-9]{1,5}))?")
# RFC 5424, 6.2.1; the numbers are those of <syslog.h>, already shifted.
_FACILITIES = {
    name[4:].lower(): getattr(syslog, name)
    for name in (
        "LOG_KERN",
        "LOG_USER",
        "LOG_MAIL",
        "LOG_DAEMON",
        "LOG_AUTH",
        "LOG_LPR",
        "LOG_NEWS",
        "LOG_UUCP",
        "LOG_CRON",
        "LOG_SYSLOG",
        *(f"LOG_LOCAL{number}" for number in range(8)),
    )
}


class DestinationType(Enum):
    """The kinds of destinations."""

    STREAM = "stdio"
    FILE = "file"
    SYSLOG = "syslog"
    RSYSLOG = "rsyslog"


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination.

    Args:
        kind: of the destination.
        path: of the file (absolute), or of the syslog's socket.
        host, port: of another machine's syslog.
        tag: the program's name in the syslog.
        facility: a number from <syslog.h>.
    """

    kind: DestinationType
    path: str = ""
    host: str = ""
    port: int = SYSLOG_PORT
    tag: str = "wsgid"
    facility: int = syslog.LOG_DAEMON

    def __str__(self) -> str:
        if self.kind is DestinationType.FILE:
            return f"file:{self.path}"
        if self.kind is DestinationType.RSYSLOG:
            host = f"[{self.host}]" if ":" in self.host else self.host
            return f"rsyslog:{host}:{self.port},{self.tag}"
        if self.kind is DestinationType.SYSLOG:
            return f"syslog:{self.tag},{next(name for name, number in _FACILITIES.items() if number == self.facility)}"
        return "stdio"


def parse(text: str) -> Destination:
    """Return the destination that a text names.

    Args:
        text: one of the forms above.

    Raises:
        ValueError: the text has none of these forms; the message says what was expected.
    """
    word, _, rest = text.partition(":")
    name, _, target = text.partition(" ")
    if target and re.match("(stdio|file:|syslog|rsyslog:|socket:|redislog)", target.strip()):
        raise ValueError(
            f"one log for all of {name!r} and others, because named loggers do not exist here: write {target}"
        )
    if text == "-" or (word == "stdio" and not rest):
        return Destination(DestinationType.STREAM)
    if word == "file" and rest:
        return Destination(DestinationType.FILE, os.path.abspath(_path(rest)))
    if word == "syslog":
        return _syslog(rest)
    if word == "rsyslog":
        return _rsyslog(rest)
    raise ValueError(EXPECTED)


def parse_file(text: str) -> Destination:
    """Parse a text as `parse` does; a text without one of the keywords is the path of a file. For --access-log."""
    if not (re.match(r"[a-z]+:", text) or text in ("-", "stdio", "syslog")):
        return parse(f"file:{text}")
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{error}, or a path; without a value, another option has to follow") from None


def _path(rest: str) -> str:
    """Return the path of uWSGI's second form, logfile=PATH,maxsize=BYTES,backupname=PATH (plugins/logfile/logfile.c),
    where only the path means something here: logrotate(8) rotates."""
    if not rest.startswith(("logfile=", "maxsize=", "backupname=")):
        return rest
    pairs = dict(pair.partition("=")[::2] for pair in rest.split(","))
    if not pairs.get("logfile"):
        raise ValueError("file:PATH, or file:logfile=PATH")
    return pairs["logfile"]


def _syslog(rest: str) -> Destination:
    tag, _, facility = rest.partition(",")
    facility = facility or "daemon"
    if facility not in _FACILITIES:
        raise ValueError(f"one of the facilities {', '.join(_FACILITIES)}, as in syslog:wsgid,local0")
    return Destination(DestinationType.SYSLOG, SYSLOG_PATH, tag=_tag(tag), facility=_FACILITIES[facility])


def _rsyslog(rest: str) -> Destination:
    address, _, tag = rest.partition(",")
    match = _HOST.fullmatch(address)
    if match is None or int(match[2] or SYSLOG_PORT) not in range(1, 65536):
        raise ValueError("rsyslog:HOST:PORT,TAG, as in rsyslog:192.0.2.1:514,wsgid")
    return Destination(
        DestinationType.RSYSLOG, host=match[1].strip("[]"), port=int(match[2] or SYSLOG_PORT), tag=_tag(tag)
    )


def _tag(text: str) -> str:
    if text and not _TAG.fullmatch(text):
        raise ValueError("a tag of up to 32 printable characters, without spaces, colons and brackets")
    return text or "wsgid"
