"""The load: clients that ask without end while something is done to the server.  Every answer is counted.

    with Load(Plan(server.directory / "app.sock", (Kind("/", "hello"),), clients=12)) as load:
        ...                     # the clients ask, each its next question after the answer to the last
        load.more(50)           # wait for 50 more right answers
    load.records                # every request that was ever begun, with its outcome

Rules
* The clients run in a process of their own (load_clients.py), so that their work does not spoil what they measure.
* A host and port are asked in HTTP, as browsers do; a path is asked in uwsgi, as nginx does.
* `records`, `right` and `wrong` can be read while the load runs: they have what has been answered so far.
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import NamedTuple

from tests.support import ROOT
from tests.support.client import Address
from tests.support.server import eventually

PATIENCE_S = 90.0  # longer than nginx waits by itself: whatever happens, nginx says it first

RIGHT = "right"  # status 200, the whole body, and the expected one
WRONG = "wrong"  # a 200 with another body than expected
BROKEN = "broken"  # the connection ended before the answer did
REFUSED = "refused"  # nobody listens there (any more)
TIMED_OUT = "timed out"

BEGUN = "begun"  # what the clients' process writes between its records, once


class Record(NamedTuple):
    """One request."""

    kind: int  # index into the plan's kinds
    started_s: float  # time.monotonic, which all processes of a machine share
    ended_s: float
    outcome: str  # one of the above, or "status 502"
    note: str  # the version that answered; of anything but a right answer, what came instead


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of question. ID in path and pattern becomes the request's own: no answer fits another request."""

    path: str
    pattern: str  # the whole body; a group `version` is noted
    size_bytes: int = 0  # of the body, if it matters


class Way(Enum):
    """How an HTTP client uses its connections; the value is how many requests it sends at once."""

    CLOSE = 0  # one request for each connection
    KEEP_ALIVE = 1
    PIPELINE = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """Who asks what. Client N asks the kind N in the way N, modulo their numbers."""

    address: Address  # a host and port for HTTP, a path for uwsgi, which has a connection for each request
    kinds: tuple[Kind, ...]
    clients: int = 1
    pause_s: float = 0.0  # between an answer and the next question
    ways: tuple[Way, ...] = (Way.KEEP_ALIVE,)
    every_s: float = 0.0  # above 0: instead, a new client each time, which asks once, whoever still waits
    ends_with: tuple[str, ...] = ()  # a client that meets this outcome asks no more
    patience_s: float = PATIENCE_S  # a client that has waited this long goes away


class Load:
    """The clients' process, from `with` to the end of its block, where every client first gets its last answer."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._records: list[Record] = []
        self._outcomes: Counter[str] = Counter()
        self._read_bytes = 0
        self._begun = False

    def __enter__(self) -> "Load":
        self._said = tempfile.TemporaryFile()  # a file, so that the clients never wait for who reads
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.load_clients"], cwd=ROOT, stdin=subprocess.PIPE, stdout=self._said
        )
        assert self._process.stdin
        pickle.dump(self.plan, self._process.stdin)
        self._process.stdin.flush()
        eventually(self._has_begun, "every client of the load has begun")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        with self._process, self._said:  # which waits for the end
            if error is not None:
                self._process.kill()
            self._process.stdin.close()  # the block is over
            code = self._process.wait()
            self._take_in()
        assert error is not None or code == 0, f"the clients' process ended with code {code}"

    @property
    def records(self) -> list[Record]:
        self._take_in()
        return self._records

    @property
    def right(self) -> int:
        """How many right answers there are."""
        return self.outcomes()[RIGHT]

    @property
    def wrong(self) -> list[str]:
        """What came instead of right answers, in words."""
        return [f"{record.outcome}: {record.note}" for record in self.failed()]

    def outcomes(self) -> Counter[str]:
        self._take_in()
        return self._outcomes.copy()

    def failed(self) -> list[Record]:
        return [record for record in self.records if record.outcome != RIGHT]

    def more(self, count: int = 50) -> None:
        """Wait for so many more right answers."""
        wanted = self.right + count
        eventually(lambda: self.right >= wanted, f"{count} more right answers, beside {self.outcomes()}")

    def _has_begun(self) -> bool:
        assert self._process.poll() is None, "the clients' process has ended"
        self._take_in()
        return self._begun

    def _take_in(self) -> None:
        """Read the records that have been written since the last time."""
        if self._said.closed:
            return
        size_bytes = os.fstat(self._said.fileno()).st_size
        block = os.pread(self._said.fileno(), size_bytes - self._read_bytes, self._read_bytes)
        lines, _, _ = block.rpartition(b"\n")  # the last one may be half
        if not lines:
            return
        self._read_bytes += len(lines) + 1
        said = [json.loads(line) for line in lines.split(b"\n")]
        self._begun = self._begun or BEGUN in said
        fresh = [Record(*record) for record in said if record != BEGUN]
        self._records += fresh
        self._outcomes.update(record.outcome for record in fresh)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
