"""Datagrams to a syslog (RFC 3164), on this machine or another.

Rules
* Nothing here waits. If the syslog does not read or does not exist, the line is lost and no time is.  This is why
  the standard library's SysLogHandler is not used: its socket blocks, or waits in the hub once gevent has patched it.
* After a failed send the socket is opened again. The next line reaches a syslog that was restarted.
* A host's name is looked up once in each process. Forked processes inherit the result and need not wait for the
  resolver.
"""

import _socket
import functools
import os
import syslog
import time
from typing import Any

from wsgid.log.destination import Destination, DestinationType

_RETRY_S = 1.0  # how often a missing syslog is tried again

INFO = syslog.LOG_INFO


class Syslog:
    """One syslog.

    Args:
        destination: of the kind SYSLOG or RSYSLOG.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._family, self._address = _look_up(destination)
        self._socket: _socket.socket | None = None
        self._retry_at_s = 0.0

    def send(self, priority: int, text: str) -> None:
        """Send one line.

        Args:
            priority: a number from <syslog.h>, such as INFO.
            text: without a line break.

        Raises:
            OSError: the line could not be sent now.
        """
        to = self._destination
        data = f"<{to.facility | priority}>{to.tag}[{os.getpid()}]: {text}".encode("utf-8", "backslashreplace")
        if self._socket is not None:
            try:
                self._socket.send(data)
                return
            except BlockingIOError:
                raise
            except OSError:  # the syslog was restarted, or is gone
                self.close()
        self._connect().send(data)

    def _connect(self) -> _socket.socket:
        """Open the socket.

        Raises:
            OSError: the host is unknown, or the syslog is not there.
        """
        now_s = time.monotonic()
        if self._address is None:
            raise OSError(f"the host {self._destination.host} is unknown")
        if now_s < self._retry_at_s:
            raise OSError("it is not there")
        made = _socket.socket(self._family, _socket.SOCK_DGRAM)
        made.setblocking(False)
        try:
            made.connect(self._address)
        except OSError:
            self._retry_at_s = now_s + _RETRY_S
            made.close()
            raise
        self._socket = made
        return made

    def close(self) -> None:
        """Close the socket. The next line opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@functools.cache
def _look_up(to: Destination) -> tuple[int, Any]:
    """Return the family and the address of the syslog's socket; the address is None if the lookup fails."""
    if to.kind is DestinationType.SYSLOG:
        return _socket.AF_UNIX, to.path
    try:
        family, _, _, _, address = _socket.getaddrinfo(to.host, to.port, 0, _socket.SOCK_DGRAM)[0]
    except OSError:
        return _socket.AF_INET, None
    return family, address
