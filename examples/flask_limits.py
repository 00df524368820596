"""A Flask site with limits that all workers share. docs/limits.md

wsgid --http 127.0.0.1:8000 --workers 4 --limit-req 'key=remote_addr rate=50r/s burst=100' flask_limits:application
"""

import time

from flask import Flask, Response, request

from wsgid import limits

application = Flask(__name__)
search = limits.RequestRate("5r/s", burst=10, name="search")  # more than 5 in a second are delayed
login = limits.WindowCount(5, seconds=60, name="login")
reports = limits.Concurrency(2, name="reports")


def visitor() -> str:
    """Return the key of the limit: the visitor."""
    return request.headers.get("X-Api-Key") or request.remote_addr or ""


@application.errorhandler(limits.Rejected)
def too_many_requests(rejected: limits.Rejected) -> Response:
    """The answer to a rejected request. Flask catches the exception, so wsgid does not see it."""
    return Response(f"try again in {rejected.retry_after} s\n", 429, rejected.answer_headers)


@application.get("/search")
def find() -> str:
    with search.acquire(visitor()):
        return "found\n"


@application.post("/login")
def log_in() -> str:
    with login.acquire(visitor()):
        return "welcome\n"


@application.get("/report")
def report() -> str:
    with reports.acquire("all"):  # two at a time, over all workers
        time.sleep(1)
        return "the report\n"
