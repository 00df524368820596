"""The deadlines of requests: which of them are due, without a look at all the others.

    every window: look at all requests -> `_later`: those that are due within the window
    every slice:  look at `_later`     -> `_soon`:  those that are due within the slice
    every round:  look at `_soon` only

Rules
* A request pays nothing for this: its greenlet has its deadline, and nobody is told about it.  A new request is
  due after the usual time, so a window that is no longer than the usual time misses none.
* Only an earlier deadline has to be told (`set_harakiri`). A later one is noticed when the request would have been due.
* A window is an eighth of the usual time, within bounds, and longer as long as nobody else is due.  So each request is
  looked at eight times at most in its longest life, and a crowd that has come at once is looked at once.
* A slice is short: a crowd that is due within one window must not be looked at in each round of the window.
* Without --harakiri, there is no look at all requests before the first one has asked for a time limit.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator

import greenlet

from wsgid.serving.greenlets import RequestGreenlet

WINDOWS = 8
WINDOW_MIN_S, WINDOW_MAX_S = 1.0, 60.0
SLICE_S = 2.0  # a worker that rests looks as often (rounds.py)


class Deadlines:
    """The deadlines of a worker's requests.

    Args:
        usual_s: how long a request may take unless it asks for another time; infinite for no limit.
        greenlets: returns the greenlets, with or without a request.
    """

    def __init__(self, usual_s: float, greenlets: Callable[[], Collection[RequestGreenlet]]) -> None:
        self.greenlets = greenlets
        self._usual_s = usual_s
        self._window_s = min(usual_s, max(WINDOW_MIN_S, min(usual_s / WINDOWS, WINDOW_MAX_S)))
        self._is_limited = usual_s < math.inf  # whether any request may have a deadline
        self._until_s = self._slice_until_s = -math.inf  # the ends of the window and of the slice
        self._later: dict[RequestGreenlet, float] = {}  # with the start of the request that was seen
        self._soon: dict[RequestGreenlet, float] = {}  # a part of `_later`

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
        until_s = self._slice_until_s if len(self._later) > len(self._soon) else self._until_s
        return min([until_s, *(serving.deadline_s for serving in self._soon)])

    def due(self, now_s: float) -> Iterator[RequestGreenlet]:
        """Yield the greenlets whose requests are overdue. The caller gives each of them another deadline."""
        if self._is_limited and now_s >= self._slice_until_s:
            self._begin_slice(now_s)
        for serving, started_s in list(self._soon.items()):
            if not _is_due(serving, started_s, self._slice_until_s):
                self._forget(serving)
                self._bring_forward(serving)
            elif now_s >= serving.deadline_s:
                self._forget(serving)  # first: nothing may keep an ended greenlet from the collector (cleanup.py)
                yield serving
                self._bring_forward(serving)

    def _bring_forward(self, serving: RequestGreenlet) -> None:
        """The present request of this greenlet has another deadline, which may be an earlier one."""
        if _is_due(serving, serving.started_s, self._until_s):
            self._later[serving] = serving.started_s
            if serving.deadline_s < self._slice_until_s:
                self._soon[serving] = serving.started_s

    def _forget(self, serving: RequestGreenlet) -> None:
        del self._soon[serving]
        del self._later[serving]

    def _begin_slice(self, now_s: float) -> None:
        if now_s >= self._until_s:
            self._begin_window(now_s)
        self._slice_until_s = min(now_s + SLICE_S, self._until_s)
        self._later = _due(self._later, self._until_s)
        self._soon = _due(self._later, self._slice_until_s)

    def _begin_window(self, now_s: float) -> None:
        due_s, self._until_s = now_s + self._window_s, now_s + self._usual_s
        self._later = {}
        for serving in self.greenlets():
            if serving.environ is None:
                continue
            if serving.deadline_s < due_s:
                self._later[serving] = serving.started_s
            elif serving.deadline_s < self._until_s:
                self._until_s = serving.deadline_s


def _due(seen: dict[RequestGreenlet, float], until_s: float) -> dict[RequestGreenlet, float]:
    """Return those of the requests that are due before `until_s`."""
    return {serving: started_s for serving, started_s in seen.items() if _is_due(serving, started_s, until_s)}


def _is_due(serving: RequestGreenlet, started_s: float, until_s: float) -> bool:
    return serving.environ is not None and serving.started_s == started_s and serving.deadline_s < until_s
