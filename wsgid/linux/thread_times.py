"""What the kernel says of a thread: how long it ran, how long it waited for a processor, how often it slept.

Rules
* Where the kernel does not tell (no /proc, no CONFIG_SCHED_INFO), all times are 0.
* `posix` is used: in a patched process, functions of `os` may be gevent's.
"""

import posix
import resource
from dataclasses import dataclass

_LINE_MAX_BYTES = 100


@dataclass(frozen=True, slots=True)
class ThreadTimes:
    """The times of a thread since its start."""

    ran_s: float
    waited_s: float  # runnable, but without a processor


def of_thread(native_id: int) -> ThreadTimes:
    """Return the times of a thread of this process (/proc/PID/task/TID/schedstat; Documentation/scheduler/sched-stats).

    Args:
        native_id: the kernel's number of the thread; that of the main thread is the pid.
    """
    try:
        fd = posix.open(f"/proc/self/task/{native_id}/schedstat", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return ThreadTimes(0.0, 0.0)
    try:
        ran_ns, waited_ns, _slices = posix.read(fd, _LINE_MAX_BYTES).split()
        return ThreadTimes(int(ran_ns) / 1e9, int(waited_ns) / 1e9)
    except (OSError, ValueError):
        return ThreadTimes(0.0, 0.0)
    finally:
        posix.close(fd)


def sleeps() -> int:
    """Return how often the calling thread has given its processor away by itself (getrusage(2), ru_nvcsw)."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
