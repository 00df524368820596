"""What is asked of header values, compiled; text.py says what it does."""

cdef extern from "Python.h":
    bint PyUnicode_Check(object)
    bint PyUnicode_CheckExact(object)
    bint PyUnicode_IS_ASCII(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    const unsigned char* PyUnicode_1BYTE_DATA(object)

LENGTH_MAX_DIGITS = 18


def is_plain(value):
    if not PyUnicode_CheckExact(value) or not PyUnicode_IS_ASCII(value):
        return False
    cdef const unsigned char* text = PyUnicode_1BYTE_DATA(value)
    cdef Py_ssize_t at
    for at in range(PyUnicode_GET_LENGTH(value)):
        if text[at] < 0x20 or text[at] == 0x7F:
            return False
    return True


def parse_length(value):
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
