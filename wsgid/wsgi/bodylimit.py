"""--limit-post: requests with a larger body are answered before the application is called.

Rules
* The announced length counts (Content-Length). A body without a length (chunked) gets a 411, because its size is not
  known before it is read: RFC 9110, 15.5.12.
* The answer is the 413 of RFC 9110, 15.5.14. uWSGI closes the connection without an answer, which nginx makes a 502.
"""

from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[..., Iterable[bytes]]


class BodyLimit:
    """An application that passes requests with a small body on.

    Args:
        application: the other application.
        limit_bytes: the largest body.
    """

    def __init__(self, application: Application, limit_bytes: int) -> None:
        self._application = application
        self._limit_bytes = limit_bytes

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        length: str = environ.get("CONTENT_LENGTH", "")
        if length.isdigit() and int(length) > self._limit_bytes:
            return _refusal("413 Content Too Large", start_response)
        if "HTTP_TRANSFER_ENCODING" in environ and not length:
            return _refusal("411 Length Required", start_response)
        return self._application(environ, start_response)


def _refusal(status: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = f"{status}\n".encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
