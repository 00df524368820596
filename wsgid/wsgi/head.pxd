# The types with which head.py is compiled.
cimport cython

from wsgid.protocol.fields cimport is_plain, parse_length


@cython.locals(statuses=dict, roles=dict)
cpdef tuple render_head(object status, object headers)

cdef _length(value, other)
