"""Two checks of header values, compiled. fields.py describes them."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from "Python.h":
    bint PyUnicode_Check(object)
    bint PyUnicode_CheckExact(object)
    bint PyUnicode_IS_ASCII(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    const unsigned char* PyUnicode_1BYTE_DATA(object)

LENGTH_MAX_DIGITS = 18

# Eight bytes are checked at a time, and all are below 0x80. The subtraction sets the highest bit of a byte that is
# below 0x20; the second one does so for 0x7F. A borrow can only come from such a byte.
cdef uint64_t SPACES = 0x2020202020202020
cdef uint64_t DELETES = 0x7F7F7F7F7F7F7F7F
cdef uint64_t ONES = 0x0101010101010101
cdef uint64_t HIGHEST = 0x8080808080808080


cpdef bint is_plain(value) noexcept:
    if not PyUnicode_CheckExact(value) or not PyUnicode_IS_ASCII(value):
        return False
    cdef const unsigned char* text = PyUnicode_1BYTE_DATA(value)
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(value)
    cdef Py_ssize_t at = 0
    cdef uint64_t word
    while at + 8 <= size:
        memcpy(&word, text + at, 8)
        if ((word - SPACES) | ((word ^ DELETES) - ONES)) & HIGHEST:
            return False
        at += 8
    while at < size:
        if text[at] < 0x20 or text[at] == 0x7F:
            return False
        at += 1
    return True


cpdef Py_ssize_t parse_length(value) noexcept:
    if not PyUnicode_Check(value) or not PyUnicode_IS_ASCII(value):
        return -1
    cdef const unsigned char* text = PyUnicode_1BYTE_DATA(value)
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(value)
    cdef Py_ssize_t length = 0
    cdef Py_ssize_t at
    if not 0 < size <= 18:
        return -1
    for at in range(size):
        if not 0x30 <= text[at] <= 0x39:
            return -1
        length = length * 10 + text[at] - 0x30
    return length
