"""The HTTP server of the dashboard: static files, the answers of api.py, and the headers that protect both.

Rules
* The standard library's server, with a thread for each connection. It is made for a few readers.
* The files are read once, at the start. A path is looked up among their names, and never opened.
* Each answer forbids the browser to load or run anything that is not a file of this server, to show the page inside of
  another page, and to tell its address to anybody (Content Security Policy Level 3).
* Only POST has effects, and only with the token in its header (access.py).
"""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from wsgid.ctl.dashboard.access import Access, Verdict
from wsgid.ctl.dashboard.api import Api

CONNECTIONS_MAX = 100
BODY_MAX_BYTES = 4096
_SILENT_S = 30.0  # a connection without a next request is closed after this time
_PACKAGE = "wsgid.ctl.dashboard"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def static_files() -> dict[str, tuple[str, bytes]]:
    """Return the type and the content of each file of the page, by its path."""
    found: dict[str, tuple[str, bytes]] = {}
    waiting = [("", files(_PACKAGE).joinpath("static"))]
    while waiting:
        path, directory = waiting.pop()
        for entry in directory.iterdir():
            if entry.is_dir():
                waiting.append((f"{path}/{entry.name}", entry))
            elif kind := _TYPES.get(entry.name.rpartition(".")[2]):
                found[f"{path}/{entry.name}"] = kind, entry.read_bytes()
    found["/"] = found.pop("/index.html")
    return found


class PageServer(ThreadingHTTPServer):
    """Listens, and has what the handlers need.

    Args:
        address: host and port; port 0 for any free one.
        access: judges each request.
        api: answers the page.

    Raises:
        OSError: the address cannot be bound.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], access: Access, api: Api) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.access = access
        self.api = api
        self.static = static_files()
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, PageHandler)

    def server_bind(self) -> None:
        """As the parent, without its question for the host's name, which may ask a name server."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader has left in the middle of an answer: nobody needs a traceback."""


class PageHandler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    protocol_version = "HTTP/1.1"
    server_version = "wsgidctl"
    sys_version = ""
    timeout = _SILENT_S
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one write
    server: PageServer

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        access, given = self.server.access, {name: values[-1] for name, values in parse_qs(address.query).items()}
        if address.path == "/":
            self._send_file("/", access.of_page(self.headers, given.get("token", "")))
        elif address.path.startswith("/api/"):
            self._answer(self.server.api.questions, address.path, given)
        else:
            self._send_file(address.path, access.of_file(self.headers))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self.send_error(411)
        elif int(length) > BODY_MAX_BYTES:
            self.send_error(413)
        else:
            body = self.rfile.read(int(length))
            try:
                given = json.loads(body or b"{}")
            except (ValueError, RecursionError):
                given = None
            if isinstance(given, dict):
                self._answer(self.server.api.orders, urlsplit(self.path).path, given)
            else:
                self.send_error(400, explain="the request is no JSON object")

    def _answer(self, known: dict[str, Any], path: str, given: dict[str, Any]) -> None:
        verdict = self.server.access.of_question(self.headers)
        if verdict is not Verdict.WELCOME:
            self._refuse(verdict)
        elif (said := known.get(path.removeprefix("/api/"))) is None:
            self.send_error(404)
        else:
            answer = self.server.api.answer(said, given)
            self._send(200, "application/json", json.dumps(answer, separators=(",", ":")).encode())

    def _send_file(self, path: str, verdict: Verdict) -> None:
        if verdict is not Verdict.WELCOME:
            self._refuse(verdict)
        elif path in self.server.static:
            self._send(200, *self.server.static[path])
        else:
            self.send_error(404)

    def _refuse(self, verdict: Verdict) -> None:
        status, sentence = verdict.value
        self.send_error(status, explain=sentence)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send a refusal as plain text, and end the connection: the rest of the request may be unread."""
        self.close_connection = True
        text = explain or message or self.responses.get(code, ("refused", ""))[0]
        self._send(code, "text/plain; charset=utf-8", f"{text}\n".encode("utf-8", "replace"))

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """No log: the address has the token."""
