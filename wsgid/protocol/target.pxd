# The types with which target.py is compiled.
cimport cython


@cython.locals(path=str, query=str, authority=str)
cpdef tuple split(str target, str method)
cpdef check_host(str host)
cdef tuple _split_url(str target)
cdef bint _is_host(str host) except -1
