"""Writes the lines of requests to a descriptor (log/stream.py) or to a syslog, without ever waiting for the reader."""

from collections.abc import Sequence
from typing import Protocol

from wsgid.log.syslog_socket import INFO, Syslog


class Outlet(Protocol):
    """A place that takes lines."""

    dropped: int  # number of dropped lines so far
    reason: str  # why the last line was dropped

    def put(self, lines: Sequence[str] = ()) -> None:
        """Write lines, after those that wait."""

    def close(self, timeout_s: float) -> None:
        """Write waiting lines, but wait at most `timeout_s`."""


class SyslogOutlet:
    """A syslog. Each line is a datagram, which the syslog takes at once or never."""

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
        """Do nothing: no line waits."""
