"""How many workers there should be for the load: --workers-min to --workers.

    target(load, now_s) -> the number of workers

Rules
* No I/O and no clock, as in fleet.py, so that a simulation can test the rule.
* More workers are wanted if connections wait to be accepted at two looks in a row, if nearly all places of --gevent are
  taken, or if the event loops of all workers mostly stand still. One look may meet a connection on its way to a worker.
* The number grows at once, to what the load needs, and at most to the double. It grows no further until all workers
  are Ready.
* One worker less is wanted if half of the remaining places would do, and half of the remaining loops, for the whole
  pause, and if a worker has no request: nobody's request is cut. Further workers follow after shorter pauses.
* If the number has to grow again soon after it has shrunk, the pause doubles. So a load between two numbers does not
  make workers come and go for ever.
"""

from math import ceil, inf

from wsgid.records import dataclass

PAUSE_S = 30.0  # of small load, before one worker less
PAUSE_MAX_S = 960.0
NEXT_S = 5.0  # between two workers that leave in a row
FULL = 0.9  # share of places, or of time in which loops stand still, from which on workers are full
AIM = 0.7  # share of places that is taken after growth
ROOM = 0.5  # share of places that may be taken after shrinking
LOOKS = 2  # in a row with waiting connections


@dataclass(frozen=True, slots=True)
class Load:
    """What the workers have to do.

    Args:
        ready: workers that accept.
        idle: workers without a request.
        in_flight: requests of all workers.
        waiting: connections that wait to be accepted.
        standing: how long the loops of all workers stand still, in loops: 1.5 are a loop and a half.
    """

    ready: int
    idle: int = 0
    in_flight: int = 0
    waiting: int = 0
    standing: float = 0.0


class Scaling:
    """The rule.

    Args:
        least: the fewest workers.
        most: the most workers.
        initial: the workers at the start.
        places: how many requests one worker takes at once.
    """

    def __init__(self, least: int, most: int, initial: int, places: int) -> None:
        self.least = min(least, most)
        self.most = most
        self.workers = min(max(initial, self.least), most)
        self._places = places
        self._waited = 0  # looks in a row with waiting connections
        self._small_since_s = inf  # since when the load is small
        self._shrunk_s = -inf  # when the number has shrunk last
        self._pause_s = PAUSE_S
        self._is_first = True  # whether the next worker that leaves is the first in a row

    def set(self, workers: int) -> None:
        """The operator wants this number of workers now. Fewer than now is the most from now on; more may be the new
        most."""
        self.most = workers if workers < self.workers else max(self.most, workers)
        self.least = min(self.least, workers)
        self.workers = workers

    def target(self, load: Load, now_s: float) -> int:
        """Return the number of workers that there should be.

        Args:
            load: at this moment.
            now_s: of a clock that never goes back.
        """
        self._waited = self._waited + 1 if load.waiting else 0
        if self._is_full(load):
            self._small_since_s = inf
            if load.ready >= self.workers:  # otherwise help is on its way
                self._grow(load, now_s)
        elif not self._is_small(load):
            self._small_since_s = inf
            self._is_first = True
        else:
            self._small_since_s = min(self._small_since_s, now_s)
            self._shrink(load, now_s)
        return self.workers

    def _is_full(self, load: Load) -> bool:
        places = self._places * load.ready
        return load.ready > 0 and (
            self._waited >= LOOKS
            or load.in_flight + load.waiting >= FULL * places
            or load.standing >= FULL * load.ready
        )

    def _is_small(self, load: Load) -> bool:
        left = self.workers - 1
        return (
            left >= self.least
            and not load.waiting
            and load.in_flight <= ROOM * self._places * left
            and load.standing <= ROOM * left
        )

    def _grow(self, load: Load, now_s: float) -> None:
        needed = ceil((load.in_flight + load.waiting) / (AIM * self._places))
        wanted = min(max(self.workers + 1, min(needed, 2 * self.workers)), self.most)
        if wanted > self.workers and now_s - self._shrunk_s < 2 * self._pause_s:
            self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
        elif now_s - self._shrunk_s > 4 * self._pause_s:
            self._pause_s = PAUSE_S
        self.workers, self._waited, self._is_first = wanted, 0, True

    def _shrink(self, load: Load, now_s: float) -> None:
        pause_s = self._pause_s if self._is_first else NEXT_S
        if now_s - self._small_since_s >= pause_s and load.idle and load.ready >= self.workers:
            self.workers -= 1
            self._small_since_s, self._shrunk_s, self._is_first = now_s, now_s, False
