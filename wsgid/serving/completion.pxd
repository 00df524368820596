# The types with which completion.py is compiled.
cimport cython

from wsgid.serving.connection cimport Connection
from wsgid.serving.syscalls cimport monotonic
from wsgid.serving.tally cimport Tally
from wsgid.wsgi.response cimport Served


cdef class Completion:
    cdef readonly list at_end
    cdef Tally _tally

    @cython.locals(took_s=double)
    cdef double finish(self, Served served, me, Connection connection) except -1
    cdef note_front(self, stamp, me)
    cdef note_turn(self, double waited_s)
    cdef _note_waits(self, Connection connection)
    cpdef run_at_end(self, me)
