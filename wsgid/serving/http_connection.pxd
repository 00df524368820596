# The types with which http_connection.py is compiled.
cimport cython

from wsgid.serving.connection cimport Connection
from wsgid.serving.syscalls cimport second
from wsgid.protocol.http cimport Decoder, HttpHead

cdef long long _date_of_s


cdef class HttpConnection:
    cdef readonly Connection connection
    cdef public double ready_s
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
    cdef readonly bint head_out
    cdef bint _ended
    cdef Py_ssize_t _left_bytes
    cdef bint _broken
    cdef bint _over
    cdef object _least
    cdef double _waited_s
    cdef Py_ssize_t _came_bytes
    cdef bytes _rest
    cdef readonly bint close_delimited
    cdef bint _old
    cdef bint _secret

    cpdef advance(self)
    cdef bint is_between(self) except -1
    cdef bint _find_next(self) except -1
    @cython.locals(head=HttpHead)
    cpdef next_head(self)
    @cython.locals(block=bytes)
    cpdef bytes recv(self, Py_ssize_t size_bytes)
    cdef bytes _taken(self, object event)
    @cython.locals(block=bytes, before_s=double)
    cdef _receive(self, Py_ssize_t size_bytes)
    cdef bint _will_end(self) except -1
    @cython.locals(blocks=list, taken=Py_ssize_t)
    cdef _gather(self)
    cpdef bint settle(self) except -1
    cdef bint _has_next(self) except -1
    cdef _event(self)
    cdef _take_in(self)
    cdef _state(self)
    cdef _feed(self, bytes block)
    @cython.locals(lines=str)
    cpdef str head_lines(self, int code, str head, object length, bint bodiless)


@cython.locals(now_s="long long")
cpdef str date_line()
