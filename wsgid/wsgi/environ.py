"""environ: from a packet's variables to the dictionary of PEP 3333.

Rules
* What is the same for all requests is made once per worker and copied.
* What the peer sends can't touch the wsgi.* keys: those are set last.
* The scheme comes from what nginx says of the connection, never from a client's header.
"""

from typing import Any, TextIO
from urllib.parse import unquote_to_bytes

_NEEDED = ("REQUEST_METHOD", "PATH_INFO", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL")


def base_environ(errors: TextIO, multiprocess: bool, file_wrapper: type) -> dict[str, Any]:
    """The part that is the same for all requests of a worker.

    Args:
        errors: becomes wsgi.errors.
        multiprocess: whether other processes serve the same application.
        file_wrapper: becomes wsgi.file_wrapper.
    """
    return {
        "wsgi.version": (1, 0),
        "wsgi.errors": errors,
        "wsgi.multithread": True,  # requests of one process interleave, which is what the application has to know
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": file_wrapper,
        "wsgi.input_terminated": True,  # reading to the end of wsgi.input is safe, whatever Transfer-Encoding says
    }


def make_environ(base: dict[str, Any], variables: dict[str, str], wsgi_input: Any) -> dict[str, Any]:
    """The environ of one request.

    Args:
        base: of `base_environ`.
        variables: of the packet.
        wsgi_input: becomes wsgi.input.
    """
    environ: dict[str, Any] = {"SCRIPT_NAME": "", **variables, **base}
    environ["wsgi.input"] = wsgi_input
    environ["wsgi.url_scheme"] = _scheme(variables)
    if not variables.get("SERVER_NAME") or missing_variables(variables):
        _fill(environ)
    return environ


def missing_variables(variables: dict[str, str]) -> tuple[str, ...]:
    """What PEP 3333 needs and the packet lacks: then nginx's location has no `include uwsgi_params`."""
    try:
        for name in _NEEDED:
            variables[name]
    except KeyError:
        return tuple(name for name in _NEEDED if name not in variables)
    return ()


def _scheme(variables: dict[str, str]) -> str:
    """UWSGI_SCHEME, then HTTPS, as uWSGI has it; then what stands in nginx's own uwsgi_params."""
    scheme = variables.get("UWSGI_SCHEME")
    if scheme:
        return scheme
    if variables.get("HTTPS", "").lower() in ("on", "1"):
        return "https"
    return variables.get("REQUEST_SCHEME") or "http"


def _fill(environ: dict[str, Any]) -> None:
    """The keys that PEP 3333 wants always, where nginx did not send them; SERVER_NAME may not be empty either, which
    it is with nginx's default `server_name ""`."""
    path, _, query = environ.get("REQUEST_URI", "/").partition("?")
    https = environ["wsgi.url_scheme"] == "https"
    environ["SERVER_NAME"] = environ.get("SERVER_NAME") or _host(environ.get("HTTP_HOST", "")) or "localhost"
    for name, value in {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_PORT": "443" if https else "80",
        "SERVER_PROTOCOL": "HTTP/1.0",
    }.items():
        environ.setdefault(name, value)


def _host(authority: str) -> str:
    """A Host header without its port (RFC 9110, 7.2); an IPv6 address keeps its brackets."""
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdecimal() else authority
