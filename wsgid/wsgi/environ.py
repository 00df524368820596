"""From the variables of a packet to the WSGI environ (PEP 3333, "environ Variables").

Rules
* What is the same for every request is made once, by `base_environ`.
* The peer cannot replace what we say in `wsgi.*`: the constant part is laid over its variables, not under them.
* Nothing that a client can send decides the scheme: headers arrive as HTTP_*, and none of those is asked.
* What nginx leaves out or empty although PEP 3333 demands it is filled in; the worker tells the operator.
"""

import io
import re
from typing import Any, BinaryIO, TextIO
from urllib.parse import unquote

# What nginx's uwsgi_params always sends, and a request cannot do without.
_REQUIRED = frozenset({"REQUEST_METHOD", "PATH_INFO", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL"})

# PEP 3333 lets a server leave these out, and applications rely on them all the same.
_WANTED = _REQUIRED | {"QUERY_STRING"}

_HTTPS_ON = frozenset({"on", "1"})
_PORTS = {"https": "443"}
_HOST = re.compile(r"(\[[^]]*\]|[^:]*)")  # without its port; an IPv6 address has its colons in brackets


def base_environ(errors: io.TextIOBase | TextIO, multiprocess: bool, file_wrapper: type) -> dict[str, object]:
    """The part that is the same for all requests of a worker.

    Args:
        errors: the wsgi.errors stream.
        multiprocess: whether the application also runs in other processes.
        file_wrapper: the class that `response.serve` knows how to send.
    """
    return {
        "wsgi.version": (1, 0),
        "wsgi.errors": errors,
        "wsgi.multithread": True,  # several requests of one process interleave, and that is what PEP 3333 means by it
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        # The input ends where the body does.  nginx passes HTTP_TRANSFER_ENCODING on although it has removed the
        # chunks: an application that sees this key reads to the end, and does not look for chunks.
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": file_wrapper,
    }


def make_environ(base: dict[str, object], variables: dict[str, str], wsgi_input: BinaryIO) -> dict[str, Any]:
    """The environ of one request; the application may change it as it likes.

    Args:
        base: made by `base_environ`.
        variables: of the packet.
        wsgi_input: the request body.
    """
    environ: dict[str, Any] = variables | base  # in this order: see the rules
    scheme = _url_scheme(variables)
    environ["wsgi.url_scheme"] = scheme
    environ["wsgi.input"] = wsgi_input
    if "SCRIPT_NAME" not in variables:  # uwsgi_params does not have it
        environ["SCRIPT_NAME"] = ""
    if not variables.get("SERVER_NAME"):  # nginx sends '' for `server_name "";`, and PEP 3333 forbids it
        environ["SERVER_NAME"] = _host_name(variables)
    if not variables.get("SERVER_PORT"):  # '' if nginx itself listens on a unix socket
        environ["SERVER_PORT"] = _PORTS.get(scheme, "80")
    if _WANTED.difference(variables):
        _fill(environ)
    return environ


def missing_variables(variables: dict[str, str]) -> tuple[str, ...]:
    """Which variables that `include uwsgi_params;` would have brought are not there; empty if all are."""
    missing = _REQUIRED.difference(variables)
    return tuple(sorted(missing)) if missing else ()


def _url_scheme(variables: dict[str, str]) -> str:
    """UWSGI_SCHEME, which the operator sets in nginx, then nginx's own HTTPS and REQUEST_SCHEME."""
    scheme = variables.get("UWSGI_SCHEME")
    if scheme:
        return scheme
    https = variables.get("HTTPS")
    if https and https.lower() in _HTTPS_ON:
        return "https"
    return variables.get("REQUEST_SCHEME") or "http"


def _host_name(variables: dict[str, str]) -> str:
    match = _HOST.match(variables.get("HTTP_HOST", ""))
    return match and match[1] or "localhost"


def _fill(environ: dict[str, Any]) -> None:
    """What `include uwsgi_params;` would have brought, out of REQUEST_URI: that is what the client sent, undecoded."""
    path, _, query = environ.get("REQUEST_URI", "").partition("?")
    environ.setdefault("REQUEST_METHOD", "GET")
    environ.setdefault("PATH_INFO", unquote(path, "latin-1") if path.startswith("/") else "/")
    environ.setdefault("QUERY_STRING", query)
    environ.setdefault("SERVER_PROTOCOL", "HTTP/1.0")
