"""The little HTTP that machines need here: GET and HEAD, one request for each connection.

Rules
* Strict: bytes that are no request head of RFC 9112, or a head longer than HEAD_MAX_BYTES, get a 400.
* A request's body is never read. The answer is HTTP/1.0, and ends with the connection.
"""

import re
from collections.abc import Callable

from wsgid.admin.server import INCOMPLETE, Response
from wsgid.records import dataclass

HEAD_MAX_BYTES = 16 * 1024
_END = b"\r\n\r\n"
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(%s) (/[\x21-\x7e]*) HTTP/1\.[01]" % _TOKEN)
_FIELD_LINE = re.compile(rb"%s:[^\x00-\x08\x0a-\x1f\x7f]*" % _TOKEN)


@dataclass(frozen=True, slots=True)
class Page:
    """The content at a path.

    Args:
        status: with its reason, such as "200 OK".
        content_type: of the body.
        body: in bytes.
    """

    content_type: str
    body: bytes
    status: str = "200 OK"


def text_page(status: str, sentence: str) -> Page:
    """Return a page with one sentence."""
    return Page("text/plain; charset=utf-8", f"{sentence}\n".encode(), status)


_BAD = text_page("400 Bad Request", "this is no HTTP request")
_NOT_FOUND = text_page("404 Not Found", "there is no such page")
_NOT_ALLOWED = text_page("405 Method Not Allowed", "there are only GET and HEAD")


def respond(request: bytes, find: Callable[[str], Page | None]) -> Response:
    """Return the answer to the bytes that have arrived of a request.

    Args:
        request: these bytes.
        find: returns the page at a path (without its query), or None.
    """
    head, end, _ = request.partition(_END)
    if len(head) > HEAD_MAX_BYTES:
        return _render(_BAD)
    if not end:
        return INCOMPLETE
    first, *fields = head.split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None or not all(map(_FIELD_LINE.fullmatch, fields)):
        return _render(_BAD)
    method = line[1]
    if method not in (b"GET", b"HEAD"):
        return _render(_NOT_ALLOWED, "Allow: GET, HEAD\r\n")
    page = find(line[2].partition(b"?")[0].decode("ascii")) or _NOT_FOUND
    answer = _render(page)
    return answer[: -len(page.body)] if method == b"HEAD" and page.body else answer


def _render(page: Page, more: str = "") -> bytes:
    return (
        f"HTTP/1.0 {page.status}\r\nContent-Type: {page.content_type}\r\nContent-Length: {len(page.body)}\r\n"
        f"Cache-Control: no-store\r\nConnection: close\r\n{more}\r\n"
    ).encode("ascii") + page.body
