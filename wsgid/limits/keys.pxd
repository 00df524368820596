# The types with which keys.py is compiled.
cimport cython

from wsgid.limits.permit cimport Bounds, Permit

cdef int _RATE, _CONCURRENCY, _N_WAYS, _N_STRIPES, _SLOTS_USED
cdef long long _NS_PER_MS


cdef class Keys:
    cdef object _memory
    cdef object _layout
    cdef long long _buckets
    cdef Py_ssize_t _places
    cdef readonly long long[::1] words
    cdef readonly int[::1] held
    cdef Py_ssize_t _hashes, _values, _metas, _admitted, _rejected
    cdef bytes _secret

    cpdef tuple hash(self, Bounds limiter, key)
    cpdef find(self, Permit permit)
    @cython.locals(start=Py_ssize_t, place=Py_ssize_t)
    cdef Py_ssize_t _search(self, long long hashed) except -2
    @cython.locals(place=Py_ssize_t, start=Py_ssize_t, words="long long[::1]")
    cpdef Py_ssize_t make_place(self, Permit permit, long long now_ns) except -2
    @cython.locals(start=Py_ssize_t, place=Py_ssize_t, idle=Py_ssize_t)
    cdef Py_ssize_t _free_place(self, long long hashed, long long now_ns) except -2
    @cython.locals(kind=int, value="long long")
    cdef bint _is_idle(self, Py_ssize_t place, long long now_ns) except -1
    @cython.locals(total="long long", at=Py_ssize_t)
    cpdef long long level(self, Py_ssize_t place) except -1
