# The types with which response.py is compiled.
cimport cython

from wsgid.wsgi.head cimport render_head


cdef object _SILENT, _STARTED, _STREAMING, _FULL, _CLOSED, _TORN, _GONE
cdef object _COMPLETE


cdef class Transport:
    cpdef send(self, bytes first, bytes second=*)
    cpdef give_way(self)


cdef class Served:
    cdef readonly object outcome
    cdef readonly int status
    cdef readonly Py_ssize_t sent_bytes
    cdef readonly Py_ssize_t head_bytes
    cdef readonly Py_ssize_t headers
    cdef readonly bint interrupted


cdef class _Response:
    cdef object stage
    cdef int code  # four of them together: apart, each would take 8 bytes
    cdef int headers
    cdef bint interrupted
    cdef bint _bodiless
    cdef Py_ssize_t sent_bytes
    cdef Py_ssize_t head_bytes
    cdef readonly Transport transport
    cdef object _method
    cdef object _path
    cdef str _head
    cdef object _length
    cdef object _framing
    cdef object _iterable
    cdef object _outcome

    cpdef write(self, block)

    cdef answer(self, iterable)
    cdef handle(self)
    cdef Served end(self)
    cdef send_body(self, iterable)
    cdef finish(self)
    cdef fail(self, error)
    cdef close(self, iterable)
    cdef _note(self, error)

    @cython.locals(head=bytes, sent=bytes, framed=bytes)
    cdef bint _put(self, bytes block, bint alone) except -1
    cdef bytes _framed(self, bytes block)
    @cython.locals(room=Py_ssize_t)
    cdef bytes _fitting(self, bytes block)
    cdef bint _settle(self, Py_ssize_t excess_bytes) except -1
    cdef _send_head(self, size_bytes)
    @cython.locals(head=bytes)
    cdef bytes _end_head(self, size_bytes)
    cdef _send(self, bytes first, bytes second=*)
    cdef bint _refuse(self) except -1


cdef bytes _as_bytes(object block)


cdef _Response _made(dict environ, Transport transport, object framing)


@cython.locals(response=_Response)
cpdef Served serve(object application, dict environ, Transport transport, object framing=*)
