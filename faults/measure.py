"""What a server costs: memory, descriptors, processor time.

Rules
* CPU is the time that the kernel has counted (proc(5)).
* Memory is Pss: what the machine would get back if the processes ended. For the growth of memory, the pages of files
  are left out: they cannot leak, and their share changes when another program of the machine starts or ends.
"""

import os
import resource
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tests.support.processes import open_files
from wsgid.ipc.scoreboard import Scoreboard, Word, layout

KB = 1000
MB = 1000 * KB


def scoreboard_of(pid: int) -> Scoreboard:
    """The scoreboard of a master, through the descriptor that the master has open."""
    links = {
        target.removeprefix("/memfd:").partition(" ")[0]: f"/proc/{pid}/fd/{fd}"
        for fd, target in open_files(pid).items()
    }
    fds = [os.open(links[f"wsgid-scoreboard-{name}-{layout()}"], os.O_RDWR) for name in ("live", "past")]
    try:
        return Scoreboard(*fds)
    finally:
        for fd in fds:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class Weight:
    own_bytes: int
    descriptors: int

    def growth(self, later: "Weight") -> float:
        return later.own_bytes / self.own_bytes - 1


def in_flight(board: Scoreboard, slots: range) -> int:
    return sum(board.line(slot)[Word.IN_FLIGHT] for slot in slots)


def pss_bytes(pids: list[int]) -> int:
    return sum(int(psutil.Process(pid).memory_full_info().pss) for pid in pids)


def own_bytes(pid: int) -> int:
    """Pss without the pages of files (proc(5), smaps_rollup)."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        sizes = {name: value.split()[0] for name, _, value in (line.partition(":") for line in rollup) if value}
    return 1024 * (int(sizes["Pss"]) - int(sizes["Pss_File"]))


def cpu_s(pids: list[int]) -> float:
    """User and system time of these processes, without that of their children."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return float(sum(spent.user + spent.system for spent in times))


def tree_cpu_s(pid: int) -> float:
    """Processor time, user and system, of a master, of the processes that it has reaped, and of all its descendants."""
    master = psutil.Process(pid)
    spent_s = 0.0
    for child in master.children(recursive=True):
        # it has just ended: the times of the master's children include its time, or soon will
        with suppress(psutil.NoSuchProcess):
            spent_s += sum(child.cpu_times()[:4])
    return spent_s + sum(master.cpu_times()[:4])


def allow_descriptors(needed: int) -> None:
    """Raise the limit of open files for this process, and for the servers that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= needed, f"{needed} descriptors are needed, and the hard limit is {hard}: raise it (ulimit -Hn)"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
