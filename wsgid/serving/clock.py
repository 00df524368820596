"""The worker's clock: how long its event loop was held up, and by which greenlets.

    the worker's timers -> look: late? -> held_s grows -> all deadlines move by as much, except those of the holder

Rules
* A request does not pay for time in which it could not run. Time-outs of requests, heads, sockets and the mercy time do
  not count that time.  A greenlet that holds the loop pays for the time that it has run itself.
* As long as nobody holds the loop, this costs nothing. The running times of greenlets are measured (greenlet.settrace)
  only for WATCH_S after the loop was late.  Before that, the master's signal finds the holder (timeouts.py).
* The loop is late if a timer of ROUND_S was called LATE_S too late.  Shorter delays are normal.
* A run of a greenlet is long from LONG_S on. A request begins a new run, also in a greenlet that serves several
  requests without a switch.  The witness (stutter.py) reads the runs in a thread of its own.
"""

import math
import time
from collections import deque
from typing import Any

import gevent
import greenlet
from gevent.hub import get_hub

ROUND_S = 0.1  # `look` is called at least this often while the loop runs and does not rest
LATE_S = 0.05
WATCH_S = 10.0
LONG_S = 0.03
LONG_RUNS_MAX = 1000  # that wait for the witness

_monotonic = time.monotonic
_start = gevent.Timeout.start


class Clock:
    """The state of the loop of this process."""

    def __init__(self) -> None:
        self.held_s = 0.0  # in total
        self._looked_s = math.inf  # `start` was not called yet
        self._rests_until_s = -math.inf
        self._named = 0  # id of the greenlet that was seen holding the loop
        self._ran: dict[int, float] = {}  # seconds since the last look, by the ids of greenlets
        self._own: dict[int, float] = {}  # seconds while the loop was held up, by the ids of greenlets
        self._watch_until_s = 0.0
        self._watching = self._installed = False
        self._before: Any = None  # the application's own tracer
        self._hub: Any = None
        # For the witness. Known only while greenlets are traced.
        self.switched_s = 0.0  # when the loop last switched to another greenlet, or to the hub
        self.runner: Any = None  # that greenlet
        self.long_runs: deque[tuple[float, float]] = deque(maxlen=LONG_RUNS_MAX)  # begin and end; not the hub's

    def start(self) -> None:
        """The loop begins to run."""
        self._looked_s = _monotonic()

    def now_s(self) -> float:
        """Return a time in seconds that stands still while the loop is held up."""
        return _monotonic() - self.held_s

    def look(self) -> None:
        """Find out how late the loop is. Runs in the hub."""
        if self._looked_s == math.inf:
            return
        now_s = _monotonic()
        late_s = now_s - max(self._looked_s + ROUND_S, self._rests_until_s)
        self._looked_s = now_s
        if late_s >= LATE_S:
            self._note(late_s, now_s)
        elif self._watching and now_s >= self._watch_until_s:
            self._stop_watching()
        self._named = 0
        self._ran.clear()

    def rest(self, until_s: float) -> None:
        """Nothing has to happen in the loop before `until_s`: it is not late until then, unless `wake` is called.

        Args:
            until_s: of time.monotonic().
        """
        self._rests_until_s = until_s

    def wake(self) -> None:
        """Something happens. From now on `look` is called each ROUND_S again."""
        self.look()
        self._rests_until_s = -math.inf

    def name(self, holder: object) -> None:
        """Record that this greenlet holds the loop now."""
        self._named = id(holder)

    def take_own(self) -> dict[int, float]:
        """Return how many seconds greenlets have run themselves while they held up the loop, by their ids. Counts from
        the last call."""
        own, self._own = self._own, {}
        return own

    def run_since_s(self, runner: object) -> float:
        """Return when the present run began.

        Args:
            runner: the running greenlet.
        """
        return max(self.switched_s, getattr(runner, "started_s", 0.0))  # a RequestGreenlet has it

    def trace(self) -> bool:
        """Measure the runs of greenlets for WATCH_S more. Runs in the hub. Returns False if that is not possible: the
        application has installed a tracer of its own since."""
        now_s = _monotonic()
        self._watch_until_s = now_s + WATCH_S
        if not self._watching or greenlet.gettrace() is None:
            self._watch(now_s)
        return bool(greenlet.gettrace() == self._on_switch)

    def _note(self, late_s: float, now_s: float) -> None:
        held_s = max(late_s, sum(self._ran.values()))
        self.held_s += held_s
        if not self._watching and self._named:
            self._ran[self._named] = held_s
        for number, ran_s in self._ran.items():
            self._own[number] = self._own.get(number, 0.0) + ran_s
        self._watch_until_s = now_s + WATCH_S
        if not self._watching:
            self._watch(now_s)

    def _watch(self, now_s: float) -> None:
        self._watching = True
        self._hub = get_hub()
        self.runner, self.switched_s = self._hub, now_s
        if not self._installed or greenlet.gettrace() is None:  # the application may have removed it
            self._installed = True
            self._before = greenlet.settrace(self._on_switch)

    def _stop_watching(self) -> None:
        self._watching = False
        self.runner = None
        if greenlet.gettrace() == self._on_switch:  # else a tracer of the application is active
            self._installed = False
            greenlet.settrace(self._before)
            self._before = None

    def _on_switch(self, event: str, args: Any) -> None:
        """greenlet's tracer: called when the loop switches from one greenlet to another. It must not raise."""
        now_s = _monotonic()
        if event == "switch" or event == "throw":
            origin, target = args
            if origin is not self._hub and self._watching:
                number = id(origin)  # not the greenlet itself, which this dict would keep alive
                self._ran[number] = self._ran.get(number, 0.0) + now_s - self.switched_s
                if now_s - self.switched_s >= LONG_S:
                    self.long_runs.append((self.run_since_s(origin), now_s))
            self.runner = target
        self.switched_s = now_s
        if self._before is not None:
            self._before(event, args)


CLOCK = Clock()  # one for each process, as the hub


class Patience(gevent.Timeout):  # type: ignore[misc]  # gevent has no types
    """A gevent.Timeout that does not count the time in which the loop was held up."""

    timer: Any

    def start(self) -> None:
        self._held_s = CLOCK.held_s
        _start(self)

    def _on_expiration(self, waiting: Any, error: Any) -> None:  # gevent's hook for subclasses
        CLOCK.look()
        more_s = CLOCK.held_s - self._held_s
        if more_s <= 0:
            waiting.throw(error)
            return
        self._held_s = CLOCK.held_s
        self.timer.close()
        self.timer = get_hub().loop.timer(more_s)
        self.timer.start(self._on_expiration, waiting, error, update=True)
