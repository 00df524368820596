"""A connection in a worker, from accept to close.

dispatcher.py        the way through the other modules
acceptor.py          listeners: what is accepted, and when
greenlets.py         the greenlets that serve requests
uwsgi_requests.py    a request from nginx
http_requests.py     requests over HTTP
completion.py        what follows each call of the application
refusals.py          what a peer is told that is refused
lingering_close.py   the end of a connection whose peer still sends
tally.py             what is counted
syscalls.py          accept, recv, send, on raw descriptors
connection.py        one accepted connection
tls_connection.py    one with TLS
proxy_connection.py  one that begins with a PROXY header
http_connection.py   one with HTTP: requests in order
keepalive.py         HTTP connections between two requests
client_socket.py     the socket itself, for WebSockets
timeouts.py          --harakiri, --hub-warn, --hub-timeout
clock.py turns.py    how long the event loop was held up; slices of time
cleanup.py           what a request leaves behind
leftovers.py         work that a leaving worker waits for
recycling.py         when a worker has done enough
access_log.py        the lines of requests
log_outlet.py        where these lines go
"""
