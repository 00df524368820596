# The types with which uwsgi_requests.py is compiled.
cimport cython

from wsgid.log.request_record cimport RequestRecord
from wsgid.protocol.uwsgi cimport UwsgiHead, decode
from wsgid.serving.acceptor cimport Acceptor
from wsgid.serving.access_log cimport AccessLog
from wsgid.serving.completion cimport Completion
from wsgid.serving.connection cimport Connection
from wsgid.serving.syscalls cimport monotonic
from wsgid.wsgi.environ cimport complete, make_environ
from wsgid.wsgi.input cimport Body
from wsgid.wsgi.response cimport Served, serve


cdef class UwsgiRequests:
    cdef object _application
    cdef dict _base
    cdef Acceptor _acceptor
    cdef Completion _completion
    cdef object _refusals
    cdef object _lingering
    cdef AccessLog _access_log
    cdef object _upgrades
    cdef object _say_once
    cdef bint _reads_scheme
    cdef Py_ssize_t _max_vars
    cdef double _timeout_s
    cdef object _harakiri_s
    cdef double _wary_until_s

    @cython.locals(head=UwsgiHead, body=Body, served=Served, environ=dict)
    cdef serve(self, Connection connection, me)
    @cython.locals(started_s=double, head=UwsgiHead, buffer=bytes, rest=bytes)
    cdef UwsgiHead _receive(self, Connection connection, me)
    @cython.locals(body=Body)
    cdef Body _begin(self, UwsgiHead head, Connection connection, me)
    cdef bint _asks_for_upgrade(self, dict environ) except -1
    cdef Served _upgrade(self, UwsgiHead head, Connection connection, me)
    @cython.locals(record=RequestRecord, took_s=double)
    cdef _end(self, Served served, UwsgiHead head, Body body, Connection connection, me)
