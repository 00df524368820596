"""Another service: an HTTP server that counts its connections, and can be frozen in the middle of a response."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

LOOK_S = 0.05  # how long an answer to /look takes


class HttpServer:
    """A server on a free port, from `with` to the end of its block.

    /NUMBER answers the number. /look answers how many connections are open, and which connection was used.
    """

    def __init__(self) -> None:
        self._goes_on = threading.Event()
        self._goes_on.set()
        goes_on = self._goes_on
        self.connections: set[int] = set()  # the ports of the clients
        connections = self.connections

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                connections.add(self.client_address[1])

            def finish(self) -> None:
                connections.discard(self.client_address[1])
                super().finish()

            def do_GET(self) -> None:
                body = self.path[1:].encode()
                if self.path == "/look":
                    time.sleep(LOOK_S)
                    body = json.dumps([len(connections), self.client_address[1]]).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:1])
                goes_on.wait()
                self.wfile.write(body[1:])

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._handler = Handler
        self._server = self._open(0)
        self.port = self._server.server_address[1]

    def _open(self, port: int) -> ThreadingTCPServer:
        server = ThreadingTCPServer(("127.0.0.1", port), self._handler, bind_and_activate=False)
        server.allow_reuse_address = server.daemon_threads = True
        server.request_queue_size = 128
        server.server_bind()
        server.server_activate()
        return server

    def __enter__(self) -> "HttpServer":
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within this, the server sends only the beginning of its answers."""
        self._goes_on.clear()
        try:
            yield
        finally:
            self._goes_on.set()
