# The types with which keepalive.py is compiled.
cimport cython

from wsgid.serving.connection cimport Connection
from wsgid.serving.http_connection cimport HttpConnection


cdef class _Parked:
    cdef public double until_s
    cdef public bint begun


cdef class IdleConnections:
    cdef object _hub
    cdef double _quiet_s
    cdef double _head_s
    cdef Py_ssize_t _places
    cdef object _resume
    cdef dict _parked

    @cython.locals(begun=bint, connection=Connection)
    cpdef keep(self, HttpConnection exchange, object arrival, double now_s)
    @cython.locals(parked=_Parked)
    cpdef _wake(self, HttpConnection exchange)
    cdef _forget(self, HttpConnection exchange)
    cdef _close(self, HttpConnection exchange)
