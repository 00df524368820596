# The types with which greenlets.py is compiled.

cdef object _THE_END
cdef set _spent


cdef class RequestServer:
    cdef serve(self, source, me)


cdef class GreenletPool:
    cdef readonly set greenlets
    cdef object _hub
    cdef RequestServer _server
    cdef object _kinds
    cdef object _ended
    cdef list _idle
    cdef Py_ssize_t _unused
    cdef double _trim_at_s

    cdef run(self, source)
    cdef bint is_spent(self, me) except -1
    cdef _next(self, me)
    cdef _end(self, me)
    cdef _wait(self, me)
