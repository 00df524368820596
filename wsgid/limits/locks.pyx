"""The locks of the shared memory, in their compiled form: robust mutexes. locks.py describes the interface.

Rules
* A mutex whose owner has died goes to the next process that takes it (EOWNERDEAD): pthread_mutexattr_setrobust(3).  What
  the mutex protects is always whole, because every decision ends with one store. So the state needs no repair.
* The holder never gives up the GIL, so threads of one process exclude each other, and a holder never waits.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBUF_SIMPLE, Py_buffer, PyObject_GetBuffer, PyBuffer_Release
from libc.errno cimport EBUSY
from libc.string cimport memcpy

cdef extern from "<errno.h>" nogil:
    int EOWNERDEAD

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_mutexattr_t:
        pass
    int PTHREAD_PROCESS_SHARED
    int PTHREAD_MUTEX_ROBUST
    int pthread_mutexattr_init(pthread_mutexattr_t *attr)
    int pthread_mutexattr_destroy(pthread_mutexattr_t *attr)
    int pthread_mutexattr_setpshared(pthread_mutexattr_t *attr, int pshared)
    int pthread_mutexattr_setrobust(pthread_mutexattr_t *attr, int robustness)
    int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr)
    int pthread_mutex_trylock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_mutex_consistent(pthread_mutex_t *mutex)

FORM = "mutexes"

cdef enum:
    _SIZE_BYTES = 64  # layout.MUTEX_BYTES


def fresh(Py_ssize_t count, Py_ssize_t size_bytes):
    """Return the memory of mutexes that nobody holds. A mutex that nobody has used contains no address."""
    cdef pthread_mutex_t mutex
    cdef pthread_mutexattr_t attr
    cdef bytearray one = bytearray(size_bytes)
    if sizeof(pthread_mutex_t) > size_bytes or size_bytes != _SIZE_BYTES:
        raise ValueError(f"a mutex needs {sizeof(pthread_mutex_t)} bytes, and there are {size_bytes}")
    pthread_mutexattr_init(&attr)
    refused = (
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED)
        or pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST)
        or pthread_mutex_init(&mutex, &attr)
    )
    pthread_mutexattr_destroy(&attr)
    if refused:
        raise OSError(refused, "pthread_mutex_init")
    memcpy(<char *> one, &mutex, sizeof(pthread_mutex_t))
    return bytes(one) * count


cdef class StripeLocks:

    def __init__(self, fd, memory, Py_ssize_t offset):
        cdef Py_buffer view
        self._memory = memory  # keeps the mapping
        PyObject_GetBuffer(memory, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self._first = <unsigned char *> view.buf + offset
        self._count = (view.len - offset) // _SIZE_BYTES
        PyBuffer_Release(&view)

    cpdef bint take(self, Py_ssize_t number) except -1:
        cdef pthread_mutex_t *mutex
        cdef int refused
        if not 0 <= number < self._count:
            raise ValueError(number)
        mutex = <pthread_mutex_t *> (self._first + number * _SIZE_BYTES)
        refused = pthread_mutex_trylock(mutex)
        if refused == 0:
            return True
        if refused == EBUSY:
            return False
        if refused == EOWNERDEAD:
            pthread_mutex_consistent(mutex)
            return True
        raise OSError(refused, "pthread_mutex_trylock")

    cpdef free(self, Py_ssize_t number):
        pthread_mutex_unlock(<pthread_mutex_t *> (self._first + number * _SIZE_BYTES))

    cpdef bint take_all(self, list numbers) except -1:
        cdef Py_ssize_t place
        for place in range(len(numbers)):
            try:
                taken = self.take(numbers[place])
            except OSError:
                self.free_all(numbers[:place])
                raise
            if not taken:
                self.free_all(numbers[:place])
                return False
        return True

    cpdef free_all(self, list numbers):
        for number in numbers:
            self.free(number)
