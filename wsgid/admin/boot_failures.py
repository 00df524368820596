"""Why the last generation that could not boot could not: for who asked for the reload.

Rules
* What the process itself said, an exception with its words, counts more than how it ended.
"""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    generation: int
    reason: str  # one sentence
    at_s: float  # of time.time()


class BootFailures:
    """Remembers the newest failure."""

    def __init__(self) -> None:
        self.last: Failure | None = None

    def said(self, generation: int, reason: str) -> None:
        """A template or worker of this generation has said why it cannot boot."""
        self.last = Failure(generation, reason, time.time())

    def died(self, generation: int, who: str, words: str) -> None:
        """One ended before it was ready; `words` are those of process.status_in_words."""
        if self.last is None or self.last.generation != generation:
            self.last = Failure(generation, f"{who} {words} before it was ready", time.time())
