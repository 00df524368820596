# The types with which permit.py is compiled.

cdef int _NONE, _ADMITTED, _REJECTED, _WOULD_REJECT, _FAILED_OPEN, _FAILED_CLOSED


cdef class Bounds:
    cdef readonly int kind
    cdef readonly bytes identity
    cdef readonly str name
    cdef readonly bint dry_run
    cdef readonly long long interval_ns
    cdef readonly long long burst_ns
    cdef readonly long long count
    cdef readonly long long window_ms
    cdef readonly long long burst
    cdef readonly long long unit_ns
    cdef public object store
    cdef public int number
    cdef public dict places
    cdef public object started


cdef class Permit:
    cdef public Bounds limiter
    cdef public object key
    cdef public object store
    cdef public int ruling
    cdef public long long hashed
    cdef public Py_ssize_t place
    cdef public long long wait_ns
    cdef public long long value
    cdef public long long used
    cdef public bint held
    cdef public long long since_ns


cdef class HeldPermit(Permit):
    pass
