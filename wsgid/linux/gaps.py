"""Takes the free memory between the objects of a process before it forks others (docs/decisions/044).

    template: imports -> close() -> fork -> worker: its objects lie beside each other, in pages of its own

Rules
* After many imports, there are thousands of gaps between the live objects. A forked process would put its objects into
  them, and each time copy a page that the processes have shared. In pages of its own, they fill a tenth as many.
* The gaps are taken and never given back. Only a process that forks others of its kind gains from that. A second call
  takes only what has become free since the first one.
* What is taken is never written to. Whatever the allocators do, at most _TAKEN_MAX_BYTES are taken.
* Other allocators than CPython's pymalloc (Objects/obmalloc.c) and glibc's malloc are left alone.
"""

import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from typing import Any

# Objects/obmalloc.c on 64-bit machines: POOL_SIZE, POOL_OVERHEAD, ALIGNMENT, SMALL_REQUEST_THRESHOLD
_POOL_BYTES, _HEADER_BYTES, _STEP_BYTES, _SMALL_MAX_BYTES = 16 << 10, 48, 16, 512
_FEW = 8
_SMALL = range(_STEP_BYTES, _SMALL_MAX_BYTES + 1, _STEP_BYTES)
# The largest first: what remains of a gap is taken by the smaller sizes. Larger gaps are few.
_LARGE = (*range(64 << 10, 4 << 10, -1024), *range(4 << 10, 512, -64), *range(512, 0, -16))
_TAKEN_MAX_BYTES = 4 << 20  # by each of the two; 0.3 MB are usual

_Allocate = Callable[[int], int]  # takes bytes, returns an address


def close() -> None:
    """Take the gaps. Takes 2 ms."""
    if _has_pymalloc():
        _close_pools(_typed(ctypes.pythonapi.PyObject_Malloc), _is_begun)
    libc = ctypes.PyDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc
        libc.malloc_trim(0)  # whole pages go back to the kernel, also those at the top
        libc.free.argtypes, libc.free.restype = [ctypes.c_size_t], None
        end = _typed(libc.sbrk)(0)
        _close_heap(_typed(libc.malloc), libc.free, end - mmap.PAGESIZE)


def _has_pymalloc() -> bool:
    usual = os.environ.get("PYTHONMALLOC", "") in ("", "default", "pymalloc") and not sys.flags.dev_mode
    return usual and sys.maxsize > 1 << 32 and "t" not in sys.abiflags and sys.getallocatedblocks() > 0


def _typed(allocate: Any) -> _Allocate:
    allocate.argtypes, allocate.restype = [ctypes.c_size_t], ctypes.c_size_t
    return allocate  # type: ignore[no-any-return]


def _is_begun(block: int, size_bytes: int) -> bool:
    """Whether pymalloc has just begun the pool of this block. This module's own objects may already be in it."""
    pool = block // _POOL_BYTES * _POOL_BYTES
    is_early = block < pool + _HEADER_BYTES + _FEW * size_bytes
    return is_early and ctypes.c_uint.from_address(pool).value <= _FEW  # struct pool_header, ref.count


def _close_pools(allocate: _Allocate, is_begun: Callable[[int, int], bool]) -> int:
    """Take the free blocks of each size, until the allocator begins a pool. Returns how many bytes were taken."""
    taken_bytes = 0
    for size_bytes in _SMALL:
        while taken_bytes < _TAKEN_MAX_BYTES and not is_begun(allocate(size_bytes), size_bytes):
            taken_bytes += size_bytes
    return taken_bytes


def _close_heap(allocate: _Allocate, free: Callable[[int], object], top: int) -> int:
    """Take the free chunks below the top of the heap. Returns how many bytes were taken."""
    taken_bytes = 0
    for size_bytes in _LARGE:
        while taken_bytes < _TAKEN_MAX_BYTES:
            chunk = allocate(size_bytes)
            if chunk >= top:
                free(chunk)
                break
            taken_bytes += size_bytes
    return taken_bytes
