"""A channel: one SOCK_SEQPACKET socketpair between the master and one of its processes.

Rules
* Datagram boundaries are kept and closing is seen (unix(7), SOCK_SEQPACKET): no framing of our own.
* Nothing here ever blocks: the master never waits for a child, and the workers wait in their hub.
* File descriptors ride along as SCM_RIGHTS; those that arrive belong to the receiver.
* Only `_socket`, the C module: after patching, `socket.socket` is gevent's class, which would wait in the hub.
"""

import _socket
import array
import fcntl
import sys
import termios
from collections.abc import Sequence

from wsgid.errors import ControlError
from wsgid.protocol import control

_FDS_MAX = 250  # SCM_MAX_FD is 253


class Channel:
    """One end.

    Args:
        fd: a connected SOCK_SEQPACKET socket, owned by this object from now on.
    """

    def __init__(self, fd: int) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=fd)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: control.Message, fds: Sequence[int] = ()) -> bool:
        """Send one message. Returns False when the other end is gone or does not read: its EOF or its deadline,
        and not this call, decide what happens to it."""
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._socket.sendmsg([control.encode(message)], ancillary, _socket.MSG_NOSIGNAL)
        except (BlockingIOError, ConnectionError):
            return False
        return True

    def unread_bytes(self) -> int:
        """How much of what was sent has not been received (unix(7), SIOCOUTQ; the kernel counts its own buffers in)."""
        return int.from_bytes(fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def receive(self) -> tuple[control.Message, list[int]] | None:
        """One message with its file descriptors.

        Raises:
            BlockingIOError: nothing is there now.
            ControlError: it is no known message.

        Returns None at end-of-file.
        """
        room = _socket.CMSG_SPACE(_FDS_MAX * array.array("i").itemsize)
        try:
            datagram, ancillary, flags, _ = self._socket.recvmsg(
                control.DATAGRAM_MAX_BYTES, room, _socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return None
        fds = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
            raise ControlError(f"a datagram arrived truncated to {len(datagram)} bytes and {len(fds)} descriptors")
        if not datagram:
            return None
        return control.decode(datagram), list(fds)

    def close(self) -> None:
        self._socket.close()


def pair() -> tuple[int, int]:
    """Two connected raw descriptors, close-on-exec (PEP 446): the master's and the other's."""
    left, right = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return left.detach(), right.detach()
