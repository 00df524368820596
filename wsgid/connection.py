"""One accepted connection: raw reads and writes that wait in the hub.

Rules
* A raw file descriptor, no socket object: a request costs accept, read, write, close and nothing else.  They come from
  `posix`, the C module: gevent's os.close waits for the loop's next turn, in case a watcher is left; here none is.
* Every wait has a time-out.  A peer that is gone or silent is a ClientDisconnected; what was sent before stays sent.
* It ends in exactly one of two ways: `close`, after which the peer has a whole response, or `cut`, after which it has
  to notice that it hasn't.
"""

import _socket
import posix
import struct
from contextlib import suppress
from typing import Any

import gevent
from gevent.hub import get_hub
from gevent.monkey import get_original

from wsgid.errors import ClientDisconnected

READ, WRITE = 1, 2  # libev's event mask, as loop.io takes it

_HEAD_BYTES = 64 * 1024
_GLUE_MAX_BYTES = 16 * 1024  # up to this, copying blocks together is cheaper than writev
_SENDFILE_MAX_BYTES = 1 << 30
_CLOSED = -1
_DRAIN_BYTES = 256 * 1024
_LINGER_OFF = struct.pack("ii", 1, 0)

_poll = get_original("select", "poll")  # asks the kernel at once; gevent's would go through the hub


class Connection:
    """What the protocol, the request body and the response see of a peer.

    Args:
        fd: an accepted, non-blocking stream socket; owned by this object.
        address: what accept(2) gave: empty for unix sockets.
        timeout_s: how long a single read or write may stand still.
    """

    __slots__ = ("fd", "_address", "_timeout_s")

    def __init__(self, fd: int, address: Any, timeout_s: float) -> None:
        self.fd = fd
        self._address = address
        self._timeout_s = timeout_s

    # --- reading ---

    def recv(self) -> bytes:
        """What has arrived, at most 64 KiB; empty at end-of-file."""
        while True:
            try:
                return posix.read(self.fd, _HEAD_BYTES)
            except BlockingIOError:
                self._wait(READ)
            except ConnectionError:
                return b""

    def recv_into(self, view: memoryview) -> int:
        """Fill `view` with what has arrived. Returns its size in bytes, 0 at end-of-file.

        Raises:
            ClientDisconnected: nothing came for `timeout_s`.
        """
        while True:
            try:
                return posix.readv(self.fd, [view])
            except BlockingIOError:
                self._wait(READ)
            except ConnectionError:
                return 0

    def drain(self, size_bytes: int, timeout_s: float) -> None:
        """Throw away what the peer still sends: closing a TCP socket with unread data in it sends a reset, which can
        destroy the response on its way (RFC 9112, 9.6); nginx then says 502."""
        self._socket_call(lambda one: one.shutdown(_socket.SHUT_WR))
        buffer = memoryview(bytearray(min(size_bytes, _DRAIN_BYTES)))
        with gevent.Timeout(timeout_s, False), suppress(ClientDisconnected):
            while size_bytes > 0:
                received = self.recv_into(buffer)
                if not received:
                    return
                size_bytes -= received

    # --- writing ---

    def send(self, *blocks: bytes) -> None:
        """All of these bytes, in one system call if the kernel takes them.

        Raises:
            ClientDisconnected: the peer is gone, or took nothing for `timeout_s`.
        """
        if len(blocks) > 1:
            if sum(map(len, blocks)) > _GLUE_MAX_BYTES:
                self._send_vector(blocks)
                return
            blocks = (b"".join(blocks),)
        rest = memoryview(blocks[0])
        while rest:
            try:
                rest = rest[posix.write(self.fd, rest):]
            except BlockingIOError:
                self._wait(WRITE)
            except ConnectionError as error:
                raise ClientDisconnected(f"the peer is gone: {error}") from None

    def _send_vector(self, blocks: tuple[bytes, ...]) -> None:
        try:
            sent = posix.writev(self.fd, blocks)
        except BlockingIOError:
            sent = 0
        except ConnectionError as error:
            raise ClientDisconnected(f"the peer is gone: {error}") from None
        for block in blocks:
            if sent < len(block):
                self.send(memoryview(block)[sent:])  # type: ignore[arg-type]  # a view of bytes, not copied
            sent = max(sent - len(block), 0)

    def sendfile(self, fd: int, offset: int, size_bytes: int) -> int:
        """A part of a file, without copying it through this process.

        Returns the bytes sent: fewer than asked for if the file is shorter now.

        Raises:
            ClientDisconnected: as `send` does.
        """
        start, end = offset, offset + size_bytes
        while offset < end:
            try:
                sent = posix.sendfile(self.fd, fd, offset, min(end - offset, _SENDFILE_MAX_BYTES))
            except BlockingIOError:
                self._wait(WRITE)
                continue
            except ConnectionError as error:
                raise ClientDisconnected(f"the peer is gone: {error}") from None
            if sent == 0:
                break
            offset += sent
        return offset - start

    # --- ending ---

    def close(self) -> None:
        """Once: a second time would close whatever connection has the number by then."""
        fd, self.fd = self.fd, _CLOSED
        if fd != _CLOSED:
            with suppress(OSError):  # the application has closed descriptors that were not its own
                posix.close(fd)

    def cut(self) -> None:
        """Close so that the peer does not take what it has for a whole response: on TCP with a reset.

        A unix socket has no reset; there, nginx notices a cut only by the missing rest of a Content-Length.
        """
        if self._address and self.fd != _CLOSED:
            self._socket_call(lambda one: one.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _LINGER_OFF))
        self.close()

    # --- the slow paths ---

    def is_abandoned(self) -> bool:
        """Whether the peer has closed both ways: nobody waits for the response (poll(2), POLLHUP). A peer that has only
        ended its request is still there."""
        asked = _poll()
        asked.register(self.fd, 0)
        return bool(asked.poll(0))

    def peer(self) -> str:
        """Who is at the other end, for the log: an address, or the process behind a unix socket (unix(7))."""
        if self._address:
            return f"{self._address[0]}:{self._address[1]}"
        said: list[bytes] = []
        self._socket_call(lambda one: said.append(one.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)))
        pid, uid, _ = struct.unpack("iII", said[0]) if said else (0, 0, 0)
        return f"process {pid} of user {uid}"

    def _socket_call(self, call: Any) -> None:
        """Do what only a socket object can. A peer that is already gone is no error here."""
        borrowed = _socket.socket(fileno=self.fd)
        try:
            call(borrowed)
        except OSError:
            pass
        finally:
            borrowed.detach()

    def _wait(self, events: int) -> None:
        hub = get_hub()
        watcher = hub.loop.io(self.fd, events)
        # The exception is made only when the time is over.
        timeout = gevent.Timeout.start_new(self._timeout_s, ClientDisconnected)
        try:
            hub.wait(watcher)
        finally:
            timeout.close()
            watcher.close()
