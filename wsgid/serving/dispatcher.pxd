# The types with which pipeline.py is compiled.
cimport cython

from wsgid.serving.connection cimport Connection
from wsgid.serving.http_connection cimport HttpConnection
from wsgid.serving.access_log cimport AccessLog
from wsgid.protocol.http cimport HttpHead
from wsgid.protocol.uwsgi cimport UwsgiHead
from wsgid.wsgi.input cimport Body
from wsgid.wsgi.response cimport Served


cdef Py_ssize_t _IN_FLIGHT, _REQUESTS, _SENT_BYTES, _BUSY_US, _AVERAGE_US, _DURATIONS, _STATUS_0XX
cdef unsigned long long _FIRST_BOUND_US
cdef object _THE_END


cdef class Dispatcher:
    cdef readonly set greenlets
    cdef public bint serves_nobody
    cdef set _spent
    cdef object _application
    cdef unsigned long long[::1] _line
    cdef AccessLog _access_log
    cdef object _say_once
    cdef object _on_empty
    cdef Py_ssize_t _places
    cdef Py_ssize_t _max_vars
    cdef double _timeout_s
    cdef double _harakiri_s
    cdef object _drain_bytes
    cdef double _drain_s
    cdef dict _base
    cdef object _hub
    cdef list _doors
    cdef dict _shares
    cdef bint _closed
    cdef Py_ssize_t _in_flight
    cdef list _idle
    cdef Py_ssize_t _unused
    cdef double _trim_at_s
    cdef object _cleanup
    cdef double _wary_until_s
    cdef object _refusals
    cdef object _pause

    cdef Py_ssize_t _accepts_left
    cdef double _slice_ends_s

    cdef list _early
    cdef object _http_limits
    cdef Py_ssize_t _http_requests
    cdef object _body_rate
    cdef object _parking
    cdef object _leaving
    cdef double _held_s
    cdef Py_ssize_t _resuming
    cdef object _ready
    cdef object _trusted
    cdef object _wrapping

    @cython.locals(connection=Connection)
    cdef Connection _next(self, listener)
    cdef int _accept_one(self, listener) except -2
    cdef bint _is_spent(self, me) except -1
    cdef _serve_one(self, Connection connection, exchange, me)
    cdef _close(self, Connection connection, me)
    cdef _release(self)
    cdef _take_place(self)
    @cython.locals(connection=Connection)
    cdef bint _serve_http(self, HttpConnection exchange, me) except -1
    @cython.locals(served=Served, environ=dict, took_s=double)
    cdef bint _answer(self, HttpConnection exchange, HttpHead head, me) except -1
    cdef bint _settle(self, HttpConnection exchange, Served served) except -1
    cdef _park(self, me)
    @cython.locals(started_s=double, head=UwsgiHead)
    cdef _serve(self, Connection connection, me)
    @cython.locals(body=Body, environ=dict, served=Served, variables=Py_ssize_t, took_s=double)
    cdef _respond(self, Connection connection, UwsgiHead head, bytes buffer, me)
    @cython.locals(line="unsigned long long[::1]")
    cdef _record(self, Served served, unsigned long long duration_us)
