"""The target of an HTTP request, and the host that it is for (RFC 9112, 3.2; RFC 3986, 3.2.2).

    split("/a%20b?c", "GET") -> "/a b", "c", ""         split("http://h:80/", "GET") -> "/", "", "h:80"

Rules
* A path, a URL of http or https, or the asterisk of OPTIONS. Everything else is refused: also CONNECT, which is for
  proxies, a fragment, and a user's name or password.
* A host is a name, or an address, with or without a port. Names may have what RFC 3986 allows, but for the comma: with
  a comma, two Host headers that a proxy has joined would look like one.
"""

import re
from ipaddress import IPv6Address
from urllib.parse import unquote_to_bytes

from wsgid.errors import BadRequest

_SCHEMES = frozenset({"http", "https"})
_HOST = re.compile(
    r"(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})++(?::(?P<port>[0-9]{0,5}))?"
    r"|\[(?P<six>[0-9A-Fa-f:.]+)\](?::(?P<six_port>[0-9]{0,5}))?"
)
_SHOWN = 80  # characters of a target or host in a message
_KNOWN_MAX = 1024  # hosts that are remembered,
_KNOWN_MAX_CHARACTERS = 100  # if they are not longer

_known_hosts: set[str] = set()


def split(target: str, method: str) -> tuple[str, str, str]:
    """The parts of a request target.

    Args:
        target: printable ASCII without blanks.
        method: of the request.

    Returns:
        The path, decoded, in latin-1; the query, as it came; and the authority, which is empty if the target is no URL.

    Raises:
        BadRequest: it is none for this server.
    """
    if "#" in target or method == "CONNECT":
        raise _bad(target, "is none for this server")
    if target.startswith("/"):
        path, authority = target, ""
    elif target == "*":
        if method != "OPTIONS":
            raise _bad(target, "is for OPTIONS only (RFC 9112, 3.2.4)")
        path, authority = target, ""
    else:
        path, authority = _split_url(target)
    path, _, query = path.partition("?")
    if "%" in path:
        path = unquote_to_bytes(path).decode("latin-1")
    return path, query, authority


def check_host(host: str) -> None:
    """Look whether this is a host, as the header Host has it.

    Raises:
        BadRequest: it is none.
    """
    if host in _known_hosts:
        return
    if not _is_host(host):
        raise BadRequest(
            f"a request is for the host {host[:_SHOWN]!r}, which is no name or address with a port (RFC 9112, 3.2)"
        )
    if len(_known_hosts) < _KNOWN_MAX and len(host) <= _KNOWN_MAX_CHARACTERS:
        _known_hosts.add(host)


def _split_url(target: str) -> tuple[str, str]:
    """Path with query, and authority. RFC 9112, 3.2.2: the authority counts, and not the header Host."""
    scheme, slashes, rest = target.partition("://")
    if not slashes or scheme.lower() not in _SCHEMES:
        raise _bad(target, "is neither a path nor a URL of http")
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    check_host(authority)
    return path if path.startswith("/") else f"/{path}", authority


def _is_host(host: str) -> bool:
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    if match["six"]:
        try:
            IPv6Address(match["six"])
        except ValueError:
            return False
    return int(match["port"] or match["six_port"] or 0) <= 65535


def _bad(target: str, why: str) -> BadRequest:
    return BadRequest(f"the request target {target[:_SHOWN]!r} {why}")
