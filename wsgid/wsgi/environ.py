"""From the variables of a packet to the WSGI environ (PEP 3333, "environ Variables").

Rules
* What is the same for every request is made once, by `base_environ`.
* The peer cannot replace what we say in `wsgi.*`: the protocol's decoder starts from the constant part, and keeps it.
* Nothing that a client can send decides the scheme: headers arrive as HTTP_*, and none of those is asked.
* What nginx leaves out or empty although PEP 3333 demands it is filled in; the worker tells the operator.
"""

import io
from typing import Any, BinaryIO, TextIO
from urllib.parse import unquote

# What nginx's uwsgi_params always sends, and applications rely on (PEP 3333 lets a server leave QUERY_STRING out).
_REQUIRED = ("PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL")

_HTTPS_ON = frozenset({"on", "1"})
_PORTS = {"https": "443"}


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


def complete(variables: dict[str, Any]) -> tuple[str, ...]:
    """Fill in what `include uwsgi_params;` would have brought, and is not there.

    Args:
        variables: of the packet; they are changed.

    Returns:
        The names of what was not there, so that the operator can be told.
    """
    if (
        "PATH_INFO" in variables
        and "QUERY_STRING" in variables
        and "REQUEST_METHOD" in variables
        and "SERVER_NAME" in variables
        and "SERVER_PORT" in variables
        and "SERVER_PROTOCOL" in variables
    ):
        return ()
    missing = tuple([name for name in _REQUIRED if name not in variables])
    path, _, query = variables.get("REQUEST_URI", "").partition("?")  # as the client sent it, undecoded
    variables.setdefault("REQUEST_METHOD", "GET")
    variables.setdefault("PATH_INFO", unquote(path, "latin-1") if path.startswith("/") else "/")
    variables.setdefault("QUERY_STRING", query)
    variables.setdefault("SERVER_PROTOCOL", "HTTP/1.0")
    return missing


def make_environ(variables: dict[str, Any], wsgi_input: BinaryIO) -> dict[str, Any]:
    """The environ of one request; the application may change it as it likes.

    Args:
        variables: of the packet, complete, and with those of `base_environ`; they become the environ.
        wsgi_input: the request body.
    """
    scheme = _url_scheme(variables)
    if "SCRIPT_NAME" not in variables:  # uwsgi_params does not have it
        variables["SCRIPT_NAME"] = ""
    if not variables.get("SERVER_NAME"):  # nginx sends '' for `server_name "";`, and PEP 3333 forbids it
        variables["SERVER_NAME"] = _host_name(variables)
    if not variables.get("SERVER_PORT"):  # '' if nginx itself listens on a unix socket
        variables["SERVER_PORT"] = _PORTS.get(scheme, "80")
    variables["wsgi.url_scheme"] = scheme
    variables["wsgi.input"] = wsgi_input
    return variables


def _url_scheme(variables: dict[str, Any]) -> str:
    """UWSGI_SCHEME, which the operator sets in nginx, then nginx's own HTTPS and REQUEST_SCHEME."""
    scheme: str = variables.get("UWSGI_SCHEME", "")
    if scheme:
        return scheme
    https = variables.get("HTTPS")
    if https and https.lower() in _HTTPS_ON:
        return "https"
    return str(variables.get("REQUEST_SCHEME") or "http")


def _host_name(variables: dict[str, Any]) -> str:
    host: str = variables.get("HTTP_HOST", "")
    end = host.find(":", host.find("]") + 1)  # of an IPv6 address, the colons are in brackets
    return (host if end < 0 else host[:end]) or "localhost"
