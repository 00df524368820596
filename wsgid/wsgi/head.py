"""The head of a response: the arguments of start_response, checked strictly and rendered (PEP 3333).

    status, [(name, value), ...] -> render_head -> "HTTP/1.1 200 OK\\r\\nName: value\\r\\n..."

Rules
* A line break in a header would begin a second response. So nothing that RFC 9110 forbids is sent.
* Headers between the server and its peer (Connection, Transfer-Encoding ...) are set by the server, and are left out.
* There are few different statuses and names. So each is checked once, and remembered.
"""

import re
from enum import Enum, auto

from wsgid.errors import ApplicationError
from wsgid.protocol.fields import is_plain, parse_length

_CACHE_MAX = 1024  # how many valid status lines and header names are remembered
_STATUS = re.compile(r"(101|[2-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\n-\x1f\x7f]")  # RFC 9110, 5.5
_LENGTHLESS = frozenset({101, 204})  # RFC 9110, 8.6


class _Role(Enum):
    """The meaning of a response header for a server."""

    PLAIN = auto()  # no meaning
    LENGTH = auto()  # gives the length of the body
    DATE = auto()  # set by the server, if the application has none (RFC 9110, 6.6.1)
    CONNECTION = auto()  # between the server and nginx; only a 101 needs it
    HOP = auto()  # between the server and nginx (RFC 9110, 7.6.1): only the server sets these


_PLAIN, _LENGTH, _DATE, _CONNECTION, _HOP = _Role
_SPECIAL_ROLES = {
    "content-length": _LENGTH,
    "date": _DATE,
    "connection": _CONNECTION,
    "keep-alive": _HOP,
    "proxy-connection": _HOP,
    "te": _HOP,
    "trailer": _HOP,
    "transfer-encoding": _HOP,
}

_roles: dict[str, _Role] = {}  # valid header names that were seen
_statuses: dict[str, tuple[int, str]] = {}  # valid statuses that were seen, with their codes


def render_head(status: str, headers: list[tuple[str, str]]) -> tuple[int, str, int | None]:
    """Check the arguments of start_response, and render the head.

    Args:
        status: such as "200 OK".
        headers: (name, value) pairs.

    Returns:
        The status code; the head in latin-1, without its end; the Content-Length in it, in bytes, or None.

    Raises:
        TypeError: an argument has another type than PEP 3333 demands.
        ApplicationError: a value is not allowed in HTTP.
    """
    statuses, roles = _statuses, _roles
    code, head = statuses.get(status) or _status(status)
    if not isinstance(headers, list):
        raise TypeError(f"the response headers are a {type(headers).__name__}, not a list")
    length: int | None = None
    length_line = ""
    for header in headers:
        if not isinstance(header, tuple) or len(header) != 2:
            raise TypeError(f"the response header {header!r} is no tuple of name and value")
        name = header[0] if type(header[0]) is str else _name(header[0])
        value = header[1]
        role = roles.get(name) or _role(name)
        if not is_plain(value):
            value = _checked(name, value)
        if role is _PLAIN:
            head = f"{head}{name}: {value}\r\n"
        elif role is _LENGTH:
            length, length_line = _length(value, length), f"Content-Length: {value}\r\n"
        else:
            head += _special_line(name, value, role, code)
    if code in _LENGTHLESS:
        return code, head, None
    return code, head + length_line, length


def is_status(value: object) -> bool:
    """Whether this can be the status of a response."""
    return isinstance(value, str) and _STATUS.fullmatch(value) is not None


def _special_line(name: str, value: str, role: _Role, code: int) -> str:
    """Return the line of a header that the server has to handle itself."""
    if role is _DATE:  # in the spelling that Framing looks for
        return f"Date: {value}\r\n"
    return f"{name}: {value}\r\n" if role is _CONNECTION and code == 101 else ""


def _name(name: object) -> str:
    """Return a name of a subclass of str as a plain str: the format of an Enum's member would give the member's name.

    Raises:
        TypeError: the name is something else.
    """
    if not isinstance(name, str):
        raise TypeError(f"the header name {name!r} is a {type(name).__name__}, not a str")
    return str.__str__(name)


def _status(status: str) -> tuple[int, str]:
    if not isinstance(status, str):
        raise TypeError(f"the status {status!r} is a {type(status).__name__}, not a str such as '200 OK'")
    status = str.__str__(status)
    match = _STATUS.fullmatch(status)
    if match is None:
        raise ApplicationError(
            f"{status!r} is no status for a response: "
            "it takes three digits, 101 or 200 to 599, and a reason, as in '200 OK'"
        )
    # RFC 9112, 4: the space is there even without a reason.
    made = int(match[1]), f"HTTP/1.1 {status}{' ' if len(status) == 3 else ''}\r\n"
    if len(_statuses) < _CACHE_MAX:
        _statuses[status] = made
    return made


def _role(name: str) -> _Role:
    if not _TOKEN.fullmatch(name):
        raise ApplicationError(f"{name!r} is no header name: RFC 9110 allows letters, digits and !#$%&'*+-.^_`|~")
    role = _SPECIAL_ROLES.get(name.lower(), _PLAIN)
    if len(_roles) < _CACHE_MAX:
        _roles[name] = role
    return role


def _checked(name: str, value: object) -> str:
    """Return a value that is_plain does not know to be harmless."""
    if not isinstance(value, str):
        raise TypeError(f"the value {value!r} of the header {name!r} is a {type(value).__name__}, not a str")
    value = str.__str__(value)
    if _CONTROL.search(value):
        raise ApplicationError(f"the value {value!r} of the header {name!r} has a control character: remove it")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ApplicationError(f"{value[error.start]!r} in a response header is not latin-1: encode it") from None
    return value


def _length(value: str, other: int | None) -> int:
    length = parse_length(value)
    if length < 0:
        raise ApplicationError(f"Content-Length is {value!r}, not a number of bytes")
    if other is not None and other != length:
        raise ApplicationError(f"there are two Content-Lengths, {other} and {length}")
    return length
