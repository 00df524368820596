"""What a proxy says of the client that it speaks for: X-Forwarded-* and Forwarded (RFC 7239).

    Trusted("127.0.0.1,10.0.0.0/8").includes(peer) -> apply(variables, trusted): the environ is the client's

Rules
* Only a trusted peer is read.  From other peers, these headers are variables like any other.
* Only the headers that the operator has named are read.  A proxy overwrites some of these headers and passes the others
  on as the client sent them, and wsgid cannot see which.
* A list grows at its right end, one entry for each proxy.  It is read from the right, as long as the writer of the
  entry is trusted.  Entries that the client itself has put in front are never reached.
* A value that cannot be read changes nothing.
"""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

UNIX = "unix"  # all peers of unix sockets: they have no address
ANYBODY = "*"
LOCAL_PEERS = "127.0.0.1,::1,unix"  # the default

FORWARDED = "forwarded"
HEADERS = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", FORWARDED)
# An ordinary proxy overwrites these two (Debian's /etc/nginx/proxy_params), and no others.
USUAL_HEADERS = "x-forwarded-for,x-forwarded-proto"

_NODE = re.compile(
    r"\[(?P<six>[0-9A-Fa-f:.]+)\](?::(?P<six_port>[^:]+))?|(?P<four>[0-9.]+)(?::(?P<four_port>[^:]+))?|"
    r"(?P<bare>[0-9A-Fa-f:.]+)"
)
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, 5.6.2
_PAIR = re.compile(rf'[ \t]*({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*')  # RFC 7239, 4
_SCHEMES = ("http", "https")
_PORTS = {"http": "80", "https": "443"}


class Trusted:
    """The trusted peers, and the headers that are read from them.

    Args:
        text: addresses and networks, separated by commas; `unix`; or `*` for all peers.
        headers: see parse_headers.

    Raises:
        ValueError: one of the two texts is invalid.
    """

    def __init__(self, text: str, headers: str = USUAL_HEADERS) -> None:
        self.headers = parse_headers(headers)
        said = {entry.strip() for entry in text.split(",")} - {""}
        self._anybody = ANYBODY in said
        self._unix = UNIX in said or self._anybody
        self._networks = [_network(entry) for entry in said - {ANYBODY, UNIX}]
        self.includes = lru_cache(1024)(self._includes)

    def _includes(self, address: str) -> bool:
        """Whether this address is trusted. An empty address stands for the peer of a unix socket."""
        if not address:
            return self._unix
        if self._anybody:
            return True
        found = _parse_address(address)
        return found is not None and any(found in network for network in self._networks)


@cache
def trusted(text: str, headers: str) -> Trusted:
    """Return what is trusted; the same object for the same texts. The template asks first, so the workers share it."""
    return Trusted(text, headers)


def parse_headers(text: str) -> frozenset[str]:
    """Return the environ variables of the headers that are read.

    Args:
        text: names from HEADERS, separated by commas, in upper or lower case.

    Raises:
        ValueError: a name is unknown, or Forwarded is named together with another header. A proxy that sets one kind of
            header passes the other kind on as the client sent it.
    """
    names = {name.strip().lower() for name in text.split(",")} - {""}
    if names - set(HEADERS):
        raise ValueError(f"some of {', '.join(HEADERS)}, between commas")
    if FORWARDED in names and len(names) > 1:
        raise ValueError(f"either {FORWARDED} or names that begin with x-forwarded-, not both: what your proxy sets")
    return frozenset(f"HTTP_{name.upper().replace('-', '_')}" for name in names)


def apply(variables: dict[str, Any], trusted: Trusted) -> None:
    """Replace, in the variables of a request, the peer's data by what a trusted peer says of its client.

    Args:
        variables: of the request; REMOTE_ADDR is the peer's address. They are changed.
        trusted: the peers and headers that count.
    """
    for name in trusted.headers:
        if name in variables:
            said = {name: variables[name] for name in trusted.headers if name in variables}
            (_apply_forwarded if name == "HTTP_FORWARDED" else _apply_each)(variables, said, trusted)
            return


def take_balancers_scheme(variables: dict[str, Any]) -> None:
    """Set the scheme of a request that nginx has passed on, where a load balancer before nginx ends TLS: nginx itself
    speaks plain HTTP there, and passes on what the balancer says. uWSGI reads these two headers, too (core/protocol.c).

    Args:
        variables: of the request; they are changed. UWSGI_SCHEME and HTTPS of nginx still come first.
    """
    proto = _last(variables, "HTTP_X_FORWARDED_PROTO") if "HTTP_X_FORWARDED_PROTO" in variables else ""
    if (proto or variables.get("HTTP_X_FORWARDED_SSL", "")).lower() in ("https", "on", "1"):
        variables["REQUEST_SCHEME"] = "https"


