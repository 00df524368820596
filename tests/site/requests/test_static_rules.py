"""How files beside the application are sent, by uWSGI's options: variants, expiry, types, index files."""

import gzip
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.support import client
from tests.support.server import Server

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the application"]
"""
INI = """
[uwsgi]
socket = app.sock
module = app
static-map = /static=files
static-map = /favicon.ico=files/icon.bin
static-map = /here=elsewhere
static-map2 = /docs=whole
static-map = /manual=public/docs
check-static-docroot = true
check-static = public
static-index = index.html
static-skip-ext = .php
static-expires = /files/style\\.css$ 3600
static-expires-path-info = ^/here/ 60
static-expires-type-mtime = image/x-test=100
static-gzip-ext = .css
static-gzip-dir = %delsewhere
mimefile = types
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("static")
    (place / "app.py").write_text(APP)
    (place / "uwsgi.ini").write_text(INI)
    (place / "types").write_text("image/x-test tst\n")
    for name in ("files", "elsewhere", "public/docs"):
        (place / name).mkdir(parents=True)
    for name in ("whole/docs", "docroot/deep"):
        (place / name).mkdir(parents=True)
        (place / name / "page.txt").write_text(name)
    (place / "docroot" / "out.txt").symlink_to("../app.py")
    (place / "files" / "style.css").write_text("plain")
    (place / "files" / "style.css.gz").write_bytes(gzip.compress(b"zipped", mtime=0))
    (place / "files" / "style.css.br").write_bytes(b"brotli")
    (place / "files" / "code.js").write_text("script")
    (place / "files" / "code.js.gz").write_bytes(b"not asked for")
    (place / "files" / "icon.bin").write_bytes(b"icon")
    (place / "files" / "picture.tst").write_bytes(b"picture")
    (place / "elsewhere" / "note.txt").write_text("note")
    (place / "elsewhere" / "note.txt.gz").write_bytes(gzip.compress(b"note", mtime=0))
    (place / "public" / "docs" / "index.html").write_text("index")
    (place / "public" / "page.php").write_text("<?php secret")
    (place / "public" / ".env").write_text("secret")
    server = Server(place, "uwsgi.ini")
    try:
        server.wait_ready(1)
        yield place
        assert server.stop() == 0
        server.assert_nothing_left()
    finally:
        server.end()


def ask(site: Path, path: str, **variables: str) -> tuple[bytes, dict[str, str]]:
    answer = client.get(site / "app.sock", path, b"", **variables)
    return answer.body, {name.lower(): value for name, value in answer.headers}


@pytest.mark.parametrize(
    ("accepted", "body", "coding"),
    [
        ("gzip, deflate, br", b"brotli", "br"),
        ("gzip", gzip.compress(b"zipped", mtime=0), "gzip"),
        ("br;q=0, gzip;q=0.5", gzip.compress(b"zipped", mtime=0), "gzip"),
        ("identity", b"plain", None),
        ("", b"plain", None),
        ("gzipped, brotli", b"plain", None),
    ],
)
def test_a_compressed_variant_is_sent_to_who_accepts_it(
    site: Path, accepted: str, body: bytes, coding: str | None
) -> None:
    found, headers = ask(site, "/static/style.css", HTTP_ACCEPT_ENCODING=accepted)
    if coding == "gzip":
        found, body = gzip.decompress(found), gzip.decompress(body)
    assert (found, headers.get("content-encoding")) == (body, coding)
    assert headers["content-type"] == "text/css" and headers["vary"] == "Accept-Encoding"


def test_each_variant_has_its_own_validator(site: Path) -> None:
    tags = {ask(site, "/static/style.css", HTTP_ACCEPT_ENCODING=coding)[1]["etag"] for coding in ("", "gzip", "br")}
    assert len(tags) == 3
    _, headers = ask(site, "/static/style.css", HTTP_ACCEPT_ENCODING="br")
    answer = client.get(
        site / "app.sock", "/static/style.css", b"", HTTP_ACCEPT_ENCODING="br", HTTP_IF_NONE_MATCH=headers["etag"]
    )
    assert answer.status == 304


def test_files_that_no_rule_names_have_no_variant(site: Path) -> None:
    body, headers = ask(site, "/static/code.js", HTTP_ACCEPT_ENCODING="gzip")
    assert body == b"script" and "vary" not in headers and "expires" not in headers
    assert ask(site, "/here/note.txt", HTTP_ACCEPT_ENCODING="gzip")[1]["content-encoding"] == "gzip"  # static-gzip-dir


def test_a_rule_says_how_long_a_file_may_be_kept(site: Path) -> None:
    _, headers = ask(site, "/static/style.css")
    assert headers["cache-control"] == "max-age=3600"
    assert abs(parsedate_to_datetime(headers["expires"]).timestamp() - time.time() - 3600) < 60
    assert ask(site, "/here/note.txt")[1]["cache-control"] == "max-age=60"


def test_a_rule_may_count_from_the_change_of_the_file_and_go_by_the_type(site: Path) -> None:
    _, headers = ask(site, "/static/picture.tst")
    assert headers["content-type"] == "image/x-test" and "cache-control" not in headers
    changed, expires = (parsedate_to_datetime(headers[name]).timestamp() for name in ("last-modified", "expires"))
    assert expires - changed == 100


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/favicon.ico", b"icon"),  # a map of one file
        ("/favicon.icon", b"the application"),
        ("/favicon.ico/x", b"the application"),
        ("/docs/", b"index"),
        ("/docs", b"index"),
        ("/docs/index.html", b"index"),
        ("/static/", b"the application"),  # there is no index.html
        ("/page.php", b"the application"),  # static-skip-ext
        ("/.env", b"the application"),
        ("/docs/../page.php", b"the application"),
        ("/", b"the application"),
        ("/staticx", b"the application"),
    ],
)
def test_which_file_belongs_to_a_path(site: Path, path: str, body: bytes) -> None:
    assert ask(site, path)[0] == body


def test_a_missing_file_of_types_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    server = Server(tmp_path, "--socket", "a.sock", "--static-map", "/x=.", "--mimefile", "none", "app:application")
    try:
        server.wait_for(r"--mimefile .*/none: No such file or directory; correct the path")
        assert server.wait() == 3
    finally:
        server.end()


def test_an_index_file_is_sent_for_the_directory_itself(site: Path) -> None:
    """As in uWSGI 2.0.31, which needs no slash behind the prefix."""
    for path in ("/manual", "/manual/"):
        assert ask(site, path)[0] == b"index"
    assert ask(site, "/here")[0] == b"the application"


def test_the_prefix_of_static_map2_is_a_part_of_the_files_path(site: Path) -> None:
    assert ask(site, "/docs/page.txt")[0] == b"whole/docs"


def test_nginx_may_name_the_directory_in_document_root(site: Path) -> None:
    root = str(site / "docroot")
    assert ask(site, "/deep/page.txt", DOCUMENT_ROOT=root)[0] == b"docroot/deep"
    for path in ("/out.txt", "/deep/none", "/../app.py"):
        assert ask(site, path, DOCUMENT_ROOT=root)[0] == b"the application"
    assert ask(site, "/deep/page.txt")[0] == b"the application"
