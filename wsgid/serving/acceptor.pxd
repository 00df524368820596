# The types with which acceptor.py is compiled.
cimport cython

from wsgid.serving.connection cimport Connection
from wsgid.serving.greenlets cimport GreenletPool
from wsgid.serving.syscalls cimport monotonic
from wsgid.serving.tally cimport Tally


cdef class Acceptor:
    cdef readonly bint is_closed
    cdef readonly Py_ssize_t in_flight
    cdef Py_ssize_t _places
    cdef double _timeout_s
    cdef object _hub
    cdef object _wrapping
    cdef GreenletPool _pool
    cdef Tally _tally
    cdef object _say_once
    cdef list _listeners
    cdef dict _lent
    cdef Py_ssize_t _batch_left
    cdef double _slice_ends_s
    cdef list _early
    cdef object _pause

    @cython.locals(connection=Connection)
    cdef Connection accept_next(self, listener)
    cdef int _accept(self, listener) except -2
    cdef start_slice(self)
    cdef bint is_slice_over(self, double now_s) except -1
    cdef end_batch(self)
    cdef bint is_full(self) except -1
    cdef take_place(self)
    cdef free_place(self)
