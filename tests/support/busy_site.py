"""A server whose requests sleep, spin or hang, for the tests of the tools that watch a server."""

import socket

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server

APP = """
    import ctypes, os, time

    # A lock that this thread has already: code in C that never returns, keeps Python's lock, and takes no processor.
    mutex, lock = ctypes.create_string_buffer(64), ctypes.PyDLL(None).pthread_mutex_lock

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path.startswith("/sleep"):
            time.sleep(60)
        elif path == "/spin":
            until = time.monotonic() + float(environ["QUERY_STRING"])
            while time.monotonic() < until:
                pass
        elif path == "/stuck":
            lock(mutex), lock(mutex)
        elif path == "/fail":
            raise ValueError
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]
"""


def serve(start: Start, *options: str, workers: int = 1, app: str = APP) -> Server:
    """A server. What holds its event loop is not ended, however long a test takes on a busy machine."""
    always = ("--socket", "app.sock", "--workers", str(workers), "--hub-timeout", "600")
    return start(*always, *options, "app:application", app=app).wait_ready(workers)


def send(server: Server, path: str, query: str = "") -> socket.socket:
    """Send a request, and do not wait for its answer."""
    connected = client.connect(server.directory / "app.sock")
    connected.sendall(client.packet(path, QUERY_STRING=query))
    return connected
