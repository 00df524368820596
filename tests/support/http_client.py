"""An HTTP/1.1 client that writes the bytes itself, and reads one response after the other."""

import io
import socket

from tests.support import client


def request(path: str = "/", method: str = "GET", body: bytes = b"", /, **headers: str) -> bytes:
    lines = {"Host": "a", **({"Content-Length": str(len(body))} if body else {}), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


class Reader:
    """Reads one response after the other."""

    def __init__(self, connection: socket.socket) -> None:
        # Not makefile: connection.close() would wait until the file is collected.
        self._file = io.BufferedReader(socket.SocketIO(connection, "rb"))

    def response(self, method: str = "GET") -> client.Answer:
        raw = b""
        while not raw.endswith(b"\r\n\r\n"):
            line = self._file.readline()
            assert line, f"the connection ended within a head: {raw!r}"
            raw += line
        answer = client.parse(raw)
        if method == "HEAD" or answer.status < 200:
            return answer
        length = answer.header("Content-Length")
        if answer.header("Transfer-Encoding") == "chunked":
            answer.body = self._chunks()
        else:
            answer.body = self._file.read(int(length)) if length is not None else self._file.read()
        return answer

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._file.readline(), 16):
            body += self._file.read(size)
            assert self._file.readline() == b"\r\n"
        assert self._file.readline() == b"\r\n"
        return body

    def at_end(self) -> bool:
        return self._file.read() == b""
