"""Counts the runs of Python's garbage collector and their pauses, in the worker's own line of the scoreboard.

Rules
* gc.callbacks are called while the collector runs, which is never twice at a time. So there is no lock, although any
  thread may start a collection.
* A pause stops the whole process, the event loop too.
* The application may clear gc.callbacks. Then nothing is counted any more, and nothing else happens.
"""

import gc
import time
from typing import Any

from wsgid.ipc.scoreboard import Word, add

_FULL = 2  # the oldest generation
_COLLECTIONS, _FULL_COLLECTIONS = int(Word.COLLECTIONS), int(Word.FULL_COLLECTIONS)
_PAUSE_US, _LONGEST_US = int(Word.COLLECTOR_US), int(Word.COLLECTOR_LONGEST_US)

_now_ns = time.perf_counter_ns  # gevent and the application replace time.sleep, but no clock


class CollectorCount:
    """The pauses of this process.

    Args:
        line: the worker's words of the scoreboard.
    """

    def __init__(self, line: memoryview) -> None:
        self._line = line
        self._began_ns = 0

    def start(self) -> None:
        """Begin to count."""
        gc.callbacks.append(self._note)

    def stop(self) -> None:
        """Count no more: in a process that the application has forked, the line is the worker's."""
        if self._note in gc.callbacks:
            gc.callbacks.remove(self._note)

    def _note(self, phase: str, info: dict[str, Any]) -> None:
        """gc's callback, at both ends of a run. It must not raise."""
        if phase == "start":
            self._began_ns = _now_ns()
            return
        if not self._began_ns:
            return
        pause_us = (_now_ns() - self._began_ns) // 1000
        self._began_ns = 0
        line = self._line
        add(line, _COLLECTIONS)
        add(line, _PAUSE_US, pause_us)
        if info["generation"] == _FULL:
            add(line, _FULL_COLLECTIONS)
        if pause_us > line[_LONGEST_US]:
            line[_LONGEST_US] = pause_us
