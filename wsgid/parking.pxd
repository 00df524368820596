# The types with which parking.py is compiled.
cimport cython

from wsgid.connection cimport Connection
from wsgid.exchange cimport Exchange


cdef class _Parked:
    cdef public double until_s
    cdef public bint begun


cdef class Parking:
    cdef object _hub
    cdef double _quiet_s
    cdef double _head_s
    cdef Py_ssize_t _places
    cdef object _resume
    cdef dict _parked

    @cython.locals(begun=bint, connection=Connection)
    cpdef keep(self, Exchange exchange, object arrival, double now_s)
    @cython.locals(parked=_Parked)
    cpdef _wake(self, Exchange exchange)
    cdef _forget(self, Exchange exchange)
    cdef _close(self, Exchange exchange)
