"""HTTP clients that ask without pause while something is done to the server: every answer is counted, right or not."""

import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from enum import Enum
from types import TracebackType

from tests.support.server import Server, eventually

PATIENCE_S = 20.0
Address = tuple[str, int]

# The application that answers them: with the worker's pid; /work computes, /wait waits, /large is large.
APP = """
    import os, time
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/wait":
            time.sleep(0.05)
        until_s = time.monotonic() + 0.002
        while path == "/work" and time.monotonic() < until_s:
            pass
        body = b"x" * 100_000 if path == "/large" else str(os.getpid()).encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]
"""


def address_of(server: Server) -> Address:
    (said,) = server.wait_for(r"listens on (?:\S+, )?(127\.0\.0\.1):(\d+)")[:1]
    return said[1], int(said[2])


class Way(Enum):
    """How a client asks: connections of one request, of many, or of many at once; the value is how many at once."""

    CLOSE = 0
    KEEP_ALIVE = 1
    PIPELINE = 5


class Broken(Exception):
    """The connection ended before an answer did."""


class Load:
    """So many clients of each way, from `with` to the end of its block.

    Args:
        address: of the server.
        ways: how they ask.
        count: clients of each way.
        path: what they ask.
    """

    def __init__(self, address: Address, *ways: Way, count: int = 6, path: str = "/") -> None:
        self._address = address
        self._ways = ways * count
        self._path = path
        self._pool = ThreadPoolExecutor(len(self._ways))
        self._ended = False
        self.right = 0
        self.wrong: list[str] = []

    def __enter__(self) -> "Load":
        self._futures = [self._pool.submit(self._ask, way) for way in self._ways]
        self.more()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        for future in self._futures:
            future.result()
        self._pool.shutdown()

    def more(self, count: int = 50) -> None:
        """Wait for so many more right answers."""
        wanted = self.right + count
        eventually(lambda: self.right >= wanted, f"{count} more answers, beside the wrong ones: {self.wrong}")

    def _ask(self, way: Way) -> None:
        while not self._ended:
            try:
                with closing(socket.create_connection(self._address, PATIENCE_S)) as connected:
                    self._use(connected, way)
            except (OSError, Broken) as error:
                self.wrong.append(repr(error))

    def _use(self, connected: socket.socket, way: Way) -> None:
        """Ask on this connection until the server says that it ends."""
        last = "Connection: close\r\n" if way is Way.CLOSE else ""
        request = f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n".encode()
        answers = _answers(connected.recv)
        while not self._ended:
            connected.sendall(request * max(way.value, 1))
            for _ in range(max(way.value, 1)):
                status, ends = next(answers)
                if status == 200:
                    self.right += 1
                else:
                    self.wrong.append(str(status))
            if ends:
                return


def _answers(recv: Callable[[int], bytes]) -> Iterator[tuple[int, bool]]:
    """The answers of a connection, each with a Content-Length: the status, and whether it is said to be the last."""
    data = b""
    while True:
        head, found, rest = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if found and length and len(rest) >= int(length[1]):
            data = rest[int(length[1]) :]
            yield int(head.split()[1]), b"Connection: close" in head
            continue
        block = recv(65536)
        if not block:
            raise Broken(f"the connection ends after {len(data)} bytes of an answer: {data[:100]!r}")
        data += block
