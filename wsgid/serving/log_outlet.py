"""The lines of requests out of a worker, to a descriptor (stream.py) or a syslog, without ever waiting for who reads
them.
"""

from collections.abc import Sequence
from typing import Protocol

from wsgid.log.syslog_socket import INFO, Syslog


class Outlet(Protocol):
    """Where lines go."""

    dropped: int  # lines, so far
    reason: str  # of the last of them

    def put(self, lines: Sequence[str] = ()) -> None:
        """Write these, after those that wait."""

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most so long."""


class SyslogOutlet:
    """A syslog: a datagram a line, which it takes at once or never."""

    def __init__(self, syslog: Syslog) -> None:
        self._syslog = syslog
        self.dropped = 0
        self.reason = ""

    def put(self, lines: Sequence[str] = ()) -> None:
        for line in lines:
            try:
                self._syslog.send(INFO, line)
            except OSError as error:
                self.dropped += 1
                self.reason = error.strerror or str(error)

    def close(self, timeout_s: float) -> None:
        """Nothing waits."""
