"""The other ends of this process's sockets, asked from the kernel.

Rules
* The kernel is asked on a copy of the descriptor (dup(2)). If the application closes the descriptor meanwhile, and its
  number is used again, nothing of the application is touched.
* The copy is a socket of `_socket`, the C module: gevent's class would make the descriptor non-blocking.
* Only stream sockets count. Datagrams are complete in themselves, and wsgid's own channel is SOCK_SEQPACKET.
"""

import _socket
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MAPPED = "::ffff:"  # RFC 4291, 2.5.5.2: an IPv4 address in an IPv6 socket


@contextmanager
def copy_of(fd: int) -> Iterator[Any]:
    """Yield a copy of a socket, which is closed afterwards.

    Raises:
        OSError: the descriptor is closed, is no socket, or no descriptor is left for the copy.
    """
    number = os.dup(fd)
    try:
        copy = _socket.socket(fileno=number)
    except BaseException:
        os.close(number)
        raise
    try:
        yield copy
    finally:
        copy.close()


def peer_of(copy: Any) -> str:
    """Return the peer of a connected stream socket, as an operator writes it. Empty for other kinds of sockets, and for
    a peer without an address: a socketpair, or a connection that was accepted from a unix socket.

    Raises:
        OSError: the socket is not connected. A listener is not, either.
    """
    return address(copy.getpeername()) if copy.type == _socket.SOCK_STREAM else ""


def address(name: Any) -> str:
    """Return the name of a socket as an operator writes it: host:port, [host]:port, a path, or @abstract. Empty if
    there is none."""
    if isinstance(name, tuple):
        host, port = name[:2]
        host = host.removeprefix(_MAPPED) if "." in str(host) else host
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(name, bytes):  # unix(7), abstract
        return "@" + name[1:].decode("utf-8", "replace") if name else ""
    return str(name)
