cdef bint _is_text(str known, const unsigned char* first, Py_ssize_t size) noexcept
cdef str _value_of(const unsigned char* first, Py_ssize_t size, str name)
