"""PEP 3333 over an abstract transport: environ, wsgi.input, start_response and what follows, wsgi.file_wrapper.

Nothing in here knows a socket, a clock or gevent: the worker hands in the bytes that it has, and the functions that
move more of them.
"""
