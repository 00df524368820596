"""A timer of the event loop with random intervals, which tells how late it comes.

Rules
* The intervals are random around their mean: stops of the loop that follow each other as regularly as the beats of a
  timer would come just in time, and would never make the timer late.
* Each beat is measured from the start of its timer. A timer that repeats would keep its grid (libev), where two beats
  that are equally late are an interval apart.
* A loop in which nothing happens need not beat often (rounds.py).
"""

import time
from collections.abc import Callable
from typing import Any

from wsgid.linux import chance

SHORTEST, LONGEST = 0.8, 1.2  # of the mean

_monotonic = time.monotonic


class Pulse:
    """A timer that beats until it is stopped.

    Args:
        loop: of gevent's hub.
        mean_s: between two beats, on average.
        beat: called in the hub, with the seconds that the beat is late.
    """

    def __init__(self, loop: Any, mean_s: float, beat: Callable[[float], None]) -> None:
        self._loop = loop
        self._mean_s = mean_s
        self._beat = beat
        self._due_s = 0.0
        self._timer: Any = None

    def start(self) -> None:
        """Begin to beat, or beat at the usual pace again."""
        self._plan(self._mean_s * chance.between(SHORTEST, LONGEST))

    def pause(self, until_s: float) -> None:
        """Do not beat before this time. The beats after it have the usual pace again.

        Args:
            until_s: of time.monotonic().
        """
        self._plan(max(until_s - _monotonic(), 0.0))

    def _plan(self, interval_s: float) -> None:
        if self._timer is not None:
            self._timer.close()
        self._timer = self._loop.timer(interval_s)
        self._due_s = _monotonic() + interval_s
        self._timer.start(self._on_time, update=True)  # the loop's own time may be as old as its present turn

    def due_s(self) -> float:
        """Return when the next beat is due (time.monotonic())."""
        return self._due_s

    def stop(self) -> None:
        """Beat no more."""
        self._timer.close()

    def _on_time(self) -> None:
        late_s = max(_monotonic() - self._due_s, 0.0)
        self.start()
        self._beat(late_s)
