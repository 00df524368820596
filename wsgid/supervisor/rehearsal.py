"""The rehearsal: before SIGUSR2 replaces the master's program, the new code starts once with --check.

        SIGUSR2 --> wsgid --check --status 0--> the master executes itself anew (upgrade.py)
                                  --refused--> try again, after a growing pause
                                  --other status--> nothing, until the operator asks again

Rules
* The running server is not affected before the rehearsal has succeeded.
* There is one rehearsal at a time, and none while the server stops.
* If the operator has to fix something (an option, the application), the next try waits for the operator. If the machine
  has refused something, the next try comes by itself, because such refusals pass.
"""

import os
import time
from collections.abc import Callable

from wsgid import log
from wsgid.errors import ExitCode
from wsgid.linux import process
from wsgid.linux.syscall_errors import soon, words
from wsgid.supervisor.fleet import Fleet, Mode
from wsgid.supervisor.retry import Again
from wsgid.supervisor.upgrade import Start


class Rehearsal:
    """Rehearses an upgrade.

    Args:
        start: how this program is started.
        fleet: knows whether the server stops.
        upgrade: executes the new image; raises OSError if the kernel refuses it.
    """

    def __init__(self, start: Start, fleet: Fleet, upgrade: Callable[[], None]) -> None:
        self._start = start
        self._fleet = fleet
        self._upgrade = upgrade
        self._again = Again()
        self.pid = 0  # 0: no rehearsal is running

    def request(self, name: str) -> None:
        """The operator wants the upgrade.

        Args:
            name: the way of asking, for the log.
        """
        if self.pid == 0 and self._fleet.mode is Mode.RUNNING:
            self._again.done()
            self._begin(name)

    def turn(self, now_s: float) -> None:
        """Begin again, if the next try is due."""
        if self._again.take(now_s) and not self._fleet.stopping:
            self._begin("again")

    def next_turn_s(self) -> float:
        """Return when the next try is due."""
        return self._again.at_s

    def ended(self, status: int) -> None:
        """The rehearsal was reaped, with this status of waitpid(2). Does not return if the new image is executed."""
        self.pid = 0
        if self._fleet.stopping:
            return
        if status != 0:
            self._failed(status)
            return
        log.info("wsgid starts anew, in this process")
        try:
            self._upgrade()
        except OSError as error:
            self._refused(words(error))

    def _begin(self, name: str) -> None:
        try:
            self.pid = self._start.rehearse()
        except OSError as error:
            self._refused(words(error))
        else:
            log.info("%s: trying whether wsgid can be started anew", name)

    def _failed(self, status: int) -> None:
        why = f"its rehearsal {process.status_in_words(status)}"
        if os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == ExitCode.FAILURE:
            self._refused(why)
        else:
            log.error("wsgid cannot be started anew: %s; this server keeps serving", why)

    def _refused(self, why: str) -> None:
        pause_s = self._again.refused(time.monotonic())
        log.error(
            "wsgid cannot be started anew: %s; this server keeps serving, and it is tried again %s", why, soon(pause_s)
        )
