# The types with which exchange.py is compiled.
cimport cython

from wsgid.connection cimport Connection
from wsgid.protocol.http cimport Decoder, Head


cdef class Exchange:
    cdef readonly Connection connection
    cdef public bint keep_alive
    cdef readonly bint chunked
    cdef readonly bint taken
    cdef readonly Py_ssize_t served
    cdef public object refused
    cdef object _leaving
    cdef object _trusted
    cdef bint _introduced
    cdef readonly bint is_trusted
    cdef Decoder _decoder
    cdef object _next
    cdef bint _expects
    cdef bint _ended
    cdef bint _broken
    cdef bytes _rest
    cdef bint _close_delimited
    cdef bint _old

    cpdef advance(self)
    @cython.locals(head=Head)
    cpdef next_head(self)
    @cython.locals(block=bytes)
    cpdef bytes recv(self, Py_ssize_t size_bytes)
    cdef _receive(self)
    cpdef bint settle(self) except -1
    cdef bint _has_next(self) except -1
    cdef _take_in(self)
    cdef _feed(self, bytes block)
    @cython.locals(lines=str)
    cpdef str head_lines(self, int code, str head, object length, bint bodiless)


cpdef str date_line()
