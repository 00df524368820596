"""Formats of the access log: from the operator's text, once, to a function that makes a request's line.

    text with %(variables) -> Python source -> render(record) -> the line

Rules
* A line is one line, whatever the client sends: in its values, control characters, quotes, backslashes and everything
  beyond ASCII become \\xXX, as in nginx's log, or what JSON has for them where the format is a JSON object.
* Nearly every line needs none of that. So it is made without, looked at as a whole, and made again if it has to be.
* Names and meanings of the variables are uWSGI's; `rfc3339` and `request` are added.
* Here is no clock and no I/O: times come in.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wsgid.log.request_record import RequestRecord
from wsgid.protocol.fields import is_plain

Render = Callable[[RequestRecord], str]


@dataclass(frozen=True, slots=True)
class Preset:
    text: str
    empty: str  # what stands for a variable that the request does not have


PRESETS = {
    "uwsgi": Preset(
        "[pid: %(pid)|app: 0|req: %(request)/%(request)] %(addr) (%(user)) {%(vars) vars in %(pktsize) bytes} "
        "[%(ctime)] %(method) %(uri) => generated %(rsize) bytes in %(msecs) msecs (%(proto) %(status)) %(headers) "
        "headers in %(hsize) bytes (%(switches) switches on core %(core))",
        "",
    ),
    "combined": Preset(
        '%(addr) - %(user) [%(ltime)] "%(method) %(uri) %(proto)" %(status) %(rsize) "%(referer)" "%(uagent)"', "-"
    ),
    "json": Preset(
        '{"time": "%(rfc3339)", "addr": "%(addr)", "user": "%(user)", "method": "%(method)", "uri": "%(uri)", '
        '"proto": "%(proto)", "host": "%(host)", "status": %(status), "rsize": %(rsize), "hsize": %(hsize), '
        '"cl": %(cl), "micros": %(micros), "referer": "%(referer)", "uagent": "%(uagent)", "pid": %(pid), '
        '"wid": %(wid)}',
        "",
    ),
}
MEMORY_REPORT = "{address space usage: %(vsz) bytes/%(vszM)MB} {rss usage: %(rss) bytes/%(rssM)MB} "  # uWSGI's -m

# --- the variables: Python expressions over what `render` gets ---

TEXTS = {  # from the client or the application: they need a second look
    "uri": "get('REQUEST_URI')",
    "method": "get('REQUEST_METHOD')",
    "user": "get('REMOTE_USER')",
    "addr": "get('REMOTE_ADDR')",
    "host": "get('HTTP_HOST') or get('SERVER_NAME')",
    "proto": "get('SERVER_PROTOCOL')",
    "uagent": "get('HTTP_USER_AGENT')",
    "referer": "get('HTTP_REFERER')",
    "ftime": "record.moment.ftime",
}
FORWARDED_ADDR = "first(get('HTTP_X_FORWARDED_FOR')) or get('REMOTE_ADDR')"
NUMBERS = {  # from the server, and nothing but letters, digits and such
    "status": "digits[served.status]",
    "rsize": "digits[served.sent_bytes]",
    "hsize": "digits[served.head_bytes]",
    "size": "served.head_bytes + served.sent_bytes",
    "headers": "digits[served.headers]",
    "cl": "digits[record.length_bytes]",
    "pktsize": "digits[record.size_bytes]",
    "modifier1": "record.buffer[0]",
    "modifier2": "record.buffer[3]",
    "vars": "digits[2 * record.variables]",
    "micros": "int(record.took_s * 1e6)",
    "msecs": "digits[int(record.took_s * 1e3)]",
    "secs": "f'{record.took_s:f}'",
    "time": "int(record.started_s)",
    "tmsecs": "int(record.started_s * 1e3)",
    "tmicros": "int(record.started_s * 1e6)",
    "epoch": "int(record.started_s + record.took_s)",
    "ctime": "record.moment.ctime",
    "ltime": "record.moment.ltime",
    "rfc3339": "record.moment.rfc3339",
    "request": "record.request",
    "vsz": "record.memory.vsz_bytes",
    "vszM": "record.memory.vsz_bytes >> 20",
    "rss": "record.memory.rss_bytes",
    "rssM": "record.memory.rss_bytes >> 20",
    # That the client left is seen while the body is read, before there is a status, or while the answer is written.
    "ioerr": "left(served)",
    "rerr": "left(served) * (not served.status)",
    "werr": "left(served) * (served.status > 0)",
}
# What nginx always sends: looked up without a call, and seldom missed.
_USUAL = re.compile(r"get\(('REQUEST_URI'|'REQUEST_METHOD'|'REMOTE_ADDR'|'SERVER_PROTOCOL')\)")
_DIGITS_MAX = 4096
_VARIABLE = re.compile(r"%(?:%|\(([^()]+)\))")

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")  # strftime's are the application's locale's
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Moment:
    """A second in words.

    Args:
        second: since the epoch.
        date: of --log-date, for `ftime`; empty to have it as `ltime`.
    """

    __slots__ = ("ctime", "ltime", "rfc3339", "ftime")

    def __init__(self, second: int, date: str = "") -> None:
        t = time.localtime(second)
        zone = time.strftime("%z", t)
        clock = f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
        month = _MONTHS[t.tm_mon - 1]
        self.ctime = f"{_DAYS[t.tm_wday]} {month} {t.tm_mday:2} {clock} {t.tm_year}"  # ctime(3)
        self.ltime = f"{t.tm_mday:02}/{month}/{t.tm_year}:{clock} {zone}"
        self.rfc3339 = f"{t.tm_year}-{t.tm_mon:02}-{t.tm_mday:02}T{clock}{zone[:3]}:{zone[3:]}"
        self.ftime = time.strftime(date, t) if date else self.ltime


def compiled(text: str, pid: int, wid: int, *, forwarded: bool = False, memory_report: bool = False) -> Render:
    """The function that makes the lines of this format, each of a RequestRecord.

    Args:
        text: of --log-format: a preset's name, or a text.
        pid, wid: of this worker.
        forwarded: --log-x-forwarded-for.
        memory_report: --memory-report: the preset `uwsgi` begins with the worker's memory.
    """
    preset = PRESETS.get(text) or Preset(text, "-")
    is_json = preset.text.startswith("{")
    if memory_report and text == "uwsgi":
        preset = Preset(MEMORY_REPORT + preset.text, preset.empty)
    literals, values = _parsed(preset, {"pid": str(pid), "wid": str(wid), "switches": "0", "core": "0"}, forwarded)
    literal = "".join(literals)
    # A constant text % a tuple of the same length: CPython compiles it as it does an f-string.
    form = "%s".join(one.replace("%", "%%") for one in literals)
    fast = _USUAL.sub(r"environ[\1]", "".join(f"{one}, " for one, _ in values))
    source = f"""
