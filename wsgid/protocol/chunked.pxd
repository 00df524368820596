# The types with which chunked.py is compiled.
cimport cython


cdef Py_ssize_t _SIZE_MAX_DIGITS
cdef Py_ssize_t _SIZE_HIGH


cdef class Chunks:
    cdef readonly bint ended
    cdef readonly object error
    cdef Py_ssize_t _lines_left
    cdef Py_ssize_t _size_bytes
    cdef Py_ssize_t _trailers_left
    cdef Py_ssize_t _extensions_left
    cdef Py_ssize_t _chunk_left
    cdef bint _trailing
    cdef list _blocks

    @cython.locals(blocks=list)
    cpdef bytes take(self)
    cpdef Py_ssize_t decode(self, bytes data, Py_ssize_t at) except -1
    @cython.locals(end=Py_ssize_t, start=Py_ssize_t, left=Py_ssize_t, size=Py_ssize_t)
    cdef Py_ssize_t _decode_chunks(self, bytes data, Py_ssize_t at) except -1
    @cython.locals(start=Py_ssize_t, end=Py_ssize_t, digits=bytes, size=Py_ssize_t)
    cdef Py_ssize_t _read_size(self, bytes data, Py_ssize_t at) except -2
    @cython.locals(stop=Py_ssize_t)
    cdef Py_ssize_t _extensions_end(self, bytes data, Py_ssize_t at) except -2
    @cython.locals(stop=Py_ssize_t, line_bytes=Py_ssize_t)
    cdef Py_ssize_t _skip_trailers(self, bytes data, Py_ssize_t at) except -1
