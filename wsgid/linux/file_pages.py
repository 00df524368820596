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
import re
from collections.abc import Iterator
from contextlib import suppress

# The heading of a mapping in proc_pid_smaps(5): range, permissions, offset, device, inode (0: no file).
_HEADING = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+)", re.MULTILINE)
_UNCHANGED = re.compile(rb"^Anonymous: +0 kB$", re.MULTILINE)


def release() -> None:
    """Give back the pages. Takes 2 ms."""
    with suppress(OSError), open("/proc/self/smaps", "rb") as file:  # without /proc, all stays as it is
        text = file.read()
        madvise = ctypes.PyDLL(None).madvise
        madvise.argtypes, madvise.restype = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int], ctypes.c_int
        for start, end in _unchanged(text):
            madvise(start, end - start, mmap.MADV_DONTNEED)


def _unchanged(smaps: bytes) -> Iterator[tuple[int, int]]:
    """Yield the ranges of the mappings that are given back."""
    headings = list(_HEADING.finditer(smaps))
    ends = [*(heading.start() for heading in headings[1:]), len(smaps)]
    for heading, end in zip(headings, ends):
        first, last, permissions, inode = heading.groups()
        is_private_file = inode != b"0" and permissions in (b"r--p", b"r-xp")
        if is_private_file and _UNCHANGED.search(smaps, heading.end(), end):
            yield int(first, 16), int(last, 16)
