"""The two ends of a channel (channel.py). The command makes a pair before it has imported anything else."""

import _socket

_SO_PASSCRED = 16  # asm-generic/socket.h


def pair() -> tuple[int, int]:
    """Return two connected descriptors, close-on-exec (PEP 446): the master's end and the other end."""
    left, right = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    left.setsockopt(_socket.SOL_SOCKET, _SO_PASSCRED, 1)  # now, before the other end can have sent anything
    return left.detach(), right.detach()
