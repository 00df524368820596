# The types with which input.py is compiled.

cdef class Body:
    cdef readonly object stream
    cdef object _wire

    cpdef end(self)
