"""The system calls of a request, on raw file descriptors.

There are two sources with the same behaviour: this module, and syscalls.pyx, which is compiled where a compiler is.

Rules
* Nothing here waits. No objects are created except the bytes: no socket object, no exception for "try again later".
* The functions come from `posix`, the C module. gevent's os.close waits for the loop's next turn, in case a watcher
  exists; here no watcher exists.
"""

import _socket
import os
import posix
import time
from collections.abc import Callable
from typing import Any

from gevent.monkey import get_original

from wsgid.protocol.uwsgi import HEADER_SIZE_BYTES

NOTHING = -1  # no file descriptor
RECV_BYTES = 64 * 1024  # malloc takes this from its heap; it would map and unmap 128 KiB each time (mallopt(3))
# Of one call. While a fast reader empties the kernel's buffer, the kernel goes on copying, and nobody else has the
# loop.
SEND_MAX_BYTES = 1 << 20

_poll = get_original("select", "poll")  # asks the kernel at once; gevent's poll would go through the hub


class AcceptSocket:
    """A listening socket, made non-blocking.

    Args:
        fd: the descriptor; this object owns it.
        http: whether its peers speak HTTP instead of uwsgi.
        wrap: makes a connection object of a descriptor, if it has to be another class than Connection.
    """

    __slots__ = ("fd", "http", "wrap", "_socket")

    def __init__(self, fd: int, http: bool = False, wrap: Callable[[int], Any] | None = None) -> None:
        self.fd = fd
        self.http = http
        self.wrap = wrap
        self._socket = _socket.socket(fileno=fd)
        # Explicitly: after socket.setdefaulttimeout() in the application, accept would wait that long, in C.
        self._socket.setblocking(False)

    def close(self) -> None:
        """Close the descriptor; it may still be open in other processes."""
        self._socket.close()
        self.fd = NOTHING

    def accept(self) -> int:
        """Return the next connection, non-blocking and close-on-exec; NOTHING if no connection waits.

        Raises:
            OSError: accept(2) failed for another reason.
        """
        try:
            fd: int = self._socket._accept()[0]  # type: ignore[attr-defined]  # accept4, without a socket object
        except BlockingIOError:
            return NOTHING
        os.set_blocking(fd, False)
        return fd


def recv(fd: int, size_bytes: int = RECV_BYTES) -> bytes | None:
    """Return bytes that have arrived, at most `size_bytes` and RECV_BYTES. None if there are none yet; empty at
    end-of-file, when the peer has sent everything or has left.

    Args:
        fd: of a socket.
        size_bytes: 1 or more.

    Raises:
        OSError: recv(2) failed for another reason.
    """
    try:
        return posix.read(fd, min(size_bytes, RECV_BYTES))
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""


def recv_into(fd: int, target: memoryview) -> int:
    """Put bytes that have arrived into `target`. Returns how many, at most RECV_BYTES: 0 at end-of-file, NOTHING if
    there are none yet.

    Args:
        fd: of a socket.
        target: of 1 byte or more.

    Raises:
        OSError: as `recv`.
    """
    try:
        return posix.readv(fd, (target[:RECV_BYTES],))
    except BlockingIOError:
        return NOTHING
    except ConnectionResetError:
        return 0


def recv_packet(fd: int) -> tuple[bytes, bytes] | None:
    """Return bytes that have arrived, as `recv` does, in two parts: those of the uwsgi packet, and those behind it. If
    the packet is incomplete, or no packet, all bytes may be in the first part.

    The bytes behind it are the body, or its beginning. In the compiled form they are copied once.

    Args:
        fd: of a socket.

    Raises:
        OSError: as `recv`.
    """
    block = recv(fd)
    if block is None:
        return None
    if len(block) < HEADER_SIZE_BYTES:
        return block, b""
    end = HEADER_SIZE_BYTES + block[1] + (block[2] << 8)
    return block[:end], block[end:]


def send(fd: int, block: bytes | memoryview) -> int:
    """Send a block. Returns how many bytes the kernel took, at most SEND_MAX_BYTES; 0 if it takes none now.

    Raises:
        OSError: send(2) failed for another reason. SIGPIPE has to be ignored.
    """
    try:
        return posix.write(fd, block if len(block) <= SEND_MAX_BYTES else memoryview(block)[:SEND_MAX_BYTES])
    except BlockingIOError:
        return 0


def poll(fd: int, events: int) -> int:
    """Return which of these events are present now, or POLLHUP, POLLERR (poll(2)); 0 if there are none. A negative
    descriptor has none, as in poll(2)."""
    if fd < 0:
        return 0
    asked = _poll()
    asked.register(fd, events)
    found = asked.poll(0)
    return found[0][1] if found else 0


def close(fd: int) -> None:
    """Close a descriptor, and ignore errors: on Linux it is closed even then (close(2))."""
    try:
        posix.close(fd)
    except OSError:
        pass


def monotonic() -> float:
    """Return the seconds of time.monotonic()."""
    return time.monotonic()


def second() -> int:
    """Return the second of the time of day, as time(2) does."""
    return int(time.time())
