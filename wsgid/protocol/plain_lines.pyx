"""The lines of a head as nearly all clients send them, compiled. plain_lines.py describes the behaviour.

Every byte is checked, and no byte behind the end of the data is read.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp, memcpy

from wsgid.protocol.variables cimport _is_text, _value_of

cdef extern from "Python.h":
    Py_ssize_t PyDict_GET_SIZE(dict)
    PyObject* PyDict_SetDefault(dict, str, str) except NULL  # borrowed

cdef enum:
    NAMES = 1024  # a place for each name that was seen: http.py remembers as many

# See fields.pyx.
cdef uint64_t SPACES = 0x2020202020202020
cdef uint64_t DELETES = 0x7F7F7F7F7F7F7F7F
cdef uint64_t ONES = 0x0101010101010101
cdef uint64_t HIGHEST = 0x8080808080808080

cdef list _names = [""] * NAMES  # names of headers, found by their sizes and three of their bytes,
cdef list _keys = [""] * NAMES  # and their variables

cdef str GET = "GET", HEAD = "HEAD", POST = "POST", PUT = "PUT", PATCH = "PATCH", DELETE = "DELETE"
cdef str OPTIONS = "OPTIONS", HTTP_11 = "HTTP/1.1", EMPTY = ""
cdef str REQUEST_METHOD = "REQUEST_METHOD", SERVER_PROTOCOL = "SERVER_PROTOCOL", REQUEST_URI = "REQUEST_URI"
cdef str PATH_INFO = "PATH_INFO", QUERY_STRING = "QUERY_STRING"


cdef str _method(const unsigned char* first, Py_ssize_t size):
    """The method; None for one that is seldom."""
    if size == 3:
        if not memcmp(first, b"GET", 3):
            return GET
        if not memcmp(first, b"PUT", 3):
            return PUT
    elif size == 4:
        if not memcmp(first, b"POST", 4):
            return POST
        if not memcmp(first, b"HEAD", 4):
            return HEAD
    elif size == 5 and not memcmp(first, b"PATCH", 5):
        return PATCH
    elif size == 6 and not memcmp(first, b"DELETE", 6):
        return DELETE
    elif size == 7 and not memcmp(first, b"OPTIONS", 7):
        return OPTIONS
    return None


cpdef dict take_request_line(bytes data, Py_ssize_t at, Py_ssize_t line_bytes, dict base):
    cdef const unsigned char* first = <const unsigned char*>PyBytes_AS_STRING(data) + at
    cdef Py_ssize_t left = PyBytes_GET_SIZE(data) - at
    cdef const unsigned char* end
    cdef const unsigned char* target
    cdef const unsigned char* byte
    cdef const unsigned char* query = NULL
    cdef str method, uri
    cdef dict variables
    if left < 16:  # "GET / HTTP/1.1\r\n"
        return None
    end = <const unsigned char*>memchr(first, b"\n", left)
    if end == NULL or end - first > line_bytes + 1 or end - first < 15 or memcmp(end - 10, b" HTTP/1.1\r", 10):
        return None
    end -= 10  # the blank behind the target
    target = <const unsigned char*>memchr(first, b" ", 8)
    if target == NULL:
        return None
    method = _method(first, target - first)
    target += 1
    if method is None or target >= end or target[0] != b"/":
        return None
    byte = target
    while byte < end:
        if byte[0] <= 0x20 or byte[0] >= 0x7F or byte[0] == b"%" or byte[0] == b"#":
            return None
        if byte[0] == b"?" and query == NULL:
            query = byte
        byte += 1
    uri = _value_of(target, end - target, REQUEST_URI)
    variables = base.copy()
    variables[REQUEST_METHOD] = method
    variables[SERVER_PROTOCOL] = HTTP_11
    variables[REQUEST_URI] = uri
    if query == NULL:
        variables[PATH_INFO] = uri
        variables[QUERY_STRING] = EMPTY
    else:
        variables[PATH_INFO] = _value_of(target, query - target, PATH_INFO)
        variables[QUERY_STRING] = _value_of(query + 1, end - query - 1, QUERY_STRING)
    return variables


cdef bint _is_value(const unsigned char* text, Py_ssize_t size) noexcept:
    """Whether RFC 9110, 5.5 allows all these bytes. http.py has the same rule (_PLAIN)."""
    cdef Py_ssize_t at = 0
    cdef uint64_t word
    while at + 8 <= size:
        memcpy(&word, text + at, 8)
        if (word | (word - SPACES) | ((word ^ DELETES) - ONES)) & HIGHEST:
            break
        at += 8
    while at < size:
        if (text[at] < 0x20 and text[at] != 0x09) or text[at] == 0x7F:
            return False
        at += 1
    return True


cdef str _key(const unsigned char* first, Py_ssize_t size, dict names):
    """The variable of a header; None or empty if the header is not known, or dropped."""
    cdef size_t place = size
    if size == 0 or size > 64:
        return None
    place = place * 31 + first[0]
    place = place * 31 + first[size // 2]
    place = (place * 31 + first[size - 1]) % NAMES
    if _is_text(<str>_names[place], first, size):
        return <str>_keys[place]
    cdef str name = PyUnicode_DecodeLatin1(<const char*>first, size, NULL)
    cdef str key = names.get(name)
    if key:
        _names[place] = name
        _keys[place] = key
    return key


cpdef Py_ssize_t take_fields(bytes data, Py_ssize_t at, Py_ssize_t lines_max, Py_ssize_t bytes_max, dict names, dict variables) except -1:
    cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef const unsigned char* stop = start + PyBytes_GET_SIZE(data)
    cdef const unsigned char* line = start + at
    cdef const unsigned char* end
    cdef const unsigned char* value
    cdef Py_ssize_t known = PyDict_GET_SIZE(variables)
    cdef str key, text
    while lines_max > 0:
        end = <const unsigned char*>memchr(line, b"\n", stop - line)
        if end == NULL or end - line < 2 or end[-1] != b"\r" or end + 1 - line > bytes_max:
            break
        value = <const unsigned char*>memchr(line, b":", end - line)
        if value == NULL:
            break
        key = _key(line, value - line, names)
        if not key:
            break
        bytes_max -= end + 1 - line
        value += 1
        end -= 1  # the CR
        while value < end and (value[0] == b" " or value[0] == b"\t"):
            value += 1
        at = end + 2 - start  # the next line, if this one is taken
        while end > value and (end[-1] == b" " or end[-1] == b"\t"):
            end -= 1
        if not _is_value(value, end - value):
            break
        text = _value_of(value, end - value, key)
        PyDict_SetDefault(variables, key, text)
        if PyDict_GET_SIZE(variables) == known:  # it comes twice
            break
        known += 1
        lines_max -= 1
        line = start + at
    return line - start
