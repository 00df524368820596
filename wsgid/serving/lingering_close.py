"""The end of a connection whose peer may still be sending. nginx calls this a lingering close.

Rules
* Bytes that still arrive are discarded for a while, within limits: --drain-size, --drain-timeout.
* A client of HTTP gets less time than nginx, because nginx is trusted.
"""

from wsgid.config.options import Settings
from wsgid.serving.connection import Connection

HTTP_LINGER_S = 2.0  # the most of --drain-timeout, for a client of HTTP


class LingeringClose:
    """The limits of a worker, from the operator's settings."""

    def __init__(self, settings: Settings) -> None:
        self._drain_bytes, self._drain_s = settings.drain_size, settings.drain_timeout

    def close(self, connection: Connection) -> None:
        """Close the connection when the peer has finished, or a limit is reached."""
        try:
            linger_s = min(self._drain_s, HTTP_LINGER_S) if connection.http else self._drain_s
            if not connection.drain(self._drain_bytes, linger_s) and connection.http:
                connection.deliver()
        finally:
            connection.close()
