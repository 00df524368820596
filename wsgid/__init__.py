"""wsgid: a WSGI application server for gevent workers behind nginx's uwsgi_pass.

This module only chooses the form of the hot path. The template process imports it before it patches for gevent.
"""

from wsgid import compiled

__version__ = "0.1.0"

compiled.choose()
