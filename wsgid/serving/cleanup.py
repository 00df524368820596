"""What a request leaves behind when it ends, so that the next visitor never meets it.

Rules
* A gevent.Timeout belongs to the request in which it was started.  If it was not cancelled and expires later, it is
  named in the log and ends nothing.
* What belongs to a greenlet that has ended (thread-locals, and the connections in them) is destroyed within a round, in
  a greenlet of its own: destroying may wait, and the hub must not.
* Connections in reference cycles, as Django's are, are found by the collector alone, which an idle worker never calls.
  So it is called after greenlets have ended: as soon as the worker is quiet, or after COLLECT_WITHIN_S if it never is.
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

COLLECT_PAUSE_S = 1.0  # between two collections, at the least
COLLECT_WITHIN_S = 30.0
WARNINGS_PER_S, WARNINGS_BURST = 1.0, 5

_start = gevent.Timeout.start
_expire = gevent.Timeout._on_expiration
_warnings = RateLimit(WARNINGS_PER_S, WARNINGS_BURST)


class Cleanup:
    """What ended greenlets have left behind, in one worker."""

    def __init__(self) -> None:
        self._ended: list[RequestGreenlet] = []
        self._collect_from_s = -math.inf
        self._collect_by_s = math.inf

    def add(self, ended: RequestGreenlet) -> None:
        """This greenlet serves nobody any more."""
        self._ended.append(ended)

    def clear(self, now_s: float, quiet: bool) -> None:
        """Destroy what there is. Called now and then; `quiet` says that no request is in flight."""
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
    if collect and gc.isenabled():  # an application that has disabled it does not want it
        gc.collect()


def tie_time_outs() -> None:
    """From now on a gevent.Timeout ends nothing but the request in which it was started."""
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
