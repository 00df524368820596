# The types with which http.py is compiled.
cimport cython

from wsgid.protocol.chunked cimport Chunks
from wsgid.protocol.fields cimport is_plain, parse_length
from wsgid.protocol.plain_lines cimport take_fields, take_request_line
from wsgid.protocol.target cimport check_host, split


cdef dict _names
cdef dict _VERSIONS
cdef frozenset _METHODS
cdef object _BETWEEN, _FIELDS, _BODY, _CHUNKS, _NOTHING, _REFUSED


cdef class HttpHead:
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
    cdef object _part
    cdef bytes _data
    cdef Py_ssize_t _at
    cdef dict _variables
    cdef str _authority
    cdef Py_ssize_t _target_bytes
    cdef Py_ssize_t _count
    cdef Py_ssize_t _size_bytes
    cdef Py_ssize_t _left_bytes
    cdef Chunks _chunks
    cdef bint _last

    cpdef feed(self, bytes data)
    cpdef take(self)
    @cython.locals(size=Py_ssize_t)
    cdef _take_body(self)
    @cython.locals(chunks=Chunks, block=bytes)
    cdef _take_chunks(self)
    @cython.locals(data=bytes, at=Py_ssize_t)
    cdef bytes _cut(self, Py_ssize_t size_bytes)
    cdef _end(self)
    @cython.locals(data=bytes, at=Py_ssize_t, stop=Py_ssize_t, left_bytes=Py_ssize_t, whole=bint)
    cdef _take_head(self)
    @cython.locals(variables=dict)
    cdef bint _take_plain_request_line(self) except -1
    @cython.locals(lines=Py_ssize_t, before=Py_ssize_t, stop=Py_ssize_t)
    cdef _take_plain_fields(self)
    @cython.locals(data=bytes, at=Py_ssize_t, stop=Py_ssize_t)
    cdef bint _take_request_line(self) except -1
    @cython.locals(data=bytes, at=Py_ssize_t)
    cdef Py_ssize_t _skip_empty_lines(self) except -1
    @cython.locals(words=list, method=str, target=str, variables=dict)
    cdef _read_request_line(self, str line)
    @cython.locals(variables=dict, lines=list, line=str, name=str, value=str, key=str, colon=Py_ssize_t,
                   left=Py_ssize_t, left_bytes=Py_ssize_t)
    cdef _take_fields(self, bytes block)
    @cython.locals(line=bytes)
    cdef _refuse_fields(self, bytes block)
    @cython.locals(variables=dict, is_new=bint, keep_alive=bint, upgrade=bint, expects=bint, length=Py_ssize_t,
                   said=str, options=list)
    cdef HttpHead _complete(self)
    cdef _too_large(self)


cdef Py_ssize_t _length(dict variables, bint is_new) except -2
