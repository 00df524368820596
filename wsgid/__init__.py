"""wsgid: a WSGI application server for gevent workers behind nginx's uwsgi_pass.

This module stays empty but for the version: the template process imports it before it monkey-patches.
"""

__version__ = "0.1.0"
