"""environ["wsgi.websocket"], for applications that use gevent-websocket, such as Flask-SocketIO in its gevent mode.

Rules
* The key exists if the application has imported geventwebsocket. On the server of that package the key means that the
  WebSocket is accepted. Here it is accepted when the application first uses the object, so that other libraries can
  accept it in their own way.
* The frames are the package's own. This module only shakes hands (RFC 6455, 4.2.2) and gives the package its stream.
"""

import base64
import logging
import sys
from types import SimpleNamespace
from typing import Any

from wsgid.errors import BadRequest
from wsgid.serving.client_socket import ClientSocket

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_RECV_BYTES = 64 * 1024


def offer(environ: dict[str, Any], raw: ClientSocket) -> None:
    """Set the key, if the application uses the package and the client asks for a WebSocket."""
    package = sys.modules.get("geventwebsocket.websocket") if "geventwebsocket" in sys.modules else None
    if package is not None and environ["HTTP_UPGRADE"].lower() == "websocket":
        environ["wsgi.websocket"] = GeventWebSocket(package, environ, raw)


class GeventWebSocket:
    """A WebSocket object of the package, made when it is first used.

    Args:
        package: the module that has the class.
        environ: of the request.
        raw: the client's socket.
    """

    def __init__(self, package: Any, environ: dict[str, Any], raw: ClientSocket) -> None:
        self.__dict__["_made"] = None
        self.__dict__["_parts"] = package, environ, raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real(), name, value)

    def _real(self) -> Any:
        if self._made is None:
            package, environ, raw = self._parts
            raw.sendall(_answer(environ))
            handler = SimpleNamespace(
                rfile=_Stream(raw),
                socket=raw,
                logger=logging.getLogger("geventwebsocket"),
                server=SimpleNamespace(application=None),
            )
            self.__dict__["_made"] = package.WebSocket(environ, package.Stream(handler), handler)
        return self._made


class _Stream:
    """Reads as many bytes as are asked for, as a buffered file does."""

    def __init__(self, raw: ClientSocket) -> None:
        self._raw = raw
        self._buffer = bytearray()

    def read(self, size_bytes: int) -> bytes:
        """Return this many bytes; fewer at the end of the stream."""
        while len(self._buffer) < size_bytes:
            block = self._raw.recv(_RECV_BYTES)
            if not block:
                break
            self._buffer += block
        taken = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return taken


def _answer(environ: dict[str, Any]) -> bytes:
    """Return the head that accepts the WebSocket.

    Raises:
        BadRequest: the request is no handshake of RFC 6455, 4.2.1.
    """
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip()
    try:
        size_bytes = len(base64.b64decode(key, validate=True))
    except ValueError:  # no base64, or no ASCII
        size_bytes = 0
    if size_bytes != 16 or environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        raise BadRequest("the client asks for a WebSocket, but its handshake is not that of RFC 6455")
    import hashlib  # only here: who has no such connection does not load OpenSSL for hashlib

    accept = base64.b64encode(hashlib.sha1((key + _GUID).encode("latin-1"), usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
