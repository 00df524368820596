# The types with which keepalive.py is compiled.
cimport cython

from wsgid.serving.connection cimport Connection
from wsgid.serving.http_connection cimport HttpConnection


cdef class IdleConnections:
    cdef object _hub
    cdef double _quiet_s
    cdef double _head_s
    cdef Py_ssize_t _places
    cdef object _resume
    cdef dict _quiet
    cdef dict _begun

    @cython.locals(connection=Connection)
    cpdef keep(self, HttpConnection exchange, object arrival, double now_s)
    cpdef _wake(self, HttpConnection exchange)
    cdef _forget(self, HttpConnection exchange)
    cdef _close(self, HttpConnection exchange)
