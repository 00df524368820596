"""The time in which the main thread of a worker could not run, as its witness (stutter.py) sees it.

    passed - what shows that the process lived = the process was stopped, or the machine; + the wait for a processor

The process lived while the main thread ran or waited for a processor, and while the witness slept for a tick, ran or
waited for a processor. While the witness waits for the interpreter's lock, it wakes up in each switch interval and
sleeps again (CPython's take_gil). If the main thread sleeps meanwhile, these wake-ups are the only sign of life. If it
runs, it gives the lock away now and then: then there are more wake-ups than intervals.
"""

import sys
from collections.abc import Callable

from wsgid.linux import thread_times
from wsgid.linux.thread_times import ThreadClock, ThreadTimes

TICK_S = 0.01  # how long the witness sleeps
ASLEEP_SHARE = 0.1  # a main thread that runs for less than this share of the time is asleep


class LostTime:
    """Measures from one tick of the witness to the next. Used by the witness alone.

    Args:
        main: of the main thread.
        own: of the witness.
        sleeps: returns how often the witness has slept.
    """

    def __init__(self, main: ThreadClock, own: ThreadClock, sleeps: Callable[[], int] = thread_times.sleeps) -> None:
        self._main_clock, self._own_clock, self._count_sleeps = main, own, sleeps
        self._main, self._own, self._sleeps = main.read(), own.read(), sleeps()

    def since_last(self, passed_s: float) -> float:
        """Return the seconds that were lost since the last call.

        Args:
            passed_s: the whole time, by the monotonic clock.
        """
        main, own, sleeps = self._main, self._own, self._sleeps
        self._main, self._own, self._sleeps = self._main_clock.read(), self._own_clock.read(), self._count_sleeps()
        mine = self._own - own
        woken = max(self._sleeps - sleeps - 1, 0)  # one sleep is the tick's
        return lost_s(passed_s, self._main - main, mine.ran_s + mine.waited_s, woken * sys.getswitchinterval())


def lost_s(passed_s: float, main: ThreadTimes, awake_s: float, locked_s: float) -> float:
    """Return for how long the main thread could not run.

    Args:
        passed_s: the whole time, by the monotonic clock.
        main: what the main thread did.
        awake_s: how long the witness ran, or waited for a processor.
        locked_s: how long the witness waited for the interpreter's lock, at most.
    """
    seen_s = main.ran_s + main.waited_s
    if seen_s < ASLEEP_SHARE * passed_s:
        seen_s = max(seen_s, locked_s)
    stopped_s = max(passed_s - TICK_S - awake_s - seen_s, 0.0)
    return min(stopped_s + main.waited_s, passed_s)
