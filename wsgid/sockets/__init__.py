"""Listening sockets: what is spoken there, how they are bound, and their certificates.

listen_spec.py   what is spoken on each socket
listener.py      bind or inherit, mode and owner, unlink
nginx_access.py  whether nginx's user may connect
certificates.py  TLS's certificates and keys
"""
