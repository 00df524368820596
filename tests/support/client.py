"""A uwsgi client that writes the bytes itself, also bytes that nginx would never send."""

import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from wsgid.protocol import uwsgi

TcpAddress = tuple[str, int]
Address = Path | TcpAddress  # the path of a unix socket, or host and port

TYPICAL = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "CONTENT_TYPE": "",
    "CONTENT_LENGTH": "",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "40000",
    "REQUEST_SCHEME": "http",
    "HTTP_HOST": "localhost",
}


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    raw: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


def packet(path: str = "/", body: bytes = b"", /, **variables: str) -> bytes:
    """The packet of a request, with its body. Keyword arguments replace or add variables."""
    length = {"CONTENT_LENGTH": str(len(body))} if body else {}
    merged = {**TYPICAL, "PATH_INFO": path, "REQUEST_URI": path, **length, **variables}
    return uwsgi.encode(merged.items()) + body


def is_up(address: Address) -> bool:
    """Whether a server listens at this address. The file of a unix socket exists a moment before the server listens."""
    try:
        connect(address).close()
    except OSError:
        return False
    return True


def connect(address: Address, timeout_s: float = 20.0) -> socket.socket:
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout_s)
    connected = socket.socket(socket.AF_UNIX)
    # With a time-out of Python's, connect does not wait for a place in the backlog: EAGAIN (connect(2)). With this
    # time-out of the kernel's, it waits (socket(7), SO_SNDTIMEO).
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", round(timeout_s), 0))
    try:
        connected.connect(str(address))
    except OSError:
        connected.close()
        raise
    connected.settimeout(timeout_s)
    return connected


def read_all(connected: socket.socket) -> bytes:
    blocks = []
    while block := connected.recv(65536):
        blocks.append(block)
    return b"".join(blocks)


def parse(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Answer(int(status_line.split()[1]), headers, body, raw)


def exchange(address: Address, data: bytes = b"") -> bytes:
    """Send these bytes, if there are any, and read to the end of the answer."""
    with connect(address) as connected:
        # A server that speaks first may have closed already: Linux answers even an empty send with EPIPE then.
        if data:
            connected.sendall(data)
        return read_all(connected)


def get(address: Address, path: str = "/", body: bytes = b"", /, **variables: str) -> Answer:
    return parse(exchange(address, packet(path, body, **variables)))
