"""The applications that are served: one callable for each shape. No application does more than its shape needs."""

import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any
from wsgiref.types import StartResponse

KB = 1024
MB = 1024 * KB

HELLO = b"Hello World!"
BODY = b"x" * (100 * KB)
BLOCK = b"x" * KB
BLOCKS = 100
WAIT_S = 0.010
HOLD_S = 5.0
GATE = "gate"  # a FIFO in the directory of the server
WAIT_PATH = "/wait"
FILE = "file"  # in the directory of the server
FILE_BYTES = 50 * MB
TURNS_NAME = "BENCH_TURNS"
TURNS = int(os.environ.get(TURNS_NAME, "0"))  # of the loop in `work`

Environ = dict[str, Any]


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return answer(start_response, HELLO)


def wait(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    time.sleep(WAIT_S)  # the servers with gevent have patched time.sleep
    return answer(start_response, HELLO)


def hold(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Wait long enough for thousands of requests to be in flight together."""
    time.sleep(HOLD_S)
    return answer(start_response, HELLO)


def crowd(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Wait at WAIT_PATH until the bench has closed the FIFO (bench/waiting.py). Answer other requests at once."""
    if environ["PATH_INFO"] == WAIT_PATH:
        gate().wait()
    return answer(start_response, HELLO)


@cache
def gate() -> threading.Event:
    """Return what the requests of this worker wait for. A thread, which is a greenlet here, waits for the FIFO."""
    opened = threading.Event()
    fd = os.open(GATE, os.O_RDONLY | os.O_NONBLOCK)

    def watch() -> None:
        select.select([fd], [], [])  # the end of the FIFO
        os.close(fd)
        opened.set()

    threading.Thread(target=watch, daemon=True).start()
    return opened


def body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return answer(start_response, BODY)


def stream(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(BLOCKS):
        yield BLOCK


def upload(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Read the whole body, and answer with its length."""
    return answer(start_response, b"%d" % len(environ["wsgi.input"].read()))


def work(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    spin(TURNS)
    return answer(start_response, HELLO)


def spin(turns: int) -> None:
    for _ in range(turns):
        pass


def file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A file of the server's directory. The bench has made it."""
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(FILE_BYTES))])
    wrapper: Callable[..., Iterable[bytes]] = environ["wsgi.file_wrapper"]
    return wrapper(open(FILE, "rb"), 64 * KB)


def answer(start_response: StartResponse, content: bytes) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
    return [content]
