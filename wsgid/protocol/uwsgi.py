"""The uwsgi protocol: decode and encode request heads.

    u8 modifier1, u16 LE datasize, u8 modifier2, then datasize bytes of (u16 LE size, name, u16 LE size, value)*

Rules
* Bytes in, a head out; no I/O. `decode` returns None (more bytes are needed) or a UwsgiHead, or raises a PeerError.
* `decode` decides as early as possible. The first four bytes show another protocol or an unknown modifier. An
  incomplete packet always costs the same, however many of its bytes have arrived.
* Invalid input is refused, never repaired: for example sizes that do not add up, or a length that is no number.
* Names and values are latin-1 strings, as PEP 3333 demands.  Variables with a meaning in uWSGI (UWSGI_FILE,
  UWSGI_SCRIPT, UWSGI_MODULE, UWSGI_SETENV, ...) have no meaning here: a peer never chooses the code that runs.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

from wsgid.counted import counted
from wsgid.errors import BadPacket, ForeignProtocol, PeerError, TooManyVariables, UnknownModifier
from wsgid.protocol.fields import LENGTH_MAX_DIGITS, parse_length
from wsgid.protocol.variables import walk

HEADER_SIZE_BYTES = 4
DATA_MAX_BYTES = 65535
PONG = b"\x64\x00\x00\x01"

# In the environ, `Proxy: evil` would look like the CGI variable HTTP_PROXY, which HTTP clients obey (httpoxy,
# CVE-2016-5385). The other two exist without the prefix HTTP_ only (RFC 3875, 4.1.18).
_DROPPED = ("HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH")

_HTTP = frozenset({b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI "})
_TLS = b"\x16\x03"  # a handshake record of SSL 3 or later (RFC 8446, 5.1)


class Modifier(IntEnum):
    """The packet's kind (modifier1)."""

    WSGI = 0
    MANAGE_PATH_INFO = 30  # WSGI; in addition the server removes SCRIPT_NAME from the front of PATH_INFO
    PING = 100  # the answer is PONG


_MODIFIERS = {modifier.value: modifier for modifier in Modifier}
_MANAGE_PATH_INFO = Modifier.MANAGE_PATH_INFO  # reading a member through its class costs several times as much


class UwsgiHead:
    """One decoded packet. The body starts at buffer[size_bytes:] and has content_length bytes.

    What is needed after the application has answered is kept here, and not on the stack: how many variables there were
    before more were added, the bytes behind the packet, and its first bytes.
    """

    __slots__ = ("modifier", "variables", "content_length", "size_bytes", "received", "rest", "header")

    def __init__(self, modifier: Modifier, variables: dict[str, Any], content_length: int, size_bytes: int) -> None:
        self.modifier = modifier
        self.variables = variables
        self.content_length = content_length
        self.size_bytes = size_bytes
        self.received = 0
        self.rest = self.header = b""


def decode(buffer: bytes, max_vars: int, base: dict[str, Any] | None = None) -> UwsgiHead | None:
    """Decode the packet at the start of `buffer`. The bytes after the packet belong to the request's body.

    Args:
        buffer: all bytes that have arrived.
        max_vars: the largest number of variables.
        base: the server's own variables. Every head gets them, and no packet can replace them.

    Returns:
        The head, or None if the packet is incomplete.

    Raises:
        PeerError: ForeignProtocol, UnknownModifier, BadPacket or TooManyVariables.
    """
    if len(buffer) < HEADER_SIZE_BYTES:
        return None
    known = _MODIFIERS
    modifier = known.get(buffer[0])
    if modifier is None:
        raise _unknown(buffer[:HEADER_SIZE_BYTES])
    size_bytes = HEADER_SIZE_BYTES + buffer[1] + (buffer[2] << 8)
    if len(buffer) < size_bytes:
        return None
    variables = _variables(buffer, size_bytes, max_vars, base)
    if "" in variables:
        raise BadPacket("the packet has a variable without a name: look for an empty uwsgi_param in nginx's files")
    for name in _DROPPED:
        if name in variables:
            del variables[name]
    if modifier is _MANAGE_PATH_INFO:
        _manage_path_info(variables)
    length = variables.get("CONTENT_LENGTH")
    return UwsgiHead(modifier, variables, _content_length(length) if length else 0, size_bytes)


