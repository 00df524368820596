# The types with which uwsgi.py is compiled.
cimport cython


cdef class UwsgiHead:
    cdef readonly object modifier
    cdef readonly dict variables
    cdef readonly object content_length
    cdef readonly Py_ssize_t size_bytes
    cdef public Py_ssize_t received
    cdef public bytes rest
    cdef public bytes header


@cython.locals(known=dict, variables=dict, size_bytes=Py_ssize_t)
cpdef UwsgiHead decode(bytes buffer, Py_ssize_t max_vars, dict base=*)

@cython.locals(variables=dict, before=Py_ssize_t, repeated=list)
cdef dict _variables(bytes buffer, Py_ssize_t size_bytes, Py_ssize_t max_vars, dict base)
