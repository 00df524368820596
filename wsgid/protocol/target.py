"""The target of an HTTP request, and the host in it (RFC 9112, 3.2; RFC 3986, 3.2.2).

    split("/a%20b?c", "GET") -> "/a b", "c", ""         split("http://h:80/", "GET") -> "/", "", "h:80"

Rules
* A target is a path, a URL of http or https, or the asterisk of OPTIONS. Other targets are refused, also those of
  CONNECT (which is for proxies), those with a fragment, and those with a user name or password.
* A host is a name or an address, with or without a port. A name may have the characters that RFC 3986 allows, except
  the
  comma: two Host headers that a proxy has joined would look like one name.
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
_KNOWN_MAX = 1024  # so many hosts are remembered,
_KNOWN_MAX_CHARACTERS = 100  # if they are not longer than this

_known_hosts: set[str] = set()


def split(target: str, method: str) -> tuple[str, str, str]:
    """Split a request target into its parts.

    Args:
        target: printable ASCII without blanks.
        method: of the request.

    Returns:
        The decoded path in latin-1; the query as it arrived; and the authority, which is empty if the target is no URL.

    Raises:
        BadRequest: this server does not accept the target.
    """
    if "#" in target or method == "CONNECT":
        raise _bad(target, "is not served here")
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
    """Check a host, as the header Host gives it.

    Raises:
        BadRequest: the text is no valid host.
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
    """Return path with query, and authority. The authority replaces the header Host (RFC 9112, 3.2.2)."""
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
