"""The worker that functions of wsgid.offload wait in, and its counts in the scoreboard.

Rules
* The worker loads this module, and not offloading.py: an application that offloads nothing has no thread and no pool.
* Only the thread of the event loop counts. The numbers of running and waiting calls are written by the worker's round.
* A process that the application forks does not count: the scoreboard's line is its worker's.
"""

import os
from typing import Any, Protocol

import greenlet
from gevent import monkey
from gevent.hub import get_hub

from wsgid.ipc.scoreboard import Word, add

_thread_ident = monkey.get_original("_thread", "get_ident")


class Waiting(Protocol):
    """A call of an offloaded function."""

    @property
    def waits(self) -> bool:
        """Whether it has not begun yet."""


class Home:
    """The worker in which functions are offloaded.

    Args:
        line: the worker's words of the scoreboard.
    """

    def __init__(self, line: memoryview) -> None:
        self.hub: Any = get_hub()
        self.calls: set[Waiting] = set()  # that run, or wait for a thread
        self._line = line
        self._pid = os.getpid()
        self._ident = _thread_ident()
        self._shown = 0

    def can_wait(self) -> bool:
        """Whether the caller can wait in the event loop."""
        return bool(_thread_ident() == self._ident) and greenlet.getcurrent() is not self.hub

    def count(self, word: Word) -> None:
        """Add one to this counter."""
        if os.getpid() == self._pid:
            add(self._line, word)

    def show(self) -> None:
        """Show how many calls run and wait now. Called by the worker's round."""
        if not self.calls and not self._shown:
            return
        self._shown = len(self.calls)
        waiting = sum(call.waits for call in self.calls)
        self._line[Word.OFFLOAD_RUNNING] = self._shown - waiting
        self._line[Word.OFFLOAD_WAITING] = waiting


_home: Home | None = None


def begin(line: memoryview) -> Home:
    """From now on, functions can be offloaded: the worker's event loop runs.

    Args:
        line: the worker's words of the scoreboard.
    """
    global _home
    _home = Home(line)
    return _home


def current() -> Home | None:
    """Return the worker that this process is; None if it is none."""
    return _home
