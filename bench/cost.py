"""What a server has cost so far: processor time and memory of its whole process tree.

The processor time of a process is its clock (clock_getcpuclockid(3)): user and system time, in nanoseconds, of all
threads that the process has or had. /proc/PID/stat has the same time (both were found to agree within its ticks of 10
ms), but a tick for each process would be some percent of a short run. /proc/PID/task/*/schedstat has nanoseconds, too,
but no longer contains threads that have ended. The time of reaped children is only in /proc/PID/stat.
"""

import time
from collections.abc import Iterator
from contextlib import suppress

import psutil

MIB = 1 << 20
CPUCLOCK_SCHED = 2  # from linux/posix-timers.h: all the time that the scheduler has given, to all threads


def tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_s(pid: int) -> float:
    return sum(_each_cpu_s(pid))


def _each_cpu_s(pid: int) -> Iterator[float]:
    for process in tree(pid):
        # the process has just ended: the time of its parent's children includes its time
        with suppress(psutil.NoSuchProcess, OSError):
            reaped = process.cpu_times()
            yield time.clock_gettime(~process.pid << 3 | CPUCLOCK_SCHED) + reaped.children_user + reaped.children_system


def pss_bytes(pid: int) -> int:
    """Pss of one process (proc(5), smaps_rollup): a page that N processes share counts as one Nth in each of them."""
    return int(psutil.Process(pid).memory_full_info().pss)


def tree_pss_bytes(pid: int) -> int:
    return sum(pss_bytes(process.pid) for process in tree(pid))
