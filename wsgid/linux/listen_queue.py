"""How many connections wait in a listener's backlog, as the kernel says it.

    TCP    getsockopt(TCP_INFO): of a listening socket, tcpi_unacked is its queue and tcpi_sacked the backlog
    unix   sock_diag(7): UDIAG_SHOW_RQLEN gives both

Rules
* What cannot be known is None, never 0: other families, a closed socket, a kernel without unix_diag, a service that may
  not have AF_NETLINK sockets.
* Nothing blocks: sock_diag has put its answer into the socket by the time that send(2) returns.
* A kernel that has no unix_diag is asked once: it looks for its module each time, by starting modprobe.
"""

import errno
import os
import socket
import struct
from dataclasses import dataclass

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
    """Connections of one listener: how many wait to be accepted, and how many can."""

    waiting: int
    size: int


def of(listener: socket.socket) -> ListenQueue | None:
    """The backlog of a listening socket; None if nobody can tell."""
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
    """What sock_diag(7) says of the unix socket with this inode.

    Raises:
        OSError: the kernel does not answer such questions, or not to us.
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
    """The queue's lengths in an answer of one netlink message; None if it has none.

    Raises:
        OSError: the answer is an error.
        struct.error: it is cut.
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
