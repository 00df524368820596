# The types with which connection.py is compiled.
from wsgid.serving.syscalls cimport close, monotonic, recv, recv_packet, send
from wsgid.serving.turns cimport give_way
from wsgid.wsgi.response cimport Transport


cdef class Connection(Transport):
    cdef readonly int fd
    cdef readonly bint http
    cdef public object watcher
    cdef public bint has_waited
    cdef public double read_wait_s
    cdef public double send_wait_s
    cdef double _timeout_s

    cdef bytes _begun
    cdef bytes _behind

    cpdef bint has_begun(self) except -1
    cpdef bytes begin(self)
    cpdef bytes behind(self)
    cpdef bytes take(self)
    cpdef bytes recv(self, size_bytes=*)
    cpdef send(self, bytes first, bytes second=*)
    cpdef give_way(self)
    cpdef close(self)
