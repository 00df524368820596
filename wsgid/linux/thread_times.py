"""What the kernel says of a thread: how long it ran, how long it waited for a processor, how often it slept.

Rules
* Where the kernel does not tell (no /proc, no CONFIG_SCHED_INFO), all times are 0.
* Reading keeps the interpreter's lock (ctypes.PyDLL). Functions of `os` give it away: another thread would run on, and
  its times would belong to a later moment than those that were read before.
"""

import ctypes
import os
import resource

from wsgid.records import dataclass

_LINE_MAX_BYTES = 100

_libc = ctypes.PyDLL(None)


@dataclass(frozen=True, slots=True)
class ThreadTimes:
    """The times of a thread."""

    ran_s: float
    waited_s: float  # runnable, but without a processor

    def __sub__(self, earlier: "ThreadTimes") -> "ThreadTimes":
        return ThreadTimes(max(self.ran_s - earlier.ran_s, 0.0), max(self.waited_s - earlier.waited_s, 0.0))


class ThreadClock:
    """The times of one thread of this process (/proc/PID/task/TID/schedstat; Documentation/scheduler/sched-stats).

    Args:
        native_id: the kernel's number of the thread; that of the main thread is the pid (gettid(2)).
    """

    def __init__(self, native_id: int) -> None:
        path = b"/proc/self/task/%d/schedstat" % native_id
        self.fd: int = _libc.open(path, os.O_RDONLY | os.O_CLOEXEC)  # -1: the kernel does not tell
        self._line = ctypes.create_string_buffer(_LINE_MAX_BYTES)

    def read(self) -> ThreadTimes:
        """Return the times since the thread's start. Takes two microseconds."""
        size_bytes = _libc.pread(self.fd, self._line, _LINE_MAX_BYTES, ctypes.c_long(0))
        try:
            ran_ns, waited_ns, _slices = self._line.raw[: max(size_bytes, 0)].split()
            return ThreadTimes(int(ran_ns) / 1e9, int(waited_ns) / 1e9)
        except ValueError:
            return ThreadTimes(0.0, 0.0)

    def close(self) -> None:
        """Read no more."""
        if self.fd >= 0:
            _libc.close(self.fd)
            self.fd = -1


def sleeps() -> int:
    """Return how often the calling thread has given its processor away by itself (getrusage(2), ru_nvcsw)."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
