"""--static-map: files beside the application. No path leads out of their directory."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Start
from tests.support import client
from tests.support.server import Server
from wsgid.wsgi.static import StaticMaps

APP = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"the application"]
"""
TEXT = b"0123456789" * 30_000


@pytest.fixture
def server(start: Start, tmp_path: Path) -> Server:
    files = tmp_path / "files"
    (files / "css").mkdir(parents=True)
    (files / "css" / "site.css").write_text("body {}")
    (files / "big.bin").write_bytes(TEXT)
    (files / "archive.tar.gz").write_bytes(b"\x1f\x8b")
    (files / "empty.txt").touch()
    (files / "\u00fcber.txt").write_text("unicode")
    (tmp_path / "secret").write_text("secret")
    (files / "link").symlink_to("../secret")
    (files / "css" / "inside").symlink_to("../big.bin")
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "logo.svg").write_text("<svg/>")
    (files / "shared").symlink_to("../shared")
    os.mkfifo(files / "fifo")
    return start(
        "--socket",
        "app.sock",
        "--static-map",
        "/static=files",
        "--static-safe",
        str(shared),
        "app:application",
        app=APP,
    ).wait_ready(1)


def get(server: Server, path: str, **headers: str) -> client.Answer:
    return client.get(server.directory / "app.sock", path, **headers)


HIDDEN = (".env", ".git/config", "css/.htpasswd", "css/disguised.css", ".well-known/.secret")


@pytest.mark.parametrize("option", [[], ["--static-hidden"]])
def test_hidden_files_are_sent_only_with_the_option(start: Start, tmp_path: Path, option: list[str]) -> None:
    files = tmp_path / "files"
    for name in (".env", ".git/config", "css/.htpasswd", ".well-known/security.txt", ".well-known/.secret"):
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_text("file")
    (files / "css" / "disguised.css").symlink_to("../.env")
    server = start(
        "--socket", "app.sock", "--static-map", "/static=files", *option, "app:application", app=APP
    ).wait_ready(1)
    for name in HIDDEN:
        assert get(server, f"/static/{name}").body == (b"file" if option else b"the application")
    assert get(server, "/static/.well-known/security.txt").body == b"file"


@pytest.mark.parametrize(
    ("charset", "kind"), [("none", "text/html"), ("windows-1251", "text/html; charset=windows-1251")]
)
def test_the_charset_of_text_files_is_the_operator_s(start: Start, tmp_path: Path, charset: str, kind: str) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "page.html").write_bytes('<meta charset="windows-1251">страница'.encode("windows-1251"))
    (tmp_path / "files" / "data.json").write_text("{}")
    options = ("--static-map", "/static=files", "--static-charset", charset)
    server = start("--socket", "app.sock", *options, "app:application", app=APP).wait_ready(1)
    assert get(server, "/static/page.html").header("Content-Type") == kind
    assert get(server, "/static/data.json").header("Content-Type") == "application/json"


def test_a_file_is_sent_with_its_type_and_validators(server: Server) -> None:
    answer = get(server, "/static/css/site.css")
    assert (answer.status, answer.body) == (200, b"body {}")
    assert answer.header("Content-Type") == "text/css; charset=utf-8"
    assert answer.header("Content-Length") == "7" and answer.header("Accept-Ranges") == "bytes"
    assert get(server, "/static/big.bin").body == TEXT
    assert get(server, "/static/empty.txt").body == b""
    assert get(server, "/static/archive.tar.gz").header("Content-Type") == "application/gzip"
    assert get(server, "/static/\u00c3\u00bcber.txt").body == b"unicode"  # UTF-8 as latin-1: PEP 3333
    head = get(server, "/static/big.bin", REQUEST_METHOD="HEAD")
    assert head.body == b"" and head.header("Content-Length") == str(len(TEXT))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/static",
        "/static/",
        "/static/no",
        "/static/css",
        "/staticcss/site.css",
        "/static/../secret",
        "/static/link",
        "/static/css/../../secret",
        "/static//etc/passwd",
        "/static/./big.bin",
        "/static/fifo",
        "/static/big.bin/",
        "/static/shared/../../secret",
        "/static/\0",
        "/static/%2e%2e/secret",
    ],
)
def test_a_path_without_a_file_goes_to_the_application(server: Server, path: str) -> None:
    assert get(server, path).body == b"the application"


