"""What the hot modules do on real sockets and in gevent's hub, as values that can be compared: see pure_form.py.

Rules
* A question is a list of steps. A step is the name of an action with its arguments. The answer has the result of each
  step, or its exception in words.
* No result depends on how busy the machine is: a time-out is either far away, or comes in both forms.
"""

import math
import os
import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent.hub import get_hub

from wsgid.config.options import Settings
from wsgid.errors import ClientDisconnected, PeerError
from wsgid.log.request_record import RequestRecord
from wsgid.protocol.forwarded import Trusted
from wsgid.protocol.http import Decoder, Limits
from wsgid.serving import syscalls, turns
from wsgid.serving.access_log import AccessLog
from wsgid.serving.connection import Connection
from wsgid.serving.http_connection import Arrival, BodyRate, HttpConnection, Leaving
from wsgid.serving.keepalive import IdleConnections
from wsgid.wsgi.response import Outcome, Served

Step = tuple[Any, ...]  # a name, and arguments
QUIET_S, HEAD_S = 1000.0, 100.0  # longer than any test
SOON_S = 0.003  # a wait that ends with a time-out in each form


def _result(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        found = call(*arguments)
    except (OSError, ClientDisconnected, PeerError) as error:
        return f"{type(error).__name__}: {error}"
    return found.name if isinstance(found, Arrival) else found


@contextmanager
def _pair() -> Iterator[tuple[socket.socket, int]]:
    """A client, and the descriptor of the other end. The caller has to close the descriptor."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs.detach()


class _Client:
    """What the other end does in a step."""

    def __init__(self, ours: socket.socket) -> None:
        self._ours = ours

    def client_sends(self, data: bytes) -> Any:
        return self._ours.send(data)

    def client_reads(self) -> Any:
        return self._ours.recv(1 << 20)

    def client_ends(self) -> None:
        self._ours.shutdown(socket.SHUT_WR)

    def client_leaves(self) -> None:
        self._ours.close()


def system_calls(steps: list[Step]) -> list[Any]:
    """Calls of recv, recv_packet, send and poll, with all arguments except the descriptor; or actions of the client."""
    with _pair() as (ours, fd):
        client = _Client(ours)
        try:
            return [
                _result(getattr(client, name), *arguments)
                if hasattr(client, name)
                else _result(getattr(syscalls, name), fd, *arguments)
                for name, *arguments in steps
            ]
        finally:
            syscalls.close(fd)
            assert not _is_open(fd)
            syscalls.close(fd)  # its result is not recorded


def accepted(clients: int, http: bool) -> list[Any]:
    """The properties of an AcceptSocket, and how it accepts these connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        door = syscalls.AcceptSocket(os.dup(listener.fileno()), http, None)
        waiting = [socket.create_connection(listener.getsockname()) for _ in range(clients)]
        select.select([door.fd], [], [], 20) if clients else None
        fds = [door.accept() for _ in range(clients + 1)]
        results: list[Any] = [door.http, door.wrap, [fd >= 0 for fd in fds]]
        results += [(os.get_blocking(fd), os.get_inheritable(fd)) for fd in fds[:-1]]
        for fd in fds[:-1]:
            syscalls.close(fd)
        for connection in waiting:
            connection.close()
        door.close()
        return [*results, door.fd, _result(lambda: bool(door.accept()))[:7]]


def _is_open(fd: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


def connection(steps: list[Step]) -> list[Any]:
    """What a connection returns from its methods of these names; or actions of the client."""
    with _pair() as (ours, fd):
        client, served = _Client(ours), Connection(fd, SOON_S, True)
        results = []
        try:
            for name, *arguments in steps:
                results.append(_result(getattr(client if hasattr(client, name) else served, name), *arguments))
                results.append((served.fd == fd, served.http, served.watcher))
            return results
        finally:
            served.close()
            assert not _is_open(fd)


def http_connection(data: bytes, sizes: list[int], reads: list[int], length: int | None, leaves: bool) -> list[Any]:
    """How a connection takes this stream of requests, which arrives in pieces.

    Args:
        data: what the client sends before it ends the stream.
        sizes: the sizes of the pieces.
        reads: how many bytes the application asks for, in turn, of each body.
        length: the length of each response, if it is known.
        leaves: whether the worker leaves.
    """
    with _pair() as (ours, fd):
        served = _exchange(fd, Leaving(0.0) if leaves else Leaving())
        results: list[Any] = []
        try:
            for size in [*sizes, len(data)]:
                ours.send(data[:size])
                data = data[size:]
                while (arrival := served.advance()) is Arrival.HEAD and _answer(served, reads, length, results):
                    pass
                results.append(arrival.name)
            ours.shutdown(socket.SHUT_WR)
            return [*results, _result(served.advance), served.served, str(served.refused)]
        finally:
            served.connection.close()


def _exchange(fd: int, leaving: Leaving) -> HttpConnection:
    decoder = Decoder(Limits(line_bytes=200, headers=10, head_bytes=500), {"wsgi.errors": "ours"})
    return HttpConnection(Connection(fd, SOON_S, True), decoder, Trusted("unix"), leaving, BodyRate(0, 0.0))


def _answer(served: HttpConnection, reads: list[int], length: int | None, results: list[Any]) -> bool:
    """Serve one request. Returns whether the connection goes on."""
    try:
        head = served.next_head()
    except PeerError as error:
        results.append(str(error))
        return False
    results.append((head.variables["PATH_INFO"], head.content_length, served.is_trusted))
    results += [_result(served.recv, size) for size in reads]
    lines = served.head_lines(200, "HTTP/1.1 200 OK\r\n", length, False)
    results.append(re.sub(r"Date: [^\r]*", "Date", lines))
    results.append((served.keep_alive, served.chunked, served.close_delimited, served.taken, served.head_out))
    return served.settle()


def idle_connections(steps: list[Step], count: int, places: int) -> list[Any]:
    """What becomes of quiet connections. Steps: "says" and "leaves" of a client with its number, and the methods of
    IdleConnections, whose times count from the start."""
    start_s = time.monotonic()
    ready: list[int] = []
    held = [socket.socketpair() for _ in range(count)]
    exchanges = []
    for _, theirs in held:
        theirs.setblocking(False)
        exchanges.append(_exchange(theirs.detach(), Leaving()))
    idle = IdleConnections(
        get_hub(), QUIET_S, HEAD_S, places, lambda arrived: ready.extend(map(exchanges.index, arrived))
    )
    results: list[Any] = []
    try:
        for served in exchanges:
            idle.keep(served, served.advance(), time.monotonic())
        for name, *arguments in steps:
            results.append(_idle_step(idle, held, exchanges, start_s, name, arguments))
            gevent.sleep(0.001)  # now the event loop looks at all sockets,
            gevent.sleep(0.001)  # and now it has called all callbacks that waited
            results.append((len(idle), sorted(ready), [served.connection.fd >= 0 for served in exchanges]))
        return [*results, _ends_when_due(idle)]
    finally:
        for (ours, _), served in zip(held, exchanges):
            ours.close()
            served.connection.close()


def _ends_when_due(idle: IdleConnections) -> bool:
    """Whether the first connection's time is over at `due_s`, and not before."""
    kept, due_s = len(idle), idle.due_s()
    idle.expire(math.nextafter(due_s, -math.inf))
    is_early = len(idle) < kept
    idle.expire(due_s)
    return not is_early and len(idle) < kept if kept else due_s == math.inf


def _idle_step(
    idle: IdleConnections, held: list[Any], exchanges: list[HttpConnection], start_s: float, name: str, given: list[Any]
) -> Any:
    if name in ("says", "leaves"):
        ours = held[given[0] % len(held)][0]
        return _result(ours.send, given[1]) if name == "says" else _result(ours.close)
    if name == "delay":
        return idle.delay(given[0])
    if name == "hurry":
        return idle.hurry(start_s + given[0], given[1])
    return [exchanges.index(late) for late in idle.expire(start_s + given[0])]


def turns_taken(spins: list[int]) -> list[Any]:
    """Greenlets that use up their slices this many times each. Returns whether another greenlet ran at each turn, and
    the order in which the delayed calls were made."""
    called: list[int] = []
    for number in range(len(spins)):
        turns.later(called.append, number)
    ran = [0]

    def spin(times: int) -> list[bool]:
        others = []
        for _ in range(times):
            until_s = time.monotonic() + 2 * turns.SLICE_S
            while time.monotonic() < until_s:
                pass
            before = ran[0]
            turns.give_way()
            others.append(ran[0] > before)
        return others

    def count() -> None:
        while True:
            ran[0] += 1
            gevent.sleep(0)

    counting = gevent.spawn(count)
    spinning = [gevent.spawn(spin, times) for times in spins]
    gevent.joinall(spinning)
    counting.kill()
    return [called, [greenlet.value for greenlet in spinning]]


class _Outlet:
    """Takes every line, except the lines that it drops."""

    def __init__(self, drops: bool) -> None:
        self.dropped = 0
        self.reason = "on purpose"
        self.lines: list[str] = []
        self._drops = drops

    def put(self, lines: Any = ()) -> None:
        if self._drops:
            self.dropped += len(lines)
        else:
            self.lines += lines

    def close(self, timeout_s: float) -> None:
        self.lines.append("closed")


def access_log(text: str, options: dict[str, Any], requests: list[tuple[Any, ...]], drops: bool) -> list[Any]:
    """The log lines of these requests. A request is the environ, what was sent, how long it took, and sizes."""
    outlet = _Outlet(drops)
    log = AccessLog(Settings(log_format=text, **options), 0, outlet)
    for environ, served, took_s, *sizes in requests:
        log.note(RequestRecord(environ, Served(Outcome(served[0]), *served[1:]), 1.0, took_s, *sizes))
        if took_s == 0.0:
            log.flush()
    log.close()
    return [outlet.lines, outlet.dropped]
