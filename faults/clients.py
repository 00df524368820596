"""The load: many clients in a process of their own, so that their work does not spoil what they measure.

    with Load(Plan("127.0.0.1:8080", KINDS, clients=64)) as load:
        ...                     # the clients ask, each its next question after the answer to the last
    load.records                # every request that was ever begun, with its outcome

A host:port is asked in HTTP over connections that are kept alive, as browsers do; a path in uwsgi, as nginx does.
"""

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tests.support import client

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 90.0  # longer than nginx waits by itself: whatever happens, nginx says it first

RIGHT = "right"  # status 200, the whole body, and the expected one
WRONG = "wrong"  # a 200 with another body than expected
BROKEN = "broken"  # the connection ended before the answer did
REFUSED = "refused"  # nobody listens there (any more)
TIMED_OUT = "timed out"


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
    size: int = 0  # of the body in bytes, if it matters


@dataclass(frozen=True, slots=True)
class Plan:
    address: str  # host:port for HTTP, a path for uwsgi
    kinds: tuple[Kind, ...]  # client N asks kind N, modulo their number
    clients: int = 1
    pause_s: float = 0.0  # between an answer and the next question
    every_s: float = 0.0  # above 0: instead, a new client each time, which asks once, whoever still waits
    ends_with: tuple[str, ...] = ()  # a client that meets this outcome asks no more
    patience_s: float = PATIENCE_S  # a client that has waited this long goes away


class Load:
    """The clients' process, from `with` to the end of its block, where every client first gets its last answer."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.records: list[Record] = []

    def __enter__(self) -> "Load":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.clients"], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(asdict(self.plan)) + "\n")
        self._process.stdin.flush()
        self._process.stdout.readline()  # every client has begun
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin and self._process.stdout
        with self._process:  # closes the pipes, and waits
            if error is not None:
                self._process.kill()
            self._process.stdin.close()  # the block is over
            said = self._process.stdout.read()
        if error is None:
            self.records = [Record(*one) for one in json.loads(said)]

    def outcomes(self) -> Counter[str]:
        return Counter(one.outcome for one in self.records)

    def failed(self) -> list[Record]:
        return [one for one in self.records if one.outcome != RIGHT]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


# --- the process ---


class _Client:
    """One connection after the other, or one for all."""

    def __init__(self, plan: Plan, number: int) -> None:
        self._address = plan.address
        self._http = not plan.address.startswith("/")
        self._patience_s = plan.patience_s
        self._number = number
        self._count = 0
        self._socket: socket.socket | None = None

    async def ask(self, kind: Kind, index: int) -> Record:
        self._count += 1
        identity = f"{self._number}-{self._count}"
        started_s = time.monotonic()
        try:
            async with asyncio.timeout(self._patience_s):
                status, body = await self._exchange(kind.path.replace("ID", identity))
            outcome, note = _judge(kind, identity, status, body)
        except TimeoutError:
            outcome, note = TIMED_OUT, ""
        except (ConnectionRefusedError, FileNotFoundError) as error:
            outcome, note = REFUSED, repr(error)
        except (OSError, ValueError) as error:
            outcome, note = BROKEN, repr(error)
        if outcome != RIGHT:
            self.close()
        return Record(index, started_s, time.monotonic(), outcome, note)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _exchange(self, target: str) -> tuple[int, bytes]:
        """Status and body.

        Raises:
            OSError: as the kernel says it.
            ValueError: it is no whole answer.
        """
        loop = asyncio.get_running_loop()
        if self._socket is None:
            self._socket = await self._connect()
        await loop.sock_sendall(self._socket, self._packet(target))
        raw = bytearray()
        while b"\r\n\r\n" not in raw:
            raw += await self._more(raw)
        head, _, rest = bytes(raw).partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if length is None:
            raise ValueError(f"without a length: {head[:200]!r}")
        body = bytearray(rest)
        while len(body) < int(length[1]):
            body += await self._more(body)
        if not self._http or re.search(rb"(?i)\r\nconnection: *close", head):
            self.close()
        return int(head.split()[1]), bytes(body)

    async def _connect(self) -> socket.socket:
        made = socket.socket(socket.AF_INET if self._http else socket.AF_UNIX)
        made.setblocking(False)
        try:
            if self._http:
                host, _, port = self._address.partition(":")
                await asyncio.get_running_loop().sock_connect(made, (host, int(port)))
            else:
                made.connect(self._address)  # at once or not at all: EAGAIN says that the backlog is full
        except BaseException:
            made.close()
            raise
        return made

    def _packet(self, target: str) -> bytes:
        if self._http:
            return f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        path, _, query = target.partition("?")
        return client.packet(path, QUERY_STRING=query)

    async def _more(self, have: bytearray) -> bytes:
        assert self._socket is not None
        block = await asyncio.get_running_loop().sock_recv(self._socket, 1 << 18)
        if not block:
            raise ValueError(f"the answer ends after {len(have)} bytes")
        return block


def _judge(kind: Kind, identity: str, status: int, body: bytes) -> tuple[str, str]:
    """Outcome and note of a whole answer."""
    text = body.decode("latin-1")
    if status != 200:
        return f"status {status}", text[:200]
    match = re.fullmatch(kind.pattern.replace("ID", identity), text, re.DOTALL)
    if match is None or (kind.size and len(body) != kind.size):
        return WRONG, text[:200]
    return RIGHT, match.groupdict().get("version", "")


async def _ask_on(plan: Plan, number: int, ended: asyncio.Event, records: list[Record]) -> None:
    """One client's whole life."""
    index = number % len(plan.kinds)
    one = _Client(plan, number)
    while not ended.is_set():
        records.append(await one.ask(plan.kinds[index], index))
        if plan.every_s or records[-1].outcome in plan.ends_with:
            break
        await asyncio.sleep(plan.pause_s)
    one.close()


async def _run(plan: Plan) -> list[Record]:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)  # end-of-file: the block is over
    records: list[Record] = []
    tasks: list[asyncio.Task[None]] = []
    for number in range(plan.clients):
        tasks.append(asyncio.create_task(_ask_on(plan, number, ended, records)))
        await asyncio.sleep(plan.pause_s / plan.clients)  # not all at the same moment
    print("begun", flush=True)
    while plan.every_s and not ended.is_set():
        tasks.append(asyncio.create_task(_ask_on(plan, len(tasks), ended, records)))
        await asyncio.sleep(plan.every_s)
    await asyncio.gather(*tasks)
    return records


if __name__ == "__main__":
    _fields = json.loads(sys.stdin.readline())
    _fields["kinds"] = tuple(Kind(**one) for one in _fields["kinds"])
    json.dump(asyncio.run(_run(Plan(**_fields))), sys.stdout)
