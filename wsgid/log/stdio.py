"""Standard input, output and error of the server's processes, and of the application in them.

Rules
* Descriptors 0, 1 and 2 are always open. Otherwise the next socket would get such a number, and printed text would be
  sent to a client.
* print() never costs a visitor the response: not if the reader is gone or does not read, not for a character that the
  encoding lacks, and not after the stream was closed.  Text that cannot be written waits, and is dropped beyond a limit
  (log/stream.py).
* Both streams are line buffered. A printed line is in the log at once, and a fork does not duplicate it.
* A process that the application forks is on its own: there, print() waits for the reader, as in every Python program.
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
    """The binary side of a stream. Any thread may write to it, also a signal handler in the middle of another write:
    the first writer then also writes what arrives meanwhile."""

    def __init__(self, fd: int) -> None:
        self.name = {1: "<stdout>", 2: "<stderr>"}[fd]
        self.told = 0  # number of dropped lines that `dropped` has returned already
        self._fd = fd
        self._waits = False  # whether a write waits for the reader
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
        """Write waiting text, as far as there is room."""
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
        """Drop waiting text: nobody reads it."""
        self._stream.close(0.0)

    def dropped(self) -> tuple[int, str]:
        """Return how many lines were dropped since the last call, and why."""
        new = self._stream.dropped - self.told
        self.told += new
        return new, self._stream.reason

    def become_child(self) -> None:
        """This process was forked: its parent writes the waiting text, and locks of other threads are free."""
        self._stream.abandon()
        self._blocks.clear()
        self._lock = _allocate_lock()
        self._waits = True

    def become_server(self) -> None:
        """From now on, never wait for the reader. The process calls `put` now and then."""
        self._waits = False

    def _write_all(self, block: bytes) -> None:
        with suppress(OSError):
            while block:
                block = block[os.write(self._fd, block) :]


class _TextStream(io.TextIOWrapper):
    mode = "w"

    def close(self) -> None:
        """Flush only. One request must not close the stream for all others, and the descriptor stays open."""
        self.flush()


_texts: dict[int, _TextStream] = {}


def open_descriptors() -> None:
    """Open /dev/null for each of the three standard descriptors that is closed."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(opened, True)


def close_input() -> None:
    """Make standard input /dev/null: a program that asks for a line gets end-of-file and does not wait."""
    nothing_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing_fd, 0)
    posix.close(nothing_fd)


def install() -> None:
    """Replace sys.stdout and sys.stderr of this process as the rules above say. A forked process calls it again."""
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
    """Write waiting text of both streams, as far as there is room. Costs very little if nothing waits."""
    for stream in _streams():
        stream.put()


def settle(timeout_s: float) -> None:
    """Wait until all waiting text is written, but at most `timeout_s`. The rest goes on waiting."""
    deadline_s = time.monotonic() + timeout_s
    put()
    while any(stream.is_waiting for stream in _streams()) and time.monotonic() < deadline_s:
        _sleep(AGAIN_S)
        put()


def end(timeout_s: float) -> None:
    """Before this process ends: write all waiting text, but wait at most `timeout_s`; drop the rest."""
    _flush()
    settle(timeout_s)
    for stream in _streams():
        stream.drop()


def dropped() -> tuple[int, str]:
    """Return how many lines of both streams were dropped since the last call, and why."""
    new = [stream.dropped() for stream in _streams()]
    return sum(count for count, _ in new), next((why for count, why in new if count), "")


def _flush() -> None:
    for text in _texts.values():
        with suppress(OSError, ValueError):
            text.flush()


def _become_child() -> None:
    for stream in _streams():
        stream.become_child()
