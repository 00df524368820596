# The types with which http.py is compiled.
cimport cython


cdef class Head:
    cdef readonly dict variables
    cdef readonly object content_length
    cdef readonly bint keep_alive
    cdef readonly bint expects
    cdef readonly bint upgrade
    cdef readonly Py_ssize_t size_bytes
    cdef readonly Py_ssize_t count


cdef class Decoder:
    cdef Py_ssize_t _line_bytes
    cdef Py_ssize_t _headers
    cdef Py_ssize_t _head_bytes
    cdef dict _base
    cdef object _parser
    cdef object _events
    cdef object _error
    cdef object _part
    cdef Py_ssize_t _unseen_bytes
    cdef readonly bytes beyond
    cdef object _raw_bytes
    cdef bytes _target
    cdef Py_ssize_t _count
    cdef Py_ssize_t _size_bytes
    cdef dict _variables

    cpdef feed(self, bytes data)
    cdef _feed(self, bytes data)
    cpdef take(self)
    cdef _take_raw(self, bytes data)
    cpdef on_message_begin(self)
    cpdef on_url(self, bytes part)
    @cython.locals(key=str, text=str)
    cpdef on_header(self, bytes name, bytes value)
    @cython.locals(variables=dict, version=str)
    cpdef on_headers_complete(self)
    cpdef on_body(self, bytes block)
    cpdef on_message_complete(self)
    cdef _refuse(self, error)
    cdef _length(self, dict variables, str version)
    @cython.locals(target=str, path=str)
    cdef _split_target(self, dict variables)
