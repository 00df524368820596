# The C interface of locks.pyx.

cdef class StripeLocks:
    cdef object _memory
    cdef unsigned char *_first
    cdef Py_ssize_t _count

    cpdef bint take(self, Py_ssize_t number) except -1
    cpdef free(self, Py_ssize_t number)
    cpdef bint take_all(self, list numbers) except -1
    cpdef free_all(self, list numbers)
