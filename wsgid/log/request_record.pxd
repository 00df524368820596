# The types with which request_record.py is compiled. A line reads each value as an object, so each is kept as one.

cdef class RequestRecord:
    cdef readonly dict environ
    cdef readonly object served
    cdef public object started_s
    cdef readonly object took_s
    cdef readonly object length_bytes
    cdef readonly object size_bytes
    cdef readonly object buffer
    cdef readonly object variables
    cdef public object moment
    cdef public object memory
    cdef public object request
