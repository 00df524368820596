"""Connections that a proxy shares: a request that leaves its body unread must not cause a 502 for another client."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.conftest import Start
from tools.nginx import Nginx

APP = """
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        status = {"/upload": "401 Unauthorized", "/too-large": "413 Content Too Large"}.get(path, "200 OK")
        if path == "/":
            environ["wsgi.input"].read()  # otherwise nginx without buffering closes the connection to its client
        start_response(status, [("Content-Length", "2")])
        return [b"ok"]
"""
SITE = """
upstream wsgid {
    server 127.0.0.1:%d;
    keepalive 4;
}
server {
    listen 80;
    client_max_body_size 100m;
    client_body_buffer_size 2m;
    location / {
        proxy_pass http://wsgid;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_request_buffering %s;
    }
}
"""
UNRELATED = 300


def pieces(size: int) -> Iterator[bytes]:
    """A body that is sent in chunks."""
    for _ in range(size // 10_000):
        yield b"x" * 10_000


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_uploads_that_are_refused_cost_no_other_client_an_answer(start: Start, buffering: str) -> None:
    server = start("--http", "127.0.0.1:0", "app:application", app=APP).wait_ready(1)
    (said,) = server.wait_for(r"listens on 127.0.0.1:(\d+)")
    ended: list[bool] = []

    def upload(url: str, size: int) -> set[int]:
        answers = set()
        while not ended:
            for path in ("upload", "too-large"):
                for data in (b"x" * size, pieces(size)):
                    answers.add(requests.post(f"{url}/{path}", data=data).status_code)
        return answers

    def ask(url: str) -> list[int]:
        with requests.Session() as session:  # for POST: nginx does not send a POST again over another connection
            return [session.post(f"{url}/", data=b"a").status_code for _ in range(UNRELATED // 3)]

    with Nginx(SITE % (int(said[1]), buffering)) as nginx, ThreadPoolExecutor(6) as pool:
        uploads = [pool.submit(upload, nginx.url, size) for size in (100_000, 300_000, 1_000_000)]
        others = [pool.submit(ask, nginx.url) for _ in range(3)]
        try:
            answers = [status for other in others for status in other.result()]
        finally:
            ended.append(True)
        assert answers == [200] * UNRELATED
        assert set().union(*(future.result() for future in uploads)) == {401, 413}
        assert "upstream" not in nginx.error_log()
