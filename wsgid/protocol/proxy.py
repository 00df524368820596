"""The PROXY protocol, versions 1 and 2: a load balancer sends its client's address before the client's first byte.

    decode(bytes that have arrived) -> Header, or None if more bytes are needed

Source: haproxy's doc/proxy-protocol.txt; the section numbers below are those of that document.

Rules
* No I/O and no guessing. `decode` refuses a connection without a header: if the header were optional, a client could
  forge it (section 5). `begins_header` is for sites that want this all the same.
* A wrong header is refused at the first byte that shows the error.
* Some headers say nothing of the client (LOCAL, UNKNOWN, UNSPEC, a unix socket, datagrams). Then the addresses of the
  connection itself count (section 2.2).
* Extensions (TLVs) are skipped.
"""

import re
import struct
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from wsgid.counted import counted
from wsgid.errors import BadProxyHeader
from wsgid.records import dataclass

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_PREFIX = b"PROXY "
_LINE_MAX_BYTES = 107  # section 2.1: the longest line, with its CR LF
_FIXED = struct.Struct("!12sBBH")  # signature, version and command, family and transport, size of the rest
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")

_LOCAL, _PROXY = 0x20, 0x21  # version 2 in the upper four bits
_STREAM_4, _STREAM_6 = 0x11, 0x21
_SILENT = frozenset({0x00, 0x01, 0x02, 0x10, 0x12, 0x20, 0x22, 0x30, 0x31, 0x32})  # valid, without an address for HTTP
_ADDRESSES = {_STREAM_4: struct.Struct("!4s4sHH"), _STREAM_6: struct.Struct("!16s16sHH")}
_FAMILIES: dict[int | str, type[IPv4Address] | type[IPv6Address]] = {
    _STREAM_4: IPv4Address,
    _STREAM_6: IPv6Address,
    "TCP4": IPv4Address,
    "TCP6": IPv6Address,
}


@dataclass(frozen=True, slots=True)
class Ends:
    """The client's address, and the address that the client has connected to."""

    client: str
    client_port: int
    server: str
    server_port: int


@dataclass(frozen=True, slots=True)
class Header:
    """One PROXY header.

    Args:
        size_bytes: of the header; the client's own bytes follow.
        ends: the addresses; None if those of the connection count.
    """

    size_bytes: int
    ends: Ends | None


def begins_header(buffer: bytes) -> bool:
    """Whether the bytes that have arrived can be the beginning of a header, or contain one."""
    return buffer.startswith((_SIGNATURE[: len(buffer)], _PREFIX[: len(buffer)]))


def decode(buffer: bytes) -> Header | None:
    """Decode the header at the beginning of a connection. None if the header is incomplete.

    Args:
        buffer: all bytes that have arrived.

    Raises:
        BadProxyHeader: the bytes are no valid header.
    """
    if buffer.startswith(_SIGNATURE[: len(buffer)]):
        return _binary(buffer)
    if buffer.startswith(_PREFIX[: len(buffer)]):
        return _line(buffer)
    raise BadProxyHeader(
        f"a connection begins with {buffer[:12]!r} and not with a PROXY header: let the load balancer "
        "send one, or leave --proxy-protocol out"
    )


def _line(buffer: bytes) -> Header | None:
    """Version 1 (section 2.1): PROXY TCP4 client server client-port server-port CRLF."""
    end = buffer.find(b"\r\n", 0, _LINE_MAX_BYTES)
    if end < 0:
        if len(buffer) >= _LINE_MAX_BYTES:
            raise _malformed(buffer, f"has no end within {_LINE_MAX_BYTES} bytes")
        return None
    _, family, *rest = buffer[:end].decode("latin-1").split(" ")
    if family == "UNKNOWN":  # whatever follows is ignored
        return Header(end + 2, None)
    if family not in ("TCP4", "TCP6") or len(rest) != 4:
        raise _malformed(buffer[:end], "is not of TCP4, TCP6 or UNKNOWN, with two addresses and two ports")
    client, server = (_address(text, family, buffer[:end]) for text in rest[:2])
    client_port, server_port = (_port(text, buffer[:end]) for text in rest[2:])
    return Header(end + 2, Ends(client, client_port, server, server_port))


def _address(text: str, family: str, line: bytes) -> str:
    try:
        if "%" in text:
            raise AddressValueError
        return _shown(_FAMILIES[family](text))
    except AddressValueError:
        raise _malformed(line, f"has {text[:40]!r} where an address of {family} belongs") from None


def _shown(address: IPv4Address | IPv6Address) -> str:
    """Return an address as text. A client that has reached the load balancer by IPv4 is shown as IPv4, also if the
    header maps the address into IPv6 (RFC 4291, 2.5.5.2)."""
    return str(getattr(address, "ipv4_mapped", None) or address)


def _port(text: str, line: bytes) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise _malformed(line, f"has {text[:40]!r} where a port belongs")
    return int(text)


def _binary(buffer: bytes) -> Header | None:
    """Version 2 (section 2.2)."""
    if len(buffer) > 12 and buffer[12] not in (_LOCAL, _PROXY):
        raise _malformed(buffer[:16], f"has the version and command {buffer[12]:#04x}")
    if len(buffer) > 13 and buffer[13] not in _SILENT and buffer[13] not in _ADDRESSES:
        raise _malformed(buffer[:16], f"has the family and transport {buffer[13]:#04x}")
    if len(buffer) < _FIXED.size:
        return None
    _, command, family, size = _FIXED.unpack_from(buffer)
    ends = _ADDRESSES.get(family) if command == _PROXY else None
    if ends and size < ends.size:
        raise _malformed(buffer[:16], f"has {counted(size, 'byte')} of addresses instead of {ends.size}")
    if len(buffer) < _FIXED.size + size:
        return None
    if not ends:
        return Header(_FIXED.size + size, None)
    client, server, client_port, server_port = ends.unpack_from(buffer, _FIXED.size)
    made = _FAMILIES[family]
    return Header(_FIXED.size + size, Ends(_shown(made(client)), client_port, _shown(made(server)), server_port))


def _malformed(header: bytes, why: str) -> BadProxyHeader:
    return BadProxyHeader(f"the PROXY header {header[:_LINE_MAX_BYTES]!r} {why}")
