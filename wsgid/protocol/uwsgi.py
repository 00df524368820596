"""The uwsgi protocol: bytes to request head, and back.

    u8 modifier1, u16 LE datasize, u8 modifier2, then datasize bytes of (u16 LE size, name, u16 LE size, value)*

Rules
* Bytes in, a head out; no I/O. `decode` says "more" (None), or a Head, or raises one of the PeerErrors: nothing else.
* It decides as early as the bytes allow: a foreign protocol or an unknown modifier by the first four, and an incomplete
  packet costs the same however much of it is there.
* Nothing is invented: sizes that do not fit and lengths that are no numbers are refused, never repaired.
* Names and values are latin-1 strings, as PEP 3333 has them.  The names that uWSGI gives a meaning (UWSGI_FILE,
  UWSGI_SCRIPT, UWSGI_MODULE, UWSGI_SETENV, ...) mean nothing here: a peer never chooses the code that runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from wsgid.errors import BadPacket, ForeignProtocol, PeerError, TooManyVariables, UnknownModifier
from wsgid.protocol.fields import LENGTH_MAX_DIGITS, parse_length
from wsgid.protocol.variables import walk

HEADER_SIZE_BYTES = 4
DATA_MAX_BYTES = 65535
PONG = b"\x64\x00\x00\x01"

# An environ cannot tell `Proxy: evil` from the CGI variable HTTP_PROXY that HTTP clients obey (httpoxy, CVE-2016-5385),
# and the other two exist without HTTP_ only (RFC 3875, 4.1.18).
_DROPPED = ("HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH")

_HTTP = frozenset({b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI "})
_TLS = b"\x16\x03"  # a handshake record of SSL 3 or later (RFC 8446, 5.1)


class Modifier(IntEnum):
    """modifier1: what the packet asks for."""

    WSGI = 0
    MANAGE_PATH_INFO = 30  # WSGI, and the server takes SCRIPT_NAME off PATH_INFO
    PING = 100  # answered with PONG


_MODIFIERS = {modifier.value: modifier for modifier in Modifier}
_MANAGE_PATH_INFO = Modifier.MANAGE_PATH_INFO  # reading a member through its class costs several times as much


@dataclass
class UwsgiHead:
    """One decoded packet; the body starts at buffer[size_bytes:] and is content_length bytes long."""

    __slots__ = ("modifier", "variables", "content_length", "size_bytes")

    modifier: Modifier
    variables: dict[str, Any]
    content_length: int
    size_bytes: int


def decode(buffer: bytes, max_vars: int, base: dict[str, Any] | None = None) -> UwsgiHead | None:
    """Decode the packet at the start of `buffer`; what follows it is the request's body.

    Args:
        buffer: everything received so far.
        max_vars: how many variables are accepted.
        base: the server's own variables, which every head gets, and no packet replaces.

    Returns:
        None if the packet is not complete yet.

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
            f"the sizes of the variables do not add up to the {size_bytes - HEADER_SIZE_BYTES} bytes of "
            "the packet: the peer does not speak the uwsgi protocol"
        ) from None
    if len(variables) - before + len(repeated) > max_vars:
        raise TooManyVariables(f"the packet has more than {max_vars} variables: raise --max-vars if that is wanted")
    for name, value in repeated:
        if base is None or name not in base:
            variables[name] = _joined(name, variables[name], value)
    return variables


def _joined(name: str, first: str, second: str) -> str:
    """nginx before 1.23 sends a header that the client repeats as a repeated variable: joined as RFC 9110, 5.3 has it,
    cookies as RFC 6265, 5.4. Of other variables the last counts, as in uWSGI and in nginx's own directives; so it does
    of HTTP_HOST, which is no list, and which Debian's uwsgi_params sets before a location may set it better."""
    if not name.startswith("HTTP_") or name == "HTTP_HOST":
        return second
    return f"{first}{'; ' if name == 'HTTP_COOKIE' else ', '}{second}"


def _manage_path_info(variables: dict[str, Any]) -> None:
    """Take SCRIPT_NAME off the front of PATH_INFO, where it ends at a segment: /x is no part of /xyz."""
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
    """Make a packet, for tests and clients; a body is put behind it.

    Args:
        variables: (name, value) pairs; str has to be latin-1.

    Raises:
        ValueError: it does not fit into the 65,535 bytes that a packet can have, or the modifiers not into a byte.
    """
    data = b"".join([_sized(text) for pair in variables for text in pair])
    if len(data) > DATA_MAX_BYTES:
        raise ValueError(f"the variables take {len(data)} bytes, and a packet holds {DATA_MAX_BYTES}")
    return bytes((modifier1, len(data) & 0xFF, len(data) >> 8, modifier2)) + data


def _sized(text: str | bytes) -> bytes:
    raw = text.encode("latin-1") if isinstance(text, str) else text
    if len(raw) > DATA_MAX_BYTES:
        raise ValueError(f"a name or value takes {len(raw)} bytes, and a packet holds {DATA_MAX_BYTES}")
    return len(raw).to_bytes(2, "little") + raw
