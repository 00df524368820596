# The types with which connection.py is compiled.

cdef class Connection:
    cdef readonly int fd
    cdef double _timeout_s

    cpdef bytes recv(self, size_bytes=*)
    cpdef send(self, first, second=*)
    cpdef close(self)
