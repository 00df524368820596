# The types with which connection.py is compiled.
cimport cython

from wsgid.serving.syscalls cimport close, monotonic, recv, recv_into, recv_packet, send
from wsgid.serving.turns cimport give_way
from wsgid.wsgi.response cimport Transport


cdef class Connection(Transport):
    cdef readonly int fd
    cdef readonly bint http
    cdef public bint has_waited
    cdef public float read_wait_s  # a double would take 8 bytes; these are exact enough for a time-out and for statistics
    cdef public float send_wait_s
    cdef float _timeout_s
    cdef public object watcher

    cdef tuple _begun

    cpdef bint has_begun(self) except -1
    cpdef tuple begin(self)
    cpdef bytes take(self)
    cpdef bytes recv(self, size_bytes=*)
    @cython.locals(size_bytes=Py_ssize_t)
    cpdef Py_ssize_t recv_into(self, target) except -1
    cpdef send(self, bytes first, bytes second=*)
    cpdef give_way(self)
    cpdef close(self)
