"""What a server has cost so far: processor time and memory of its whole process tree.

The processor time of a process is its clock (clock_getcpuclockid(3)): user and system, of all threads that it has or
had, in nanoseconds.  /proc/PID/stat says the same (they were found to agree within its ticks of 10 ms), and a tick
times the processes of a tree would be percents of a short run; /proc/PID/task/*/schedstat has nanoseconds too, but
forgets the threads that have ended.  What reaped children had spent is in /proc/PID/stat alone.
"""

import time
from collections.abc import Iterator
from contextlib import suppress

import psutil

MIB = 1 << 20
CPUCLOCK_SCHED = 2  # of linux/posix-timers.h: all the time the scheduler has given, to all threads


def tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_s(pid: int) -> float:
    return sum(_each_cpu_s(pid))


def _each_cpu_s(pid: int) -> Iterator[float]:
    for process in tree(pid):
        with suppress(psutil.NoSuchProcess, OSError):  # it has just ended: its parent's children's time has it
            reaped = process.cpu_times()
            yield time.clock_gettime(~process.pid << 3 | CPUCLOCK_SCHED) + reaped.children_user + reaped.children_system


def pss_bytes(pid: int) -> int:
    """Of one process (proc(5), smaps_rollup): a page that N processes share is one Nth of it in each."""
    return int(psutil.Process(pid).memory_full_info().pss)


def tree_pss_bytes(pid: int) -> int:
    return sum(pss_bytes(process.pid) for process in tree(pid))
