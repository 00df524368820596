"""Listening sockets: their protocols, how they are bound, and their certificates.

listen_spec.py   the protocol of each socket
listener.py      bind or inherit, set mode and owner, unlink
nginx_access.py  whether nginx's user may connect
certificates.py  certificates and keys for TLS
"""
