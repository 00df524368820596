"""How many connections wait in a listener's backlog, as the kernel reports it.

    TCP    getsockopt(TCP_INFO): for a listening socket, tcpi_unacked is the queue and tcpi_sacked the backlog
    unix   sock_diag(7): UDIAG_SHOW_RQLEN gives both numbers

Rules
* An unknown number is None, never 0. It is unknown for other families, for a closed socket, for a kernel without
  unix_diag, and for a service that may not open AF_NETLINK sockets.
* Nothing blocks. When send(2) returns, sock_diag has already put the answer into the socket.
* A kernel without unix_diag is asked once only, because each question would start modprobe to look for the module.
"""

import errno
import os
import socket
import struct

from wsgid.records import dataclass

# linux/tcp.h, struct tcp_info: eight bytes, then rto, ato, snd_mss, rcv_mss; unacked and sacked follow.
_TCP_INFO = struct.Struct("=24xII")

# linux/netlink.h, linux/sock_diag.h, linux/unix_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_ANY_STATE = 0xFFFFFFFF
_UDIAG_SHOW_RQLEN = 0x10
_NO_COOKIE = 0xFFFFFFFF
_UNIX_DIAG_RQLEN = 4
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQUEST = struct.Struct("=BBHIIIII")  # unix_diag_req: family, protocol, pad, states, inode, show, cookie
_MESSAGE_BYTES = 16  # unix_diag_msg: family, type, state, pad, inode, cookie
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_LENGTHS = struct.Struct("=II")  # unix_diag_rqlen
_ANSWER_MAX_BYTES = 4096
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_diag_missing = False


@dataclass(frozen=True, slots=True)
class ListenQueue:
    """The backlog of one listener: connections that wait to be accepted, and how many can wait."""

    waiting: int
    size: int


def of(listener: socket.socket) -> ListenQueue | None:
    """Return the backlog of a listening socket, or None if the backlog is unknown."""
    try:
        if listener.family == socket.AF_UNIX:
            return _of_unix(listener)
        return ListenQueue(*_TCP_INFO.unpack(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)))
    except (OSError, struct.error):
        return None


def _of_unix(listener: socket.socket) -> ListenQueue | None:
    global _diag_missing
    if _diag_missing:
        return None
    inode = os.fstat(listener.fileno()).st_ino
    try:
        return _decode(_ask(inode))
    except OSError as error:
        _diag_missing = error.errno not in _OUT_OF_RESOURCES
        return None


def _ask(inode: int) -> bytes:
    """Ask sock_diag(7) about the unix socket with this inode. Returns the raw answer.

    Raises:
        OSError: the kernel does not answer such questions, or this process may not ask.
    """
    request = _REQUEST.pack(
        socket.AF_UNIX, 0, 0, _ANY_STATE, inode & 0xFFFFFFFF, _UDIAG_SHOW_RQLEN, _NO_COOKIE, _NO_COOKIE
    )
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as asker:
        asker.sendto(
            _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request, (0, 0)
        )
        return asker.recv(_ANSWER_MAX_BYTES)


def _decode(answer: bytes) -> ListenQueue | None:
    """Return the queue lengths from an answer of one netlink message, or None if the answer has none.

    Raises:
        OSError: the answer is an error message.
        struct.error: the answer is cut short.
    """
    length, kind, *_ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        raise OSError(code, os.strerror(code))
    place, end = _HEADER.size + _MESSAGE_BYTES, min(length, len(answer))
    while place + _ATTRIBUTE.size <= end:
        size, name = _ATTRIBUTE.unpack_from(answer, place)
        if name == _UNIX_DIAG_RQLEN:
            return ListenQueue(*_LENGTHS.unpack_from(answer, place + _ATTRIBUTE.size))
        place += max((size + 3) & ~3, _ATTRIBUTE.size)  # attributes are aligned to 4 bytes
    return None
