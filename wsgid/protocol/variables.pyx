"""The loop over the variables of a uwsgi packet, compiled. variables.py describes the behaviour.

Every size is checked against what is left of the packet before a byte behind it is read.
"""

from sys import intern

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memcmp

cdef extern from "Python.h":
    Py_ssize_t PyUnicode_GET_LENGTH(str)
    const void* PyUnicode_DATA(str)
    int PyUnicode_KIND(str)
    int PyUnicode_1BYTE_KIND
    PyObject* PyDict_SetDefault(dict, str, str) except NULL
    Py_ssize_t PyDict_GET_SIZE(dict)

# Names of earlier requests, found by their size and three of their bytes. A known name costs a comparison and no
# memory. Names that the operator chooses are interned too, because lookups of interned names are faster. HTTP_* names
# are not
# interned: clients choose them, and Python 3.12 never frees interned strings.
cdef enum:
    CACHE_SIZE = 1024
    CACHED_SIZE = 128  # the longest value that is cached: longer values seldom come twice
    CACHED_NAME_SIZE = 64  # clients choose names, too: long names would fill the cache with megabytes
cdef list _names = [""] * CACHE_SIZE
cdef list _values = [""] * CACHE_SIZE  # likewise, found by size and name: GET, HTTP/1.1, the user agent


cdef bint _is_text(str known, const unsigned char* first, Py_ssize_t size) noexcept:
    """Whether this text has exactly these bytes, in latin-1."""
    return (PyUnicode_GET_LENGTH(known) == size and PyUnicode_KIND(known) == PyUnicode_1BYTE_KIND
            and not memcmp(PyUnicode_DATA(known), first, size))


cdef str _name(const unsigned char* first, Py_ssize_t size):
    cdef size_t place = size
    if size:
        place = place * 31 + first[size - 1]
        place = place * 31 + first[size // 2]
        place = place * 31 + first[size - size // 8 - 1]
    place %= CACHE_SIZE
    cdef str known = <str>_names[place]
    if _is_text(known, first, size):
        return known
    cdef str made = PyUnicode_DecodeLatin1(<const char*>first, size, NULL)
    if size <= CACHED_NAME_SIZE:
        if size < 5 or memcmp(first, b"HTTP_", 5):
            made = intern(made)
        _names[place] = made
    return made


cdef str _value_of(const unsigned char* first, Py_ssize_t size, str name):
    """The text of these bytes, as the value of this variable."""
    cdef size_t place = <size_t><PyObject*>name // 16 + size
    place %= CACHE_SIZE
    cdef str known = <str>_values[place]
    if _is_text(known, first, size):
        return known
    cdef str made = PyUnicode_DecodeLatin1(<const char*>first, size, NULL)
    if size <= CACHED_SIZE:
        _values[place] = made
    return made


def walk(bytes buffer not None, Py_ssize_t start, Py_ssize_t end, dict variables not None):
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(buffer)
    cdef Py_ssize_t at = start
    cdef Py_ssize_t size
    cdef Py_ssize_t known = len(variables)
    cdef list repeated = []
    cdef str name, value
    if not 0 <= start <= end <= len(buffer):
        raise ValueError
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
        value = _value_of(data + at, size, name)
        at += size
        PyDict_SetDefault(variables, name, value)
        if PyDict_GET_SIZE(variables) == known:
            repeated.append((name, value))
        else:
            known += 1
    return repeated
