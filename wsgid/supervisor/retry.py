"""After a refusal of the kernel, the master survives and tries again.

Rules
* A refusal ends only the operation that was refused.  Code that knows the consequences handles it beside the call;
  `Net` catches the rest.
* The pause before the next try grows each time, by the fleet's rule.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from wsgid import log
from wsgid.linux.syscall_errors import REFUSALS, words
from wsgid.supervisor.backoff import backoff_s

REST_S = 0.1  # after an unhandled refusal: its cause may still be in the selector, and would be met again at once
SAID_AGAIN_S = 10.0  # the shortest time before the same sentence is logged again


class Again:
    """An operation that was refused, and the time of its next try."""

    def __init__(self) -> None:
        self.failures = 0
        self.at_s = inf

    def refused(self, now_s: float) -> float:
        """The operation was refused. Returns the pause until the next try, in seconds."""
        self.failures += 1
        pause_s = backoff_s(self.failures + 1)
        self.at_s = now_s + pause_s
        return pause_s

    def waits(self, now_s: float) -> bool:
        """Whether the operation was refused, and its next try is not due yet."""
        return self.failures > 0 and now_s < self.at_s

    def take(self, now_s: float) -> bool:
        """Whether the next try is due. If it is, it counts as made."""
        if now_s < self.at_s:
            return False
        self.at_s = inf
        return True

    def done(self) -> None:
        """The operation has succeeded, or is no longer wanted."""
        self.failures, self.at_s = 0, inf


class Net:
    """Protects the parts of the master's turn from each other's refusals."""

    def __init__(self) -> None:
        self._said_s: dict[str, float] = {}  # sentence -> when it was logged
        self._fell = False

    @contextmanager
    def under(self, what: str) -> Iterator[None]:
        """Log and survive a refusal inside of this context.

        Args:
            what: this part of the turn, for the log.
        """
        try:
            yield
        except REFUSALS as error:
            self.catch(what, error)

    def catch(self, what: str, error: BaseException) -> None:
        """Log and survive this refusal."""
        self._fell = True
        self.say(f"{what}: {words(error)}; wsgid goes on")

    def say(self, sentence: str) -> None:
        """Log a sentence, unless it was logged a moment ago."""
        now_s = time.monotonic()
        if now_s - self._said_s.get(sentence, -inf) < SAID_AGAIN_S:
            return
        if len(self._said_s) > 100:
            self._said_s.clear()
        self._said_s[sentence] = now_s
        log.error("%s", sentence)

    def rest(self) -> None:
        """Wait a moment if this turn has met a refusal, so that a lasting refusal does not use up a processor."""
        if self._fell:
            self._fell = False
            time.sleep(REST_S)
