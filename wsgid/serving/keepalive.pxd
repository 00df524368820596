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
    cdef object _epoll
    cdef object _watcher
    cdef dict _watched

    @cython.locals(connection=Connection)
    cpdef keep(self, HttpConnection exchange, object arrival, double now_s)
    cpdef leave(self, int fd)
    cdef _watch(self, HttpConnection exchange)
    @cython.locals(exchange=HttpConnection, ready=list)
    cpdef _wake(self)
    cdef bint _has_request(self, HttpConnection exchange) except -1
    cdef _forget(self, HttpConnection exchange)
    cdef _close(self, HttpConnection exchange)
