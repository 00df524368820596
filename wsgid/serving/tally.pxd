# The types with which tally.py is compiled.
cimport cython

from wsgid.wsgi.response cimport Served


cdef Py_ssize_t _IN_FLIGHT, _REQUESTS, _SENT_BYTES, _BUSY_US, _AVERAGE_US, _DURATIONS, _STATUS_0XX, _UPGRADED
cdef Py_ssize_t _FRONTED, _FRONT_US, _WAITING_US, _READING_US, _SENDING_US
cdef unsigned long long _FIRST_BOUND_US, _WORD_MAX


cdef class Tally:
    cdef unsigned long long[::1] _line

    cpdef count(self, word)
    cpdef show(self, word, value)
    cdef show_in_flight(self, Py_ssize_t connections)
    @cython.locals(line="unsigned long long[::1]", bucket="Py_ssize_t", kind="Py_ssize_t")
    cdef record(self, Served served, unsigned long long duration_us)
    cdef record_front(self, unsigned long long front_us)
    cdef record_turn(self, unsigned long long waited_us)
    cdef record_waits(self, unsigned long long read_us, unsigned long long send_us)
