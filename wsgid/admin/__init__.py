"""What an operator can ask a running master, beside its signals: statistics, metrics, wsgidctl's commands.

server.py    the sockets, without ever waiting for anybody
endpoints.py which sockets there are, and who answers there
snapshot.py  what the master knows in one moment; the others render it
status.py    the snapshot for wsgidctl
commands.py  wsgidctl's commands
stats.py     uWSGI's statistics
metrics.py   Prometheus's
health.py    is it alive, is it ready
http.py      as much HTTP as these need
fifo.py      uWSGI's commands of one letter
"""
