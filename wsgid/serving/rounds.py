"""The worker's round, which rests while there is nothing to look after.

    busy:    a timer, each ROUND_S   -> look
    at rest: the heartbeat           -> look
             anything else happens   -> the timer again, at once

Rules
* An idle worker wakes for its heartbeat only. A small machine with many sites has many idle workers.
* At rest, a check watcher tells that something has happened: libev calls it when the loop has waited, and before the
  loop handles what it has found (ev_check).  Thus a request that comes is looked at each ROUND_S from its beginning on.
  A busy worker has no such watcher, so its requests pay nothing.
* At rest, the loop is late if it comes later than the next heartbeat (clock.py).
"""

import time
from collections.abc import Callable
from typing import Any

from wsgid.serving.clock import CLOCK, ROUND_S

_AT_ONCE_S = 0.002  # the loop's clock, which the beat goes by, may be a little ahead

_monotonic = time.monotonic


class Rounds:
    """Looks at the worker: in each round while it is busy, at each heartbeat while it is at rest.

    Args:
        loop: of gevent's hub.
        look: called in the hub. Returns whether there is nothing to look after.
        next_beat_s: returns when the next heartbeat is due (time.monotonic()).
    """

    def __init__(self, loop: Any, look: Callable[[], bool], next_beat_s: Callable[[], float]) -> None:
        self._loop = loop
        self._look = look
        self._next_beat_s = next_beat_s
        self._timer = loop.timer(ROUND_S, ROUND_S)
        self._happened = loop.check(ref=False)
        self.is_resting = False

    def start(self) -> None:
        """Begin the rounds."""
        self._timer.start(self._on_time, update=True)  # the loop's own time may be as old as its present turn

    def beat(self) -> None:
        """The heart has beaten, and the next beat is planned."""
        if self.is_resting:
            CLOCK.rest(self._next_beat_s())
            self._loop.run_callback(self._on_beat)  # when all that came together with the beat was handled

    def _on_time(self) -> None:
        if self._look():
            self.is_resting = True
            self._timer.stop()
            CLOCK.rest(self._next_beat_s())
            self._happened.start(self._on_event)

    def _on_event(self) -> None:
        if _monotonic() < self._next_beat_s() - _AT_ONCE_S:  # else the beat looks what there is
            self._wake()

    def _on_beat(self) -> None:
        if self.is_resting and (not self._look() or self._loop._callbacks):
            self._wake()

    def _wake(self) -> None:
        self.is_resting = False
        self._happened.stop()
        CLOCK.wake()
        self.start()
