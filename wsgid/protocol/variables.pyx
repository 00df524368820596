"""The walk over a packet's variables, compiled; variables.py says what it does.

Every size is checked against what is left of the packet before a byte behind it is read.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memcmp

cdef extern from "Python.h":
    Py_ssize_t PyUnicode_GET_LENGTH(str)
    const void* PyUnicode_DATA(str)
    int PyUnicode_KIND(str)
    int PyUnicode_1BYTE_KIND

# Names that came before, found by their size and three of their bytes: the next of its kind costs a comparison, and no
# memory.  Not sys.intern: clients choose the names of their headers, and Python 3.12 keeps what was interned for ever.
cdef enum:
    CACHE_SIZE = 1024
cdef list _names = [""] * CACHE_SIZE


cdef str _name(const unsigned char* first, Py_ssize_t size):
    cdef size_t place = size
    if size:
        place = place * 31 + first[size - 1]
        place = place * 31 + first[size // 2]
        place = place * 31 + first[size - size // 8 - 1]
    place %= CACHE_SIZE
    cdef str known = <str>_names[place]
    if (PyUnicode_GET_LENGTH(known) == size and PyUnicode_KIND(known) == PyUnicode_1BYTE_KIND
            and not memcmp(PyUnicode_DATA(known), first, size)):
        return known
    made = PyUnicode_DecodeLatin1(<const char*>first, size, NULL)
    _names[place] = made
    return made


def walk(bytes packet not None, Py_ssize_t start, Py_ssize_t max_vars):
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(packet)
    cdef Py_ssize_t end = len(packet)
    cdef Py_ssize_t at = start
    cdef Py_ssize_t size
    cdef Py_ssize_t count = 0
    cdef dict variables = {}
    cdef list repeated = None
    cdef str name, value
    while at < end:
        if end - at < 2:
            raise ValueError
        size = data[at] + (data[at + 1] << 8)
        at += 2
        if end - at < size + 2:
            raise ValueError
        name = _name(data + at, size)
        at += size
        size = data[at] + (data[at + 1] << 8)
        at += 2
        if end - at < size:
            raise ValueError
        value = PyUnicode_DecodeLatin1(<const char*>data + at, size, NULL)
        at += size
        if name not in variables:
            variables[name] = value
        elif repeated is None:
            repeated = [(name, value)]
        else:
            repeated.append((name, value))
        count += 1
        if count > max_vars:
            raise OverflowError
    return variables, repeated
