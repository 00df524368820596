"""A crowd of clients in one thread. Each client is a generator: it yields what it waits for, and returns its outcome.

    met = run((ask(address, packet()) for _ in range(10_000)), at_once=10_000)    # Counter({"200": 10000})

Rules
* Every client is counted under one word: a status, what was wrong with the answer, or the name of an error.
* The standard library only, and few system calls for each client: on a small machine the crowd must not take the
  processor time of the server that is measured.
* To look at the server while the crowd is busy, add one more client that looks and pauses: no thread is needed.
"""

import errno
import heapq
import itertools
import select
import socket
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

from tests.support.client import Address

Wait = tuple[int, int] | float | None  # a descriptor and an epoll event; a pause in seconds; None: the backlog is full
T = TypeVar("T")
Steps = Generator[Wait, None, T]
Client = Steps[str]

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
STARTS_PER_TURN = 64  # so that answers are read also while thousands of clients start
FULL_PAUSE_S = 0.005
PATIENCE_S = 60.0  # if nothing happens for this long, the clients that still wait are counted as lost
BLOCK_BYTES = 256 * 1024


def run(clients: Iterable[Client], at_once: int) -> Counter[str]:
    """Run all clients to their end, at most `at_once` at the same time, and count their outcomes."""
    crowd = _Crowd(iter(clients), at_once)
    try:
        crowd.run()
    finally:
        crowd.close()
    return crowd.met


class _Crowd:
    def __init__(self, clients: Iterator[Client], at_once: int) -> None:
        self.met: Counter[str] = Counter()
        self._clients: Iterator[Client] | None = clients
        self._at_once = at_once
        self._epoll = select.epoll()
        self._waiting: dict[int, Client] = {}
        self._pausing: list[tuple[float, int, Client]] = []
        self._number = itertools.count()
        self._start_at_s = 0.0

    def run(self) -> None:
        moved_s = time.monotonic()
        while self._start() or self._waiting or self._pausing:
            moved = self._turn()
            now_s = time.monotonic()
            if moved:
                moved_s = now_s
            elif now_s - moved_s > PATIENCE_S:
                self.met["no answer"] += len(self._waiting)
                return

    def close(self) -> None:
        for client in [*self._waiting.values(), *(client for _, _, client in self._pausing)]:
            client.close()
        self._epoll.close()

    def _start(self) -> bool:
        """Start some clients. Returns whether more clients have to be started."""
        now_s = time.monotonic()
        for _ in range(STARTS_PER_TURN):
            if self._clients is None or now_s < self._start_at_s or self._busy() >= self._at_once:
                break
            client = next(self._clients, None)
            if client is None:
                self._clients = None
            else:
                self._step(client)
        return self._clients is not None

    def _busy(self) -> int:
        return len(self._waiting) + len(self._pausing)

    def _turn(self) -> bool:
        """Wait until some client can go on, and let the client go on. Returns whether one did."""
        ready = self._epoll.poll(self._timeout_s(), 1024)
        for fd, _ in ready:
            self._epoll.unregister(fd)
            self._step(self._waiting.pop(fd))
        now_s = time.monotonic()
        rested = []
        while self._pausing and self._pausing[0][0] <= now_s:
            rested.append(heapq.heappop(self._pausing)[2])
        for client in rested:
            self._step(client)
        return bool(ready or rested)

    def _timeout_s(self) -> float:
        now_s = time.monotonic()
        times = [now_s + 1.0]
        if self._pausing:
            times.append(self._pausing[0][0])
        if self._clients is not None and self._busy() < self._at_once:
            times.append(self._start_at_s)
        return max(min(times) - now_s, 0.0)

    def _step(self, client: Client) -> None:
        try:
            wait = next(client)
        except StopIteration as end:
            self.met[end.value] += 1
            return
        except OSError as error:
            self.met[errno.errorcode.get(error.errno or 0, type(error).__name__)] += 1
            return
        if wait is None:
            self._start_at_s = time.monotonic() + FULL_PAUSE_S
            wait = FULL_PAUSE_S
        if isinstance(wait, float):
            heapq.heappush(self._pausing, (time.monotonic() + wait, next(self._number), client))
        else:
            self._waiting[wait[0]] = client
            self._epoll.register(*wait)


# --- what clients do -------------------------------------------------------------------------------------------------


def connect(address: Address) -> Steps[socket.socket]:
    connection = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
    connection.setblocking(False)
    try:
        while not (yield from _connected(connection, address)):
            yield None
    except BaseException:
        connection.close()
        raise
    return connection


def _connected(connection: socket.socket, address: Address) -> Steps[bool]:
    code = connection.connect_ex(address if isinstance(address, tuple) else str(address))
    if code == errno.EINPROGRESS:
        yield connection.fileno(), WRITE
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code not in (0, errno.EAGAIN):  # on a unix socket EAGAIN says that the backlog is full
        raise OSError(code, "connect")
    return code == 0


def send(connection: socket.socket, data: bytes) -> Steps[None]:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[connection.send(rest) :]
        except BlockingIOError:
            yield connection.fileno(), WRITE


def receive(connection: socket.socket, size_bytes: int = BLOCK_BYTES) -> Steps[bytes]:
    while True:
        try:
            return connection.recv(size_bytes)
        except BlockingIOError:
            yield connection.fileno(), READ


def receive_all(connection: socket.socket) -> Steps[bytes]:
    blocks = []
    while block := (yield from receive(connection)):
        blocks.append(block)
    return b"".join(blocks)


def ask(address: Address, data: bytes) -> Client:
    """Send a whole request, and read its whole answer."""
    connection = yield from connect(address)
    with connection:
        yield from send(connection, data)
        return verdict((yield from receive_all(connection)))


def upload(address: Address, data: bytes) -> Client:
    """As `ask`, and as browsers do: if the server does not take the rest of the body, an answer may still come."""
    connection = yield from connect(address)
    with connection:
        try:
            yield from send(connection, data)
        except ConnectionError:
            pass
        return verdict((yield from receive_all(connection)))


def timed(client: Client, into_s: list[float]) -> Client:
    """The time of a client from its first connect on."""
    started_s = time.monotonic()
    met = yield from client
    into_s.append(time.monotonic() - started_s)
    return met


def into(met: Counter[str], client: Client) -> Client:
    """Count the outcome of a client in this counter, too."""
    try:
        word = yield from client
    except OSError as error:
        word = type(error).__name__
    except GeneratorExit:
        met["no answer"] += 1
        raise
    met[word] += 1
    return word


def verdict(raw: bytes) -> str:
    """The word for an answer: the status of a whole response, or what is wrong with the answer."""
    if not raw:
        return "nothing"
    head, end, body = raw.partition(b"\r\n\r\n")
    if not (end and head.startswith(b"HTTP/1.1 ")):
        return "no response"
    _, found, length = head.lower().partition(b"\r\ncontent-length:")
    if found and int(length.split(b"\r\n", 1)[0]) != len(body):
        return "cut"
    return head[9:12].decode("ascii")
