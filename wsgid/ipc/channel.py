"""A channel: one SOCK_SEQPACKET socketpair between the master and one of its processes.

Rules
* SOCK_SEQPACKET keeps message boundaries and reports that the other end has closed (unix(7)). No framing is needed.
* Nothing here ever blocks: the master never waits for a child, and the workers wait in their hub.
* File descriptors are sent with a message (SCM_RIGHTS). The receiver owns the descriptors that arrive.
* The kernel tells the master which process has sent a message (SCM_CREDENTIALS, unix(7)). No process can pretend to be
  another one.
* The module uses `_socket`, the C module. After patching, `socket.socket` is gevent's class, which would wait in the
  hub.
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

from wsgid.counted import counted
from wsgid.errors import ControlError
from wsgid.ipc import messages

_FDS_MAX = 250  # SCM_MAX_FD is 253
_SCM_CREDENTIALS = 2  # linux/socket.h
_CREDENTIALS = struct.Struct("iII")  # unix(7), struct ucred: pid, uid, gid


class Channel:
    """One end of a channel.

    Args:
        fd: a connected SOCK_SEQPACKET socket; this object owns it from now on.
        kinds: the messages that the other end may send.
    """

    def __init__(self, fd: int, kinds: messages.Kinds = messages.ALL) -> None:
        self._kinds = kinds
        self.sender_pid = 0  # of the message that was received last; always 0 outside of the master
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fileno=fd)
        self._socket.setblocking(False)
        self._unsent: list[tuple[messages.Message, Sequence[int]]] = []
        self.refusal: OSError | None = None  # the reason why the last message was not sent

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._socket.fileno()

    def send(self, message: messages.Message, fds: Sequence[int] = ()) -> bool:
        """Send one message. Returns False, with the reason in `refusal`, if the message could not be sent.

        That happens when the other end is gone or does not read, and when the kernel has no room. The caller need not
        act: the end-of-file or the deadline of the other process decides what happens to that process.

        Args:
            message: at most DATAGRAM_MAX_BYTES when encoded.
            fds: descriptors that are sent with the message; the caller keeps its own copies.
        """
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.refusal = None
        try:
            self._socket.sendmsg([messages.encode(message)], ancillary, _socket.MSG_NOSIGNAL)
        except OSError as error:
            self.refusal = error
        return self.refusal is None

    def order(self, message: messages.Message, fds: Sequence[int] = ()) -> None:
        """Send a message that must not be lost. If it cannot be sent now, `flush` sends it later, in order.

        Args:
            message: at most DATAGRAM_MAX_BYTES when encoded.
            fds: descriptors that are sent with the message; they stay open until then.
        """
        self._unsent.append((message, fds))
        self.flush()

    def flush(self) -> None:
        """Send waiting messages, as far as possible. Messages for a process that is gone are dropped."""
        while self._unsent:
            if not self.send(*self._unsent[0]) and not isinstance(self.refusal, ConnectionError):
                return
            del self._unsent[0]

    def unread_bytes(self) -> int:
        """Return how many sent bytes have not been received (unix(7), SIOCOUTQ). The kernel counts its own buffers
        too."""
        return int.from_bytes(fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def receive(self) -> tuple[messages.Message, list[int]] | None:
        """Receive one message with its file descriptors. `sender_pid` then has the sender.

        Returns:
            None at end-of-file.

        Raises:
            BlockingIOError: no message is there now.
            ControlError: the other end may not send this message, or it is no message. Its descriptors are closed.
        """
        room = _socket.CMSG_SPACE(_FDS_MAX * array.array("i").itemsize) + _socket.CMSG_SPACE(_CREDENTIALS.size)
        try:
            datagram, ancillary, flags, _ = self._socket.recvmsg(
                messages.DATAGRAM_MAX_BYTES, room, _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:  # the other end is closed, and has left some of our messages unread (unix(7))
            return None
        fds = self._ridden_along(ancillary)
        try:
            if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
                raise ControlError(
                    f"a datagram arrived truncated to {counted(len(datagram), 'byte')} and "
                    f"{counted(len(fds), 'descriptor')}"
                )
            if datagram:
                return messages.decode(datagram, self._kinds), list(fds)
        except ControlError:
            close_all(fds)
            raise
        close_all(fds)
        return None

    def _ridden_along(self, ancillary: list[tuple[int, int, bytes]]) -> "array.array[int]":
        """Return the descriptors of a message, and record its sender."""
        fds = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
            elif (level, kind) == (_socket.SOL_SOCKET, _SCM_CREDENTIALS):
                self.sender_pid, _, _ = _CREDENTIALS.unpack(data)
        return fds

    def close(self) -> None:
        """Close this end, and ignore errors: on Linux the descriptor is closed even then (close(2))."""
        with suppress(OSError):
            self._socket.close()


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors that are not needed."""
    for fd in fds:
        with suppress(OSError):
            posix.close(fd)
