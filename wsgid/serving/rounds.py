"""The worker's round, which rests while nothing happens, and the pulse, which then beats slowly.

    busy:    a timer, each ROUND_S          -> look; the pulse beats at its usual pace
    at rest: a beat, each REST_S or earlier -> look
             anything else happens          -> the timer again, at once

Rules
* A worker in which nothing happens wakes for its slow beat only, however many requests wait in it. A small machine with
  many sites has many such workers, and a site with long polls has many such requests.
* Nothing happens: QUIET_ROUNDS rounds have passed in which the loop has run for the worker's own timers alone. libev
  counts the runs of the loop (ev_iteration).
* Somebody may have to be looked after at a time (a deadline). The rest ends by then.
* At rest, a check watcher tells that something has happened: libev calls it when the loop has waited, and before the
  loop handles what it has found (ev_check).  Thus a request that comes is looked at each ROUND_S from its beginning on.
  A busy worker has no such watcher, so its requests pay nothing.
* At rest, the loop is late if it comes later than the next beat (clock.py).
"""

import math
import time
from collections.abc import Callable
from typing import Any

from wsgid.serving.clock import CLOCK, ROUND_S
from wsgid.serving.pulse import Pulse

REST_S = 2.0
QUIET_ROUNDS = 5

_AT_ONCE_S = 0.002  # the loop's clock, which the beat goes by, may be a little ahead

_monotonic = time.monotonic


class Rounds:
    """Looks at the worker: in each round while it is busy, at each slow beat while it is at rest.

    Args:
        loop: of gevent's hub.
        look: called in the hub. Returns until when there is nothing to look after (time.monotonic()); -inf if the
            worker must not rest.
        pulse: beats more slowly at rest. Who gets its beats calls `beat`.
        vouch: called with the time until which the loop needs no beat: the present if it does not rest.
    """

    def __init__(self, loop: Any, look: Callable[[], float], pulse: Pulse, vouch: Callable[[float], None]) -> None:
        self._loop = loop
        self._look = look
        self._pulse = pulse
        self._vouch = vouch
        self._timer = loop.timer(ROUND_S, ROUND_S)
        self._happened = loop.check(ref=False)
        self._ran = 0  # how often the loop had run in the last round
        self._beats = 0  # since then
        self._quiet = 0  # rounds without anything
        self.is_resting = False

    def start(self) -> None:
        """Begin the rounds."""
        self._quiet = self._beats = 0
        self._ran = self._loop.iteration
        self._timer.start(self._on_time, update=True)  # the loop's own time may be as old as its present turn

    def beat(self) -> None:
        """The heart has beaten, and the next beat is planned."""
        self._beats += 1
        if self.is_resting:
            CLOCK.rest(self._pulse.due_s())
            self._loop.run_callback(self._on_beat)  # when all that came together with the beat was handled

    def _on_time(self) -> None:
        until_s = self._look()
        ran, self._ran = self._ran, self._loop.iteration
        beats, self._beats = self._beats, 0
        self._quiet = self._quiet + 1 if self._ran - ran <= 1 + beats else 0
        if self._quiet >= QUIET_ROUNDS and until_s > _monotonic() + ROUND_S:
            self.is_resting = True
            self._timer.stop()
            self._happened.start(self._on_event)
            self._rest(until_s)

    def _rest(self, until_s: float) -> None:
        until_s = min(until_s, _monotonic() + REST_S)
        self._pulse.pause(until_s)
        CLOCK.rest(until_s)
        self._vouch(until_s)

    def _on_event(self) -> None:
        if _monotonic() < self._pulse.due_s() - _AT_ONCE_S:  # else the beat looks what there is
            self._wake()

    def _on_beat(self) -> None:
        if not self.is_resting:
            return
        until_s = self._look()
        if until_s == -math.inf or self._loop._callbacks:
            self._wake()
        else:
            self._rest(max(until_s, _monotonic() + ROUND_S))

    def _wake(self) -> None:
        self.is_resting = False
        self._happened.stop()
        CLOCK.wake()
        self._vouch(_monotonic())
        self._pulse.start()
        self.start()
