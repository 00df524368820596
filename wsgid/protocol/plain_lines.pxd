cpdef dict take_request_line(bytes data, Py_ssize_t at, Py_ssize_t line_bytes, dict base)
cpdef Py_ssize_t take_fields(bytes data, Py_ssize_t at, Py_ssize_t lines_max, Py_ssize_t bytes_max, dict names,
                             dict variables) except -1
