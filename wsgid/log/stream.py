"""Whole lines to a descriptor, without ever waiting for who reads them.

Rules
* A file takes everything in one write, behind what others have written (O_APPEND, write(2)).
* A pipe or a socket takes at most PIPE_BUF bytes at a time, which is atomic (pipe(7)), and only when poll(2) says that
  there is room: the descriptor itself is shared with other processes, and stays blocking.
* A longer line goes in pieces; a lock (fcntl(2)) that all processes of this server respect keeps theirs out of it.
* What does not fit waits here, up to WAITING_MAX_BYTES; beyond that, and after an error, lines are dropped and counted.
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
AGAIN_S = 0.01  # how often one that leaves looks whether there is room

_LINE_BREAK = 0x0A

# In a process that gevent has patched, poll(2) itself: gevent's goes through the hub. The master has no gevent.
_gevent: Any = sys.modules.get("gevent.monkey")
_poll = _gevent.get_original("select", "poll") if _gevent else select.poll


class LineStream:
    """An open file, pipe, socket or terminal.

    Args:
        fd: the descriptor; stays the caller's, who may put another file under its number.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting = bytearray()
        self._begun = False  # the first of what waits is the rest of a line
        self.dropped = 0
        self.reason = ""

    def put(self, lines: Sequence[str] = ()) -> None:
        """Write these, after what waits."""
        self.write(("\n".join(lines) + "\n").encode("utf-8", "backslashreplace") if lines else b"")

    def write(self, data: bytes) -> None:
        """Write this, after what waits."""
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
        """Whether something has not been written yet."""
        return bool(self._waiting)

    def abandon(self) -> None:
        """After a fork: what waits is the other process's to write."""
        self._waiting.clear()
        self._begun = False

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most so long."""
        deadline_s = time.monotonic() + timeout_s
        self.put()
        while self._waiting and time.monotonic() < deadline_s:
            time.sleep(AGAIN_S)
            self.put()
        self._drop(0, "nobody reads it")

    def _drop(self, kept_bytes: int, reason: str) -> None:
        """Let go what waits, but for about so much, and the rest of a line that has begun."""
        start = kept_bytes if kept_bytes else 0 if self._begun else -1
        end = self._waiting.find(b"\n", start) + 1 if start >= 0 else 0
        count = self._waiting.count(b"\n", end)
        del self._waiting[end:]
        if count:
            self.dropped += count
            self.reason = reason

    def _write(self) -> None:
        """As much as can be. Raises OSError."""
        try:
            mode = os.fstat(self._fd).st_mode
        except OSError as error:
            if error.errno == errno.EBADF:  # there is nothing to write to
                raise
            return  # the kernel has no memory, say: what waits is written with the next line
        if stat.S_ISREG(mode):
            self._write_up_to(len(self._waiting))
        elif stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            if self._lock():
                try:
                    self._write_in_pieces()
                finally:
                    # Others wait until the rest of a line is written, if it is here; who prints a part of a line, and
                    # nothing more, holds up nobody.
                    if not (self._begun and self._waiting):
                        self._unlock()
        else:
            self._write_in_pieces()

    def _lock(self) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # the two ways of saying that another process has it
            return False
        except OSError:  # no locks to be had: lines above PIPE_BUF may mix
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
        except BlockingIOError:  # somebody has made it non-blocking
            return
        if sent:
            self._begun = self._waiting[sent - 1] != _LINE_BREAK
            del self._waiting[:sent]


def _has_room(fd: int) -> bool:
    """Whether a write would not wait, or would be an error."""
    asked = _poll()
    asked.register(fd, select.POLLOUT)
    try:
        return bool(asked.poll(0))
    except OSError:  # no memory: it is asked again with the next line
        return False
