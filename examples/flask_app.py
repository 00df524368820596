"""A small Flask site to try wsgid with: wsgid --socket app.sock --workers 4 flask_app:application"""

import hashlib
import itertools
import os
import time
from collections.abc import Iterator

from flask import Flask, Response, jsonify, render_template_string, request, send_file

application = Flask(__name__)
requests_here = itertools.count(1)  # of this worker: each has its own copy

PAGE = """\
<!doctype html>
<title>wsgid</title>
<h1>Hello from wsgid</h1>
<p>Worker {{ pid }} served this, its request number {{ number }}.</p>
<ul>
  <li><a href="/slow?s=1">/slow?s=1</a> sleeps, while the worker serves others
  <li><a href="/stream?n=5&amp;s=0.5">/stream?n=5&amp;s=0.5</a> comes line by line
  <li><a href="/download">/download</a> is this application's source
  <li><a href="/form">/form</a> greets you
  <li>/upload tells size and SHA-256: <code>curl -T some-file {{ request.host_url }}upload</code>
</ul>
"""

FORM = """\
<!doctype html>
<title>wsgid</title>
<form method="post"><label>Your name <input name="name"></label> <button>Greet</button></form>
{% if name %}<p>Hello, {{ name }}!</p>{% endif %}
"""


@application.get("/")
def index() -> str:
    return render_template_string(PAGE, pid=os.getpid(), number=next(requests_here))


@application.get("/slow")
def slow() -> str:
    seconds = request.args.get("s", 1.0, type=float)
    time.sleep(seconds)  # under wsgid this is gevent's sleep: the worker goes on serving
    return f"slept {seconds} s in worker {os.getpid()}\n"


@application.get("/stream")
def stream() -> Response:
    lines = request.args.get("n", 5, type=int)
    pause_s = request.args.get("s", 0.5, type=float)

    def generate() -> Iterator[str]:
        for number in range(lines):
            if number:
                time.sleep(pause_s)
            yield f"line {number}\n"

    # nginx buffers a response before it sends it on. This header switches that off.
    return Response(generate(), mimetype="text/plain", headers={"X-Accel-Buffering": "no"})


@application.route("/upload", methods=["POST", "PUT"])
def upload() -> Response:
    digest, size = hashlib.sha256(), 0
    while piece := request.stream.read(64 * 1024):  # at most this much of the body is in memory
        digest.update(piece)
        size += len(piece)
    return jsonify(size=size, sha256=digest.hexdigest())


@application.get("/download")
def download() -> Response:
    return send_file(__file__, as_attachment=True)


@application.route("/form", methods=["GET", "POST"])
def form() -> str:
    return render_template_string(FORM, name=request.form.get("name"))
