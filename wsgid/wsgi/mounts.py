"""Several applications in one server: --mount /PREFIX=APPLICATION.

Rules
* The longest prefix of PATH_INFO counts, by whole segments: /x takes /x and /x/y, and leaves /xy alone.
* SCRIPT_NAME and PATH_INFO are split only with --manage-script-name (PEP 3333: the application finds its own prefix in
  SCRIPT_NAME). Without it, a SCRIPT_NAME that nginx sets chooses the application, as in uWSGI.
* A request that no prefix fits goes to the first application.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Application = Callable[..., Iterable[bytes]]


class Mounts:
    """An application that passes each request to one of several applications.

    Args:
        first: gets the requests that no prefix fits.
        mounted: the other applications by their prefixes, as the operator has written them: "/x".
        splits: whether to split SCRIPT_NAME and PATH_INFO.
    """

    def __init__(self, first: Application, mounted: Mapping[str, Application], splits: bool) -> None:
        self._first = first
        # PEP 3333: the environ has the bytes of a path as latin-1.
        self._mounted = {prefix.encode().decode("latin-1"): application for prefix, application in mounted.items()}
        self._splits = splits

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._splits:
            path: str = environ.get("PATH_INFO", "")
            prefix = path
            while prefix:
                if prefix in self._mounted:
                    environ["SCRIPT_NAME"], environ["PATH_INFO"] = prefix, path[len(prefix) :]
                    return self._mounted[prefix](environ, start_response)
                prefix = prefix[: prefix.rfind("/")] if "/" in prefix else ""
        chosen = self._mounted.get(environ.get("SCRIPT_NAME", "").rstrip("/"), self._first)
        return chosen(environ, start_response)
