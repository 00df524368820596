"""What other processes are called, and what they have open, read from proc(5).

Rule: a process or a descriptor that is listed may be gone before its entry is read. Then it is left out. So a test that
looks at a running server never fails because a process of that server ends at this moment.
"""

import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import psutil


def command_lines(pid: int, *, recursive: bool = False) -> dict[int, str]:
    """The command line of each child of a process, by pid, or of each descendant. Zombies are left out."""
    found = {}
    for child in _descendants(pid) if recursive else [made.pid for made in psutil.Process(pid).children()]:
        with suppress(psutil.NoSuchProcess):  # ZombieProcess is a NoSuchProcess
            process = psutil.Process(child)
            if process.status() != psutil.STATUS_ZOMBIE:
                found[child] = " ".join(process.cmdline()).strip()
    return found


def _descendants(pid: int) -> list[int]:
    """All descendants of a process.

    psutil leaves out a process whose parent ends at this moment, as the parent of each new worker does.
    """
    parents = _parents()
    found = _below(pid, parents)
    if parents.keys() >= {*parents.values()} - {0}:
        return found
    return list(dict.fromkeys(found + _below(pid, _parents())))  # a parent was gone before its own entry was read


def _below(pid: int, parents: dict[int, int]) -> list[int]:
    children = defaultdict(list)
    for child, parent in parents.items():
        children[parent].append(child)
    found = [pid]
    for parent in found:
        found += [child for child in children[parent] if child not in found]
    return found[1:]


def _parents() -> dict[int, int]:
    """The parent of each process of this machine, by pid."""
    found = {}
    for pid in psutil.pids():
        with suppress(FileNotFoundError, ProcessLookupError):
            found[pid] = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return found


def open_files(pid: int) -> dict[int, str]:
    """What the link of each descriptor of a process says, by descriptor.

    Raises:
        FileNotFoundError: there is no such process.
    """
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[int(link.name)] = os.readlink(link)
    return found


def unix_sockets(pid: int, path: Path) -> int:
    """How many sockets with this name a process has: its listener, and the connections that the listener has accepted.

    psutil documents `laddr` as the path for these sockets; types-psutil knows only the pair of host and port.
    """
    try:
        return sum(str(connection.laddr) == str(path) for connection in psutil.Process(pid).net_connections("unix"))
    except psutil.NoSuchProcess:
        return 0


def kill_tree(pid: int) -> None:
    """End a process and all its descendants with SIGKILL, the descendants first."""
    top = psutil.Process(pid)
    for process in [*top.children(recursive=True), top]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def still_runs(process: psutil.Process) -> bool:
    """Whether a process has not ended. A zombie has ended: only its parent has not reaped it yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
