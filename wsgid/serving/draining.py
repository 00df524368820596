"""How a worker leaves: it empties the backlog, waits for the requests in flight, and cuts what the mercy time leaves.

    SERVING -begin()-> EMPTYING -nothing waits in the backlog-> LEAVING -everything is answered-> the worker has left
                                                                   `-the mercy time is over-> the rest is cut ---^

Rules
* A worker ends only through LEAVING: it accepts nothing, and nothing is in flight.
* Time in which the loop was held up does not count for the mercy time.
"""

import signal
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from gevent.event import Event
from gevent.hub import Hub

from wsgid import log
from wsgid.ipc.messages import OnDrain
from wsgid.serving.clock import CLOCK
from wsgid.serving.dispatcher import Dispatcher
from wsgid.serving.timeouts import Timeouts

HARD_STOP_MARGIN_S = 3  # more than the mercy time, before a worker is ended that cannot end itself
_CLEAN_UP_S = 0.5  # how long requests that are ended after the mercy time may clean up
_SETTLE_S = 0.1  # a connect(2) that has found the socket file before its unlink may arrive within this time
_ORPHAN_ACCEPTS_S = 1.0  # without a master: how long to empty the backlog before the address is released


class State(Enum):
    """The states of a worker."""

    SERVING = auto()
    EMPTYING = auto()  # first takes everything that waits in the backlog, then leaves
    LEAVING = auto()  # accepts nothing any more; finishes what is in flight


class Draining:
    """The way of one worker from SERVING to its end.

    Args:
        hub: of the worker.
        dispatcher: its connections and requests.
        timeouts: end the requests that are cut.
        left: set when the requests that were cut have had their time.
    """

    def __init__(self, hub: Hub, dispatcher: Dispatcher, timeouts: Timeouts, left: Event) -> None:
        self.state = State.SERVING
        self.mercy_until_s = 0.0  # of time.monotonic()
        self._loop = hub.loop
        self._dispatcher = dispatcher
        self._timeouts = timeouts
        self._left = left
        self._empty_until_s = 0.0
        self._mercy_held_s = 0.0  # CLOCK.held_s when the mercy time began
        self._is_orphan = False
        self._timer: Any = None  # of the mercy time, then of the time to clean up

    def begin(self, backlog: OnDrain, mercy_s: float, empty_s: float | None = None) -> None:
        """Leave as soon as everything is answered. Does nothing if the worker leaves already.

        Args:
            backlog: what to do with connections that wait in the backlog.
            mercy_s: what is still in flight after this time is cut.
            empty_s: how long to accept at most; None: as long as mercy_s.
        """
        if self.state is not State.SERVING:
            return
        log.debug("finishing the requests in flight, at most %g s", mercy_s)
        self._start_mercy(mercy_s)
        if backlog is OnDrain.LEAVE:
            self._leave()
            return
        self.state = State.EMPTYING
        self._empty_until_s = CLOCK.now_s() + (mercy_s if empty_s is None else empty_s)
        timer = self._loop.timer(_SETTLE_S, _SETTLE_S)
        timer.start(self._leave_when_empty, timer)

    def begin_as_orphan(self, mercy_s: float) -> None:
        """Answer what is in flight, and release the address for the next master: this one is gone."""
        self._is_orphan = True
        self._end_after(mercy_s)  # also if the worker leaves already
        self.begin(OnDrain.EMPTY, mercy_s, _ORPHAN_ACCEPTS_S)

    def _end_after(self, mercy_s: float) -> None:
        """Nobody else would end this process if the hub stalls."""
        signal.alarm(int(mercy_s) + HARD_STOP_MARGIN_S)

    def _leave_when_empty(self, timer: Any) -> None:
        if not self._dispatcher.has_waiting() or CLOCK.now_s() >= self._empty_until_s:
            timer.close()
            self._leave()

    def _leave(self) -> None:
        self.state = State.LEAVING
        self._dispatcher.close()

    def _start_mercy(self, mercy_s: float) -> None:
        self.mercy_until_s = time.monotonic() + mercy_s
        self._mercy_held_s = CLOCK.held_s
        self._after(mercy_s, self._on_mercy_over)
        if self._is_orphan:
            self._end_after(mercy_s)

    def _on_mercy_over(self) -> None:
        """Cut what is in flight. If the loop was held up meanwhile, that time is given back first, as in the master
        (supervisor/fleet.py)."""
        CLOCK.look()
        held_s = CLOCK.held_s - self._mercy_held_s
        if held_s > 0:
            self._start_mercy(held_s)
        else:
            self._cut()

    def _cut(self) -> None:
        """End what is still in flight. The requests can clean up; then the worker leaves."""
        if self.state is not State.LEAVING:
            self._leave()
        self._after(_CLEAN_UP_S, self._left.set)
        self._timeouts.end_all(self._dispatcher.greenlets)

    def _after(self, delay_s: float, callback: Callable[[], object]) -> None:
        self._timer = self._loop.timer(delay_s)
        self._timer.start(callback)
