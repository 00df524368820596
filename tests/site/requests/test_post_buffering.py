"""wsgi.input in applications that need seek: it says when it cannot seek, and with --post-buffering it can."""

import hashlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import requests

from tests.conftest import Start
from tests.support import client
from tests.support.processes import open_files
from tests.support.server import Server, eventually
from tools.nginx import Nginx

pytestmark = pytest.mark.hot

# As Zope's form parser does: it seeks back to the earlier position, if the stream has a position.
APP = """
    import hashlib, os, stat
    from pathlib import Path
    import gevent

    def application(environ, start_response):
        stream, path = environ["wsgi.input"], environ["PATH_INFO"]
        Path("called").touch()
        if path == "/sleep":
            gevent.sleep(30)
        try:
            position = stream.tell()
        except Exception:
            position = None
        body = stream.read()
        if position is not None:
            stream.seek(position)
            assert stream.read() == body
        start_response("200 OK", [])
        answer = [hashlib.md5(body).hexdigest(), "seeks" if position is not None else "streams", kind(stream),
                  environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING")]
        return [" ".join(map(str, answer)).encode()]

    def kind(stream):
        try:
            mode = os.fstat(stream.fileno())
        except OSError:
            return type(stream).__name__
        return "file" if stat.S_ISREG(mode.st_mode) and mode.st_nlink == 0 else "?"
"""
SIZES = [10, 900_000, 3_000_000]
KB = 1024


def serve(start: Start, *options: str, **more: Any) -> Server:
    return start(
        "--socket", "app.sock", "--http", "http.sock", *options, "app:application", app=APP, **more
    ).wait_ready(1)


def over_uwsgi(directory: Path, body: bytes, path: str = "/") -> client.Answer:
    return client.get(directory / "app.sock", path, body, REQUEST_METHOD="POST")


def over_http(directory: Path, body: bytes, path: str = "/") -> client.Answer:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return client.parse(client.exchange(directory / "http.sock", head.encode() + body))


