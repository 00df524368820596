"""The limits in a worker: where they are kept, and --limit-req and --limit-conn in front of the application.

Rules
* The memory is mapped, and Redis is loaded, when a limiter is first used.
* A site without limits has nothing of this on the way of a request.
"""

import importlib.util
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wsgid.config.options import Settings
from wsgid.errors import ApplicationImportError
from wsgid.limits.home import HOME
from wsgid.serving.permits import RequestPermits
from wsgid.wsgi.types import Application

if TYPE_CHECKING:
    from wsgid.limits.table import Table

_API = "wsgid.limits.limiters"  # loaded if the application uses limits


def begin(settings: Settings, slot: int, fd: int) -> RequestPermits:
    """This process is a worker from now on. Returns its permits.

    Args:
        settings: the operator's settings.
        slot: of the worker.
        fd: of the shared memory.
    """
    permits = RequestPermits()
    HOME.begin(fd, settings.limit_keys, slot, permits, _store_maker(settings))
    return permits


def wrapped(application: Application, settings: Settings, permits: RequestPermits) -> Application:
    """Return the application behind the limits of the operator."""
    if settings.limit_req or settings.limit_conn:
        from wsgid.limits import gate, rules

        made = [*map(rules.parse_req, settings.limit_req), *map(rules.parse_conn, settings.limit_conn)]
        return permits.tracked(gate.Gate(application, made))
    return permits.tracked(application) if _API in sys.modules else application


def _store_maker(settings: Settings) -> Callable[[Any], Any] | None:
    """Return what makes the store of --limit-store; None for the shared memory.

    Raises:
        ApplicationImportError: redis-py is not installed.
    """
    if not settings.limit_store:
        return None
    if importlib.util.find_spec("redis") is None:
        raise ApplicationImportError(
            "--limit-store needs the package redis: install it into the application's environment (pip install redis)"
        )

    def make(table: "Table") -> Any:
        from wsgid.limits.redis_store import LimitRedis

        return LimitRedis(
            table, settings.limit_store, settings.limit_store_closed, settings.limit_store_timeout, settings.limit_lease
        )

    return make
