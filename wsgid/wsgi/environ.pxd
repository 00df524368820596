# The types with which environ.py is compiled.
cimport cython

cpdef tuple complete(dict variables)

cpdef dict make_environ(dict variables, object wsgi_input)

cdef _url_scheme(dict variables)

@cython.locals(host=str, end=Py_ssize_t)
cdef _host_name(dict variables)
