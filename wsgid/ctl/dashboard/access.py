"""Who may see the page, and who may press its buttons.

Rules
* The token is in the address of the page only. All other requests have it in a header, which no other site can make a
  browser send. An address may be logged or remembered, so a token in an address never changes anything.
* The Host header is an IP address, `localhost`, or a name that the operator has given. So a site whose name is pointed
  at this machine (DNS rebinding) gets nothing, although its scripts count as of the same origin.
* A request that says its origin has to come from this page.
* No I/O.
"""

import hmac
import ipaddress
from collections.abc import Collection
from enum import Enum
from typing import Protocol
from urllib.parse import urlsplit

TOKEN_HEADER = "X-Wsgid-Token"


class Headers(Protocol):
    """The headers of a request, as http.server has them: names in any case."""

    def get(self, name: str, /) -> str | None: ...


class Verdict(Enum):
    """Whether a request may go on: the status of the refusal, and its sentence."""

    WELCOME = (200, "")
    STRANGE_HOST = (421, "this page is not served under this name: give the name with wsgidctl dashboard --name")
    STRANGE_ORIGIN = (403, "the request comes from another site")
    NO_TOKEN = (403, "the token is missing or wrong: open the address that wsgidctl dashboard has printed")


class Access:
    """The token of one dashboard, and its names.

    Args:
        token: which a request has to show.
        names: host names under which the page may be asked for.
    """

    def __init__(self, token: str, names: Collection[str] = ()) -> None:
        self.token = token
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}

    def of_page(self, headers: Headers, shown_token: str) -> Verdict:
        """Judge a request for the page, whose address has the token."""
        if not self._is_host(headers.get("Host") or ""):
            return Verdict.STRANGE_HOST
        return Verdict.WELCOME if self._is_token(shown_token) else Verdict.NO_TOKEN

    def of_file(self, headers: Headers) -> Verdict:
        """Judge a request for a file of the program: it tells nothing of the server."""
        return Verdict.WELCOME if self._is_host(headers.get("Host") or "") else Verdict.STRANGE_HOST

    def of_question(self, headers: Headers) -> Verdict:
        """Judge a question or an order of the page."""
        if not self._is_host(headers.get("Host") or ""):
            return Verdict.STRANGE_HOST
        if (headers.get("Sec-Fetch-Site") or "same-origin") != "same-origin" or not _is_own_origin(headers):
            return Verdict.STRANGE_ORIGIN
        return Verdict.WELCOME if self._is_token(headers.get(TOKEN_HEADER) or "") else Verdict.NO_TOKEN

    def _is_token(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode("utf-8", "replace"), self.token.encode())

    def _is_host(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        return name in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    """Whether this is the address of a machine itself: nobody can point an address at another machine."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_own_origin(headers: Headers) -> bool:
    """Whether the request comes from this page. A browser sends an Origin with each POST (RFC 6454, 7.3)."""
    origin = headers.get("Origin")
    return origin is None or urlsplit(origin).netloc.lower() == (headers.get("Host") or "").lower()
