"""What --metrics serves: /metrics, and, for load balancers and the like, whether this server lives and is ready.

    /healthz  200 while the master answers and has not begun to stop
    /readyz   200 while at least half of the wanted workers accept connections, and nobody has asked for a stop

Rules
* Each says why in one line.
* Alive is not ready: who kills what is not ready kills a server whose database is slow to come up.
"""

from collections.abc import Callable
from functools import partial

from wsgid.admin import http, metrics
from wsgid.admin.http import Page, text_page
from wsgid.admin.server import Response
from wsgid.admin.snapshot import Snapshot

_OK, _UNAVAILABLE = "200 OK", "503 Service Unavailable"
_RUNNING = "running"


def respond(take: Callable[[], Snapshot], request: bytes) -> Response:
    """The responder of --metrics.

    Args:
        take: asks the master for its snapshot.
    """
    return http.respond(request, partial(_find, take))


def _find(take: Callable[[], Snapshot], path: str) -> Page | None:
    page = PAGES.get(path)
    return page(take()) if page else None


def _metrics(snapshot: Snapshot) -> Page:
    return Page(metrics.CONTENT_TYPE, metrics.render(snapshot))


def healthz(snapshot: Snapshot) -> Page:
    if snapshot.mode != _RUNNING:
        return text_page(_UNAVAILABLE, f"wsgid is {snapshot.mode}")
    return text_page(_OK, f"wsgid {snapshot.version} is running")


def readyz(snapshot: Snapshot) -> Page:
    needed = (snapshot.wanted + 1) // 2
    workers = f"{snapshot.ready} of {snapshot.wanted} workers are ready"
    if snapshot.stopping:
        return text_page(_UNAVAILABLE, f"a stop was asked for; {workers}")
    if snapshot.ready < needed:
        return text_page(_UNAVAILABLE, f"{workers}, and {needed} are needed")
    return text_page(_OK, workers)


PAGES: dict[str, Callable[[Snapshot], Page]] = {"/metrics": _metrics, "/healthz": healthz, "/readyz": readyz}
