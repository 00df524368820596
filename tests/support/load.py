"""The load: clients that send requests all the time while a test does something to the server. Every answer is counted.

    with Load(Plan(server.directory / "app.sock", (Kind("/", "hello"),), clients=12)) as load:
        ...                     # each client sends its next request after the answer to the last request
        load.more(50)           # wait for 50 more right answers
    load.records                # every request that was ever begun, with its outcome

Rules
* The clients run in a process of their own (load_clients.py), so that their work does not change what they measure.
* Requests to a host and port are HTTP, as a browser sends them. Requests to a path are uwsgi, as nginx sends them.
* `records`, `right` and `wrong` can be read while the load runs. They contain the answers up to this moment.
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

PATIENCE_S = 90.0  # longer than nginx's own time-outs, so that nginx reports a failure first

RIGHT = "right"  # status 200, and the whole body is as expected
WRONG = "wrong"  # status 200 with another body than expected
BROKEN = "broken"  # the connection ended before the answer did
REFUSED = "refused"  # no server listens at the address, or no longer
TIMED_OUT = "timed out"

BEGUN = "begun"  # the clients' process writes this line when every client has begun


class Record(NamedTuple):
    """One request."""

    kind: int  # index into the plan's kinds
    started_s: float  # time.monotonic, which is the same for all processes of a machine
    ended_s: float
    outcome: str  # one of the words above, or "status 502"
    note: str  # the version that answered; if the answer is not right, what came instead


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of request. ID in path and pattern becomes the identity of the request: no answer fits another
    request."""

    path: str
    pattern: str  # the whole body; the group `version` goes into the note
    size_bytes: int = 0  # size of the body, if it matters


class Way(Enum):
    """How an HTTP client uses its connections. The value is the number of requests that the client sends at once."""

    CLOSE = 0  # one request for each connection
    KEEP_ALIVE = 1
    PIPELINE = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What each client asks. Client N sends requests of kind N in way N, modulo the numbers of kinds and ways."""

    address: Address  # a host and port for HTTP; a path for uwsgi, with one connection for each request
    kinds: tuple[Kind, ...]
    clients: int = 1
    pause_s: float = 0.0  # between an answer and the next request
    ways: tuple[Way, ...] = (Way.KEEP_ALIVE,)
    # above 0: a new client starts at this interval and sends one request, also if earlier requests still wait
    every_s: float = 0.0
    ends_with: tuple[str, ...] = ()  # a client that meets this outcome sends no more requests
    patience_s: float = PATIENCE_S  # a client that has waited this long closes its connection


class Load:
    """The clients' process, from `with` to the end of its block. There, every client first gets its last answer."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._records: list[Record] = []
        self._outcomes: Counter[str] = Counter()
        self._read_bytes = 0
        self._begun = False

    def __enter__(self) -> "Load":
        self._output = tempfile.TemporaryFile()  # a file, so that the clients never wait for a reader
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.load_clients"], cwd=ROOT, stdin=subprocess.PIPE, stdout=self._output
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
        with self._process, self._output:  # waits for the end of the process
            if error is not None:
                self._process.kill()
            self._process.stdin.close()  # this tells the clients that the block is over
            code = self._process.wait()
            self._take_in()
        assert error is not None or code == 0, f"the clients' process ended with code {code}"

    @property
    def records(self) -> list[Record]:
        self._take_in()
        return self._records

    @property
    def right(self) -> int:
        """The number of right answers."""
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
        """Wait for this many more right answers."""
        wanted = self.right + count
        eventually(lambda: self.right >= wanted, f"{count} more right answers, beside {self.outcomes()}")

    def _has_begun(self) -> bool:
        assert self._process.poll() is None, "the clients' process has ended"
        self._take_in()
        return self._begun

    def _take_in(self) -> None:
        """Read the records that have been written since the last time."""
        if self._output.closed:
            return
        size_bytes = os.fstat(self._output.fileno()).st_size
        block = os.pread(self._output.fileno(), size_bytes - self._read_bytes, self._read_bytes)
        lines, _, _ = block.rpartition(b"\n")  # the last line may be incomplete
        if not lines:
            return
        self._read_bytes += len(lines) + 1
        received = [json.loads(line) for line in lines.split(b"\n")]
        self._begun = self._begun or BEGUN in received
        fresh = [Record(*record) for record in received if record != BEGUN]
        self._records += fresh
        self._outcomes.update(record.outcome for record in fresh)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values does not exceed; 0 if there are no values."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
