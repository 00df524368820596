"""PEP 3333 over an abstract transport: environ, wsgi.input, start_response and the response, wsgi.file_wrapper.

The modules here know no socket, no clock and no gevent. The worker passes in the bytes that have arrived, and functions
that read or write more bytes.
"""
