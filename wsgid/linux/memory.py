"""How large a process is, as the kernel says; and what malloc(3) keeps of what was freed."""

import ctypes
import os
from dataclasses import dataclass

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 512 << 10
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def keep_freed() -> None:
    """Have malloc(3) keep up to _KEPT_BYTES of what is free at the end of its heap. By default it is 128 KiB, and a
    worker that reads 64 KB after 64 KB of request bodies would give back the same pages, and fault them in again, with
    each request. Does nothing where libc is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 2)


@dataclass(frozen=True, slots=True)
class Size:
    """How large a process is: its address space, and what of it is resident."""

    vsz_bytes: int
    rss_bytes: int


def size(pid: int | str = "self") -> Size:
    """As the kernel says (proc(5), statm); nothing if the process is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:  # bytes: a codec would be imported first
            total, resident = (statm.read() or b"").split()[:2]
    except (OSError, ValueError):
        return Size(0, 0)
    return Size(int(total) * _PAGE_BYTES, int(resident) * _PAGE_BYTES)


def rss_bytes(pid: int | str = "self") -> int:
    """The resident size of a process; 0 if it is gone."""
    return size(pid).rss_bytes


_PARTS = ("Rss", "Pss", "Private_Clean", "Private_Dirty", "Shared_Clean", "Shared_Dirty", "Swap")


def parts(pid: int | str) -> dict[str, int] | None:
    """What a process's memory consists of, in bytes: rss, pss (a page that n share counts for 1/n), private (uss),
    shared and swap (proc(5), smaps_rollup); None if the kernel does not say, or not to this user. The kernel walks
    through the page tables for it: some milliseconds for a large process."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
            lines = [line.split() for line in rollup]
    except OSError:
        return None
    kb = {line[0].rstrip(":"): int(line[1]) for line in lines if line[0].rstrip(":") in _PARTS}
    sums = {
        "rss": ("Rss",),
        "pss": ("Pss",),
        "private": ("Private_Clean", "Private_Dirty"),
        "shared": ("Shared_Clean", "Shared_Dirty"),
        "swap": ("Swap",),
    }
    return {name: sum(kb.get(key, 0) for key in keys) << 10 for name, keys in sums.items()}
