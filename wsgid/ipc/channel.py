"""A channel: one SOCK_SEQPACKET socketpair between the master and one of its processes.

Rules
* Datagram boundaries are kept and closing is seen (unix(7), SOCK_SEQPACKET): no framing of our own.
* Nothing here ever blocks: the master never waits for a child, and the workers wait in their hub.
* File descriptors ride along as SCM_RIGHTS; those that arrive belong to the receiver.
* The kernel says which process has sent a message to the master (SCM_CREDENTIALS, unix(7)): none can name another.
* Only `_socket`, the C module: after patching, `socket.socket` is gevent's class, which would wait in the hub.
"""

import _socket
import array
import fcntl
import posix
import struct
import sys
import termios
from collections.abc import Iterable, Sequence
from contextlib import suppress

from wsgid.errors import ControlError
from wsgid.ipc import messages

_FDS_MAX = 250  # SCM_MAX_FD is 253
_SCM_CREDENTIALS = 2  # linux/socket.h
_SO_PASSCRED = 16  # asm-generic/socket.h
_CREDENTIALS = struct.Struct("iII")  # unix(7), struct ucred: pid, uid, gid


class Channel:
    """One end.

    Args:
        fd: a connected SOCK_SEQPACKET socket, owned by this object from now on.
        kinds: the messages that the other end may send.
    """

    def __init__(self, fd: int, kinds: messages.Kinds = messages.ALL) -> None:
        self._kinds = kinds
        self.sender_pid = 0  # of the message that was received last; 0 at the ends that are not the master's
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=fd)
        self._socket.setblocking(False)
        self._unsent: list[tuple[messages.Message, Sequence[int]]] = []
        self.refusal: OSError | None = None  # why the last message was not sent

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: messages.Message, fds: Sequence[int] = ()) -> bool:
        """Send one message. Returns False, and leaves the reason in `refusal`, when the other end is gone or does not
        read: its EOF or its deadline, and not this call, decide what happens to it; or when the kernel has no room."""
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.refusal = None
        try:
            self._socket.sendmsg([messages.encode(message)], ancillary, _socket.MSG_NOSIGNAL)
        except OSError as error:
            self.refusal = error
        return self.refusal is None

    def order(self, message: messages.Message, fds: Sequence[int] = ()) -> None:
        """Send a message that must not be lost: what cannot be sent now is sent by `flush`, in order.

        Args:
            fds: stay open until then.
        """
        self._unsent.append((message, fds))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as it goes. What a process that has left would have got is dropped."""
        while self._unsent:
            if not self.send(*self._unsent[0]) and not isinstance(self.refusal, ConnectionError):
                return
            del self._unsent[0]

    def unread_bytes(self) -> int:
        """How much of what was sent has not been received (unix(7), SIOCOUTQ; the kernel counts its own buffers in)."""
        return int.from_bytes(fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def receive(self) -> tuple[messages.Message, list[int]] | None:
        """One message with its file descriptors; `sender_pid` says whose it is.

        Raises:
            BlockingIOError: nothing is there now.
            ControlError: it is no message that the other end may send. Its descriptors are closed.

        Returns None at end-of-file.
        """
        room = _socket.CMSG_SPACE(_FDS_MAX * array.array("i").itemsize) + _socket.CMSG_SPACE(_CREDENTIALS.size)
        try:
            datagram, ancillary, flags, _ = self._socket.recvmsg(
                messages.DATAGRAM_MAX_BYTES, room, _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:  # it has left, and something that we had sent unread (unix(7))
            return None
        fds = self._ridden_along(ancillary)
        try:
            if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
                raise ControlError(f"a datagram arrived truncated to {len(datagram)} bytes and {len(fds)} descriptors")
            if datagram:
                return messages.decode(datagram, self._kinds), list(fds)
        except ControlError:
            close_all(fds)
            raise
        close_all(fds)
        return None

    def _ridden_along(self, ancillary: list[tuple[int, int, bytes]]) -> "array.array[int]":
        """The descriptors; notes whose message it is."""
        fds = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
            elif (level, kind) == (_socket.SOL_SOCKET, _SCM_CREDENTIALS):
                self.sender_pid, _, _ = _CREDENTIALS.unpack(data)
        return fds

    def close(self) -> None:
        """Whatever the kernel says: on Linux the descriptor is gone even then (close(2))."""
        with suppress(OSError):
            self._socket.close()


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        with suppress(OSError):
            posix.close(fd)


def pair() -> tuple[int, int]:
    """Two connected raw descriptors, close-on-exec (PEP 446): the master's and the other's."""
    left, right = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    left.setsockopt(_socket.SOL_SOCKET, _SO_PASSCRED, 1)  # now, before the other end can have sent anything
    return left.detach(), right.detach()
