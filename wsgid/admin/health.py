"""The pages of --metrics: /metrics, and for load balancers whether this server is alive and whether it is ready.

    /healthz  200 while the master answers and is not stopping
    /readyz   200 while at least half of the wanted workers serve, and nobody has asked for a stop

Rules
* Each page says why, in one line.
* Alive and ready are different: a supervisor that kills a server which is not ready would kill it while it waits for a
  slow database.
* A worker serves if it accepts connections and its event loop runs. A loop that stands still for longer than --hub-warn
  (at least a second) serves nobody.
"""

from collections.abc import Callable
from functools import partial

from wsgid.admin import http, metrics
from wsgid.admin.http import Page, text_page
from wsgid.admin.server import Response
from wsgid.admin.snapshot import Snapshot
from wsgid.counted import counted

_OK, _UNAVAILABLE = "200 OK", "503 Service Unavailable"
_RUNNING = "running"


def respond(take: Callable[[], Snapshot], request: bytes) -> Response:
    """Answer a request on --metrics.

    Args:
        take: returns the master's snapshot.
        request: the bytes that have arrived.
    """
    return http.respond(request, partial(_find, take))


def _find(take: Callable[[], Snapshot], path: str) -> Page | None:
    page = PAGES.get(path)
    return page(take()) if page else None


def _metrics(snapshot: Snapshot) -> Page:
    return Page(metrics.CONTENT_TYPE, metrics.render(snapshot))


def healthz(snapshot: Snapshot) -> Page:
    """Return the page that says whether the server is alive."""
    if snapshot.mode != _RUNNING:
        return text_page(_UNAVAILABLE, f"wsgid is {snapshot.mode}")
    return text_page(_OK, f"wsgid {snapshot.version} is running")


def readyz(snapshot: Snapshot) -> Page:
    """Return the page that says whether the server is ready."""
    needed = (snapshot.wanted + 1) // 2
    serving = sum(map(snapshot.serves, snapshot.workers))
    workers = f"{serving} of {counted(snapshot.wanted, 'worker')} ready"
    if held_up := sum(map(snapshot.is_held_up, snapshot.workers)):
        workers += f"; event loops that stand still: {held_up}"
    if snapshot.stopping:
        return text_page(_UNAVAILABLE, f"a stop was asked for; {workers}")
    if serving < needed:
        return text_page(_UNAVAILABLE, f"{workers}; needed: {needed}")
    return text_page(_OK, workers)


PAGES: dict[str, Callable[[Snapshot], Page]] = {"/metrics": _metrics, "/healthz": healthz, "/readyz": readyz}
