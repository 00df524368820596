"""The smallest Flask site; its two paths are the ones that bench/front.py asks for."""

from flask import Flask

from bench.apps import HELLO

application = Flask(__name__)


@application.get("/uwsgi")
@application.get("/http")
def hello() -> bytes:
    return HELLO
