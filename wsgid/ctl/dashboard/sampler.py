"""Looks at the server each second, in a thread of its own, and remembers what it sees.

Rules
* The looks cost the server little: one `status` each second, which asks no worker.  Workers with requests are asked for
  their oldest ones, at most QUESTIONS_PER_S of them each second on average, and less often if there are very many
  requests.  docs/dashboard.md has the measured cost.
* A server that does not answer is asked again each second, also after it was started anew.
"""

import math
import threading
import time
from typing import Any

from wsgid.ctl.client import CtlError, Server
from wsgid.ctl.commands import top_sample
from wsgid.ctl.commands.top_sample import Sample
from wsgid.ctl.dashboard import changes
from wsgid.ctl.dashboard.changes import Change, ChangeKind
from wsgid.ctl.dashboard.history import History
from wsgid.ctl.dashboard.slow import SlowRequests
from wsgid.records import dataclass

INTERVAL_S = 1.0
QUESTIONS_PER_S = 4
_REQUESTS_PER_S = 2000  # so many requests in flight make the pause a second longer


@dataclass(frozen=True)
class Look:
    """The newest look at the server: the last sample, and why there is no newer one."""

    sample: Sample | None = None
    silence: str = ""  # a sentence, if the server does not answer


class Sampler:
    """Samples one server.

    Args:
        server: to ask.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._ask_again_s = 0.0
        self.lock = threading.Lock()  # for all that follows
        self.history = History()
        self.slow = SlowRequests()
        self.look = Look()

    def start(self) -> None:
        """Take the first look, and begin to look each second."""
        self.sample()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        next_s = time.monotonic() + INTERVAL_S
        while not self._ends.wait(max(next_s - time.monotonic(), 0.0)):
            self.sample()
            next_s = max(next_s + INTERVAL_S, time.monotonic())

    def sample(self) -> None:
        """Look once."""
        before, now_s = self.look, time.monotonic()
        asks_workers = now_s >= self._ask_again_s
        try:
            sample = top_sample.take(self._server, before.sample, asks_workers)
        except CtlError as error:
            self._note_silence(str(error))
            return
        if asks_workers:
            self._ask_again_s = now_s + pause_s(sample.status)
        with self.lock:
            at_s = time.time()
            for change in _changes(before, sample):
                self.history.mark(change, at_s)
            self.history.add(sample, at_s)
            if asks_workers:
                self.slow.see(sample.slowest, set(sample.asked), at_s)
            self.look = Look(sample)

    def _note_silence(self, reason: str) -> None:
        with self.lock:
            at_s = time.time()
            if not self.look.silence:
                self.history.mark(Change(ChangeKind.UNPLANNED, f"no answer: {reason}"), at_s)
            self.history.add_silence(at_s)
            self.look = Look(self.look.sample, reason)


def pause_s(status: dict[str, Any]) -> float:
    """Return how long the workers are not asked again."""
    in_flight = [worker["in_flight"] for worker in status["workers"] if worker["in_flight"]]
    asked = min(len(in_flight), top_sample.ASKED_MAX)
    pause: float = (
        max(math.ceil(asked / QUESTIONS_PER_S), 1) * INTERVAL_S - INTERVAL_S / 2 + sum(in_flight) / _REQUESTS_PER_S
    )
    return pause


def _changes(before: Look, sample: Sample) -> list[Change]:
    found = list(changes.between(before.sample.status, sample.status)) if before.sample else []
    if before.silence and not found:
        found.append(Change(ChangeKind.PLANNED, "the server answers again"))
    return found
