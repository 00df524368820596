cpdef bint is_plain(value) noexcept
cpdef Py_ssize_t parse_length(value) noexcept
