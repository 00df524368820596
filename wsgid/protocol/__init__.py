"""Bytes to requests, without I/O.

uwsgi.py      the uwsgi protocol
variables.py  the loop over the variables of a uwsgi packet
http.py       HTTP/1.1: heads and bodies
plain_lines.py the lines of a head that nearly all clients send
chunked.py    HTTP bodies that come in chunks
target.py     request targets of HTTP, and hosts
proxy.py      the PROXY protocol
forwarded.py  X-Forwarded-* and Forwarded: what a proxy says of its client
fields.py     two checks of header values
"""
