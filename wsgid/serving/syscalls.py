"""The system calls of a request, on raw file descriptors.

Two sources, one behaviour: this one, and syscalls.pyx, which is compiled where a compiler is.

Rules
* Nothing here waits, and nothing is made but the bytes: no socket object, no exception for "try again later".
* They come from `posix`, the C module: gevent's os.close waits for the loop's next turn, in case a watcher is left;
  here none is.
"""

import _socket
import os
import posix
from collections.abc import Callable
from typing import Any

from gevent.monkey import get_original

NOTHING = -1  # no file descriptor
RECV_BYTES = 64 * 1024  # malloc gets so much from its heap; 128 KiB it would map and unmap each time (mallopt(3))
# Of one call: while a fast reader takes what the kernel has, the kernel goes on copying, and nobody else has the loop.
SEND_MAX_BYTES = 1 << 20

_poll = get_original("select", "poll")  # asks the kernel at once; gevent's would go through the hub


class AcceptSocket:
    """A listening socket, made non-blocking.

    Args:
        fd: the descriptor; owned by this object.
        http: what its peers speak, if not uwsgi.
        wrap: makes a connection of a descriptor, where there is more to it than that.
    """

    __slots__ = ("fd", "http", "wrap", "_socket")

    def __init__(self, fd: int, http: bool = False, wrap: Callable[[int], Any] | None = None) -> None:
        self.fd = fd
        self.http = http
        self.wrap = wrap
        self._socket = _socket.socket(fileno=fd)
        # Explicitly: after a socket.setdefaulttimeout() of the application's, accept would wait that long, in C.
        self._socket.setblocking(False)

    def close(self) -> None:
        """Give the descriptor back; it may still be open in other processes."""
        self._socket.close()
        self.fd = NOTHING

    def accept(self) -> int:
        """The next connection, non-blocking and close-on-exec; NOTHING if nobody waits.

        Raises:
            OSError: accept(2) has failed otherwise.
        """
        try:
            fd: int = self._socket._accept()[0]  # type: ignore[attr-defined]  # accept4, without a socket object
        except BlockingIOError:
            return NOTHING
        os.set_blocking(fd, False)
        return fd


def recv(fd: int, size_bytes: int = RECV_BYTES) -> bytes | None:
    """What has arrived; None if there is nothing yet, empty at the end: the peer has sent everything, or has left.

    Args:
        fd: of a socket.
        size_bytes: at most so many, and RECV_BYTES at most; 1 or more.

    Raises:
        OSError: recv(2) has failed otherwise.
    """
    try:
        return posix.read(fd, min(size_bytes, RECV_BYTES))
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""


def send(fd: int, block: bytes | memoryview) -> int:
    """How many bytes of the block the kernel took, at most SEND_MAX_BYTES: 0 if it takes none now.

    Raises:
        OSError: send(2) has failed otherwise. SIGPIPE has to be ignored.
    """
    try:
        return posix.write(fd, block if len(block) <= SEND_MAX_BYTES else memoryview(block)[:SEND_MAX_BYTES])
    except BlockingIOError:
        return 0


def poll(fd: int, events: int) -> int:
    """Which of these events are there now, or POLLHUP, POLLERR (poll(2)); 0 if none is."""
    asked = _poll()
    asked.register(fd, events)
    found = asked.poll(0)
    return found[0][1] if found else 0


def close(fd: int) -> None:
    """Close it, whatever the kernel says: on Linux the descriptor is gone even then (close(2))."""
    try:
        posix.close(fd)
    except OSError:
        pass
