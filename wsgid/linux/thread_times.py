"""What the kernel says of a thread: how long it ran, how long it waited for a processor, how often it slept.

Rules
* Where the kernel does not tell (no /proc, no CONFIG_SCHED_INFO), all times are 0.
* The calls keep the interpreter's lock (ctypes.PyDLL). Functions of `os` give it away: another thread would run on, and
  its times would belong to a later moment than those that were read before.
"""

import ctypes
import os
import resource
from dataclasses import dataclass

_LINE_MAX_BYTES = 100

_libc = ctypes.PyDLL(None)


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
    line = ctypes.create_string_buffer(_LINE_MAX_BYTES)
    fd = _libc.open(b"/proc/self/task/%d/schedstat" % native_id, os.O_RDONLY | os.O_CLOEXEC)
    if fd >= 0:
        _libc.read(fd, line, _LINE_MAX_BYTES - 1)
        _libc.close(fd)
    numbers = line.value.split()
    if len(numbers) < 2:
        return ThreadTimes(0.0, 0.0)
    return ThreadTimes(int(numbers[0]) / 1e9, int(numbers[1]) / 1e9)


def sleeps() -> int:
    """Return how often the calling thread has given its processor away by itself (getrusage(2), ru_nvcsw)."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
