# The types with which turns.py is compiled.

cdef double _ends_s

cpdef give_way()
