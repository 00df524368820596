"""The deadlines of requests: which of them are due, without a look at all the others.

    every window: look at all requests -> `_soon`: those that are due within the next window
    every round:  look at `_soon` only

Rules
* A request pays nothing for this: its greenlet has its deadline, and nobody is told about it.  A new request is
  due after the usual time, so a window that is no longer than the usual time misses none.
* Only an earlier deadline has to be told (`set_harakiri`). A later one is noticed when the request would have been due.
* A window is an eighth of the usual time, within bounds.  So each request is looked at some eight times in its longest
  life, however many requests wait.
* Without --harakiri, there is no look at all requests before the first one has asked for a time limit.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator

import greenlet

from wsgid.serving.greenlets import RequestGreenlet

WINDOWS = 8
WINDOW_MIN_S, WINDOW_MAX_S = 1.0, 10.0


class Deadlines:
    """The deadlines of a worker's requests.

    Args:
        usual_s: how long a request may take unless it asks for another time; infinite for no limit.
        greenlets: returns the greenlets, with or without a request.
    """

    def __init__(self, usual_s: float, greenlets: Callable[[], Collection[RequestGreenlet]]) -> None:
        self.greenlets = greenlets
        self._window_s = min(usual_s, max(WINDOW_MIN_S, min(usual_s / WINDOWS, WINDOW_MAX_S)))
        self._is_limited = usual_s < math.inf  # whether any request may have a deadline
        self._until_s = -math.inf  # the end of the window
        self._soon: dict[RequestGreenlet, float] = {}  # with the start of the request that was seen

    def set_harakiri(self, seconds: float) -> None:
        """environ["wsgid.harakiri"]: give this request so many seconds from now on, whatever --harakiri says.

        Args:
            seconds: float("inf") for no limit.

        Raises:
            RuntimeError: called outside of the greenlet that serves a request.
        """
        current = greenlet.getcurrent()
        if not isinstance(current, RequestGreenlet):
            raise RuntimeError("wsgid.harakiri has to be called in the greenlet that serves the request")
        current.deadline_s = time.monotonic() + seconds
        self._is_limited = True
        self._bring_forward(current)

    def due_s(self) -> float:
        """Return when `due` has to be called (time.monotonic())."""
        if not self._is_limited:
            return math.inf
        return min([self._until_s, *(serving.deadline_s for serving in self._soon)])

    def due(self, now_s: float) -> Iterator[RequestGreenlet]:
        """Yield the greenlets whose requests are overdue. The caller gives each of them another deadline."""
        if self._is_limited and now_s >= self._until_s:
            self._look_at_all(now_s)
        for serving, started_s in list(self._soon.items()):
            if serving.environ is None or serving.started_s != started_s or serving.deadline_s >= self._until_s:
                del self._soon[serving]
            elif now_s >= serving.deadline_s:
                del self._soon[serving]  # first: nothing may keep an ended greenlet from the collector (cleanup.py)
                yield serving
                self._bring_forward(serving)

    def _bring_forward(self, serving: RequestGreenlet) -> None:
        """The present request of this greenlet has another deadline, which may be an earlier one."""
        if serving.environ is not None and serving.deadline_s < self._until_s:
            self._soon[serving] = serving.started_s

    def _look_at_all(self, now_s: float) -> None:
        self._until_s = until_s = now_s + self._window_s
        self._soon = {
            serving: serving.started_s
            for serving in self.greenlets()
            if serving.environ is not None and serving.deadline_s < until_s
        }
