"""How much memory clients can make a worker hold: SECURITY.md's first promise, with as many clients as options
allow."""

import select
import socket
from collections.abc import Callable
from contextlib import ExitStack

import psutil
import pytest

from tests.conftest import Start
from tests.support.server import Server

IDLE, PLACES, HEAD_BYTES = 200, 50, 65536
EACH_BYTES = HEAD_BYTES + 32768  # the promise: a head, and what a connection needs beside it
CLIENTS = IDLE + PLACES + 20  # more clients than the server accepts

APP = """
    import time

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/read":
            environ["wsgi.input"].read()
        if environ["PATH_INFO"] == "/slow":
            time.sleep(3600)
        start_response("200 OK", [("Content-Length", "1")])
        return [b"x"]
"""

GET = b"GET /slow HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def fields(client: int, count: int, size_bytes: int) -> bytes:
    """Fields whose names and values no other client sends."""
    return b"".join(b"X-%d-%d: %d%s\r\n" % (client, field, client, b"v" * size_bytes) for field in range(count))


SHAPES: dict[str, Callable[[int], bytes]] = {
    "heads that never end": lambda client: GET + fields(client, 7, 8000),
    "heads of many small fields": lambda client: GET + fields(client, 90, 1),
    "whole heads, in flight and waiting": lambda client: GET + fields(client, 7, 8000) + b"\r\n",
    "pipelined requests": lambda client: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 10_000,
    "bodies that the application does not read": lambda client: (
        b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + b"b" * 500_000
    ),
    "chunk extensions": lambda client: CHUNKED + b"1;" + b"e" * 60_000,
    "trailers": lambda client: CHUNKED + b"0\r\n" + fields(client, 9, 6000),
}


def send_all(stack: ExitStack, server: Server, shape: Callable[[int], bytes]) -> None:
    """All clients send at the same time, as long as the server reads. No client reads."""
    poller = select.poll()
    unsent: dict[int, tuple[socket.socket, memoryview]] = {}
    for number in range(CLIENTS):
        client = stack.enter_context(socket.create_connection(server.tcp_addresses()[0]))
        client.setblocking(False)
        unsent[client.fileno()] = client, memoryview(shape(number))
        poller.register(client, select.POLLOUT)
    while ready := poller.poll(500):
        for fd, _ in ready:
            client, data = unsent[fd]
            try:
                unsent[fd] = client, data[client.send(data[:65536]) :]
            except OSError:  # the server has refused the client and closed the connection
                unsent[fd] = client, data[:0]
            if not unsent[fd][1]:
                poller.unregister(fd)


@pytest.fixture
def server(start: Start) -> Server:
    options = ("--http-idle", str(IDLE), "--gevent", str(PLACES), "--http-head-size", str(HEAD_BYTES))
    return start("--http", "127.0.0.1:0", *options, "app:application", app=APP).wait_ready(1)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_worker_does_not_grow_beyond_what_is_promised(server: Server, shape: str) -> None:
    [worker] = server.worker_pids()
    process = psutil.Process(worker)
    before = process.memory_info().rss
    with ExitStack() as stack:
        send_all(stack, server, SHAPES[shape])
        assert process.memory_info().rss - before < (IDLE + PLACES) * EACH_BYTES
    assert server.worker_pids() == [worker]
