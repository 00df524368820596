# The types with which turns.py is compiled.

from wsgid.serving.syscalls cimport monotonic

cdef double _ends_s

cpdef give_way()
