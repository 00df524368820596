"""The PROXY protocol: both versions byte by byte, and refusals. Splits and random bytes do not change the result."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from wsgid.errors import BadProxyHeader
from wsgid.protocol.proxy import Ends, Header, decode
from wsgid.records import replace

SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"

ports = st.integers(0, 65535)
addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
)


def line(ends: Ends) -> bytes:
    family = "TCP6" if ":" in ends.client else "TCP4"
    return f"PROXY {family} {ends.client} {ends.server} {ends.client_port} {ends.server_port}\r\n".encode()


def binary(ends: Ends, extensions: bytes = b"") -> bytes:
    made = IPv6Address if ":" in ends.client else IPv4Address
    body = made(ends.client).packed + made(ends.server).packed + struct.pack("!HH", ends.client_port, ends.server_port)
    family = b"\x21" if made is IPv6Address else b"\x11"
    return SIGNATURE + b"\x21" + family + struct.pack("!H", len(body + extensions)) + body + extensions


@st.composite
def ends(draw: st.DrawFn) -> Ends:
    client, server = draw(addresses)
    return Ends(str(client), draw(ports), str(server), draw(ports))


# --- version 1 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", Ends("192.0.2.1", 56324, "198.51.100.7", 443)),
        (
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            Ends("255.255.255.255", 65535, "255.255.255.255", 65535),
        ),
        (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Ends("0.0.0.0", 0, "0.0.0.0", 0)),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", Ends("2001:db8::1", 1, "2001:db8::2", 2)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff:f...f:ffff whatever 65535 65535\r\n", None),
    ],
)
def test_a_line(header: bytes, said: Ends | None) -> None:
    assert decode(header + b"GET / HTTP/1.1\r\n") == Header(len(header), said)


@pytest.mark.parametrize(
    "header",
    [
        b"GET / HTTP/1.1\r\n",
        b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY\r\n",
        b"PROXY TCP\r\n",
        b"PROXY TCP4\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 \xb2\r\n",
        b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.02.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 2001:db8::2 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n" + b"x" * 100,
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",  # 108 bytes
    ],
)
def test_a_line_that_is_refused(header: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        decode(header)


def test_the_longest_line() -> None:
    header = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"
    assert len(header) == 107 and decode(header) == Header(107, None)
    assert decode(header[:106]) is None


# --- version 2 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            b"\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb",
            Ends("192.0.2.1", 56324, "198.51.100.7", 443),
        ),
        (
            b"\x21\x21\x00\x24"
            b"\x20\x01\x0d\xb8" + b"\0" * 11 + b"\x01"
            b"\x20\x01\x0d\xb8" + b"\0" * 11 + b"\x02"
            b"\x00\x01"
            b"\x00\x02",
            Ends("2001:db8::1", 1, "2001:db8::2", 2),
        ),
        (
            b"\x21\x11\x00\x10\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb\x04\x00\x01\x00",
            Ends("192.0.2.1", 56324, "198.51.100.7", 443),
        ),  # with an extension, PP2_TYPE_NOOP
        (b"\x20\x00\x00\x00", None),  # LOCAL: a health check
        (b"\x20\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb", None),
        (b"\x21\x00\x00\x00", None),  # UNSPEC
        (b"\x21\x00\x00\x03abc", None),
        (b"\x21\x12\x00\x0c" + b"\0" * 12, None),  # datagrams
        (b"\x21\x31\x00\xd8" + b"\0" * 216, None),  # unix sockets
    ],
)
def test_a_binary_header(header: bytes, said: Ends | None) -> None:
    whole = SIGNATURE + header
    assert decode(whole + b"GET / HTTP/1.1\r\n") == Header(len(whole), said)
    assert all(decode(whole[:size]) is None for size in range(len(whole)))


@pytest.mark.parametrize(
    "header",
    [
        b"\x11\x11\x00\x0c",  # version 1
        b"\x31\x11\x00\x0c",  # version 3
        b"\x22\x11\x00\x0c",  # no such command
        b"\x21\x41\x00\x0c",  # no such family
        b"\x21\x13\x00\x0c",  # no such transport
        b"\x21\x11\x00\x0b" + b"\0" * 11,  # too short for two addresses
        b"\x21\x21\x00\x0c" + b"\0" * 12,
    ],
)
def test_a_binary_header_that_is_refused(header: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        decode(SIGNATURE + header)


# --- both -------------------------------------------------------------------------------------------------------------


def plain(address: str) -> str:
    """An IPv4 address that is mapped into IPv6 is an IPv4 address (RFC 4291, 2.5.5.2)."""
    return str(getattr(ip_address(address), "ipv4_mapped", None) or address)


@given(ends(), st.binary(max_size=50), st.binary(max_size=300))
@example(Ends("::ffff:192.0.2.1", 1, "::1", 2), b"", b"")
def test_a_header_is_read_in_whatever_pieces_it_arrives(said: Ends, extensions: bytes, rest: bytes) -> None:
    meant = replace(said, client=plain(said.client), server=plain(said.server))
    for header in (line(said), binary(said, extensions)):
        assert decode(header + rest) == Header(len(header), meant)
        assert all(decode(header[:size]) is None for size in range(len(header)))


@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(lambda tail: SIGNATURE + tail),
        st.binary(max_size=200).map(lambda tail: b"PROXY " + tail),
    )
)
@example(b"PROXY TCP4 ")
@example(SIGNATURE + b"\x21\x11\xff\xff")
def test_random_bytes_are_refused_or_incomplete_and_more_bytes_change_no_refusal(data: bytes) -> None:
    verdict: Header | type[BadProxyHeader] | None = None
    for size in range(len(data) + 1):
        try:
            now: Header | type[BadProxyHeader] | None = decode(data[:size])
        except BadProxyHeader:
            now = BadProxyHeader
        assert verdict is None or now == verdict
        verdict = now


@given(ends(), st.integers(0, len(SIGNATURE) - 1), st.integers(0, 255))
def test_a_changed_signature_is_seen_at_that_byte(said: Ends, at: int, byte: int) -> None:
    header = bytearray(binary(said))
    assume(byte not in (header[at], ord("P")))  # version 1 begins with P
    header[at] = byte
    assert decode(bytes(header[:at])) is None
    with pytest.raises(BadProxyHeader):
        decode(bytes(header[: at + 1]))
