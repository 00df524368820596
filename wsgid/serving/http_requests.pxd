# The types with which http_requests.py is compiled.
cimport cython

from wsgid.log.request_record cimport RequestRecord
from wsgid.protocol.http cimport HttpHead
from wsgid.serving.acceptor cimport Acceptor
from wsgid.serving.access_log cimport AccessLog
from wsgid.serving.completion cimport Completion
from wsgid.serving.connection cimport Connection
from wsgid.serving.greenlets cimport GreenletPool
from wsgid.serving.http_connection cimport HttpConnection
from wsgid.serving.keepalive cimport IdleConnections
from wsgid.serving.syscalls cimport monotonic
from wsgid.wsgi.environ cimport make_environ
from wsgid.wsgi.input cimport Body
from wsgid.wsgi.response cimport Served, serve


cdef class HttpRequests:
    cdef object _application
    cdef dict _base
    cdef object _trusted
    cdef GreenletPool _pool
    cdef Acceptor _acceptor
    cdef Completion _completion
    cdef object _refusals
    cdef object _lingering
    cdef AccessLog _access_log
    cdef object _upgrades
    cdef object _say_once
    cdef bint _looks_for_proxies
    cdef object _harakiri_s
    cdef object _limits
    cdef Py_ssize_t _requests_max
    cdef object _body_rate
    cdef IdleConnections _parking
    cdef object _ready
    cdef bint _serving_ready
    cdef Py_ssize_t _resuming
    cdef object _leaving
    cdef double _held_s

    cdef bint is_idle(self) except -1
    @cython.locals(exchange=HttpConnection, now_s=double)
    cpdef _resume(self, list arrived)
    cdef resume_waiting(self)
    @cython.locals(goes_on=bint)
    cpdef _serve_ready(self)
    cdef HttpConnection next_ready(self)
    cdef give_up(self)
    cdef _keep(self, HttpConnection exchange, arrival)
    cdef HttpConnection begin(self, Connection connection)
    cdef bint serve(self, HttpConnection exchange, me) except -1
    @cython.locals(served=Served, environ=dict, record=RequestRecord, started_s=double, took_s=double)
    cdef bint _answer(self, HttpConnection exchange, HttpHead head, me) except -1
    cdef _name_the_proxy(self, peer)
    cdef bint _settle(self, HttpConnection exchange, Served served) except -1
