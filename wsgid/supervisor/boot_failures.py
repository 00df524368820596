"""Failures to boot: logged, reported to the fleet, and remembered for the operator who has asked for the reload.

Rules
* The process's own words (an exception with its message) count more than its exit status.
* A traceback is logged once, whatever the number of workers and attempts. The sentence is logged each time.
"""

import time

from wsgid import log
from wsgid.ipc import messages
from wsgid.linux.syscall_errors import soon
from wsgid.records import dataclass
from wsgid.supervisor.fleet import Fleet
from wsgid.supervisor.once import Once


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a generation could not boot."""

    generation: int
    reason: str  # one sentence
    at_s: float  # of time.time()


class BootFailures:
    """Remembers the newest failure."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._tracebacks = Once()
        self.last: Failure | None = None

    def reported(self, failure: messages.BootFailed, name: str, generation: int) -> None:
        """A template or a worker reports why it cannot boot.

        Args:
            failure: the message.
            name: of the process, for the log.
            generation: of the process.
        """
        self._remember(generation, f"{name}: {failure.reason}")
        if failure.traceback and self._tracebacks.is_new(failure.traceback):
            log.error(
                "%s: the application raises, when it is imported:",
                name,
                extra={"traceback": failure.traceback.rstrip()},
            )
        remedy = "; the running workers keep serving" if self._fleet.proven else ""
        log.error("%s: %s%s", name, failure.reason, remedy)

    def died(self, generation: int, name: str, words: str) -> None:
        """A process has ended before it was ready. `words` come from process.status_in_words."""
        if self.last is None or self.last.generation != generation:
            self._remember(generation, f"{name} {words} before it was ready")

    def launch_refused(self, generation: int, why: str) -> None:
        """A template cannot be started. The fleet tries again."""
        pause_s = self._fleet.launch_failed(generation, time.monotonic())
        reason = f"template {generation} cannot be started: {why}"
        if self._fleet.proven:
            reason += f"; the running workers keep serving, and it is tried again {soon(pause_s)}"
        self._remember(generation, reason)
        log.error("%s", reason)

    def spawn_refused(self, slot: int, why: str) -> None:
        """A worker cannot be started, so its slot stays empty. The fleet tries again."""
        now_s = time.monotonic()
        self._fleet.channel_closed(slot, now_s)
        pause_s = max(self._fleet.slots[slot].not_before_s - now_s, 0.0)
        log.error("worker %d cannot be started: %s; it is tried again %s", slot, why, soon(pause_s))

    def _remember(self, generation: int, reason: str) -> None:
        self.last = Failure(generation, reason, time.time())
