"""Kept HTTP connections between two requests: in one epoll of the worker, whatever else happens to them."""

import http.client
import json
from contextlib import closing
from typing import BinaryIO

import pytest

from tests.conftest import Start
from tests.support.server import Server

pytestmark = pytest.mark.hot

APP = """
    import json, os, time
    import gevent

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/fork":
            child = os.fork()
            if child == 0:
                start_response("200 OK", [("Content-Length", "5")])
                return [b"child"]  # the child ends with its request
            os.waitpid(child, 0)
        if path == "/slow":
            time.sleep(0.3)
        body = json.dumps({"pid": os.getpid(), "path": path}).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
"""


def serve(start: Start) -> tuple[Server, int]:
    server = start("--http", "127.0.0.1:0", "app:application", app=APP).wait_ready(1)
    return server, server.tcp_addresses()[0][1]


def ask(connection: http.client.HTTPConnection, path: str) -> dict[str, object]:
    connection.request("GET", path)
    answer: dict[str, object] = json.loads(connection.getresponse().read())
    return answer


def read(answers: BinaryIO) -> bytes:
    """Return the body of the next answer."""
    length = 0
    while (line := answers.readline()) != b"\r\n":
        name, _, value = line.partition(b": ")
        if name == b"Content-Length":
            length = int(value)
    return answers.read(length)


def test_a_process_that_a_request_forks_takes_no_parked_connection(start: Start) -> None:
    server, port = serve(start)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as parked:
        worker = ask(parked, "/")["pid"]
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as forking:
            assert ask(forking, "/fork")["pid"] == worker
            assert [ask(parked, f"/{number}")["pid"] for number in range(20)] == [worker] * 20
            assert ask(forking, "/again")["pid"] == worker
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as later:
        assert ask(later, "/")["pid"] == worker
    assert "Traceback" not in server.log


def test_what_arrives_during_a_request_is_answered_after_it(start: Start) -> None:
    _, port = serve(start)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        before = ask(connection, "/")
        assert connection.sock is not None
        answers = connection.sock.makefile("rb")
        first = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for _ in range(3):  # the connection leaves the epoll, and comes back
            connection.sock.sendall(first)
            connection.sock.sendall(b"GET /next HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
            found = [json.loads(read(answers)) for _ in range(2)]
            assert [answer["path"] for answer in found] == ["/slow", "/next"]
        answers.close()
        assert ask(connection, "/")["pid"] == before["pid"]
