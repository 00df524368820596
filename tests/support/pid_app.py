"""A small application that answers a load with its worker's pid, and the kinds of request that the load sends."""

from tests.support.load import Kind

SOURCE = """
    import os, time
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/wait":
            time.sleep(0.05)
        until_s = time.monotonic() + 0.002
        while path == "/work" and time.monotonic() < until_s:
            pass
        body = b"x" * 100_000 if path == "/large" else str(os.getpid()).encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]
"""

PID = Kind("/", r"\d+")
WORK = Kind("/work", r"\d+")  # computes for 2 ms
WAIT = Kind("/wait", r"\d+")  # waits for 50 ms
LARGE = Kind("/large", "x*", 100_000)