def escaped(record):
    environ, served = record.environ, record.served
    get = environ.get
    return {form!r} % ({"".join(f"escape({one}), " if client else f"{one}, " for one, client in values)})

def render(record):
    environ, served = record.environ, record.served
    get = environ.get
    try:
        line = {form!r} % ({fast})
    except Exception:  # of an object that the application has put there, or one of _USUAL is not
        return escaped(record)
    if is_plain(line) and {_as_often('"', literal)} and {_as_often(chr(92), literal)}:
        return line
    return escaped(record)
"""
    names: dict[str, Any] = {
        "is_plain": is_plain,
        "digits": _Digits(),
        "first": _first,
        "left": _left,
        "escape": _escape_json if is_json else _escape,
    }
    exec(source, names)  # made of --log-format, whose literals are quoted  # nosec B102
    render: Render = names["render"] if is_plain(literal) else names["escaped"]
    return render


def _parsed(preset: Preset, constants: dict[str, str], forwarded: bool) -> tuple[list[str], list[tuple[str, bool]]]:
    """The constant parts of a line, and between them expressions, with whether their values come from outside."""
    literals = [""]
    values: list[tuple[str, bool]] = []
    at = 0
    for match in _VARIABLE.finditer(preset.text):
        literals[-1] += preset.text[at : match.start()]
        at = match.end()
        name = match[1]
        if name is None or name in constants:
            literals[-1] += constants[name] if name else "%"
        elif value := _expression(name, preset.empty, forwarded):
            values.append(value)
            literals.append("")
        else:
            literals[-1] += preset.empty
    literals[-1] += preset.text[at:]
    return literals, values


def _expression(name: str, empty: str, forwarded: bool) -> tuple[str, bool] | None:
    """Of one variable, with whether its value comes from outside; None if there is no such variable."""
    if name in NUMBERS:
        return NUMBERS[name], False
    if name == "addr" and forwarded:
        return f"{FORWARDED_ADDR} or {empty!r}", True
    if name in TEXTS:
        return f"{TEXTS[name]} or {empty!r}", True
    return (f"get({name[4:]!r}) or {empty!r}", True) if name.startswith("var.") else None


def _as_often(char: str, literal: str) -> str:
    """Whether the line has this character only where the format has it."""
    count = literal.count(char)
    return f"line.count({char!r}) == {count}" if count else f"{char!r} not in line"


# --- what the functions call ---


class _Digits(dict[int, str]):
    """number -> its digits: making them anew is a third of what a line costs."""

    def __missing__(self, number: int) -> str:
        digits = str(number)
        if len(self) < _DIGITS_MAX:
            self[number] = digits
        return digits


def _first(value: object) -> str:
    """Of a list of addresses: the client's own, if the proxies in between are to be trusted."""
    return value.partition(",")[0].strip() if isinstance(value, str) else ""


def _left(served: Any) -> int:
    return int(served.outcome.name == "DISCONNECTED")


def _text(value: object) -> str:
    """Of whatever the application has put into its environ."""
    try:
        return value if type(value) is str else str(value)
    except Exception:
        return "-"


def _escape(value: object) -> str:
    """Byte by byte: the environ's text is latin-1, as it came."""
    raw = _text(value).encode("latin-1", "backslashreplace")
    return "".join(chr(one) if 0x20 <= one < 0x7F and one not in b'"\\' else f"\\x{one:02X}" for one in raw)


def _escape_json(value: object) -> str:
    """As text where it is UTF-8, else each byte as a character: all in ASCII, so that nothing can be misread."""
    text = _text(value)
    try:
        text = text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        pass
    return json.dumps(text)[1:-1].replace("\x7f", "\\u007f")
