"""wsgidctl dashboard: a page that shows a running server, and controls it.

It is a process of its own over the control socket: the server carries nothing of it.

access.py   who may ask: the token, the Host header, the origin
pages.py    the HTTP server: static files, the answers of api.py, the headers that protect both
api.py      what the page asks for
history.py  the last hour: a row of numbers for each second, and marks for what has happened
changes.py  what has happened between two looks at the server
slow.py     requests that were seen for long
sampler.py  looks at the server each second
static/     the page; static/uplot/ is the chart library (python -m tools.fetch_uplot)
"""
