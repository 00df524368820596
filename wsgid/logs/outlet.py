"""Whole lines out of a worker, to a descriptor or a syslog, without ever waiting for who reads them.

Rules
* A file takes everything in one write, behind what others have written (O_APPEND, write(2)).
* A pipe or a socket takes at most PIPE_BUF bytes at a time, which is atomic (pipe(7)), and only when poll(2) says that
  there is room: the descriptor itself is shared with the application, and stays blocking.
* A longer line goes in pieces; a lock (fcntl(2)) that all workers respect keeps theirs out of it.
* What does not fit waits here, up to WAITING_MAX_BYTES; beyond that, and after an error, lines are dropped and counted.
"""

import fcntl
import os
import select
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from wsgid.syscalls import poll
from wsgid.logs.syslogger import INFO, Syslog

WAITING_MAX_BYTES = 1 << 20
AGAIN_S = 0.01  # how often one that leaves looks whether there is room

_LINE_BREAK = 0x0A


class Outlet(Protocol):
    """Where lines go."""

    dropped: int  # lines, so far
    reason: str  # of the last of them

    def put(self, lines: Sequence[str] = ()) -> None:
        """Write these, after those that wait."""

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most so long."""


class Stream:
    """An open file, pipe, socket or terminal.

    Args:
        fd: the descriptor; stays the caller's, who may put another file under its number.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting = b""
        self._begun = False  # the first of what waits is the rest of a line
        self.dropped = 0
        self.reason = ""

    def put(self, lines: Sequence[str] = ()) -> None:
        if lines:
            self._waiting += ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
        if not self._waiting:
            return
        try:
            self._write()
        except OSError as error:
            self._drop(0, error.strerror or repr(error))
        if len(self._waiting) > WAITING_MAX_BYTES:
            self._drop(WAITING_MAX_BYTES, "nobody reads it")

    def close(self, timeout_s: float) -> None:
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
        self._waiting = self._waiting[:end]
        if count:
            self.dropped += count
            self.reason = reason

    def _write(self) -> None:
        """As much as can be. Raises OSError."""
        mode = os.fstat(self._fd).st_mode
        if stat.S_ISREG(mode):
            self._write_up_to(len(self._waiting))
        elif stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            if self._lock():
                try:
                    self._write_in_pieces()
                finally:
                    if not self._begun:  # otherwise others wait until the line is whole
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
        while self._waiting and poll(self._fd, select.POLLOUT):
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
            self._waiting = self._waiting[sent:]


class SyslogOutlet:
    """A syslog: a datagram a line, which it takes at once or never."""

    def __init__(self, syslog: Syslog) -> None:
        self._syslog = syslog
        self.dropped = 0
        self.reason = ""

    def put(self, lines: Sequence[str] = ()) -> None:
        for line in lines:
            try:
                self._syslog.send(INFO, line)
            except OSError as error:
                self.dropped += 1
                self.reason = error.strerror or str(error)

    def close(self, timeout_s: float) -> None:
        """Nothing waits."""
