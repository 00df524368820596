"""Writes whole lines to a descriptor, without ever waiting for the reader.

Rules
* A file takes everything in one write, after what other processes have written (O_APPEND, write(2)).
* A pipe or a socket gets at most PIPE_BUF bytes at a time, which is atomic (pipe(7)), and only when poll(2) reports
  room. The descriptor itself stays blocking, because other processes share it.
* A longer line is written in pieces. Meanwhile a lock (fcntl(2)), which all processes of this server respect, keeps
  their lines out of it.
* Lines that do not fit wait in memory, up to WAITING_MAX_BYTES. Beyond that limit, and after an error, lines are
  dropped and counted.
"""

import errno
import fcntl
import os
import select
import stat
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

WAITING_MAX_BYTES = 1 << 20
AGAIN_S = 0.01  # how often a leaving process checks whether there is room

_LINE_BREAK = 0x0A

# poll(2) itself: in a process that gevent has patched, select.poll goes through the hub. The master has no gevent.
_gevent: Any = sys.modules.get("gevent.monkey")
_poll = _gevent.get_original("select", "poll") if _gevent else select.poll


class LineStream:
    """Lines for an open file, pipe, socket or terminal.

    Args:
        fd: the descriptor. The caller keeps it, and may put another file under its number.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting = bytearray()
        self._begun = False  # the first waiting bytes are the rest of a line
        self.dropped = 0
        self.reason = ""

    def put(self, lines: Sequence[str] = ()) -> None:
        """Write lines, after those that wait.

        Args:
            lines: each with its line break.
        """
        self.write(("\n".join(lines) + "\n").encode("utf-8", "backslashreplace") if lines else b"")

    def write(self, data: bytes) -> None:
        """Write bytes, after those that wait."""
        self._waiting += data
        if not self._waiting:
            return
        try:
            self._write()
        except OSError as error:
            self._drop(0, error.strerror or repr(error))
        if len(self._waiting) > WAITING_MAX_BYTES:
            self._drop(WAITING_MAX_BYTES, "nobody reads it")

    @property
    def is_waiting(self) -> bool:
        """Whether something is still unwritten."""
        return bool(self._waiting)

    def abandon(self) -> None:
        """Forget waiting bytes after a fork: the other process writes them."""
        self._waiting.clear()
        self._begun = False

    def close(self, timeout_s: float) -> None:
        """Write waiting bytes, but wait at most `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        self.put()
        while self._waiting and time.monotonic() < deadline_s:
            time.sleep(AGAIN_S)
            self.put()
        self._drop(0, "nobody reads it")

    def _drop(self, kept_bytes: int, reason: str) -> None:
        """Drop waiting bytes, except about `kept_bytes` and the rest of a line that has begun."""
        start = kept_bytes if kept_bytes else 0 if self._begun else -1
        end = self._waiting.find(b"\n", start) + 1 if start >= 0 else 0
        count = self._waiting.count(b"\n", end)
        del self._waiting[end:]
        if count:
            self.dropped += count
            self.reason = reason

    def _write(self) -> None:
        """Write as much as possible.

        Raises:
            OSError: the descriptor cannot be written.
        """
        try:
            mode = os.fstat(self._fd).st_mode
        except OSError as error:
            if error.errno == errno.EBADF:  # the descriptor is closed
                raise
            return  # for example, the kernel has no memory: the bytes are written with the next line
        if stat.S_ISREG(mode):
            self._write_up_to(len(self._waiting))
        elif stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            if self._lock():
                try:
                    self._write_in_pieces()
                finally:
                    # While the rest of this line is here, other processes wait for it. A line without its end, as
                    # printed by a program, holds up nobody.
                    if not (self._begun and self._waiting):
                        self._unlock()
        else:
            self._write_in_pieces()

    def _lock(self) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # two ways of saying that another process has the lock
            return False
        except OSError:  # the file system has no locks: lines above PIPE_BUF may mix
            pass
        return True

    def _unlock(self) -> None:
        with suppress(OSError):
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _write_in_pieces(self) -> None:
        while self._waiting and _has_room(self._fd):
            size_bytes = len(self._waiting)
            if size_bytes > select.PIPE_BUF:
                size_bytes = self._waiting.rfind(b"\n", 0, select.PIPE_BUF) + 1 or select.PIPE_BUF
            self._write_up_to(size_bytes)

    def _write_up_to(self, size_bytes: int) -> None:
        try:
            sent = os.write(self._fd, self._waiting[:size_bytes])
        except BlockingIOError:  # another process has made it non-blocking
            return
        if sent:
            self._begun = self._waiting[sent - 1] != _LINE_BREAK
            del self._waiting[:sent]


def _has_room(fd: int) -> bool:
    """Whether a write would return at once, with success or with an error."""
    asked = _poll()
    asked.register(fd, select.POLLOUT)
    try:
        return bool(asked.poll(0))
    except OSError:  # no memory: the next line asks again
        return False
