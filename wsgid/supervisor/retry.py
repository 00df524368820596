"""What the kernel refuses the master: survived, and tried again.

Rules
* A refusal ends what was asked for, and nothing else.  Who knows what follows from it handles it beside the call;
  `Net` catches what nobody has thought of.
* What is tried again waits longer each time, by the fleet's rule.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from wsgid import log
from wsgid.linux.syscall_errors import REFUSALS, words
from wsgid.supervisor.backoff import backoff_s

REST_S = 0.1  # after a refusal that nobody handled: its cause may wait in the selector, and would be met at once again
SAID_AGAIN_S = 10.0  # the same sentence is said so often, at most


class Again:
    """Something that was refused, and when it is tried again."""

    def __init__(self) -> None:
        self.failures = 0
        self.at_s = inf

    def refused(self, now_s: float) -> float:
        """Returns the pause until the next try, in seconds."""
        self.failures += 1
        pause_s = backoff_s(self.failures + 1)
        self.at_s = now_s + pause_s
        return pause_s

    def waits(self, now_s: float) -> bool:
        """Whether it was refused, and is not due yet."""
        return self.failures > 0 and now_s < self.at_s

    def take(self, now_s: float) -> bool:
        """Whether it is due; then it counts as tried."""
        if now_s < self.at_s:
            return False
        self.at_s = inf
        return True

    def done(self) -> None:
        """It went well, or is not wanted any more."""
        self.failures, self.at_s = 0, inf


class Net:
    """Under the parts of the master's turn: none of them ends the others."""

    def __init__(self) -> None:
        self._said_s: dict[str, float] = {}  # by sentence: when
        self._fell = False

    @contextmanager
    def under(self, what: str) -> Iterator[None]:
        """A refusal in here is said, and survived.

        Args:
            what: this part of the turn, for the log.
        """
        try:
            yield
        except REFUSALS as error:
            self.catch(what, error)

    def catch(self, what: str, error: BaseException) -> None:
        """Say and survive this one."""
        self._fell = True
        self.say(f"{what}: {words(error)}; wsgid goes on")

    def say(self, sentence: str) -> None:
        """Log it, unless that was said a moment ago."""
        now_s = time.monotonic()
        if now_s - self._said_s.get(sentence, -inf) < SAID_AGAIN_S:
            return
        if len(self._said_s) > 100:
            self._said_s.clear()
        self._said_s[sentence] = now_s
        log.error("%s", sentence)

    def rest(self) -> None:
        """Wait a moment, if this turn has met a refusal: so a lasting one costs no processor."""
        if self._fell:
            self._fell = False
            time.sleep(REST_S)
