"""A connection in a worker, from accept to close.

dispatcher.py        leads connections through the other modules
acceptor.py          the listeners: what is accepted, and when
greenlets.py         the greenlets that serve requests
uwsgi_requests.py    requests from nginx
http_requests.py     requests over HTTP
completion.py        what follows each call of the application
phases.py            the time of a request before its turn in this worker
refusals.py          the answers to refused peers
lingering_close.py   the end of a connection whose peer still sends
tally.py             the worker's counters
syscalls.py          accept, recv, send, on raw descriptors
connection.py        one accepted connection
tls_connection.py    a connection with TLS
proxy_connection.py  a connection that begins with a PROXY header
http_connection.py   a connection with HTTP requests, answered in order
keepalive.py         HTTP connections between two requests
upgrades.py          connections that an application has upgraded, and their limits
uwsgi_upgrade.py     an Upgrade behind nginx's uwsgi_pass
client_socket.py     the socket of a connection, for WebSockets
gevent_websocket.py  the WebSocket object of gevent-websocket
websocket_frames.py  where a frame ends
deadlines.py         which requests are overdue, without a look at all
timeouts.py          --harakiri, --hub-warn, --hub-timeout
clock.py             how long the event loop was held up
lost_time.py         the time in which a worker could not run
rounds.py            the regular look at the worker, which rests while the worker is idle
collector.py         the pauses of Python's garbage collector
pulse.py             a timer that tells how late it comes
stutter.py           where the event loop stands still, if many short stops take its time
standstill.py        adds these stops up, and decides what the log says
turns.py             slices of time for loops over a socket
cleanup.py           destroys what a request leaves behind
draining.py          how a worker leaves
leftovers.py         work of requests that a leaving worker waits for
recycling.py         when a worker has to be replaced
access_log.py        the lines of requests
log_outlet.py        writes these lines
"""
