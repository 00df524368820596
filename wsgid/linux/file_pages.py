"""Gives back the pages of program files that only the start of a process has read (docs/decisions/047).

    template: imports -> release() -> its next instructions bring back what they use

Rules
* The loader and the initialisation of a module read nearly all pages of its file, once. Later a process uses a part of
  them. Nothing is lost: the pages stay in the kernel's cache of files, and come back by a minor fault.
* Only private mappings of files are given back that nobody can write to, and of which this process has changed no page:
  MADV_DONTNEED drops changes (madvise(2)), such as those of the loader to addresses.
"""

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import suppress

# proc_pid_smaps(5): a heading (range, permissions, offset, device, inode, path), and lines of which this is the last.
_LAST_LINE = b"VmFlags:"
_UNCHANGED = b"Anonymous:             0 kB\n"
_READ_ONLY = (b"r--p", b"r-xp")


def release() -> None:
    """Give back the pages. Takes 3 ms."""
    with suppress(OSError), open("/proc/self/smaps", "rb", buffering=0) as file:  # without /proc, all stays as it is
        text = file.read()
        madvise = ctypes.PyDLL(None).madvise
        madvise.argtypes, madvise.restype = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int], ctypes.c_int
        for start, end in _unchanged(text):
            madvise(start, end - start, mmap.MADV_DONTNEED)


def _unchanged(smaps: bytes) -> Iterator[tuple[int, int]]:
    """Yield the ranges of the mappings that are given back. Copies nothing but their headings."""
    begin = 0
    while (end := smaps.find(_LAST_LINE, begin)) >= 0:
        if smaps.find(_UNCHANGED, begin, end) >= 0:
            place, permissions, _, _, inode, *_ = smaps[begin : smaps.index(b"\n", begin)].split(None, 5)
            if permissions in _READ_ONLY and inode != b"0":
                first, _, last = place.partition(b"-")
                yield int(first, 16), int(last, 16)
        begin = smaps.find(b"\n", end) + 1 or len(smaps)
