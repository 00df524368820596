"""Takes the samples of a profile: by the processor time of running code, or by the time that requests wait.

    setitimer(ITIMER_PROF) -> SIGPROF -> the handler, in the running greenlet -> its stack counts

Rules
* Nothing is installed before a profile, and nothing is left after it: no handler, no timer, no thread.
* The application has the first right to SIGPROF. If it uses SIGPROF, the profile is refused. If it takes SIGPROF during
  a profile, it keeps it.
* The weight of a sample is the time since the last sample. During a long call of C, where no Python handler runs,
  signals are lost, but the time is not.
* The handler never waits and never raises.
"""

import re
import signal
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import greenlet
from gevent.hub import get_hub

from wsgid.diagnostics.profile_stacks import ProfileRefused, Samples
from wsgid.linux import chance
from wsgid.serving.greenlets import RequestGreenlet

LABEL_MAX_CHARS = 80
SEGMENTS_MAX = 4  # parts of a path in a label
WALL_SHARE = 0.02  # the largest share of the time that is spent on looking at waiting requests

# Roots of stacks that belong to no request.
HUB = "(event loop)"
MAIN = "(main greenlet)"
BETWEEN = "(between requests)"

_VARIABLE = re.compile(r"(?!v\d+$).*\d")  # an id, a date, a hash; but not the version of an interface


class CpuSource:
    """Samples running code, by processor time.

    The intervals are random around 1 / hz. Equal intervals could coincide with requests of equal length, and would then
    always hit the same parts.
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._hub = get_hub()
        self._handler = self._on_signal  # one object, so that it can be compared
        self._before: Any = None
        self._last_ns = 0
        self._interval_s = 0.0
        self._stopped = False
        self._counting = False

    def start(self, hz: int) -> None:
        """Begin to sample. Raises ProfileRefused if the application uses SIGPROF."""
        before = signal.getsignal(signal.SIGPROF)  # None: a handler that is written in C
        if before not in (signal.SIG_DFL, signal.SIG_IGN) or any(signal.getitimer(signal.ITIMER_PROF)):
            raise ProfileRefused(
                "the application uses SIGPROF itself, for a profiler of its own perhaps: end that one first"
            )
        self._before = before
        self._last_ns = time.thread_time_ns()
        signal.signal(signal.SIGPROF, self._handler)
        signal.siginterrupt(signal.SIGPROF, False)  # system calls of the application must not be interrupted
        self._interval_s = 1 / hz
        self._arm()

    def stop(self) -> None:
        """Stop, and remove the handler and the timer."""
        self._stopped = True
        if abs(signal.getitimer(signal.ITIMER_PROF)[1] - self._interval_s) < 1e-5:  # else it is the application's
            signal.setitimer(signal.ITIMER_PROF, 0)
        if not self.goes_on():
            return
        signal.signal(signal.SIGPROF, signal.SIG_IGN)  # discards a pending signal, which would kill us
        signal.signal(signal.SIGPROF, self._before)

    def goes_on(self) -> bool:
        """Whether the handler is still installed."""
        return signal.getsignal(signal.SIGPROF) is self._handler

    def _on_signal(self, _signo: int, frame: FrameType | None) -> None:
        if self._counting or (frame is not None and frame.f_code is _HANDLER):  # the next signal comes during the count
            return
        self._counting = True
        try:
            weight_ns = time.thread_time_ns() - self._last_ns
            self._samples.see(self._root(greenlet.getcurrent()), frame, weight_ns)
            if not self._stopped:
                self._arm()
            self._last_ns = time.thread_time_ns()  # the cost of the sample itself does not count
        except Exception:  # no memory, or too deep: the next sample weighs more  # nosec B110
            pass
        finally:
            self._counting = False

    def _arm(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, self._interval_s * (0.5 + chance.fraction()), self._interval_s)

    def _root(self, holder: Any) -> str:
        if isinstance(holder, RequestGreenlet):
            return request_label(holder.environ) if holder.environ is not None else BETWEEN
        if holder is self._hub:
            return HUB
        if holder.parent is None:
            return MAIN
        run = getattr(holder, "_run", holder)
        return f"greenlet {getattr(run, '__qualname__', type(run).__qualname__)}"[:LABEL_MAX_CHARS]


_HANDLER = CpuSource._on_signal.__code__


class WallSource:
    """Samples all requests in the application, by time. A timer of the hub finds requests that wait."""

    def __init__(self, samples: Samples, greenlets: Callable[[], Iterable[RequestGreenlet]]) -> None:
        self._samples = samples
        self._greenlets = greenlets
        self._interval_s = 0.0
        self._timer: Any = None
        self._last_ns = 0

    def start(self, hz: int) -> None:
        """Begin to sample."""
        self._interval_s = 1 / hz
        self._last_ns = time.monotonic_ns()
        self._timer = get_hub().loop.timer(self._interval_s)
        self._timer.start(self._on_time)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.close()

    def goes_on(self) -> bool:
        """Always True: nothing takes the timer away."""
        return True

    def _on_time(self) -> None:
        now_ns = time.monotonic_ns()
        weight_ns = now_ns - self._last_ns  # the whole time, although few of the shorter requests are met
        for serving in list(self._greenlets()):
            if serving.environ is not None:
                self._samples.see(request_label(serving.environ), serving.gr_frame, weight_ns)
        self._last_ns = now_ns
        took_s = (time.monotonic_ns() - now_ns) / 1e9
        self._timer.close()
        self._timer = get_hub().loop.timer(max(self._interval_s, took_s / WALL_SHARE))
        self._timer.start(self._on_time)


def request_label(environ: dict[str, Any]) -> str:
    """Return the method, and the path as a route would have it: /users/123/orders becomes /users/*/orders."""
    segments = str(environ.get("PATH_INFO") or "/").split("/", SEGMENTS_MAX + 1)
    route = "/".join(["*" if _VARIABLE.match(segment) else segment for segment in segments[: SEGMENTS_MAX + 1]])
    if len(segments) > SEGMENTS_MAX + 1:
        route += "/*"
    return ascii(f"{environ.get('REQUEST_METHOD')} {route}"[:LABEL_MAX_CHARS])[1:-1]
