"""Gaps between live objects are taken, so that later objects lie in pages of their own."""

import itertools
import os
import subprocess
import sys

import pytest

from wsgid.linux import gaps

PROGRAM = """
import ctypes, sys
from wsgid.linux import gaps
keep = [bytearray(b"x") for _ in range(20_000)]  # small objects, with their memory in the heap
pages = {id(each) >> 12 for each in keep}
libc = ctypes.PyDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_size_t, [ctypes.c_size_t], [ctypes.c_size_t]
chunks = [libc.malloc(2000) for _ in range(2000)]
heap = {chunk >> 12 for chunk in chunks}
del keep[::2]
for chunk in chunks[::2]:
    libc.free(chunk)
if sys.argv[1] == "close":
    gaps.close()
objects = [bytearray() for _ in range(500)]
later = [libc.malloc(2000) for _ in range(500)]
print(sum(id(each) >> 12 in pages for each in objects), sum(chunk >> 12 in heap for chunk in later))
"""


def placed(what: str, **environ: str) -> tuple[int, int]:
    """How many of 500 new objects, and of 500 new chunks, lie in pages of others."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, what],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    objects, chunks = map(int, run.stdout.split())
    return objects, chunks


def test_later_objects_lie_in_pages_of_their_own() -> None:
    objects, chunks = placed("leave")
    assert objects > 400 and chunks > 400
    objects, chunks = placed("close")
    # One page may have some of the last earlier objects: where they end depends on the environment's variables.
    assert objects < 64 + 10 and chunks < 10  # 64 objects fill a page


@pytest.mark.parametrize("allocator", ["malloc", "pymalloc_debug"])
def test_other_allocators_of_objects_are_left_alone(allocator: str) -> None:
    assert placed("close", PYTHONMALLOC=allocator)[1] < 10


def test_whatever_the_allocators_answer_there_is_an_end() -> None:
    """The heap may grow downwards (mmap(2)), and memory may be used up (0)."""
    assert gaps._close_pools(lambda _: 0, lambda *_: False) < gaps._TAKEN_MAX_BYTES + 512
    addresses = itertools.count(1 << 41, -(1 << 17))
    freed: list[int] = []
    assert gaps._close_heap(lambda _: next(addresses), freed.append, 1 << 41) < gaps._TAKEN_MAX_BYTES + (64 << 10)
    assert freed == [1 << 41]
