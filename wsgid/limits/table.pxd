# The types with which table.py is compiled.
cimport cython

from wsgid.limits.keys cimport Keys
from wsgid.limits.locks cimport StripeLocks
from wsgid.limits.permit cimport Bounds, Permit

cdef int _RATE, _WINDOW, _CONCURRENCY, _COUNTER
cdef int _NONE, _ADMITTED, _REJECTED, _WOULD_REJECT, _FAILED_OPEN
cdef int _C_ADMITTED, _C_REJECTED, _C_DELAYED, _C_WOULD_REJECT, _C_FAILED_OPEN, _C_UNDONE, _C_HELD, _C_WAITING
cdef int _N_COUNTS, _N_WAYS, _N_STRIPES, _USED_BITS
cdef long long _NS_PER_MS


cdef class Table:
    cdef Keys _keys
    cdef readonly Py_ssize_t _slot
    cdef public object clock
    cdef public bint gone
    cdef StripeLocks _locks
    cdef StripeLocks _key_locks
    cdef long long _buckets
    cdef Py_ssize_t _places
    cdef long long[::1] _words
    cdef int[::1] _held
    cdef Py_ssize_t _hashes, _values, _metas, _admitted, _rejected, _row, _own, _touched

    @cython.locals(limiter=Bounds, hint=Py_ssize_t, stripe=Py_ssize_t, now_ns="long long", locks=StripeLocks, taken=bint)
    cpdef decide(self, Permit permit, bint commit)

    @cython.locals(limiter=Bounds, place=Py_ssize_t, ahead_ns="long long", burst_ns="long long", interval_ns="long long")
    cdef bint _weigh(self, Permit permit, long long now_ns) except -1
    @cython.locals(limiter=Bounds, place=Py_ssize_t, level="long long", unit_ns="long long")
    cdef bint _weigh_level(self, Permit permit) except -1
    @cython.locals(limiter=Bounds, word="long long", now_ms="long long", ends_ms="long long", used="long long")
    cdef bint _weigh_window(self, Permit permit, long long now_ns) except -1
    @cython.locals(limiter=Bounds, place=Py_ssize_t, counts=Py_ssize_t, words="long long[::1]")
    cdef _store(self, Permit permit, long long now_ns)
    @cython.locals(limiter=Bounds, counted=int)
    cdef _reject(self, Permit permit, bint commit)
    cdef _fail_open(self, Permit permit, bint commit)

    @cython.locals(held_ns="long long", before_ns="long long", value=Py_ssize_t)
    cpdef release(self, Permit permit)
    @cython.locals(stripe=Py_ssize_t, words="long long[::1]")
    cpdef undo(self, Permit permit)
    cdef _give_back(self, Permit permit)
    @cython.locals(at=Py_ssize_t)
    cdef _take_back(self, Permit permit)
    cpdef count(self, Bounds limiter, int count, long long change)

    @cython.locals(stripe=Py_ssize_t, now_ns="long long", before="long long", after="long long")
    cpdef long long change(self, Bounds limiter, key, change) except -2
    @cython.locals(place=Py_ssize_t, stripe=Py_ssize_t, hashed="long long")
    cpdef clear_counters(self)

    @cython.locals(start=Py_ssize_t, place=Py_ssize_t)
    cpdef counts(self, Bounds limiter)

    cdef bint _take(self, Py_ssize_t stripe) except -1
