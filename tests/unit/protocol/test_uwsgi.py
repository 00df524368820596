"""The uwsgi protocol: the meaning of a packet, and refusals. Splits and random bytes do not change the result."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsgid.errors import BadPacket, ForeignProtocol, PeerError, TooManyVariables, UnknownModifier
from wsgid.protocol.uwsgi import DATA_MAX_BYTES, HEADER_SIZE_BYTES, PONG, Modifier, UwsgiHead, decode, encode

pytestmark = pytest.mark.hot

MAX_VARS = 100

texts = st.text(st.characters(max_codepoint=255), max_size=300)
names = texts.filter(lambda name: name not in {"", "HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"})
variable_sets = st.dictionaries(names, texts, max_size=20).filter(lambda them: "CONTENT_LENGTH" not in them)


def variables_of(*pairs: tuple[str, str], modifier1: int = 0) -> dict[str, str]:
    head = decode(encode(pairs, modifier1), MAX_VARS)
    assert head is not None
    return head.variables


def values(head: UwsgiHead | None) -> tuple[Modifier, dict[str, str], int, int]:
    assert head is not None
    return head.modifier, head.variables, head.content_length, head.size_bytes


# --- the wire ---------------------------------------------------------------------------------------------------------


def test_the_layout_is_that_of_the_specification() -> None:
    packet = b"\x00\x0a\x00\x00\x03\x00KEY\x03\x00val"
    assert encode([("KEY", "val")]) == b"\x00\x0a\x00\x00" + packet[4:]
    assert values(decode(packet, MAX_VARS)) == (Modifier.WSGI, {"KEY": "val"}, 0, 14)


@given(variable_sets)
def test_encoded_variables_are_decoded(variables: dict[str, str]) -> None:
    packet = encode(variables.items())
    assert values(decode(packet, MAX_VARS)) == (Modifier.WSGI, variables, 0, len(packet))


@given(variable_sets, st.binary(max_size=100))
def test_a_split_changes_nothing(variables: dict[str, str], body: bytes) -> None:
    variables["CONTENT_LENGTH"] = str(len(body))
    packet = encode(variables.items())
    whole = decode(packet, MAX_VARS)
    assert whole is not None and whole.content_length == len(body) and whole.size_bytes == len(packet)
    assert values(decode(packet + body, MAX_VARS)) == values(whole)
    buffer = bytearray()
    for byte in packet:
        assert decode(bytes(buffer), MAX_VARS) is None
        buffer.append(byte)
    assert values(decode(bytes(buffer), MAX_VARS)) == values(whole)


@given(variable_sets, variable_sets)
def test_no_packet_replaces_a_key_of_the_server(base: dict[str, str], variables: dict[str, str]) -> None:
    before = dict(base)
    head = decode(encode([*variables.items(), *variables.items()]), MAX_VARS, base)
    assert head is not None and head.variables.items() >= before.items() == base.items()
    assert head.variables.keys() == before.keys() | variables.keys()


def framed(data: bytes) -> bytes:
    return bytes((0, len(data) & 255, len(data) >> 8, 0)) + data


@given(st.binary(max_size=400) | st.binary(max_size=400).map(framed))
@example(b"\x00\x01\x00\x00\x00")
@example(b"\x00\x04\x00\x00\x00\x00\x00\x00")
@example(b"\x00\x02\x00\x00\xff\xff")
def test_any_bytes_are_a_head_or_too_short_or_refused(data: bytes) -> None:
    try:
        head = decode(data, MAX_VARS)
    except PeerError:
        return
    assert head is None or head.size_bytes <= len(data)


@given(variable_sets, st.data())
def test_sizes_that_do_not_add_up_are_refused(variables: dict[str, str], data: st.DataObject) -> None:
    variables["LAST"] = "value"
    packet = encode(variables.items())
    cut = data.draw(st.integers(1, 12))  # within the last variable
    shorter = packet[4:-cut]
    with pytest.raises(BadPacket):
        decode(framed(shorter) + b"body", MAX_VARS)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"\x01\x00",
        b"\x01\x00A",
        b"\x01\x00A\x01",
        b"\x01\x00A\x01\x00",
        b"\x02\x00A\x00\x00",
        b"\x01\x00A\x02\x00B",
        b"\xff\xffA\x01\x00B",
        b"\x01\x00A\xff\xffB",
        b"\x01\x00A\x01\x00B\x00",
    ],
)
def test_broken_variables_are_refused_even_if_a_body_follows(data: bytes) -> None:
    with pytest.raises(BadPacket, match="do not add up"):
        decode(framed(data) + bytes(70000), MAX_VARS)


def test_the_largest_packet_is_accepted() -> None:
    value = "x" * (65535 - len("K") - 4)
    packet = encode([("K", value)])
    assert len(packet) == HEADER_SIZE_BYTES + DATA_MAX_BYTES
    assert decode(packet[:-1], MAX_VARS) is None
    head = decode(packet, MAX_VARS)
    assert head is not None and head.variables == {"K": value}


@pytest.mark.parametrize("variables", [[("K", "x" * 65531)], [("K", "x" * 70000)], [("K", "x" * 40000)] * 2])
def test_an_impossible_packet_is_not_encoded(variables: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="65535"):
        encode(variables)


def test_names_and_values_are_latin_1() -> None:
    assert variables_of(("K\xfc", "\x80\xff")) == {"K\xfc": "\x80\xff"}
    with pytest.raises(ValueError, match="latin-1"):
        encode([("K", "\u20ac")])
    head = decode(encode([(b"PATH_INFO", "/ü".encode())]), MAX_VARS)
    # the bytes of UTF-8 stay as they are: PEP 3333
    assert head is not None and head.variables["PATH_INFO"] == "/\xc3\xbc"


def test_a_packet_without_variables_is_valid() -> None:
    assert values(decode(bytes(4), MAX_VARS)) == (Modifier.WSGI, {}, 0, 4)


def test_a_ping_is_recognised_and_has_an_answer() -> None:
    head = decode(b"\x64\x00\x00\x00", MAX_VARS)
    assert head is not None and head.modifier is Modifier.PING
    assert PONG == b"\x64\x00\x00\x01"


# --- other protocols --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1",
        b"POST / HTTP/1.1",
        b"HEAD / HTTP/1.1",
        b"PUT /x HTTP/1.1",
        b"DELETE /x HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"PATCH / HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1",
        b"TRACE / HTTP/1.1",
        b"PRI * HTTP/2.0",
    ],
)
def test_http_is_recognised_from_four_bytes(line: bytes) -> None:
    assert decode(line[:3], MAX_VARS) is None
    for size in (4, len(line)):
        with pytest.raises(ForeignProtocol, match=r"HTTP.*uwsgi_pass instead of proxy_pass"):
            decode(line[:size], MAX_VARS)


def test_tls_is_recognised() -> None:
    with pytest.raises(ForeignProtocol, match="TLS"):
        decode(b"\x16\x03\x01\x02", MAX_VARS)


@pytest.mark.parametrize("modifier1", sorted(set(range(256)) - {0, 30, 100}))
def test_other_modifiers_are_refused_from_four_bytes(modifier1: int) -> None:
    with pytest.raises(UnknownModifier, match=f"modifier1 is {modifier1},"):
        decode(bytes((modifier1, 255, 255, 0)), MAX_VARS)


# --- CONTENT_LENGTH ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "length"), [("", 0), ("0", 0), ("5", 5), ("007", 7), ("9" * 18, 10**18 - 1)])
def test_content_length_is_a_number(value: str, length: int) -> None:
    head = decode(encode([("CONTENT_LENGTH", value)]), MAX_VARS)
    assert head is not None and head.content_length == length and head.variables["CONTENT_LENGTH"] == value


@pytest.mark.parametrize("value", ["-1", "+1", " 1", "1 ", "1_0", "0x1", "1.0", "5, 5", "\xb2", "1\xb2", "a", "9" * 19])
def test_a_content_length_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(BadPacket, match="CONTENT_LENGTH"):
        decode(encode([("CONTENT_LENGTH", value)]), MAX_VARS)


# --- variables --------------------------------------------------------------------------------------------------------


def test_max_vars_is_the_number_of_pairs() -> None:
    assert decode(encode([(f"K{i}", "") for i in range(5)]), 5) is not None
    with pytest.raises(TooManyVariables, match=r"more than 5 .*--max-vars"):
        decode(encode([(f"K{i}", "") for i in range(6)]), 5)
    with pytest.raises(TooManyVariables):
        decode(encode([("HTTP_SAME", "")] * 6), 5)


def test_a_variable_needs_a_name() -> None:
    with pytest.raises(BadPacket, match="without a name"):
        decode(encode([("A", "1"), ("", "x")]), MAX_VARS)


def test_repeated_headers_are_joined_and_of_other_variables_the_last_counts() -> None:
    """nginx before 1.23 sends a header that the client repeats as a repeated variable."""
    assert variables_of(
        ("HTTP_X_MULTI", "a"),
        ("REMOTE_ADDR", "first"),
        ("HTTP_COOKIE", "a=1"),
        ("HTTP_X_MULTI", "b"),
        ("REMOTE_ADDR", "last"),
        ("HTTP_COOKIE", "b=2"),
        ("HTTP_X_MULTI", "c"),
    ) == {"HTTP_X_MULTI": "a, b, c", "REMOTE_ADDR": "last", "HTTP_COOKIE": "a=1; b=2"}


def test_headers_with_ambiguous_names_are_dropped() -> None:
    assert variables_of(
        ("HTTP_PROXY", "http://evil"),
        ("HTTP_CONTENT_TYPE", "x"),
        ("HTTP_CONTENT_LENGTH", "no number"),
        ("HTTP_PROXY", "again"),
        ("CONTENT_TYPE", "text/plain"),
        ("HTTP_PROXY_CONNECTION", "close"),
    ) == {"CONTENT_TYPE": "text/plain", "HTTP_PROXY_CONNECTION": "close"}


def test_a_variable_from_which_uwsgi_would_load_code_is_only_a_string() -> None:
    loaders = {
        f"UWSGI_{name}": "/tmp/evil.py"
        for name in ("FILE", "SCRIPT", "MODULE", "CALLABLE", "SETENV", "CHDIR", "PYHOME")
    }
    assert variables_of(*loaders.items()) == loaders


# --- modifier 30 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script_name", "path", "expected"),
    [
        ("/x", "/x/page", ("/x", "/page")),
        ("/x", "/x/", ("/x", "/")),
        ("/x", "/x", ("/x", "")),
        ("/x", "/xyz", ("/x", "/xyz")),
        ("/x", "/y/x", ("/x", "/y/x")),
        ("/x/", "/x/page", ("/x", "/page")),
        ("/x/y", "/x/y/z", ("/x/y", "/z")),
        ("/x", "/x/x/page", ("/x", "/x/page")),
        ("/", "/page", ("", "/page")),
        ("", "/page", ("", "/page")),
    ],
)
def test_modifier_30_takes_script_name_off_path_info(script_name: str, path: str, expected: tuple[str, str]) -> None:
    variables = variables_of(("SCRIPT_NAME", script_name), ("PATH_INFO", path), modifier1=30)
    assert (variables["SCRIPT_NAME"], variables["PATH_INFO"]) == expected


def test_without_modifier_30_the_path_stays() -> None:
    pairs = {"SCRIPT_NAME": "/x", "PATH_INFO": "/x/page"}
    assert variables_of(*pairs.items()) == pairs
    assert "PATH_INFO" not in variables_of(("SCRIPT_NAME", "/x"), modifier1=30)
