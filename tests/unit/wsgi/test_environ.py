"""The environ has what PEP 3333 demands, whatever nginx sent, and the peer cannot forge the keys of the server."""

import io
import sys
from collections.abc import Iterable
from typing import Any
from wsgiref import validate

import pytest

from wsgid.protocol.uwsgi import decode, encode
from wsgid.wsgi.environ import base_environ, complete, make_environ, roomy
from wsgid.wsgi.filewrapper import FileWrapper

pytestmark = pytest.mark.hot

NGINX = {
    "QUERY_STRING": "a=1",
    "REQUEST_METHOD": "GET",
    "CONTENT_TYPE": "",
    "CONTENT_LENGTH": "",
    "REQUEST_URI": "/p?a=1",
    "PATH_INFO": "/p",
    "DOCUMENT_ROOT": "/srv",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REQUEST_SCHEME": "http",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "40000",
    "SERVER_PORT": "8080",
    "SERVER_NAME": "example.org",
    "HTTP_HOST": "www.example.org",
}
BODY = io.BytesIO()
BASE = base_environ(sys.stderr, True, FileWrapper)


def environ_of(without: Iterable[str] = (), **variables: str) -> dict[str, Any]:
    given = {key: value for key, value in {**NGINX, **variables}.items() if key not in without}
    head = decode(encode(given.items()), 100, BASE)
    assert head is not None
    complete(head.variables)
    return make_environ(head.variables, BODY)


def test_the_variables_of_nginx_arrive_as_they_are() -> None:
    environ = environ_of()
    assert environ.items() >= NGINX.items()
    assert environ["SCRIPT_NAME"] == ""
    assert complete(dict(NGINX)) == ()


@pytest.mark.parametrize("multiprocess", [True, False])
def test_the_keys_of_the_server(multiprocess: bool) -> None:
    environ = make_environ(base_environ(sys.stderr, multiprocess, FileWrapper) | NGINX, BODY)
    assert {key: value for key, value in environ.items() if key.startswith("wsgi.")} == {
        "wsgi.version": (1, 0),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input": BODY,
        "wsgi.url_scheme": "http",
    }


@pytest.mark.parametrize("variables", [NGINX, {}, {"REQUEST_URI": "/a%20b?c"}, {**NGINX, "SERVER_NAME": ""}])
def test_wsgiref_accepts_it(variables: dict[str, str]) -> None:
    # wsgiref.validate wants a number in CONTENT_LENGTH; PEP 3333 allows an empty text.
    filled = {key: value for key, value in variables.items() if key != "CONTENT_LENGTH"}
    complete(filled)
    validate.check_environ(make_environ(BASE | filled, BODY))  # type: ignore[attr-defined]


def test_each_request_has_an_environ_of_its_own() -> None:
    before = dict(BASE)
    environ_of()["wsgi.version"] = "changed"
    environ_of()["MINE"] = "1"
    assert "MINE" not in environ_of() and before == BASE and "MINE" not in NGINX


def test_the_peer_cannot_replace_the_keys_of_the_server() -> None:
    forged = {key: "forged" for key in environ_of() if key.startswith("wsgi.")}
    assert environ_of(**forged) == environ_of()


@pytest.mark.parametrize(
    ("variables", "scheme"),
    [
        ({}, "http"),
        ({"REQUEST_SCHEME": "https"}, "https"),
        ({"REQUEST_SCHEME": ""}, "http"),
        ({"HTTPS": "on"}, "https"),
        ({"HTTPS": "ON"}, "https"),
        ({"HTTPS": "1"}, "https"),
        ({"HTTPS": "off"}, "http"),
        ({"HTTPS": "", "REQUEST_SCHEME": "https"}, "https"),
        ({"UWSGI_SCHEME": "https"}, "https"),
        ({"UWSGI_SCHEME": "http", "HTTPS": "on"}, "http"),
        ({"UWSGI_SCHEME": "", "HTTPS": "on"}, "https"),
        ({"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_SSL": "on", "HTTP_HTTPS": "on"}, "http"),
    ],
)
def test_the_scheme_comes_from_nginx_and_never_from_the_client(variables: dict[str, str], scheme: str) -> None:
    assert environ_of(**variables)["wsgi.url_scheme"] == scheme


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("example.org", "example.org"),
        ("example.org:8080", "example.org"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("", "localhost"),
        (":80", "localhost"),
        (None, "localhost"),
    ],
)
def test_an_empty_server_name_is_filled_from_the_host(host: str | None, name: str) -> None:
    headers = {} if host is None else {"HTTP_HOST": host}
    assert environ_of(("HTTP_HOST",) if host is None else (), SERVER_NAME="", **headers)["SERVER_NAME"] == name


@pytest.mark.parametrize(
    ("variables", "port"), [({}, "8080"), ({"SERVER_PORT": ""}, "80"), ({"SERVER_PORT": "", "HTTPS": "on"}, "443")]
)
def test_the_port_is_never_empty(variables: dict[str, str], port: str) -> None:
    assert environ_of(**variables)["SERVER_PORT"] == port


@pytest.mark.parametrize(
    "name", ["REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL"]
)
def test_each_missing_variable_is_named(name: str) -> None:
    assert complete({key: value for key, value in NGINX.items() if key != name}) == (name,)


def test_without_uwsgi_params_missing_variables_are_filled() -> None:
    variables = {"HTTP_HOST": "h:1"}
    assert complete(variables) == (
        "PATH_INFO",
        "QUERY_STRING",
        "REQUEST_METHOD",
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_PROTOCOL",
    )
    environ = make_environ(BASE | variables, BODY)
    assert {key: value for key, value in environ.items() if not key.startswith("wsgi.")} == {
        "HTTP_HOST": "h:1",
        "SCRIPT_NAME": "",
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "h",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.0",
    }


@pytest.mark.parametrize(
    ("uri", "path", "query"),
    [
        ("/a/b?c=d?e", "/a/b", "c=d?e"),
        ("/", "/", ""),
        ("/%C3%BC%2F", "/\xc3\xbc/", ""),
        ("*", "/", ""),
        ("", "/", ""),
        ("/\xc3\xbc?%41", "/\xc3\xbc", "%41"),
    ],
)
def test_a_missing_path_is_decoded_from_the_uri(uri: str, path: str, query: str) -> None:
    environ = environ_of(("PATH_INFO", "QUERY_STRING"), REQUEST_URI=uri)
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)


def test_an_empty_path_stays() -> None:
    """Modifier 30 leaves an empty path for a request of SCRIPT_NAME itself."""
    assert environ_of(PATH_INFO="", SCRIPT_NAME="/p")["PATH_INFO"] == ""


@pytest.mark.parametrize("count", range(8, 14))
def test_the_environ_of_a_usual_request_is_made_in_one_piece(count: int) -> None:
    """The table of the constant part has room, and is of the kind for str keys, which takes a third less."""
    base: dict[str, object] = {f"wsgi.{number}": number for number in range(count)}
    environ = roomy(base).copy()
    assert environ == base and list(environ) == list(base)
    before_bytes = sys.getsizeof(environ)
    environ.update({f"HTTP_{number}": "" for number in range(28)})
    assert sys.getsizeof(environ) == before_bytes == sys.getsizeof(dict.fromkeys(map(str, range(40))))
