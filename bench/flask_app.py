"""The smallest Flask site. Its two paths are the paths that bench/front.py asks for."""

from flask import Flask

from bench.apps import HELLO

application = Flask(__name__)


@application.get("/uwsgi")
@application.get("/http")
def hello() -> bytes:
    return HELLO
