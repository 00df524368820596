"""What the access log knows of one request.

Rules
* It is one object, made when the request is over, and only where somebody wants the access log.
* It costs 1 % of a request beside as many arguments (docs/decisions/022-the-dispatcher.md).
"""

from typing import Any


class RequestRecord:
    """A request that is over.

    Args:
        environ: as the application has left it.
        served: what it was sent: status, sent_bytes, head_bytes, headers, and an outcome whose name is DISCONNECTED if
            the client left.
        started_s: when it began, by the monotonic clock; in a line, since the epoch.
        took_s: how long it took.
        length_bytes: of the body, as the head has said.
        size_bytes: of the variables or headers.
        buffer: a uwsgi packet, or its first bytes.
        variables: how many there were.
    """

    __slots__ = (
        "environ",
        "served",
        "started_s",
        "took_s",
        "length_bytes",
        "size_bytes",
        "buffer",
        "variables",
        "moment",
        "memory",
        "request",
    )

    moment: Any  # the second in which it began, as a request_format.Moment
    memory: Any  # vsz_bytes and rss_bytes of this process
    request: int  # which one it is of this process's

    def __init__(
        self,
        environ: dict[str, Any],
        served: Any,
        started_s: float,
        took_s: float,
        length_bytes: int,
        size_bytes: int,
        buffer: bytes,
        variables: int,
    ) -> None:
        self.environ = environ
        self.served = served
        self.started_s = started_s
        self.took_s = took_s
        self.length_bytes = length_bytes
        self.size_bytes = size_bytes
        self.buffer = buffer
        self.variables = variables
