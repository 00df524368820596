"""The end of a connection whose peer may still be sending: nginx calls this a lingering close.

Rules
* What still comes is thrown away for a while, within limits: --drain-size, --drain-timeout.
* A client of HTTP is given less time than nginx: nobody vouches for that client.
"""

from wsgid.config.options import Settings
from wsgid.serving.connection import Connection

HTTP_LINGER_S = 2.0  # of --drain-timeout, for a client of HTTP


class LingeringClose:
    """The limits of one worker. Takes the operator's settings."""

    def __init__(self, settings: Settings) -> None:
        self._drain_bytes, self._drain_s = settings.drain_size, settings.drain_timeout

    def close(self, connection: Connection) -> None:
        """Close it when the peer has ended, or a limit is reached."""
        try:
            linger_s = min(self._drain_s, HTTP_LINGER_S) if connection.http else self._drain_s
            if not connection.drain(self._drain_bytes, linger_s) and connection.http:
                connection.deliver()
        finally:
            connection.close()