# --- X-Forwarded-For, -Proto, -Host, -Port ---


def _apply_each(variables: dict[str, Any], said: dict[str, str], trusted: Trusted) -> None:
    for node in reversed(_listed(said, "HTTP_X_FORWARDED_FOR")):
        if not _set_client(variables, node) or not trusted.includes(variables["REMOTE_ADDR"]):
            break
    # The last entry of each of these headers is the peer's own.
    _set_scheme(variables, _last(said, "HTTP_X_FORWARDED_PROTO"))
    _set_host(variables, _last(said, "HTTP_X_FORWARDED_HOST"))
    port = _last(said, "HTTP_X_FORWARDED_PORT")
    if _is_port(port):
        variables["SERVER_PORT"] = port


def _listed(said: dict[str, str], name: str) -> list[str]:
    text = said.get(name, "")
    return [entry.strip(" \t") for entry in text.split(",")] if text else []


def _last(said: dict[str, str], name: str) -> str:
    listed = _listed(said, name)
    return listed[-1] if listed else ""


# --- Forwarded ---


def _apply_forwarded(variables: dict[str, Any], said: dict[str, str], trusted: Trusted) -> None:
    try:
        elements = list(_elements(said["HTTP_FORWARDED"]))
    except ValueError:
        return
    for element in reversed(elements):
        client = element
        if not _set_client(variables, element.get("for", "")) or not trusted.includes(variables["REMOTE_ADDR"]):
            break
    _set_scheme(variables, client.get("proto", ""))
    _set_host(variables, client.get("host", ""))


def _elements(text: str) -> Iterator[dict[str, str]]:
    """Yield the elements of a Forwarded header, each with its parameters (RFC 7239, 4).

    Raises:
        ValueError: the text is no valid header.
    """
    element: dict[str, str] = {}
    at = 0
    while True:
        pair = _PAIR.match(text, at)
        if pair is None or pair[1].lower() in element:
            raise ValueError
        value = pair[2]
        element[pair[1].lower()] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        at = pair.end()
        after = text[at : at + 1]
        if after not in ("", ",", ";"):
            raise ValueError
        if after != ";":
            yield element
            element = {}
        if not after:
            return
        at += 1


# --- into the variables ---


def _set_client(variables: dict[str, Any], node: str) -> bool:
    """Set the client's address. Returns False if the node is no address: a proxy may hide it (`unknown`, `_name`)."""
    match = _NODE.fullmatch(node)
    if match is None:
        return False
    address = match["six"] or match["four"] or match["bare"]
    found = _parse_address(address)
    if found is None:
        return False
    port = match["six_port"] or match["four_port"] or ""
    variables["REMOTE_ADDR"] = str(found) if isinstance(found, IPv4Address) else address
    variables.pop("REMOTE_PORT", None)
    if _is_port(port):
        variables["REMOTE_PORT"] = port
    return True


def _set_scheme(variables: dict[str, Any], scheme: str) -> None:
    scheme = scheme.lower()
    if scheme in _SCHEMES:
        variables["REQUEST_SCHEME"] = scheme
        variables.pop("HTTPS", None)
        if scheme == "https":
            variables["HTTPS"] = "on"


def _set_host(variables: dict[str, Any], host: str) -> None:
    match = _HOST.fullmatch(host)
    if match is None or (match["port"] and not _is_port(match["port"])):
        return
    variables["HTTP_HOST"] = host
    variables["SERVER_NAME"] = match["name"]
    variables["SERVER_PORT"] = match["port"] or _PORTS[variables.get("REQUEST_SCHEME", "http")]


def _is_port(text: str) -> bool:
    return bool(re.fullmatch(r"[1-9][0-9]{0,4}", text)) and int(text) <= 65535


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address. An IPv4 address that is mapped into IPv6 is returned as IPv4 (RFC 4291, 2.5.5.2)."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def unmapped(address: str) -> str:
    """Return a peer's address, as IPv4 if it is mapped into IPv6: the kernel reports a client that has connected by
    IPv4 to a socket of [::] in that form (RFC 4291, 2.5.5.2)."""
    four = address.removeprefix("::ffff:") if address.startswith("::ffff:") else ""
    return four if "." in four and ":" not in four else address


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"addresses and networks between commas, such as 127.0.0.1,10.0.0.0/8, or '{UNIX}', or "
            f"'{ANYBODY}' for everybody"
        ) from None