def _variables(buffer: bytes, size_bytes: int, max_vars: int, base: dict[str, Any] | None) -> dict[str, Any]:
    variables = {} if base is None else base.copy()
    before = len(variables)
    try:
        repeated = walk(buffer, HEADER_SIZE_BYTES, size_bytes, variables)
    except ValueError:
        raise BadPacket(
            f"the sizes of the variables do not add up to the size of the packet, "
            f"{counted(size_bytes - HEADER_SIZE_BYTES, 'byte')}: the peer does not speak the uwsgi protocol"
        ) from None
    if len(variables) - before + len(repeated) > max_vars:
        raise TooManyVariables(
            f"the packet has more than {counted(max_vars, 'variable')}: raise --max-vars if that is wanted"
        )
    for name, value in repeated:
        if base is None or name not in base:
            variables[name] = _joined(name, variables[name], value)
    return variables


def _joined(name: str, first: str, second: str) -> str:
    """Join the values of a variable that comes twice.

    nginx before 1.23 sends a repeated header as a repeated variable. Headers are joined as RFC 9110, 5.3 says, cookies
    as RFC 6265, 5.4 says. Of other variables the last value counts, as in uWSGI and in nginx's own directives. This
    holds for
    HTTP_HOST too: Host is no list, and Debian's uwsgi_params sets HTTP_HOST before a location may set it again.
    """
    if not name.startswith("HTTP_") or name == "HTTP_HOST":
        return second
    return f"{first}{'; ' if name == 'HTTP_COOKIE' else ', '}{second}"


def _manage_path_info(variables: dict[str, Any]) -> None:
    """Remove SCRIPT_NAME from the front of PATH_INFO, if it ends at a segment: /x is no prefix of /xyz."""
    script_name = variables.get("SCRIPT_NAME", "").rstrip("/")
    variables["SCRIPT_NAME"] = script_name
    path = variables.get("PATH_INFO", "")
    if script_name and f"{path}/".startswith(f"{script_name}/"):
        variables["PATH_INFO"] = path[len(script_name) :]


def _content_length(value: str) -> int:
    length = parse_length(value)
    if length < 0:
        raise BadPacket(
            f"CONTENT_LENGTH is {value[:40]!r}, not a decimal number of at most {LENGTH_MAX_DIGITS} "
            "digits: have nginx send $content_length"
        )
    return length


def _unknown(start: bytes) -> PeerError:
    if start in _HTTP:
        return ForeignProtocol(
            f"the peer speaks HTTP ({start.decode('ascii')!r}), not uwsgi: nginx needs uwsgi_pass instead of proxy_pass"
        )
    if start.startswith(_TLS):
        return ForeignProtocol("the peer speaks TLS, not uwsgi: nginx needs uwsgi_pass without suwsgi:// or https://")
    return UnknownModifier(
        f"modifier1 is {start[0]}, and only {', '.join(map(str, _MODIFIERS))} are known: "
        "remove uwsgi_modifier1 from nginx's location"
    )


def encode(variables: Iterable[tuple[str | bytes, str | bytes]], modifier1: int = 0, modifier2: int = 0) -> bytes:
    """Make a packet, for tests and clients. The caller appends the body.

    Args:
        variables: (name, value) pairs; a str must be latin-1.
        modifier1, modifier2: see Modifier.

    Raises:
        ValueError: the variables do not fit into the 65,535 bytes of a packet, or a modifier does not fit into a byte.
    """
    data = b"".join([_sized(text) for pair in variables for text in pair])
    if len(data) > DATA_MAX_BYTES:
        raise ValueError(f"the variables take {counted(len(data), 'byte')}, and a packet holds {DATA_MAX_BYTES}")
    return bytes((modifier1, len(data) & 0xFF, len(data) >> 8, modifier2)) + data


def _sized(text: str | bytes) -> bytes:
    raw = text.encode("latin-1") if isinstance(text, str) else text
    if len(raw) > DATA_MAX_BYTES:
        raise ValueError(f"a name or value takes {counted(len(raw), 'byte')}, and a packet holds {DATA_MAX_BYTES}")
    return len(raw).to_bytes(2, "little") + raw
