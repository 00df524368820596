"""What an operator can ask a running master, beside its signals: statistics, metrics, wsgidctl's commands.

server.py     the sockets; the master never waits for a client
endpoints.py  which sockets there are, and what answers there
snapshot.py   what the master knows at one moment, as plain values
status.py     the snapshot for wsgidctl
commands.py   wsgidctl's commands
stats.py      uWSGI's statistics
metrics.py    metrics for Prometheus
caches.py     the caches that workers share
health.py     whether the server is alive, and whether it is ready
http.py       the little HTTP that these sockets need
fifo.py       uWSGI's commands of one letter
"""
