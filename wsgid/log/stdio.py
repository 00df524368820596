"""Standard input, output and error of the server's processes, and of the application in them.

Rules
* Descriptors 0, 1 and 2 always are something: else the next socket would get the number, and a visitor what is printed.
* print() costs nobody the response: neither if the reader has gone or sleeps, nor by a character that the encoding does
  not have, nor after somebody has closed the stream.  What cannot be written waits, and is dropped beyond a limit
  (logs/stream.py).
* Both streams are line buffered: what is printed is in the log when it is printed, and nothing of it is in two
  processes after a fork.
* A process that the application forks is its own: there, a print waits for the reader, as everywhere else.
"""

import _thread
import io
import os
import posix
import sys
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from wsgid.log.stream import AGAIN_S, LineStream

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_gevent: Any = sys.modules.get("gevent.monkey")
_allocate_lock = _gevent.get_original("_thread", "allocate_lock") if _gevent else _thread.allocate_lock
_sleep = _gevent.get_original("time", "sleep") if _gevent else time.sleep  # the template has no hub


class _Unwaiting(io.RawIOBase):
    """The binary side. It may be written to from any thread, and from a signal handler that has come in the middle of
    a write: whoever is writing takes along what comes meanwhile."""

    def __init__(self, fd: int) -> None:
        self.name = {1: "<stdout>", 2: "<stderr>"}[fd]
        self.told = 0  # of the lines that were dropped
        self._fd = fd
        self._waits = False  # for the reader
        self._stream = LineStream(fd)
        self._blocks: deque[bytes] = deque()
        self._lock = _allocate_lock()

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        block = bytes(data)
        if self._waits:
            self._write_all(block)
        else:
            self._blocks.append(block)
            self.put()
        return len(block)

    def put(self) -> None:
        """Write what waits, as far as there is room."""
        while (self._blocks or self._stream.is_waiting) and self._lock.acquire(False):
            try:
                self._stream.write(b"")
                while self._blocks:
                    self._stream.write(self._blocks.popleft())
            finally:
                self._lock.release()
            if not self._blocks:
                return

    @property
    def is_waiting(self) -> bool:
        return self._stream.is_waiting

    def drop(self) -> None:
        """Nobody reads what waits."""
        self._stream.close(0.0)

    def dropped(self) -> tuple[int, str]:
        """How many lines were dropped since the last call, and why."""
        new = self._stream.dropped - self.told
        self.told += new
        return new, self._stream.reason

    def become_child(self) -> None:
        """This process was forked: what waits is its parent's to write, and another thread's lock nobody's."""
        self._stream.abandon()
        self._blocks.clear()
        self._lock = _allocate_lock()
        self._waits = True

    def become_server(self) -> None:
        """Never wait: somebody calls `put` now and then."""
        self._waits = False

    def _write_all(self, block: bytes) -> None:
        with suppress(OSError):
            while block:
                block = block[os.write(self._fd, block) :]


class _TextStream(io.TextIOWrapper):
    mode = "w"

    def close(self) -> None:
        """As a flush: one request must not take the stream from all others. The descriptor is nobody's to close."""
        self.flush()


_texts: dict[int, _TextStream] = {}


def open_descriptors() -> None:
    """Let those of the standard three that are closed be /dev/null."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(opened, True)


def close_input() -> None:
    """Let standard input be /dev/null: who asks for a line gets none, and does not wait for it."""
    nothing_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing_fd, 0)
    posix.close(nothing_fd)


def install() -> None:
    """Let sys.stdout and sys.stderr of this process be as the rules say; a forked process says it again."""
    if not _texts:
        for fd, name in ((1, "stdout"), (2, "stderr")):
            _texts[fd] = text = _make(fd, getattr(sys, name))
            setattr(sys, name, text)
            setattr(sys, f"__{name}__", text)
        os.register_at_fork(before=_flush, after_in_child=_become_child)
    for stream in _streams():
        stream.become_server()


def _make(fd: int, old: Any) -> _TextStream:
    if old is not None:
        with suppress(OSError, ValueError):
            old.flush()
    encoding = getattr(old, "encoding", None) or "utf-8"
    return _TextStream(_Unwaiting(fd), encoding, "backslashreplace", line_buffering=True)


def _streams() -> list[Any]:
    return [text.buffer for text in _texts.values()]


def put() -> None:
    """Write what waits, as far as there is room. Costs next to nothing if nothing waits."""
    for stream in _streams():
        stream.put()


def settle(timeout_s: float) -> None:
    """Wait until everything is written, for at most so long; what is left goes on waiting."""
    deadline_s = time.monotonic() + timeout_s
    put()
    while any(stream.is_waiting for stream in _streams()) and time.monotonic() < deadline_s:
        _sleep(AGAIN_S)
        put()


def end(timeout_s: float) -> None:
    """This process ends: write everything, for at most so long; drop the rest."""
    _flush()
    settle(timeout_s)
    for stream in _streams():
        stream.drop()


def dropped() -> tuple[int, str]:
    """How many lines of both were dropped since the last call, and why."""
    new = [stream.dropped() for stream in _streams()]
    return sum(count for count, _ in new), next((why for count, why in new if count), "")


def _flush() -> None:
    for text in _texts.values():
        with suppress(OSError, ValueError):
            text.flush()


def _become_child() -> None:
    for stream in _streams():
        stream.become_child()
