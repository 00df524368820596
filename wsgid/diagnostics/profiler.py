"""A profile of this worker: which stacks use its processor time, or what its requests wait for.

    wsgidctl's order -> Profiler.run -> a sampler (samplers.py) for so many seconds -> its stacks (profile_stacks.py)

Rules
* A worker has one profile at a time.
* However a profile ends, its sampler is stopped, and leaves nothing behind.
"""

import time
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from gevent.event import Event

from wsgid.diagnostics.profile_stacks import ProfileRefused, Samples
from wsgid.diagnostics.samplers import CpuSource, WallSource
from wsgid.records import dataclass
from wsgid.serving.greenlets import RequestGreenlet

SECONDS_MIN, SECONDS_MAX = 1, 300
HZ_MIN, HZ_MAX = 1, 1000
_LOOK_S = 0.1

THREADS = "(native threads)"  # stands in a stack, but is no function


class ProfileClock(Enum):
    """The time that a profile measures."""

    CPU = "cpu"  # processor time of the interpreter's thread
    WALL = "wall"  # the time of each request, while it is in the application


@dataclass(frozen=True, slots=True)
class Order:
    """The asker's wishes."""

    seconds: float
    hz: int
    clock: ProfileClock


class Profiler:
    """Makes the profiles of a worker, one at a time.

    Args:
        greenlets: returns the greenlets that serve requests now.
    """

    def __init__(self, greenlets: Callable[[], Iterable[RequestGreenlet]]) -> None:
        self._greenlets = greenlets
        self._ended: Event | None = None  # set at the end of the running profile

    def run(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Sample for as long as the asker wants. The calling greenlet waits.

        Args:
            arguments: "seconds", "hz" and "clock", from the asker.

        Raises:
            ProfileRefused: an argument is wrong, or a profile is not possible now.
        """
        order = parse(arguments)
        if self._ended is not None:
            raise ProfileRefused(
                "the worker is being profiled already, and one profile at a time is enough: wait for "
                "its end, or profile another --worker"
            )
        samples = Samples()
        source = CpuSource(samples) if order.clock is ProfileClock.CPU else WallSource(samples, self._greenlets)
        ended = self._ended = Event()
        started = _Spent()
        try:
            source.start(order.hz)
            until_s = time.monotonic() + order.seconds
            while (left_s := until_s - time.monotonic()) > 0 and source.goes_on() and not ended.is_set():
                ended.wait(min(left_s, _LOOK_S))
            whole = source.goes_on() and not ended.is_set()
        finally:
            source.stop()
            self._ended = None
        spent = started.until_now()
        if order.clock is ProfileClock.CPU:
            samples.add((THREADS,), spent.process_ns - spent.thread_ns)
        return {
            "clock": order.clock.value,
            "hz": order.hz,
            "seconds": spent.seconds,
            "whole": whole,
            "cpu_s": spent.process_ns / 1e9,
            **samples.encoded(),
        }

    def end(self) -> None:
        """End the running profile, if any. Its asker gets the samples so far."""
        if self._ended is not None:
            self._ended.set()


def parse(arguments: dict[str, Any]) -> Order:
    """Return the order. Raises ProfileRefused for impossible wishes."""
    seconds: Any = arguments.get("seconds")
    hz: Any = arguments.get("hz", 100)
    if type(seconds) not in (int, float) or not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise ProfileRefused(f"a profile takes {SECONDS_MIN} to {SECONDS_MAX} seconds, not {seconds!r}")
    if type(hz) is not int or not HZ_MIN <= hz <= HZ_MAX:
        raise ProfileRefused(f"a profile takes {HZ_MIN} to {HZ_MAX} samples a second, not {hz!r}")
    try:
        return Order(seconds, hz, ProfileClock(arguments.get("clock", ProfileClock.CPU.value)))
    except ValueError:
        raise ProfileRefused(
            f"there is no clock {arguments['clock']!r}; there are {', '.join(clock.value for clock in ProfileClock)}"
        ) from None


class _Spent:
    """Clocks that are read together."""

    def __init__(self) -> None:
        self.seconds = time.monotonic()
        self.process_ns = time.process_time_ns()
        self.thread_ns = time.thread_time_ns()

    def until_now(self) -> "_Spent":
        now = _Spent()
        now.seconds -= self.seconds
        now.process_ns -= self.process_ns
        now.thread_ns -= self.thread_ns
        return now
