"""One accepted connection: raw reads and writes that wait in the hub.

Rules
* A raw file descriptor, no socket object: a request costs accept, recv, send, close and nothing else.
* Every wait has a time-out.  A peer that is gone or silent is a ClientDisconnected; what was sent before stays sent.
* It ends in exactly one of two ways: `close`, after which the peer has a whole response, or `cut`, after which it has
  to notice that it hasn't.
* No loop over the socket holds the event loop: each calls `give_way` (turns.py) before it reads or writes again.
"""

import _socket
import fcntl
import posix
import struct
from contextlib import suppress
from typing import Any

import gevent
from gevent.hub import get_hub

from wsgid.errors import ClientDisconnected
from wsgid.protocol.forwarded import unmapped
from wsgid.serving.clock import CLOCK, Patience
from wsgid.serving.syscalls import NOTHING, RECV_BYTES, SEND_MAX_BYTES, close, poll, recv, send
from wsgid.serving.turns import give_way

READ, WRITE = 1, 2  # libev's event mask, as loop.io takes it

_TAKE_BYTES = 32 * 1024  # what a connection without a request may hold here; the rest waits in the kernel
_GLUE_MAX_BYTES = 16 * 1024  # up to this, copying blocks together is cheaper than writev
_LINGER_OFF = struct.pack("ii", 1, 0)
_SIOCOUTQ = 0x5411  # <linux/sockios.h>; the socket module does not have it
_DELIVERY_ROUND_S = 0.01


