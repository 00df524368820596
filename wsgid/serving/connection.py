"""One accepted connection: raw reads and writes that wait in the hub.

Rules
* A connection is a raw file descriptor, not a socket object. A request costs only accept, recv, send and close.
* Every wait has a time-out.  A peer that is gone or silent raises ClientDisconnected; bytes that were sent stay sent.
* A connection ends in one of two ways. `close`: the peer has a whole response. `cut`: the peer must notice that the
  response is incomplete.
* No loop over the socket may hold the event loop: each calls `give_way` (turns.py) before the next read or write.
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
from wsgid.serving.syscalls import (
    NOTHING,
    RECV_BYTES,
    SEND_MAX_BYTES,
    close,
    monotonic,
    poll,
    recv,
    recv_into,
    recv_packet,
    send,
)
from wsgid.serving.turns import give_way
from wsgid.wsgi.response import Transport

READ, WRITE = 1, 2  # libev's event mask, as loop.io takes it

_TAKE_BYTES = 32 * 1024  # the limit for bytes of a connection without a request; further bytes wait in the kernel
_GLUE_MAX_BYTES = 16 * 1024  # up to this size, joining two blocks is cheaper than writev
_LINGER_OFF = struct.pack("ii", 1, 0)
_SIOCOUTQ = 0x5411  # <linux/sockios.h>; the socket module lacks it
_DELIVERY_ROUND_S = 0.01


class Connection(Transport):
    """A peer, as seen by the protocol, the request body and the response.

    Args:
        fd: an accepted, non-blocking stream socket; this object owns it.
        timeout_s: how long a read or write may make no progress.
        http: whether the peer speaks HTTP instead of uwsgi.
    """

    __slots__ = ("fd", "http", "watcher", "has_waited", "read_wait_s", "send_wait_s", "_timeout_s", "_begun")

    def __init__(self, fd: int, timeout_s: float, http: bool = False) -> None:
        self.fd = fd
        self.http = http
        self.watcher: Any = None  # what watches it for its next request: IdleConnections
        self.has_waited = False
        self.read_wait_s = self.send_wait_s = 0.0  # since Completion has last looked
        self._timeout_s = timeout_s
        self._begun: tuple[bytes, bytes] | None = None

    # --- reading ---

    def has_begun(self) -> bool:
        """Whether bytes or end-of-file have arrived. Then the next `begin` returns at once."""
        if self.http:
            block = recv(self.fd, _TAKE_BYTES)
            self._begun = None if block is None else (block, b"")
        else:
            self._begun = recv_packet(self.fd)
        return self._begun is not None

    def begin(self) -> tuple[bytes, bytes]:
        """Wait for the first bytes, as `recv` does. Return them in two parts, as `recv_packet` does."""
        if self._begun is None:
            give_way()
            while not self.has_begun():
                self._wait(READ)
        begun, self._begun = self._begun, None
        assert begun is not None
        return begun

    def take(self) -> bytes | None:
        """Return bytes that have arrived: None if there are none, empty at end-of-file. Never waits."""
        begun, self._begun = self._begun, None
        return recv(self.fd, _TAKE_BYTES) if begun is None else begun[0] + begun[1]

    def recv(self, size_bytes: int = RECV_BYTES) -> bytes:
        """Wait for bytes, and return at most `size_bytes`; empty at end-of-file.

        Raises:
            ClientDisconnected: nothing arrived for `timeout_s`.
        """
        give_way()
        while (block := recv(self.fd, size_bytes)) is None:
            self._wait(READ)
        return block

    def recv_into(self, target: memoryview) -> int:
        """Wait for bytes, and put them into `target`. Returns how many; 0 at end-of-file.

        Raises:
            ClientDisconnected: as `recv`.
        """
        give_way()
        while (size_bytes := recv_into(self.fd, target)) == NOTHING:
            self._wait(READ)
        return size_bytes

    def drain(self, size_bytes: int, timeout_s: float) -> bool:
        """Read and discard what the peer still sends. Returns whether the peer has finished.

        Closing a TCP socket with unread bytes sends a reset, which can destroy the response on its way (RFC 9112, 9.6);
        nginx then answers with a 502.

        Args:
            size_bytes: the most bytes to read.
            timeout_s: the longest time.
        """
        self._socket_call(lambda plain: plain.shutdown(_socket.SHUT_WR))
        with Patience(timeout_s, False), suppress(OSError):
            while size_bytes > 0:
                received = self.recv(size_bytes)
                if not received:
                    return True
                size_bytes -= len(received)
        return False

    def deliver(self) -> None:
        """Wait until the peer's kernel has all bytes that were sent. After that, a reset cannot destroy them. Bytes
        that arrive meanwhile are discarded. Gives up when the peer takes nothing for `timeout_s`."""
        unsent_bytes, until_s = self._unsent_bytes(), CLOCK.now_s() + self._timeout_s
        while unsent_bytes and CLOCK.now_s() < until_s and not self.is_abandoned():
            gevent.sleep(_DELIVERY_ROUND_S)
            with suppress(OSError):
                recv(self.fd)
            left_bytes = self._unsent_bytes()
            if left_bytes < unsent_bytes:
                unsent_bytes, until_s = left_bytes, CLOCK.now_s() + self._timeout_s

    def _unsent_bytes(self) -> int:
        """Return how many sent bytes the peer's kernel has not confirmed (tcp(7), SIOCOUTQ)."""
        try:
            (size_bytes,) = struct.unpack("i", fcntl.ioctl(self.fd, _SIOCOUTQ, bytes(4)))
        except OSError:
            return 0
        return int(size_bytes)

    # --- writing ---

    def send(self, first: bytes, second: bytes = b"") -> None:
        """Send both blocks, in one system call if the kernel takes them.

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
            self._send_rest(memoryview(first), sent)

    def _send_vector(self, first: bytes, second: bytes) -> None:
        try:
            sent = posix.writev(self.fd, (first, memoryview(second)[:SEND_MAX_BYTES]))
        except BlockingIOError:
            sent = 0
        except ConnectionError as error:
            raise ClientDisconnected(f"the peer is gone: {error}") from None
        if sent == len(first) + len(second):
            return
        self._send_rest(memoryview(first), sent)
        self._send_rest(memoryview(second), max(sent - len(first), 0), len(first))

    def _send_rest(self, block: memoryview, at: int, before_bytes: int = 0) -> None:
        """Send the part of a block from this index on, after so many bytes of another block."""
        try:
            while at < len(block):
                give_way()
                sent = send(self.fd, block[at:])
                if not sent:
                    self._wait(WRITE)
                at += sent
        except ConnectionError as error:  # ClientDisconnected is one: the peer took nothing for too long
            reason = str(error) or "it takes nothing"
            raise ClientDisconnected(f"the peer is gone: {reason}", before_bytes + at > 0) from None

    def give_way(self) -> None:
        """Called between two blocks of a response: see turns.py."""
        give_way()

    def try_send(self, block: bytes) -> None:
        """Send as much as the kernel takes at once. Never waits, and does not tell how much was sent."""
        with suppress(OSError):  # the peer has left
            send(self.fd, block)

    def sendfile(self, fd: int, offset: int, size_bytes: int) -> int:
        """Send a part of a file, without copying it through this process. Returns the number of bytes sent, which is
        smaller than `size_bytes` if the file is shorter now.

        Args:
            fd: of the file.
            offset: where to begin.
            size_bytes: how much to send.

        Raises:
            ClientDisconnected: as `send`.
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
        """Close the descriptor. Must be called once: the number may soon belong to another connection."""
        fd, self.fd = self.fd, NOTHING
        if fd != NOTHING:
            if self.watcher is not None:
                self.watcher.leave(fd)
            close(fd)

    def cut(self) -> None:
        """Close so that the peer notices that the response is incomplete: on TCP by a reset.

        A unix socket has no reset. There, nginx notices the cut only if the response has a Content-Length.
        """
        if self.fd != NOTHING:
            self._socket_call(lambda plain: plain.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _LINGER_OFF))
        self.close()

    # --- rarely used ---

    @property
    def is_secret(self) -> bool:
        """Whether the bytes on the socket differ from those that are read and written here (TLS)."""
        return False

    def opening(self) -> str:
        """Return the name of what has to come before the protocol and is incomplete. A plain connection has no such
        thing."""
        return ""

    def holds(self) -> bool:
        """Whether the next `take` returns bytes even if no more arrive. A plain connection keeps no bytes back."""
        return False

    def is_abandoned(self) -> bool:
        """Whether nobody waits for the response. A peer that has only finished its request still waits."""
        return bool(poll(self.fd, 0))  # POLLHUP: the peer has closed both directions

    def names(self) -> dict[str, str]:
        """Return the environ variables of both ends (RFC 3875, 4.1). A unix socket has none for the peer."""
        said: list[Any] = []
        self._socket_call(lambda plain: said.extend((plain.getpeername(), plain.getsockname())))
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
        """Describe the peer for the log: by its address, or by the process behind a unix socket (unix(7))."""
        said: list[Any] = []
        self._socket_call(
            lambda plain: said.extend(
                (plain.getpeername(), plain.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
            )
        )
        if not said:
            return "a peer that has left"
        name, credentials = said
        if isinstance(name, tuple):
            return f"{unmapped(name[0])}:{name[1]}"
        pid, uid, _ = struct.unpack("iII", credentials)
        return f"process {pid} of user {uid}"

    def _socket_call(self, call: Any) -> None:
        """Call something that only a socket object can do. If the peer is gone already, nothing happens."""
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
        # The exception is created only if the time runs out.
        timeout = Patience.start_new(self._timeout_s, ClientDisconnected)
        began_s = monotonic()
        try:
            hub.wait(watcher)
        finally:
            timeout.close()
            watcher.close()
            self._note_wait(events, monotonic() - began_s)

    def _note_wait(self, events: int, waited_s: float) -> None:
        """Only waits are measured: a read or write that does not wait costs no look at the clock."""
        self.has_waited = True
        if events == READ:
            self.read_wait_s += waited_s
        else:
            self.send_wait_s += waited_s
