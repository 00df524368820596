"""Datagrams to a syslog (RFC 3164), of this machine or another one.

Rules
* Nothing here waits: a syslog that does not read, or is not there, costs the line and no time.  So it is not the
  standard library's SysLogHandler, whose socket blocks, and waits in the hub once gevent has patched it.
* The socket is made again when a send fails: a syslog that was restarted is found by the next line.
* A host's name is looked up once a process; those that it forks know it, and need not wait for the resolver.
"""

import _socket
import functools
import os
import syslog
import time
from typing import Any

from wsgid.log.destination import Destination, DestinationType

_RETRY_S = 1.0  # how often a syslog that is not there is looked for

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
            priority: of <syslog.h>, such as INFO.
            text: without a line break.

        Raises:
            OSError: it could not be sent, now.
        """
        to = self._destination
        data = f"<{to.facility | priority}>{to.tag}[{os.getpid()}]: {text}".encode("utf-8", "backslashreplace")
        if self._socket is not None:
            try:
                self._socket.send(data)
                return
            except BlockingIOError:
                raise
            except OSError:  # it was restarted, or is gone
                self.close()
        self._connect().send(data)

    def _connect(self) -> _socket.socket:
        """Raises OSError."""
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
        """Until the next line."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@functools.cache
def _look_up(to: Destination) -> tuple[int, Any]:
    """The family and the address of its socket; None for an address that cannot be found."""
    if to.kind is DestinationType.SYSLOG:
        return _socket.AF_UNIX, to.path
    try:
        family, _, _, _, address = _socket.getaddrinfo(to.host, to.port, 0, _socket.SOCK_DGRAM)[0]
    except OSError:
        return _socket.AF_INET, None
    return family, address
