"""What the application's import leaves behind and workers would lose or share. Each finding is logged by name, once.

Rules
* fork(2) copies only the calling thread, and gevent's greenlets do not run without their hub.  So threads and greenlets
  that the import has started do not exist in the workers.
* fork(2) copies descriptors. A connection that the import has made is one connection for all workers, and each worker
  reads answers that are meant for another.  Datagram sockets are harmless: each datagram is complete.
* The check runs when the hub is quiet and its idle threads have ended. The resolver's threads are started again on use.
* A Python thread of the operating system is seen once it runs its first line: CPython shows no frame of it before.
* Threads of C libraries (OpenBLAS, jemalloc) are not reported: these libraries handle a fork themselves. Neither are
  those of Python libraries that start them again in the child (os.register_at_fork), as OpenTelemetry's SDK does.
"""

import os
import sys
import threading
from contextlib import suppress
from typing import Any

from gevent import monkey

from wsgid import log
from wsgid.application import peers, whereabouts
from wsgid.linux import process

NAMED_MAX = 10
_REMEDY = "in the worker, on first use or in wsgid.hooks.on_worker_start (docs/hooks.md); or use --lazy-apps"

_STARTED_AGAIN = ("OtelBatchSpanRecordProcessor", "OtelBatchLogRecordProcessor", "OtelPeriodicExportingMetricReader")

_thread_ident = monkey.get_original("_thread", "get_ident")

Sockets = dict[int, str]  # descriptor -> the kernel's name of the socket, 'socket:[12345]'


def sockets() -> Sockets:
    """Return all sockets of this process."""
    found = {}
    for fd in process.open_fds():
        with suppress(OSError):  # the descriptor of the listing itself, which is closed
            name = os.readlink(f"/proc/self/fd/{fd}")
            if name.startswith("socket:"):
                found[fd] = name
    return found


def started() -> list[Any]:
    """Return the greenlets that are scheduled to run. Call this while there is a hub."""
    return whereabouts.greenlets()


def warn(before: Sockets, greenlets: list[Any]) -> None:
    """Log what the import has left behind.

    Args:
        before: the sockets that existed before the import.
        greenlets: those that the import has started.
    """
    _say("started threads, which the workers will not have", _threads(greenlets), "start them")
    _say("started greenlets, which the workers will not have", _greenlets(greenlets), "start them")
    _say(
        "connected sockets, which all workers would share and so get each other's answers",
        _connected(before),
        "connect",
    )


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
    """Describe the threads: those of `threading`, which are greenlets, and Python threads of the operating system."""
    green = [
        whereabouts.of_thread(thread, greenlets)
        for thread in threading.enumerate()
        if thread is not threading.main_thread()
        and not whereabouts.is_dummy(thread)
        and thread.name not in _STARTED_AGAIN
    ]
    return green + [
        whereabouts.of_native(frame) for ident, frame in sys._current_frames().items() if ident != _thread_ident()
    ]


def _greenlets(greenlets: list[Any]) -> list[str]:
    return [
        whereabouts.of_greenlet(started)
        for started in greenlets
        if whereabouts.thread_of(started) is None and bool(started)
    ]


def _connected(before: Sockets) -> list[str]:
    """Return the peers of connected stream sockets. A peer without an address is a socketpair inside the
    application."""
    found = []
    for fd, name in sockets().items():
        if before.get(fd) == name:
            continue
        with suppress(OSError), peers.copy_of(fd) as copy:  # the socket listens, or is not connected
            if peer := peers.peer_of(copy):
                found.append(f"{peer} (descriptor {fd})")
    return found
