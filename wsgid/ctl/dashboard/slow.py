"""Requests that took long: those that were seen in flight for SLOW_S or more, also after they have ended.

Rules
* The server keeps no list of ended requests. A request is noticed while it is in flight, so its last age is at most the
  time between two looks too small.
* No I/O.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

SLOW_S = 1.0
ENDED_MAX = 200


class SlowRequests:
    """The slow requests of the last hour."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, float], dict[str, Any]] = {}
        self._ended: deque[dict[str, Any]] = deque(maxlen=ENDED_MAX)

    def see(self, requests: Iterable[dict[str, Any]], asked: set[int], at_s: float) -> None:
        """Take in the oldest requests.

        Args:
            requests: as from `requests`, each with its worker.
            asked: the workers that have answered. A request of another worker may still be there.
            at_s: of time.time().
        """
        seen = {(request["worker"], request["started_s"]): request for request in requests}
        for key, request in seen.items():
            if request["age_s"] >= SLOW_S:
                self._open[key] = {**request, "at_s": round(at_s - request["age_s"], 1)}
        for key in [key for key in self._open if key[0] in asked and key not in seen]:
            self._ended.append(self._open.pop(key))

    def ended(self) -> list[dict[str, Any]]:
        """Return the slow requests that have ended, the newest first."""
        return list(reversed(self._ended))