def in_chunks(directory: Path, body: bytes, path: str = "/") -> client.Answer:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [body[at : at + 40_000] for at in range(0, len(body), 40_000)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    return client.parse(client.exchange(directory / "http.sock", head.encode() + framed))


WAYS = [over_uwsgi, over_http, in_chunks]
Way = Callable[..., client.Answer]


def said(answer: client.Answer, body: bytes) -> list[str]:
    assert answer.status == 200
    digest, *rest = answer.body.decode().split(" ")
    assert digest == hashlib.md5(body).hexdigest()
    return rest


def test_without_the_option_an_application_that_prefers_to_seek_reads_any_body(start: Start) -> None:
    server = serve(start)
    for way in WAYS:
        for size in SIZES:
            body = os.urandom(size)
            told, *_ = said(way(server.directory, body), body)
            assert told == ("seeks" if way is over_uwsgi and size == 10 else "streams")  # this body came with its head
    assert server.stop() == 0


def test_with_the_option_each_body_is_a_file_that_can_seek(start: Start) -> None:
    """In memory up to the limit, above the limit in a file without a name. A body that came in chunks has a length
    now."""
    server = serve(start, "--post-buffering", "100k")
    for way in WAYS:
        for size in (10, 60_000, *SIZES):
            body = os.urandom(size)
            kind = "file" if size > 100 * KB else "BytesIO"
            assert said(way(server.directory, body), body) == ["seeks", kind, str(size), "None"]
    assert said(over_http(server.directory, b""), b"")[:2] == ["seeks", "BytesIO"]
    assert server.stop() == 0


def test_uwsgis_spelling_and_number(start: Start, tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text(
        "[uwsgi]\nsocket = app.sock\nmodule = app\npost-buffering = 1\npost-buffering-bufsize = 65536\n"
    )
    server = start("uwsgi.ini", app=APP).wait_ready(1)
    body = os.urandom(900_000)
    assert said(over_uwsgi(server.directory, body), body)[1] == "file"
    server.stop()


FRAMEWORKS = """
    import hashlib

    def flask_app():
        from flask import Flask, request
        app = Flask("site")
        @app.post("/flask")
        def upload():
            return hashlib.md5(request.files["file"].read()).hexdigest() + request.form["word"]
        return app

    def django_app():
        import django
        from django.conf import settings
        from django.core.wsgi import get_wsgi_application
        from django.http import HttpResponse
        from django.urls import path
        def upload(request):
            return HttpResponse(hashlib.md5(request.FILES["file"].read()).hexdigest() + request.POST["word"])
        settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=(path("django", upload),), SECRET_KEY="x")
        return get_wsgi_application()

    flask, django = flask_app(), django_app()
    def application(environ, start_response):
        return (flask if environ["PATH_INFO"] == "/flask" else django)(environ, start_response)
"""


@pytest.mark.parametrize("options", [[], ["--post-buffering", "64k"]], ids=["streamed", "buffered"])
def test_uploads_to_flask_and_django(start: Start, options: list[str]) -> None:
    server = start(
        "--socket", "app.sock", "--http", "127.0.0.1:0", *options, "app:application", app=FRAMEWORKS
    ).wait_ready(1)
    port = server.wait_for(r"listens on .*127\.0\.0\.1:(\d+)")[0][1]
    site = (
        "server {\n listen 80;\n client_max_body_size 0;\n location / { include uwsgi_params; "
        f"uwsgi_pass unix:{server.directory}/app.sock; }}\n}}"
    )
    with Nginx(site) as nginx:
        for url in (nginx.url.rstrip("/"), f"http://127.0.0.1:{port}"):
            for path in ("/flask", "/django"):
                for size in (10, 40_000, 4_000_000):
                    body = os.urandom(size)
                    answer = requests.post(url + path, files={"file": body}, data={"word": "yes"}, timeout=20)
                    assert (answer.status_code, answer.text) == (200, hashlib.md5(body).hexdigest() + "yes")
    assert server.stop() == 0 and "Traceback" not in server.log


# --- what can go wrong ---


def start_body(server: Server, length: int, came: int, *lines: str) -> socket.socket:
    connection = client.connect(server.directory / "http.sock")
    head = "".join(f"{line}\r\n" for line in ("POST / HTTP/1.1", "Host: a", f"Content-Length: {length}", *lines, ""))
    connection.sendall(head.encode() + b"x" * came)
    return connection


def test_a_client_that_leaves_within_its_body_is_no_request(start: Start) -> None:
    server = serve(start, "--post-buffering", "1k")
    with start_body(server, 10_000, 5_000):
        pass
    # the worker takes the requests in order
    assert said(over_http(server.directory, b"y" * 5000), b"y" * 5000)[0] == "seeks"
    assert len(list(server.directory.glob("called"))) == 1
    eventually(lambda: not open_bodies(server), "the file of the broken body is gone")
    server.stop()
    assert "Traceback" not in server.log


def open_bodies(server: Server) -> list[str]:
    """The temporary files that the workers hold. These files have no names."""
    found = []
    for pid in server.worker_pids():
        for fd, target in open_files(pid).items():
            if target.endswith("(deleted)") and "memfd:" not in target and fd > 2:  # pytest's own descriptors
                found.append(target)
    return found


def test_a_body_that_stands_still_is_given_up(start: Start) -> None:
    server = serve(start, "--post-buffering", "1k", "--socket-timeout", "0.3")
    with start_body(server, 10_000, 5_000) as connection:
        assert connection.recv(100) == b""
    assert not (server.directory / "called").exists()
    server.stop()


def test_the_time_in_which_a_body_arrives_is_not_the_applications(start: Start) -> None:
    """As in uWSGI, harakiri counts from the call of the application: the application is not to blame for a slow
    upload."""
    server = serve(start, "--post-buffering", "1k", "--harakiri", "0.4")
    body = b"x" * 8_000
    with start_body(server, len(body), 0, "Connection: close") as connection:
        for at in range(8):
            connection.sendall(body[at * 1000 : (at + 1) * 1000])
            threading.Event().wait(0.1)
        assert said(client.parse(client.read_all(connection)), body)[1] == "file"
    assert over_http(server.directory, body, "/sleep").status == 504
    server.stop()


def test_a_client_that_waits_for_a_100_gets_it(start: Start) -> None:
    server = serve(start, "--post-buffering", "1k")
    with start_body(server, 5, 0, "Expect: 100-continue", "Connection: close") as connection:
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert said(client.parse(client.read_all(connection)), b"hello")[0] == "seeks"
    server.stop()


def test_a_body_that_breaks_the_protocol_never_reaches_the_application(start: Start) -> None:
    server = serve(start, "--post-buffering", "1k")
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"
    assert client.parse(client.exchange(server.directory / "http.sock", head)).status == 400
    assert not (server.directory / "called").exists()
    server.stop()


@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_is_a_507_and_one_sentence(start: Start, tmp_path: Path, way: Way) -> None:
    (tmp_path / "tmp").mkdir()
    # A file that may not grow beyond 1000 KiB plays the full disk (setrlimit(2), RLIMIT_FSIZE; Python ignores SIGXFSZ).
    small = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({1000 * KB}, {1000 * KB}))\n"
    server = start(
        "--socket",
        "app.sock",
        "--http",
        "http.sock",
        "--post-buffering",
        "1k",
        "app:application",
        app=small + dedent(APP),
        environ={"TMPDIR": str(tmp_path / "tmp")},
    ).wait_ready(1)
    assert said(way(server.directory, b"x" * 900_000), b"x" * 900_000)[1] == "file"
    assert way(server.directory, b"x" * 3_000_000).status == 507
    server.wait_for("a request body cannot be kept in the temporary directory .*: make room there, set TMPDIR")
    assert said(way(server.directory, b"x" * 900_000), b"x" * 900_000)[1] == "file"
    eventually(lambda: not open_bodies(server), "no file stays open")
    assert not list((tmp_path / "tmp").iterdir())
    server.stop()


def test_a_directory_that_is_not_there_is_a_507_too(start: Start, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    server = serve(start, "--post-buffering", "1k", environ={"TMPDIR": str(tmp_path / "tmp")})
    assert said(over_http(server.directory, b"x" * 5000), b"x" * 5000)[1] == "file"
    (tmp_path / "tmp").rmdir()
    assert over_http(server.directory, b"x" * 5000).status == 507
    server.wait_for("a request body cannot be kept in the temporary directory")
    server.stop()


@pytest.mark.parametrize("options", [[], ["--post-buffering", "100k"]])
def test_a_body_above_limit_post_never_reaches_the_application(start: Start, options: list[str]) -> None:
    server = serve(start, "--limit-post", "1k", *options)
    for way, refusal in ((over_uwsgi, 413), (over_http, 413), (in_chunks, 411)):
        answer = way(server.directory, os.urandom(1025))
        assert (answer.status, answer.body.split()[0]) == (refusal, str(refusal).encode())
    assert said(over_uwsgi(server.directory, b"x" * 1024), b"x" * 1024)
    assert said(over_http(server.directory, b""), b"")
    assert server.stop() == 0
