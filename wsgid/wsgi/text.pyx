"""Whether a header's value needs a second look, compiled; text.py says what it does."""

cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object)
    bint PyUnicode_IS_ASCII(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    const unsigned char* PyUnicode_1BYTE_DATA(object)


def is_plain(value):
    if not PyUnicode_CheckExact(value) or not PyUnicode_IS_ASCII(value):
        return False
    cdef const unsigned char* text = PyUnicode_1BYTE_DATA(value)
    cdef Py_ssize_t at
    for at in range(PyUnicode_GET_LENGTH(value)):
        if text[at] < 0x20 or text[at] == 0x7F:
            return False
    return True
