"""The applications that the scenarios serve, and what their clients ask."""

from textwrap import dedent

from tests.support.load import Kind
from tools.nginx import EXAMPLES

VERSIONED = dedent("""
    import os, time
    VERSION = "v0"
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/poison":
            os.kill(os.getpid(), 9)
        if path == "/sleep":
            time.sleep(0.2)
        if path == "/long":
            while not os.path.exists("gate"):
                time.sleep(0.01)
            time.sleep(2)
        body = f"{VERSION} {environ['QUERY_STRING']} ".encode()
        if path == "/large":
            body = body.ljust(100_000, b"x")
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]
""")
ANSWER = r"(?P<version>v\d+) ID x*"
FAST = Kind("/?ID", ANSWER)
SLEEP = Kind("/sleep?ID", ANSWER)
LARGE = Kind("/large?ID", ANSWER, 100_000)
LONG = Kind("/long?ID", ANSWER)
MIXED = (FAST, SLEEP, LARGE, FAST)
# Of the Flask example.  The first three are sent in one piece, so that a killed worker has sent all or nothing.
PAGES = (
    Kind("/", ".*Hello from wsgid.*"),
    Kind("/slow?s=0.2", r"slept 0\.2 s in worker \d+\n"),
    Kind("/form", '.*<form method="post">.*'),
)
FLASK = (*PAGES, Kind("/download", '"""A small Flask site.*', (EXAMPLES / "flask_app.py").stat().st_size))
APP = """
    import io, itertools, json, os, sys, time, gc, greenlet
    from collections import Counter
    big = b"x" * 4_000_000
    half = b"y" * 512_000
    count = Counter()

    class Stream:
        def __init__(self):
            count["opened"] += 1
            self.left = 200
        def __iter__(self):
            return self
        def __next__(self):
            self.left -= 1
            if not self.left:
                raise StopIteration
            time.sleep(0.001)
            return b"z" * 16_384
        def close(self):
            count["closed"] += 1

    def state():
        return dict(count, greenlets=sum(isinstance(it, greenlet.greenlet) for it in gc.get_objects()))

    def application(environ, start_response):
        path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
        if path == "/broken":
            raise RuntimeError("broken on purpose")
        if path == "/print":
            print("something for the log", file=environ["wsgi.errors"])
        if path == "/logging":
            import logging
            logging.getLogger("app").warning("something for the log")
        if path == "/read":
            environ["wsgi.input"].read()
        if path == "/sleep":
            time.sleep(float(query))
        start_response("200 OK", [("Content-Type", "text/plain")])
        if path == "/big":
            return [big]
        if path == "/half":
            return [half]
        if path == "/stream":
            return Stream()
        if path == "/file":
            return environ["wsgi.file_wrapper"](open("big", "rb"))
        return [json.dumps(state()).encode()] if path == "/state" else [b"hello"]
"""
