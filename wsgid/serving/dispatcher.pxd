# The types with which dispatcher.py is compiled.
cimport cython

from wsgid.serving.acceptor cimport Acceptor
from wsgid.serving.completion cimport Completion
from wsgid.serving.connection cimport Connection
from wsgid.serving.greenlets cimport GreenletPool, RequestServer
from wsgid.serving.http_connection cimport HttpConnection
from wsgid.serving.http_requests cimport HttpRequests
from wsgid.serving.tally cimport Tally
from wsgid.serving.uwsgi_requests cimport UwsgiRequests


cdef class Dispatcher(RequestServer):
    cdef readonly object deadlines
    cdef object _on_empty
    cdef Tally _tally
    cdef object _cleanup
    cdef Completion _completion
    cdef GreenletPool _pool
    cdef Acceptor _acceptor
    cdef UwsgiRequests _uwsgi
    cdef HttpRequests _http
    cdef object _upgrades

    @cython.locals(connection=Connection, exchange=HttpConnection)
    cdef serve(self, source, me)
    cdef _serve_one(self, Connection connection, exchange, me)
    cdef bint _serve_http(self, Connection connection, exchange, me) except -1
    cdef _end_broken(self, Connection connection, me)
    cdef _break_off(self, Connection connection, me)
    cdef _end(self, Connection connection, bint parked, me)
    cdef _close(self, Connection connection, me)
    cdef _release(self)
