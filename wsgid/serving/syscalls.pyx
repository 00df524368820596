"""The system calls of a request, compiled. syscalls.py describes the behaviour."""

import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EAGAIN, ECONNRESET, errno
from libc.time cimport time
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close as posix_close

cdef extern from "<sys/socket.h>" nogil:
    int SOCK_NONBLOCK, SOCK_CLOEXEC, MSG_DONTWAIT, MSG_NOSIGNAL
    int accept4(int fd, void* address, void* size, int flags)
    ssize_t c_recv "recv" (int fd, void* buffer, size_t size, int flags)
    ssize_t c_send "send" (int fd, const void* buffer, size_t size, int flags)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int c_poll "poll" (pollfd* asked, unsigned long count, int timeout_ms)

NOTHING = -1
RECV_BYTES = 256 * 1024  # more than a unix socket holds by default
SEND_MAX_BYTES = 1 << 20
cdef enum:
    _SEND_MAX_BYTES = 1 << 20
    _HEADER_BYTES = 4  # of a uwsgi packet
    _BEGIN_BYTES = 72 * 1024  # a packet, and a body of 64 KB; what follows is not copied through a buffer

# One buffer for the process: between recv(2) and the copy of the bytes, nothing else can run.
cdef char _buffer[256 * 1024]


cdef class AcceptSocket:
    cdef readonly int fd
    cdef readonly bint http
    cdef readonly object wrap

    def __init__(self, int fd, bint http=False, wrap=None):
        self.fd = fd
        self.http = http
        self.wrap = wrap
        os.set_blocking(fd, False)

    def accept(self):
        cdef int fd = accept4(self.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0 and errno != EAGAIN:
            PyErr_SetFromErrno(OSError)
        return fd

    def close(self):
        posix_close(self.fd)
        self.fd = NOTHING


cpdef recv(int fd, size_t size_bytes=256 * 1024):
    cdef ssize_t size = c_recv(fd, _buffer, min(size_bytes, sizeof(_buffer)), MSG_DONTWAIT)
    if size < 0:
        if errno == EAGAIN:
            return None
        if errno == ECONNRESET:
            return b""
        PyErr_SetFromErrno(OSError)
    return PyBytes_FromStringAndSize(_buffer, size)


cpdef Py_ssize_t recv_into(int fd, target) except -2:
    cdef Py_buffer view
    PyObject_GetBuffer(target, &view, PyBUF_WRITABLE)
    cdef ssize_t size = c_recv(fd, view.buf, min(view.len, <Py_ssize_t>sizeof(_buffer)), MSG_DONTWAIT)
    PyBuffer_Release(&view)
    if size < 0:
        if errno == EAGAIN:
            return NOTHING
        if errno == ECONNRESET:
            return 0
        PyErr_SetFromErrno(OSError)
    return size


cpdef tuple recv_packet(int fd):
    cdef ssize_t size = c_recv(fd, _buffer, _BEGIN_BYTES, MSG_DONTWAIT)
    if size < 0:
        if errno == EAGAIN:
            return None
        if errno == ECONNRESET:
            return b"", b""
        PyErr_SetFromErrno(OSError)
    cdef ssize_t end = size
    if size >= _HEADER_BYTES:  # u8 modifier1, u16 LE datasize, u8 modifier2: see uwsgi.py
        end = min(size, _HEADER_BYTES + <unsigned char>_buffer[1] + (<unsigned char>_buffer[2] << 8))
    return PyBytes_FromStringAndSize(_buffer, end), PyBytes_FromStringAndSize(_buffer + end, size - end)


cpdef Py_ssize_t send(int fd, block) except -1:
    if type(block) is bytes:
        return _send(fd, PyBytes_AS_STRING(block), PyBytes_GET_SIZE(block))
    cdef Py_buffer view
    PyObject_GetBuffer(block, &view, PyBUF_SIMPLE)
    try:
        return _send(fd, view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


cdef Py_ssize_t _send(int fd, const void* first, Py_ssize_t size_bytes) except -1:
    cdef ssize_t size = c_send(fd, first, min(size_bytes, <Py_ssize_t>_SEND_MAX_BYTES), MSG_DONTWAIT | MSG_NOSIGNAL)
    if size < 0:
        if errno == EAGAIN:
            return 0
        PyErr_SetFromErrno(OSError)
    return size


cpdef poll(int fd, short events):
    cdef pollfd asked = pollfd(fd, events, 0)
    return asked.revents if c_poll(&asked, 1, 0) == 1 else 0


cpdef close(int fd):
    posix_close(fd)


cpdef double monotonic() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)  # what time.monotonic() reads, without a call through Python
    return now.tv_sec + now.tv_nsec * 1e-9


cpdef long long second() noexcept:
    return time(NULL)
