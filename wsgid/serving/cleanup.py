"""Destroys what a request leaves behind, so that the next visitor never meets it.

Rules
* A gevent.Timeout belongs to the request that has started it.  If the request does not cancel it, and it expires after
  the request, it is named in the log and ends nothing.
* Objects of an ended greenlet (thread-locals, and connections in them) are destroyed within a round, in a greenlet of
  their own: destroying may wait, and the hub must not wait.
* Only the garbage collector finds connections in reference cycles, such as Django's. An idle worker never runs the
  collector.  So it is run after greenlets have ended: when the worker is quiet, or after COLLECT_WITHIN_S otherwise.
"""

import gc
import math
import time
from typing import Any

import gevent
import greenlet

from wsgid import log
from wsgid.log.rate_limit import RateLimit
from wsgid.serving.greenlets import RequestGreenlet

COLLECT_PAUSE_S = 1.0  # the shortest time between two collections
COLLECT_WITHIN_S = 30.0
WARNINGS_PER_S, WARNINGS_BURST = 1.0, 5

_start = gevent.Timeout.start
_expire = gevent.Timeout._on_expiration
_warnings = RateLimit(WARNINGS_PER_S, WARNINGS_BURST)


class Cleanup:
    """What ended greenlets of a worker have left behind."""

    def __init__(self) -> None:
        self._ended: list[RequestGreenlet] = []
        self._collect_from_s = -math.inf
        self._collect_by_s = math.inf

    def add(self, ended: RequestGreenlet) -> None:
        """Add a greenlet that serves no more requests."""
        self._ended.append(ended)

    def clear(self, now_s: float, quiet: bool) -> None:
        """Destroy what was added. Called now and then.

        Args:
            now_s: by the monotonic clock.
            quiet: whether no request is in flight.
        """
        ended, self._ended = self._ended, []
        if ended:
            self._collect_by_s = min(self._collect_by_s, now_s + COLLECT_WITHIN_S)
        collect = now_s >= self._collect_by_s or (quiet and self._collect_by_s < math.inf)
        if collect and now_s < self._collect_from_s:
            collect = False
        if collect:
            self._collect_by_s = math.inf
            self._collect_from_s = now_s + COLLECT_PAUSE_S
        if ended or collect:
            gevent.spawn(_destroy, ended, collect)


def _destroy(ended: list[RequestGreenlet], collect: bool) -> None:
    ended.clear()
    if collect and gc.isenabled():  # an application that has disabled the collector does not want it
        gc.collect()


def tie_time_outs() -> None:
    """From now on a gevent.Timeout can only end the request in which it was started."""
    gevent.Timeout.start = _start_tied
    gevent.Timeout._on_expiration = _expire_tied  # gevent's hook for subclasses


def _start_tied(timeout: Any) -> None:
    current = greenlet.getcurrent()
    timeout.request = current.request if type(current) is RequestGreenlet else None
    _start(timeout)


def _expire_tied(timeout: Any, waiting: Any, error: Any) -> None:
    request = getattr(timeout, "request", None)
    if request is None or request == waiting.request:
        _expire(timeout, waiting, error)
    elif _warnings.admit(time.monotonic()):
        log.warning(
            "a gevent.Timeout of %s has expired after the end of the request that has started it: cancel "
            "time-outs that you start",
            timeout,
        )