class Connection:
    """What the protocol, the request body and the response see of a peer.

    Args:
        fd: an accepted, non-blocking stream socket; owned by this object.
        timeout_s: how long a single read or write may stand still.
        http: whether the peer speaks HTTP, and not uwsgi.
    """

    __slots__ = ("fd", "http", "watcher", "_timeout_s", "_begun")

    def __init__(self, fd: int, timeout_s: float, http: bool = False) -> None:
        self.fd = fd
        self.http = http
        self.watcher: Any = None  # of the hub, that waits for its next request (parking.py); closed with it
        self._timeout_s = timeout_s
        self._begun: bytes | None = None

    # --- reading ---

    def has_begun(self) -> bool:
        """Whether something has arrived, or the end; the next `begin` returns it at once."""
        self._begun = recv(self.fd, _TAKE_BYTES if self.http else RECV_BYTES)
        return self._begun is not None

    def begin(self) -> bytes:
        """The first bytes, as `recv` gives them."""
        begun, self._begun = self._begun, None
        return self.recv(RECV_BYTES) if begun is None else begun

    def take(self) -> bytes | None:
        """What has arrived, or a part of it: None if nothing has, empty at end-of-file. Never waits."""
        begun, self._begun = self._begun, None
        return recv(self.fd, _TAKE_BYTES) if begun is None else begun

    def recv(self, size_bytes: int = RECV_BYTES) -> bytes:
        """What has arrived, at most `size_bytes`; empty at end-of-file.

        Raises:
            ClientDisconnected: nothing came for `timeout_s`.
        """
        give_way()
        while (block := recv(self.fd, size_bytes)) is None:
            self._wait(READ)
        return block

    def drain(self, size_bytes: int, timeout_s: float) -> bool:
        """Throw away what the peer still sends: closing a TCP socket with unread data in it sends a reset, which can
        destroy the response on its way (RFC 9112, 9.6); nginx then says 502. Returns whether the peer has ended it."""
        self._socket_call(lambda one: one.shutdown(_socket.SHUT_WR))
        with Patience(timeout_s, False), suppress(OSError):
            while size_bytes > 0:
                received = self.recv(size_bytes)
                if not received:
                    return True
                size_bytes -= len(received)
        return False

    def deliver(self) -> None:
        """Wait until the peer's kernel has all that was sent; after that, no reset destroys it. What still comes is
        thrown away. A peer that takes nothing for `timeout_s` is given up."""
        unsent_bytes, until_s = self._unsent_bytes(), CLOCK.now_s() + self._timeout_s
        while unsent_bytes and CLOCK.now_s() < until_s and not self.is_abandoned():
            gevent.sleep(_DELIVERY_ROUND_S)
            with suppress(OSError):
                recv(self.fd)
            left_bytes = self._unsent_bytes()
            if left_bytes < unsent_bytes:
                unsent_bytes, until_s = left_bytes, CLOCK.now_s() + self._timeout_s

    def _unsent_bytes(self) -> int:
        """What the kernel has and the peer's has not confirmed (tcp(7), SIOCOUTQ)."""
        try:
            (size_bytes,) = struct.unpack("i", fcntl.ioctl(self.fd, _SIOCOUTQ, bytes(4)))
        except OSError:
            return 0
        return int(size_bytes)

    # --- writing ---

    def send(self, first: bytes, second: bytes = b"") -> None:
        """Both of these, in one system call if the kernel takes them.

        Raises:
            ClientDisconnected: the peer is gone, or took nothing for `timeout_s`.
        """
        if second:
            if len(first) + len(second) > _GLUE_MAX_BYTES:
                self._send_vector(first, second)
                return
            first += second
        try:
            sent = send(self.fd, first)
        except ConnectionError as error:
            raise ClientDisconnected(f"the peer is gone: {error}") from None
        if sent < len(first):
            self._send_rest(memoryview(first)[sent:])

    def _send_vector(self, first: bytes, second: bytes) -> None:
        try:
            sent = posix.writev(self.fd, (first, memoryview(second)[:SEND_MAX_BYTES]))
        except BlockingIOError:
            sent = 0
        except ConnectionError as error:
            raise ClientDisconnected(f"the peer is gone: {error}") from None
        if sent == len(first) + len(second):
            return
        self._send_rest(memoryview(first)[sent:])
        self._send_rest(memoryview(second)[max(sent - len(first), 0) :])

    def _send_rest(self, rest: memoryview) -> None:
        while rest:
            give_way()
            try:
                sent = send(self.fd, rest)
            except ConnectionError as error:
                raise ClientDisconnected(f"the peer is gone: {error}") from None
            if not sent:
                self._wait(WRITE)
            rest = rest[sent:]

    def give_way(self) -> None:
        """Between two blocks of a response: see turns.py."""
        give_way()

    def try_send(self, block: bytes) -> None:
        """As much as the kernel takes at once. Never waits, and does not say how much that was."""
        with suppress(OSError):  # it has left
            send(self.fd, block)

    def sendfile(self, fd: int, offset: int, size_bytes: int) -> int:
        """A part of a file, without copying it through this process.

        Returns the bytes sent: fewer than asked for if the file is shorter now.

        Raises:
            ClientDisconnected: as `send` does.
        """
        start, end = offset, offset + size_bytes
        while offset < end:
            give_way()
            try:
                sent = posix.sendfile(self.fd, fd, offset, min(end - offset, SEND_MAX_BYTES))
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
        fd, self.fd = self.fd, NOTHING
        if fd != NOTHING:
            if self.watcher is not None:
                self.watcher.close()
            close(fd)

    def cut(self) -> None:
        """Close so that the peer does not take what it has for a whole response: on TCP with a reset.

        A unix socket has no reset; there, nginx notices a cut only by the missing rest of a Content-Length.
        """
        if self.fd != NOTHING:
            self._socket_call(lambda one: one.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _LINGER_OFF))
        self.close()

    # --- the slow paths ---

    @property
    def is_secret(self) -> bool:
        """Whether what is on the socket is not what is read and written here."""
        return False

    def opening(self) -> str:
        """What has to come before the protocol itself, if it has not come whole; there is nothing of the kind here."""
        return ""

    def holds(self) -> bool:
        """Whether the next `take` has something even if nothing more arrives; a plain connection keeps nothing back."""
        return False

    def is_abandoned(self) -> bool:
        """Whether nobody waits for the response. A peer that has only ended its request is still there."""
        return bool(poll(self.fd, 0))  # POLLHUP: it has closed both ways

    def names(self) -> dict[str, str]:
        """What the environ says of both ends (RFC 3875, 4.1); nothing of the peer on a unix socket."""
        said: list[Any] = []
        self._socket_call(lambda one: said.extend((one.getpeername(), one.getsockname())))
        if not said or not isinstance(said[0], tuple):
            return {"REMOTE_ADDR": "", "SERVER_NAME": "", "SERVER_PORT": ""}
        (address, port, *_), (_, own_port, *_) = said
        return {
            "REMOTE_ADDR": unmapped(address),
            "REMOTE_PORT": str(port),
            "SERVER_NAME": "",
            "SERVER_PORT": str(own_port),
        }

    def peer(self) -> str:
        """Who is at the other end, for the log: an address, or the process behind a unix socket (unix(7))."""
        said: list[Any] = []
        self._socket_call(
            lambda one: said.extend((one.getpeername(), one.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)))
        )
        if not said:
            return "a peer that has left"
        name, credentials = said
        if isinstance(name, tuple):
            return f"{unmapped(name[0])}:{name[1]}"
        pid, uid, _ = struct.unpack("iII", credentials)
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
        timeout = Patience.start_new(self._timeout_s, ClientDisconnected)
        try:
            hub.wait(watcher)
        finally:
            timeout.close()
            watcher.close()
