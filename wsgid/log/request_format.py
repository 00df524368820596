"""The formats of the access log: the operator's text is compiled once to a function that renders each line.

    text with %(variables) -> Python source -> render(record) -> the line

Rules
* A request always has exactly one line, whatever the client sends. In values from the client, control characters,
  quotes, backslashes and non-ASCII bytes become \\xXX, as in nginx's log. In a JSON format they become JSON's escapes.
* Nearly every line needs no escaping. So a line is rendered without escaping, checked as a whole, and rendered again
  with escaping if the check fails.
* The names and meanings of the variables are uWSGI's; `rfc3339` and `request` are additions.
* There is no clock and no I/O here: times are arguments.
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
    """A named format."""

    text: str
    empty: str  # stands for a variable that the request does not have


SHORT = "short"  # for a terminal
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
    SHORT: Preset("%(method) %(uri) %(status) in %(msecs) ms", "-"),
}
MEMORY_REPORT = "{address space usage: %(vsz) bytes/%(vszM)MB} {rss usage: %(rss) bytes/%(rssM)MB} "  # uWSGI's -m

# --- the variables: Python expressions over the arguments of `render` ---

TEXTS = {  # from the client or the application: these may need escaping
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
NUMBERS = {  # from the server: these consist of letters, digits and such, and need no escaping
    "status": "digits[served.status if served.head_bytes else seen_status(served)]",
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
    # A client that leaves is noticed while the body is read, before there is a status, or while the answer is written.
    "ioerr": "left(served)",
    "rerr": "left(served) * (not served.status)",
    "werr": "left(served) * (served.status > 0)",
}
# nginx always sends these variables. They are looked up by index, without a call; a miss is rare.
_USUAL = re.compile(r"get\(('REQUEST_URI'|'REQUEST_METHOD'|'REMOTE_ADDR'|'SERVER_PROTOCOL')\)")
_DIGITS_MAX = 4096
# By the first digit of the status: plain, cyan for redirects, yellow and red for errors (ECMA-48, 8.3.117).
_COLOURS = ("\x1b[0m", "\x1b[0m", "\x1b[0m", "\x1b[36m", "\x1b[33m", "\x1b[31m")
CLIENT_LEFT = 499  # nginx's number (NGX_HTTP_CLIENT_CLOSED_REQUEST)
_VARIABLE = re.compile(r"%(?:%|\(([^()]+)\))")

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")  # not by strftime, which uses the application's locale
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Moment:
    """A second as text, in the forms that formats need.

    Args:
        second: since the epoch.
        date: the format of --log-date, for `ftime`; if empty, `ftime` is the same as `ltime`.
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
    """Return the function that renders the line of a RequestRecord in this format.

    Args:
        text: the value of --log-format: the name of a preset, or a text.
        pid, wid: of this worker.
        forwarded: --log-x-forwarded-for.
        memory_report: --memory-report: lines of the preset `uwsgi` then begin with the worker's memory.
    """
    preset = PRESETS.get(text) or Preset(text, "-")
    is_json = preset.text.startswith("{")
    if memory_report and text == "uwsgi":
        preset = Preset(MEMORY_REPORT + preset.text, preset.empty)
    literals, values = _parsed(preset, {"pid": str(pid), "wid": str(wid), "switches": "0", "core": "0"}, forwarded)
    literal = "".join(literals)
    # CPython compiles (constant text % tuple of the same length) as it compiles an f-string.
    form = "%s".join(part.replace("%", "%%") for part in literals)
    fast = _USUAL.sub(r"environ[\1]", "".join(f"{expression}, " for expression, _ in values))
    source = f"""
def escaped(record):
    environ, served = record.environ, record.served
    get = environ.get
    return {form!r} % ({"".join(f"escape({value}), " if client else f"{value}, " for value, client in values)})

def render(record):
    environ, served = record.environ, record.served
    get = environ.get
    try:
        line = {form!r} % ({fast})
    except Exception:  # an object of the application fails, or a variable of _USUAL is missing
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
        "seen_status": seen_status,
        "escape": _escape_json if is_json else _escape,
    }
    exec(source, names)  # made of --log-format, whose literals are quoted  # nosec B102
    render: Render = names["render"] if is_plain(literal) else names["escaped"]
    return render


def coloured(render: Render) -> Render:
    """Return a function that renders a line in the colour of its status."""
    return lambda record: f"{_COLOURS[seen_status(record.served) // 100]}{render(record)}{_COLOURS[0]}"


def _parsed(preset: Preset, constants: dict[str, str], forwarded: bool) -> tuple[list[str], list[tuple[str, bool]]]:
    """Return the constant parts of a line, and the expressions between them, each with whether it needs escaping."""
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
    """Return the expression of a variable, and whether it may need escaping; None if there is no such variable."""
    if name in NUMBERS:
        return NUMBERS[name], False
    if name == "addr" and forwarded:
        return f"{FORWARDED_ADDR} or {empty!r}", True
    if name in TEXTS:
        return f"{TEXTS[name]} or {empty!r}", True
    return (f"get({name[4:]!r}) or {empty!r}", True) if name.startswith("var.") else None


def _as_often(char: str, literal: str) -> str:
    """Return an expression: whether the line has this character only where the format itself has it."""
    count = literal.count(char)
    return f"line.count({char!r}) == {count}" if count else f"{char!r} not in line"


# --- functions that the rendering functions call ---


class _Digits(dict[int, str]):
    """number -> its digits. Making the digits anew each time would be a third of the cost of a line."""

    def __missing__(self, number: int) -> str:
        digits = str(number)
        if len(self) < _DIGITS_MAX:
            self[number] = digits
        return digits


def _first(value: object) -> str:
    """Return the first address of a list: the client's own, if the proxies in between are trusted."""
    return value.partition(",")[0].strip() if isinstance(value, str) else ""


def seen_status(served: Any) -> int:
    """Return the status that the client has seen. nginx's own log has a 499 for a client that left before the answer:
    the status of the application has reached nobody. A 504 of nginx looks the same from here."""
    return CLIENT_LEFT if _left(served) and not served.head_bytes else int(served.status)


def _left(served: Any) -> int:
    return int(served.outcome.name == "DISCONNECTED")


def _text(value: object) -> str:
    """Return a value of the environ as text: the application may have put any object there."""
    try:
        return value if type(value) is str else str(value)
    except Exception:
        return "-"


def _escape(value: object) -> str:
    """Escape byte by byte: the environ has latin-1 text, one character for each byte."""
    raw = _text(value).encode("latin-1", "backslashreplace")
    return "".join(chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02X}" for byte in raw)


def _escape_json(value: object) -> str:
    """Escape as in JSON. UTF-8 is decoded; in other text each byte becomes a character. The result is ASCII."""
    text = _text(value)
    try:
        text = text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        pass
    return json.dumps(text)[1:-1].replace("\x7f", "\\u007f")