def test_other_methods_go_to_the_application(server: Server) -> None:
    assert get(server, "/static/big.bin", REQUEST_METHOD="POST").body == b"the application"


def test_links_lead_where_they_may(server: Server) -> None:
    assert get(server, "/static/css/inside").body == TEXT
    assert get(server, "/static/shared/logo.svg").body == b"<svg/>"


def test_a_client_that_has_the_file_already_gets_a_304(server: Server) -> None:
    first = get(server, "/static/css/site.css")
    etag, modified = first.header("ETag") or "", first.header("Last-Modified") or ""
    for headers in (
        {"HTTP_IF_NONE_MATCH": etag},
        {"HTTP_IF_NONE_MATCH": f'"x", W/{etag}'},
        {"HTTP_IF_NONE_MATCH": "*"},
        {"HTTP_IF_MODIFIED_SINCE": modified},
    ):
        again = get(server, "/static/css/site.css", **headers)
        assert (again.status, again.body, again.header("ETag")) == (304, b"", etag)
    for headers in (
        {"HTTP_IF_NONE_MATCH": '"x"'},
        {"HTTP_IF_MODIFIED_SINCE": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"HTTP_IF_NONE_MATCH": '"x"', "HTTP_IF_MODIFIED_SINCE": modified},
        {"HTTP_IF_MODIFIED_SINCE": "yesterday"},
    ):
        assert get(server, "/static/css/site.css", **headers).status == 200


@pytest.mark.parametrize(
    ("wanted", "body"),
    [
        ("bytes=0-9", TEXT[:10]),
        ("bytes=5-", TEXT[5:]),
        ("bytes=-7", TEXT[-7:]),
        ("bytes=299999-400000", TEXT[299999:]),
        ("bytes=100000-250000", TEXT[100000:250001]),
    ],
)
def test_a_range_is_a_206(server: Server, wanted: str, body: bytes) -> None:
    answer = get(server, "/static/big.bin", HTTP_RANGE=wanted)
    assert (answer.status, answer.body) == (206, body)
    assert answer.header("Content-Length") == str(len(body))


@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_RANGE": "bytes=5-2"},
        {"HTTP_RANGE": "lines=1-2"},
        {"HTTP_RANGE": "bytes=0-1,5-6"},
        {"HTTP_RANGE": "bytes=-"},
        {"HTTP_RANGE": "bytes=0-9", "HTTP_IF_RANGE": '"another"'},
    ],
)
def test_a_range_that_is_not_understood_is_the_whole_file(server: Server, headers: dict[str, str]) -> None:
    assert get(server, "/static/big.bin", **headers).body == TEXT


@pytest.mark.parametrize("wanted", ["bytes=300000-", "bytes=-0"])
def test_a_range_beyond_the_end_is_a_416(server: Server, wanted: str) -> None:
    answer = get(server, "/static/big.bin", HTTP_RANGE=wanted)
    assert (answer.status, answer.header("Content-Range")) == (416, "bytes */300000")


@given(st.lists(st.sampled_from(["..", ".", "", "a", "out", "secret", "\0", "%2e%2e"]), max_size=6))
def test_no_path_leads_out(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    root = tmp_path_factory.getbasetemp() / "static-root"
    if not root.exists():
        (root / "files" / "a").mkdir(parents=True)
        (root / "secret").write_text("secret")
        (root / "files" / "out").symlink_to("..")
    maps = StaticMaps(lambda environ, start_response: [], [("/s", str(root / "files"))], [])
    answer: Any = maps({"PATH_INFO": "/s/" + "/".join(parts), "REQUEST_METHOD": "GET"}, lambda *_: None)
    assert answer == []
