"""The facts of a request for the access log.

Rules
* A record is one object. It is made when the request has ended, and only if there is an access log.
* The record costs 1 % of a request more than the same number of arguments (docs/decisions/022-the-dispatcher.md).
"""

from typing import Any


class RequestRecord:
    """A request that has ended.

    Args:
        environ: as the application has left it.
        served: the response: status, sent_bytes, head_bytes, headers, and an outcome, named DISCONNECTED if the client
            has left.
        started_s: when the request began, by the monotonic clock; while a line is rendered, since the epoch.
        took_s: its duration.
        length_bytes: of the body, as the head gives it.
        size_bytes: of the variables or headers.
        buffer: a uwsgi packet, or its first bytes.
        variables: number of variables.
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

    moment: Any  # the second in which the request began, as a request_format.Moment
    memory: Any  # vsz_bytes and rss_bytes of this process
    request: int  # the number of the request in this process

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
