# The types with which access_log.py is compiled.
cimport cython

from wsgid.log.request_record cimport RequestRecord


cdef class MemoryNow:
    cdef readonly object vsz_bytes
    cdef readonly object rss_bytes


cdef class AccessLog:
    cdef object _render
    cdef bint _all
    cdef dict _classes
    cdef double _slow_s
    cdef object _date
    cdef object _memory
    cdef object _outlet
    cdef list _lines
    cdef bint _is_flushing
    cdef Py_ssize_t _size_bytes
    cdef Py_ssize_t _requests
    cdef double _epoch_s
    cdef dict _moments
    cdef Py_ssize_t _told
    cdef double _tell_at_s
    cdef bint _has_failed

    @cython.locals(second=Py_ssize_t, line=str)
    cpdef note(self, RequestRecord record)
