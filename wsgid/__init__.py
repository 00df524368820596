"""wsgid: a WSGI application server for gevent workers behind nginx's uwsgi_pass.

This module does nothing but choose the form of the hot path: the template process imports it before it monkey-patches.
"""

from wsgid import compiled

__version__ = "0.1.0"

compiled.choose()
