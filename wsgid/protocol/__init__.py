"""Bytes to requests, without I/O.

uwsgi.py variables.py  the uwsgi protocol, and the walk over a packet's variables
http.py                HTTP/1.1: heads and bodies
chunked.py target.py   its chunks, and its request targets
proxy.py               the PROXY protocol
forwarded.py           X-Forwarded-* and Forwarded: whom a proxy speaks for
fields.py              what is asked of header values
"""
