"""When a worker has to be replaced: --max-requests, --max-worker-lifetime, --reload-on-rss.

Rules
* The worker only asks to be replaced. The master decides when it leaves, so that workers never leave all at once.
* Random amounts are added to the limits. Otherwise all workers would reach them in the same moment.
"""

import time

from wsgid.config.options import Settings
from wsgid.counted import counted
from wsgid.ipc.messages import Limit
from wsgid.linux import chance, memory


class Recycling:
    """The limits of one worker. Reports once that a limit is reached."""

    def __init__(self, settings: Settings) -> None:
        requests, delta = settings.max_requests, settings.max_requests_delta
        self._requests = requests + round(chance.between(0, delta or requests // 10)) if requests else 0
        lifetime_s, delta_s = settings.max_worker_lifetime, settings.max_worker_lifetime_delta
        self._until_s = time.monotonic() + lifetime_s + chance.between(0, delta_s or lifetime_s / 10)
        self._lifetime_s = lifetime_s
        self._rss_mb = settings.reload_on_rss
        self._said = False

    def reason(self, now_s: float, requests: int) -> tuple[Limit, str] | None:
        """Return the limit that is reached, with a sentence; None if there is none, or if it was returned before.

        Args:
            now_s: by the monotonic clock.
            requests: how many requests the worker has served.
        """
        if self._said:
            return None
        found: tuple[Limit, str] | None = None
        if self._requests and requests >= self._requests:
            found = "max-requests", f"it has served {counted(requests, 'request')} (--max-requests)"
        elif self._lifetime_s and now_s >= self._until_s:
            found = "max-worker-lifetime", "it has lived long enough (--max-worker-lifetime)"
        elif self._rss_mb and memory.rss_bytes() >= self._rss_mb << 20:
            found = "reload-on-rss", f"it has grown to {self._rss_mb} MB (--reload-on-rss)"
        self._said = found is not None
        return found
