"""What happens while a store does not answer: a circuit breaker.

    CLOSED --a call fails--> OPEN --after a pause--> a probe in the background --it succeeds--> CLOSED
                              ^------------------------- it fails: a longer pause ------'

Rules
* While the breaker is open, no request asks the store, and none waits for it.
* No request is the probe. A probe is started by a request after the pause, in a thread that ends with the probe.
* The log has one error in a second at most.
"""

import threading
import time
from collections.abc import Callable

from wsgid import log
from wsgid.log.rate_limit import RateLimit

_PAUSE_S = 0.25
_PAUSE_MAX_S = 5.0


class StoreBreaker:
    """The breaker of one store.

    Args:
        name: of the store, for the log.
        probe: asks the store; raises an Exception if it does not answer.
        meaning: what happens to requests while the store is gone.
    """

    def __init__(self, name: str, probe: Callable[[], object], meaning: str) -> None:
        self._name = name
        self._probe = probe
        self._meaning = meaning
        self._logged = RateLimit(1.0, 1)
        self._pause_s = 0.0  # 0: closed
        self._until_s = 0.0
        self._probes = False

    def lets_through(self) -> bool:
        """Whether the store may be asked."""
        if not self._pause_s:
            return True
        if not self._probes and time.monotonic() >= self._until_s:
            self._probes = True
            threading.Thread(target=self._try, daemon=True).start()
        return False

    def failed(self, error: Exception) -> None:
        """A call has failed."""
        if not self._pause_s:
            self._pause(_PAUSE_S)
        if self._logged.admit(time.monotonic()):
            log.error("%s does not answer: %s; %s", self._name, error, self._meaning)

    def _pause(self, pause_s: float) -> None:
        self._pause_s = min(pause_s, _PAUSE_MAX_S)
        self._until_s = time.monotonic() + self._pause_s

    def _try(self) -> None:
        try:
            self._probe()
        except Exception as error:
            self._pause(2 * self._pause_s)
            self.failed(error)
        else:
            self._pause_s = 0.0
            log.info("%s answers again", self._name)
        finally:
            self._probes = False
