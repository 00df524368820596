"""The size of a process, as the kernel reports it; and how much freed memory malloc(3) keeps."""

import ctypes
import os

from wsgid.records import dataclass

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES, _KEPT_AT_REST_BYTES = 4 << 20, 512 << 10
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def keep_freed() -> None:
    """Let malloc(3) keep up to _KEPT_BYTES of free memory at the end of its heap. Does nothing where libc is not glibc.

    The default is 128 KiB, and grows with the blocks that are freed. A worker that reads request bodies of 1 MB would
    then give the same pages back, and fault them in again, with each request (mallopt(3), M_TRIM_THRESHOLD,
    M_MMAP_THRESHOLD).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 2)


def give_back_freed(kept_bytes: int = _KEPT_AT_REST_BYTES) -> None:
    """Give free memory back to the kernel, except `kept_bytes` at the end of the heap (malloc_trim(3)). Took 20 us in a
    small process."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(kept_bytes)


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a process: its address space, and the resident part of it."""

    vsz_bytes: int
    rss_bytes: int


def size(pid: int | str = "self") -> Size:
    """Return the size of a process (proc(5), statm). Both numbers are 0 if the process is gone."""
    try:
        fd = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)  # a file object takes twice the time
        try:
            total, resident = os.read(fd, 256).split()[:2]
        finally:
            os.close(fd)
    except (OSError, ValueError):
        return Size(0, 0)
    return Size(int(total) * _PAGE_BYTES, int(resident) * _PAGE_BYTES)


def rss_bytes(pid: int | str = "self") -> int:
    """Return the resident size of a process in bytes; 0 if the process is gone."""
    return size(pid).rss_bytes


_PARTS = ("Rss", "Pss", "Private_Clean", "Private_Dirty", "Shared_Clean", "Shared_Dirty", "Swap")


def parts(pid: int | str) -> dict[str, int] | None:
    """Return the parts of a process's memory in bytes: rss, pss, private, shared and swap (proc(5), smaps_rollup).

    In pss, a page that n processes share counts as 1/n. None if the kernel does not tell, or does not tell this user.
    The kernel walks through the page tables to answer, which takes some milliseconds for a large process.
    """
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
