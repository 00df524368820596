"""From the variables of a request to the WSGI environ (PEP 3333, "environ Variables").

Rules
* `base_environ` makes the part that is the same for all requests, once.
* The peer cannot replace `wsgi.*` keys: the decoder starts from the constant part, and keeps its values.
* No key HTTP_* is read here, so no header of a client chooses the scheme. What a load balancer says of it has become
  REQUEST_SCHEME before (protocol/forwarded.py, docs/decisions/041).
* Keys that PEP 3333 demands, and that nginx leaves out or empty, are filled in. The worker then tells the operator.
"""

import io
import sys
from typing import Any, BinaryIO, TextIO
from urllib.parse import unquote

# nginx's uwsgi_params always sends these, and applications rely on them. PEP 3333 lets a server omit QUERY_STRING.
_REQUIRED = ("PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL")

# A table of CPython's dict with this many keys, when it is full, grows to 64 places: enough for what nginx, a browser
# and this module add to `base_environ` (Objects/dictobject.c, GROWTH_RATE: three times of what it holds).
_HELD_TO_GROW = 11

_HTTPS_ON = frozenset({"on", "1"})
_PORTS = {"https": "443"}


def base_environ(errors: io.TextIOBase | TextIO, multiprocess: bool, file_wrapper: type) -> dict[str, object]:
    """Return the part of the environ that is the same for all requests of a worker.

    Args:
        errors: the wsgi.errors stream.
        multiprocess: whether the application also runs in other processes.
        file_wrapper: the class for wsgi.file_wrapper, which `response.serve` knows how to send.
    """
    return {
        "wsgi.version": (1, 0),
        "wsgi.errors": errors,
        "wsgi.multithread": True,  # requests of one process interleave, which is what PEP 3333 means by it
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        # The input ends at the end of the body.  nginx removes the chunks, but still passes HTTP_TRANSFER_ENCODING. An
        # application that sees this key reads to the end, and does not look for chunks.
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": file_wrapper,
    }


def roomy(base: dict[str, object]) -> dict[str, object]:
    """Return a copy of `base`. Copies of the returned dict have room for a request's variables.

    dict.copy keeps the size of the table. A dict that was made with a size (_PyDict_NewPresized) would take 336 bytes
    more, because its table is made for keys of all types. So this dict is made to grow: keys that are added and removed
    fill its table.

    Args:
        base: from `base_environ`.
    """
    made = dict(base)
    fillers = (f"room {number}" for number in range(100))
    while len(made) < _HELD_TO_GROW:
        made[next(fillers)] = None
    size_bytes = sys.getsizeof(made)
    for filler in fillers:
        made[filler] = None
        if sys.getsizeof(made) > size_bytes:
            break
        del made[filler]
    for filler in made.keys() - base.keys():
        del made[filler]
    return made


def complete(variables: dict[str, Any]) -> tuple[str, ...]:
    """Fill in the variables that `include uwsgi_params;` sets in nginx, if they are missing.

    Args:
        variables: of the request; they are changed.

    Returns:
        The names of the missing variables, so that the operator can be told.
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
    path, _, query = variables.get("REQUEST_URI", "").partition("?")  # as the client sent it, not decoded
    variables.setdefault("REQUEST_METHOD", "GET")
    variables.setdefault("PATH_INFO", unquote(path, "latin-1") if path.startswith("/") else "/")
    variables.setdefault("QUERY_STRING", query)
    variables.setdefault("SERVER_PROTOCOL", "HTTP/1.0")
    return missing


def make_environ(variables: dict[str, Any], wsgi_input: BinaryIO) -> dict[str, Any]:
    """Return the environ of one request. The application may change it.

    Args:
        variables: of the request, complete, with those of `base_environ`; they become the environ.
        wsgi_input: the request body.
    """
    scheme = _url_scheme(variables)
    if "SCRIPT_NAME" not in variables:  # uwsgi_params does not set it
        variables["SCRIPT_NAME"] = ""
    if not variables.get("SERVER_NAME"):  # nginx sends '' for `server_name "";`, which PEP 3333 forbids
        variables["SERVER_NAME"] = _host_name(variables)
    if not variables.get("SERVER_PORT"):  # nginx sends '' if it listens on a unix socket itself
        variables["SERVER_PORT"] = _PORTS.get(scheme, "80")
    variables["wsgi.url_scheme"] = scheme
    variables["wsgi.input"] = wsgi_input
    return variables


def _url_scheme(variables: dict[str, Any]) -> str:
    """Return the scheme: from UWSGI_SCHEME, which the operator sets in nginx, then from nginx's HTTPS and
    REQUEST_SCHEME."""
    scheme: str = variables.get("UWSGI_SCHEME", "")
    if scheme:
        return scheme
    https = variables.get("HTTPS")
    if https and https.lower() in _HTTPS_ON:
        return "https"
    return str(variables.get("REQUEST_SCHEME") or "http")


def _host_name(variables: dict[str, Any]) -> str:
    host: str = variables.get("HTTP_HOST", "")
    end = host.find(":", host.find("]") + 1)  # the colons of an IPv6 address are inside of brackets
    return (host if end < 0 else host[:end]) or "localhost"
