"""What the import of the application has left that its workers will not have, or would share: named in the log, once.

Rules
* fork(2) copies the thread that calls it, and of gevent's greenlets those that no hub runs any more.  So a thread and a
  greenlet that the import has started are lost in the workers.
* It copies descriptors too: a connection that was made before is one connection for all workers, and each reads what
  the server has answered to another.  Datagrams do no harm: each is whole.
* Looked at when the hub is quiet, and its idle threads have ended: the resolver's are made anew on use.
* Threads of C libraries (OpenBLAS, jemalloc) are no matter of Python's: these libraries look after a fork themselves.
"""

import _socket
import os
import sys
import threading
from contextlib import suppress
from typing import Any

from gevent import monkey

from wsgid import log
from wsgid.application import whereabouts
from wsgid.linux import process

NAMED_MAX = 10
_REMEDY = "in the worker, on first use or in a hook of os.register_at_fork(after_in_child=...); or use --lazy-apps"

# Modules that wait in C, where gevent cannot let others go on; what helps, by the module that is there when it is done.
_WAITS_IN_C = {
    "psycopg2": ("psycogreen", "install psycogreen"),
    "grpc": ("grpc.experimental.gevent", "call grpc.experimental.gevent.init_gevent() before the first channel"),
    "MySQLdb": ("", "use PyMySQL, which has the same functions (pymysql.install_as_MySQLdb())"),
}

_thread_ident = monkey.get_original("_thread", "get_ident")

Sockets = dict[int, str]  # descriptor -> the socket's name of the kernel's, 'socket:[12345]'


def sockets() -> Sockets:
    """All sockets of this process."""
    found = {}
    for fd in process.open_fds():
        with suppress(OSError):  # of the listing itself, which is closed
            name = os.readlink(f"/proc/self/fd/{fd}")
            if name.startswith("socket:"):
                found[fd] = name
    return found


def started() -> list[Any]:
    """The greenlets that wait for their turn now; to be asked while there is a hub."""
    return whereabouts.greenlets()


def warn(before: Sockets, greenlets: list[Any]) -> None:
    """Say what the import has left.

    Args:
        before: the sockets that there were before it.
        greenlets: those that it has started.
    """
    _say("started threads, which the workers will not have", _threads(greenlets), "start them")
    _say("started greenlets, which the workers will not have", _greenlets(greenlets), "start them")
    _say(
        "connected sockets, which all workers would share and so get each other's answers",
        _connected(before),
        "connect",
    )
    for module, (cure, remedy) in _WAITS_IN_C.items():
        if module in sys.modules and cure not in sys.modules:
            log.warning("%s blocks all requests of a worker while it waits for its server: %s", module, remedy)


def _say(what: str, names: list[str], remedy: str) -> None:
    if names:
        more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
        log.warning(
            "the import of the application has %s: %s%s; %s %s",
            what,
            ", ".join(names[:NAMED_MAX]),
            more,
            remedy,
            _REMEDY,
        )


def _threads(greenlets: list[Any]) -> list[str]:
    """Of `threading`, which are greenlets, and of Python's that are threads of the operating system, too."""
    green = [
        whereabouts.of_thread(thread, greenlets)
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not whereabouts.is_dummy(thread)
    ]
    return green + [
        whereabouts.of_native(frame) for ident, frame in sys._current_frames().items() if ident != _thread_ident()
    ]


def _greenlets(greenlets: list[Any]) -> list[str]:
    return [whereabouts.of_greenlet(one) for one in greenlets if whereabouts.thread_of(one) is None and bool(one)]


def _connected(before: Sockets) -> list[str]:
    """The peers of stream sockets; one without a name is that of a pair, both of which are the application's."""
    found = []
    for fd, name in sockets().items():
        if before.get(fd) == name:
            continue
        one = _socket.socket(fileno=os.dup(fd))  # not gevent's, which would make the descriptor non-blocking
        try:
            if one.type != _socket.SOCK_DGRAM and (peer := _address(one.getpeername())):
                found.append(f"{peer} (descriptor {fd})")
        except OSError:  # it listens, or is not connected
            continue
        finally:
            one.close()
    return found


def _address(peer: Any) -> str:
    """As an operator writes it; empty if it has no name."""
    if isinstance(peer, tuple):
        host, port = peer[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(peer, bytes):  # unix(7), abstract
        return "@" + peer[1:].decode("utf-8", "replace") if peer else ""
    return str(peer)
