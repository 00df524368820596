"""A Flask site whose workers share a cache: wsgid --http :8000 --workers 4 --cache pages=64m flask_cache:application

    pip install 'lmdb>=3' flask

One machine: as above. Several machines: --cache pages=redis://HOST:6379/0 instead, and nothing else changes.
"""

import os
import time

from flask import Flask, jsonify

from wsgid.cache import Cache

application = Flask(__name__)
pages = Cache("pages")
menu = Cache("pages", local=100)  # the same store; hot values stay objects of the worker


def render_report() -> str:
    time.sleep(1)  # a slow query
    return f"made by worker {os.getpid()} at {time.strftime('%H:%M:%S')}\n"


@application.get("/")
def report() -> str:
    """The report is fresh for 10 s. After that, one worker makes the next report, and all others send the old one."""
    text: str = pages.get_or_make("report", render_report, ttl_s=10, stale_s=60)
    return text


@application.get("/visits")
def visits() -> str:
    """One count for all workers."""
    return f"{pages.incr('visits')}\n"


@application.get("/menu")
def show_menu() -> object:
    """In nearly every request: no decoding, and a change in any worker is seen at once."""
    return jsonify(menu.get("menu", ["soup"]))


@application.post("/menu/<dish>")
def add_dish(dish: str) -> object:
    """A change that must not be lost: read and write under one lock."""
    with pages.lock("menu", ttl_s=5):
        dishes = [*pages.get("menu", ["soup"]), dish]
        pages.set("menu", dishes)
    return jsonify(dishes)
