"""X-Forwarded-* and Forwarded: which peers are trusted, what their headers change, and that a client cannot forge
this."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgid.protocol import forwarded
from wsgid.protocol.forwarded import Trusted, apply, take_balancers_scheme

LISTED = "127.0.0.1, 10.0.0.0/8 ,2001:db8::/32"
ALL_HEADERS = "X-Forwarded-For, x-forwarded-proto,x-forwarded-host,x-forwarded-port"
PROXIES = Trusted(LISTED, ALL_HEADERS)
RFC_7239 = Trusted(LISTED, "Forwarded")


def applied(trusted: Trusted | None = None, /, **headers: str) -> dict[str, Any]:
    if trusted is None:
        trusted = RFC_7239 if "FORWARDED" in headers else PROXIES
    variables = {
        "REMOTE_ADDR": "10.0.0.1",
        "REMOTE_PORT": "4711",
        "SERVER_NAME": "",
        "SERVER_PORT": "8000",
        "HTTP_HOST": "inside:8000",
        **{f"HTTP_{name}": value for name, value in headers.items()},
    }
    apply(variables, trusted)
    return variables


def client(**headers: str) -> tuple[str, str | None]:
    said = applied(**headers)
    return said["REMOTE_ADDR"], said.get("REMOTE_PORT")


# --- trusted peers ----------------------------------------------------------------------------------------------------


def test_addresses_and_networks_are_trusted() -> None:
    assert PROXIES.includes("127.0.0.1") and PROXIES.includes("10.255.0.1") and PROXIES.includes("2001:db8::5")
    assert not PROXIES.includes("127.0.0.2") and not PROXIES.includes("11.0.0.1") and not PROXIES.includes("::1")
    assert PROXIES.includes("::ffff:10.0.0.1")  # as a dual-stack socket writes this address
    assert not PROXIES.includes("nonsense")


def test_the_peer_of_a_unix_socket_has_no_address() -> None:
    assert not PROXIES.includes("") and not PROXIES.includes("unix")
    assert Trusted("unix").includes("") and not Trusted("unix").includes("127.0.0.1")


def test_a_star_trusts_every_peer_and_an_empty_list_none() -> None:
    assert Trusted("*").includes("192.0.2.1") and Trusted("*").includes("")
    assert not Trusted("").includes("127.0.0.1") and not Trusted("").includes("")


@pytest.mark.parametrize("text", ["localhost", "10.0.0.0/33", "10.0.0", "127.0.0.1;::1", "**"])
def test_a_list_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 127.0.0.1,10.0.0.0/8"):
        Trusted(text)


# --- X-Forwarded-* ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", None),
        ("2001:db9::1", "2001:db9::1", None),
        ("192.0.2.1:4000", "192.0.2.1", "4000"),
        ("[2001:db9::1]:4000", "2001:db9::1", "4000"),
        ("192.0.2.1:0", "192.0.2.1", None),
        ("192.0.2.1, 10.0.0.2", "192.0.2.1", None),  # two proxies
        ("203.0.113.9, 192.0.2.1", "192.0.2.1", None),  # the client has forged the address before its own
        ("127.0.0.1, 203.0.113.9, 192.0.2.1, 10.0.0.2,10.0.0.3", "192.0.2.1", None),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3", None),  # all addresses are proxies: a request from inside
    ],
)
def test_the_client_is_the_last_address_that_is_not_trusted(header: str, address: str, port: str | None) -> None:
    assert client(X_FORWARDED_FOR=header) == (address, port)


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("", "10.0.0.1"),
        ("unknown", "10.0.0.1"),
        ("192.0.2.300", "10.0.0.1"),
        ("192.0.2.1 10.0.0.2", "10.0.0.1"),
        ("fe80::1%eth0", "10.0.0.1"),
        (",", "10.0.0.1"),
        ("192.0.2.1,", "10.0.0.1"),
        ("<script>", "10.0.0.1"),
        ("192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"),  # entries before an unknown entry can be forged
        ("1:2:3", "10.0.0.1"),
        ("[192.0.2.1", "10.0.0.1"),
        ("١.1.1.1", "10.0.0.1"),
    ],
)
def test_an_entry_that_is_no_address_ends_the_search(header: str, address: str) -> None:
    assert client(X_FORWARDED_FOR=header)[0] == address


def test_if_every_peer_is_trusted_the_first_address_counts() -> None:
    said = applied(Trusted("*", ALL_HEADERS), X_FORWARDED_FOR="203.0.113.9, 192.0.2.1")
    assert said["REMOTE_ADDR"] == "203.0.113.9"


@pytest.mark.parametrize(
    ("header", "scheme", "https"),
    [
        ("https", "https", "on"),
        ("HTTPS", "https", "on"),
        ("http", "http", None),
        ("http, https", "https", "on"),
        ("https, http", "http", None),
        ("wss", None, None),
        ("", None, None),
        ("https\x00", None, None),
    ],
)
def test_the_scheme_comes_from_the_peer(header: str, scheme: str | None, https: str | None) -> None:
    said = applied(X_FORWARDED_PROTO=header)
    assert said.get("REQUEST_SCHEME") == scheme and said.get("HTTPS") == https


def test_a_proxy_that_speaks_tls_to_us_may_have_been_asked_without() -> None:
    variables = {"REMOTE_ADDR": "10.0.0.1", "HTTPS": "on", "REQUEST_SCHEME": "https", "HTTP_X_FORWARDED_PROTO": "http"}
    apply(variables, PROXIES)
    assert "HTTPS" not in variables and variables["REQUEST_SCHEME"] == "http"


@pytest.mark.parametrize(
    ("header", "proto", "name", "port"),
    [
        ("example.org", "http", "example.org", "80"),
        ("example.org", "https", "example.org", "443"),
        ("example.org:8443", "https", "example.org", "8443"),
        ("evil.test, example.org", "http", "example.org", "80"),
        ("[2001:db8::1]:81", "http", "[2001:db8::1]", "81"),
    ],
)
def test_the_host_comes_from_the_peer(header: str, proto: str, name: str, port: str) -> None:
    said = applied(X_FORWARDED_HOST=header, X_FORWARDED_PROTO=proto)
    assert said["HTTP_HOST"] == header.rpartition(" ")[2]
    assert (said["SERVER_NAME"], said["SERVER_PORT"]) == (name, port)


@pytest.mark.parametrize("header", ["", "a b", "example.org/x", "me@example.org", "example.org:99999", "a:b", "ü.org"])
def test_a_value_that_is_no_host_changes_nothing(header: str) -> None:
    assert applied(X_FORWARDED_HOST=header)["HTTP_HOST"] == "inside:8000"


def test_the_port() -> None:
    assert applied(X_FORWARDED_PORT="8443")["SERVER_PORT"] == "8443"
    said = applied(X_FORWARDED_HOST="example.org", X_FORWARDED_PORT="8443")
    assert said["SERVER_PORT"] == "8443" and said["HTTP_HOST"] == "example.org"
    assert {applied(X_FORWARDED_PORT=text)["SERVER_PORT"] for text in ("", "0", "65536", "x", "-1", "4 4")} == {"8000"}


def test_the_headers_stay_in_the_environ() -> None:
    assert applied(X_FORWARDED_FOR="192.0.2.1")["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"


# --- Forwarded --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "address", "port"),
    [
        ("for=192.0.2.43", "192.0.2.43", None),
        ('For="[2001:db9:cafe::17]:4711"', "2001:db9:cafe::17", "4711"),
        ('for="192.0.2.43:47011";proto=http;by=203.0.113.43', "192.0.2.43", "47011"),
        ("for=192.0.2.43, for=10.0.0.2", "192.0.2.43", None),
        ("for=203.0.113.9, for=192.0.2.43", "192.0.2.43", None),
        ('for="_gazonk"', "10.0.0.1", "4711"),
        ("for=unknown, for=10.0.0.2", "10.0.0.2", None),
        (r'for="192.0.2\.43"', "192.0.2.43", None),
        ("proto=https", "10.0.0.1", "4711"),
    ],
)
def test_forwarded_names_the_client(header: str, address: str, port: str | None) -> None:
    assert client(FORWARDED=header) == (address, port)


def test_scheme_and_host_are_of_the_entry_of_the_client() -> None:
    said = applied(
        FORWARDED="for=203.0.113.9;proto=http;host=evil.test, "
        "for=192.0.2.1;proto=https;host=example.org, for=10.0.0.2;proto=http;host=inside"
    )
    assert (said["REMOTE_ADDR"], said["REQUEST_SCHEME"], said["HTTP_HOST"]) == ("192.0.2.1", "https", "example.org")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "for",
        "for=",
        "for=192.0.2.1;",
        "for=192.0.2.1,",
        ",for=192.0.2.1",
        'for="192.0.2.1',
        "for=192.0.2.1 x=y",
        "for=192.0.2.1;for=192.0.2.2",
        "for=[2001:db8::1]",
        "for = 192.0.2.1",
        "for=192.0.2.1\x00",
    ],
)
def test_a_forwarded_that_cannot_be_read_changes_nothing(header: str) -> None:
    assert client(FORWARDED=header) == ("10.0.0.1", "4711")


# --- which headers count ----------------------------------------------------------------------------------------------

EVERYTHING = {
    "X_FORWARDED_FOR": "192.0.2.1",
    "X_FORWARDED_PROTO": "https",
    "X_FORWARDED_HOST": "evil.test",
    "X_FORWARDED_PORT": "1",
    "FORWARDED": "for=203.0.113.9;proto=http;host=evil.example",
}


def test_by_default_only_headers_count_that_an_ordinary_proxy_overwrites() -> None:
    said = applied(Trusted(LISTED), **EVERYTHING)
    assert (said["REMOTE_ADDR"], said["REQUEST_SCHEME"]) == ("192.0.2.1", "https")
    assert (said["HTTP_HOST"], said["SERVER_NAME"], said["SERVER_PORT"]) == ("inside:8000", "", "8000")


@pytest.mark.parametrize(
    ("named", "changed"),
    [
        ("x-forwarded-for", {"REMOTE_ADDR": "192.0.2.1"}),
        ("x-forwarded-proto", {"REQUEST_SCHEME": "https", "HTTPS": "on"}),
        ("x-forwarded-host", {"HTTP_HOST": "evil.test", "SERVER_NAME": "evil.test", "SERVER_PORT": "80"}),
        ("x-forwarded-port", {"SERVER_PORT": "1"}),
        (
            "Forwarded",
            {
                "REMOTE_ADDR": "203.0.113.9",
                "REQUEST_SCHEME": "http",
                "HTTP_HOST": "evil.example",
                "SERVER_NAME": "evil.example",
                "SERVER_PORT": "80",
            },
        ),
        ("", {}),
    ],
)
def test_a_header_that_is_not_named_changes_nothing(named: str, changed: dict[str, str]) -> None:
    before = applied(Trusted(LISTED, ""), **EVERYTHING)
    assert applied(Trusted(LISTED, named), **EVERYTHING).items() - before.items() == changed.items()


@pytest.mark.parametrize("named", ["x-forwarded", "x-forwarded-for x-forwarded-proto", "x-real-ip"])
def test_a_name_that_is_not_known_is_refused(named: str) -> None:
    with pytest.raises(ValueError, match="some of x-forwarded-for, x-forwarded-proto, "):
        Trusted(LISTED, named)


def test_both_kinds_cannot_be_named() -> None:
    """A proxy that sets one kind of headers passes the other kind on as the client sent it."""
    with pytest.raises(ValueError, match="not both"):
        Trusted(LISTED, "forwarded,x-forwarded-for")


# --- any header -------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(max_codepoint=255), max_size=60) | st.text('for=proto;,host "\\[]:.1a', max_size=60)


@given(texts, texts, texts, texts, texts)
def test_no_value_is_an_error_and_the_result_is_always_valid(
    address: str, scheme: str, host: str, port: str, forwarded: str
) -> None:
    for said in (
        applied(X_FORWARDED_FOR=address, X_FORWARDED_PROTO=scheme, X_FORWARDED_HOST=host, X_FORWARDED_PORT=port),
        applied(FORWARDED=forwarded),
    ):
        assert Trusted(said["REMOTE_ADDR"]) and said["SERVER_PORT"].isdigit()
        assert said.get("REQUEST_SCHEME", "http") in ("http", "https") and not set(said["HTTP_HOST"]) & set(" /@\r\n")


@given(st.lists(st.ip_addresses().map(str), max_size=5), st.ip_addresses(v=4, network="192.0.2.0/24").map(str))
def test_no_client_can_choose_its_address(forged: list[str], true: str) -> None:
    assert client(X_FORWARDED_FOR=", ".join([*forged, true, "10.0.0.2"]))[0] == true
    said = ", ".join(
        [*(f'for="[{address}]"' if ":" in address else f"for={address}" for address in forged), f"for={true}"]
    )
    assert client(FORWARDED=said)[0] == true


@pytest.mark.parametrize(
    ("variables", "scheme"),
    [
        ({"HTTP_X_FORWARDED_PROTO": "https"}, "https"),
        ({"HTTP_X_FORWARDED_PROTO": "http, HTTPS"}, "https"),
        ({"HTTP_X_FORWARDED_SSL": "on"}, "https"),
        ({"HTTP_X_FORWARDED_PROTO": "http", "HTTP_X_FORWARDED_SSL": "on"}, "http"),
        ({"HTTP_X_FORWARDED_PROTO": "gopher"}, "http"),
        ({"HTTP_X_FORWARDED_PROTO": ""}, "http"),
        ({"HTTP_X_FORWARDED_SSL": "off"}, "http"),
    ],
)
def test_nginx_passes_on_the_scheme_of_a_balancer_before_it(variables: dict[str, str], scheme: str) -> None:
    seen = {"REQUEST_SCHEME": "http", **variables}
    take_balancers_scheme(seen)
    assert seen["REQUEST_SCHEME"] == scheme and "HTTPS" not in seen


def test_the_texts_of_the_operator_are_parsed_once() -> None:
    """By the template, for all workers."""
    assert forwarded.trusted("127.0.0.1", "forwarded") is forwarded.trusted("127.0.0.1", "forwarded")
    assert forwarded.trusted("127.0.0.1", "forwarded") is not forwarded.trusted("127.0.0.1", "x-forwarded-for")
