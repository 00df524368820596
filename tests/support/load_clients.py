"""The process of a load's clients: python -m tests.support.load_clients, with a pickled Plan on standard input.

Rules
* Standard output gets a line of JSON for each request when the request ends, and a line when every client has begun.
* The end of standard input is the end of the load: each client gets its last answer first.
* The clients use asyncio in one thread. So hundreds of clients cost little beside the server.
"""

import asyncio
import json
import pickle
import re
import socket
import sys
import time

from tests.support import client
from tests.support.load import BEGUN, BROKEN, REFUSED, RIGHT, TIMED_OUT, WRONG, Kind, Plan, Record, Way


class _Client:
    """A client that opens a connection for each request, or uses one connection for all requests."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.index = number % len(plan.kinds)
        self._kind = plan.kinds[self.index]
        self._address = plan.address
        self._way = plan.ways[number % len(plan.ways)] if isinstance(plan.address, tuple) else Way.CLOSE
        self._patience_s = plan.patience_s
        self._number = number
        self._count = 0
        self._socket: socket.socket | None = None
        self._read = bytearray()  # bytes that were received and belong to no answer yet
        self._ends = self._way is Way.CLOSE  # whether this connection has no next request

    async def ask(self) -> list[Record]:
        """Send as many requests as this client sends at once, and read the answers."""
        identities = [self._identity() for _ in range(max(self._way.value, 1))]
        started_s = time.monotonic()
        records: list[Record] = []
        try:
            async with asyncio.timeout(self._patience_s):
                await self._send(b"".join(map(self._request, identities)))
                for identity in identities:
                    status, body = await self._answer()
                    outcome, note = _judge(self._kind, identity, status, body)
                    records.append(Record(self.index, started_s, time.monotonic(), outcome, note))
        except TimeoutError:
            outcome, note = TIMED_OUT, ""
        except (ConnectionRefusedError, FileNotFoundError) as error:
            outcome, note = REFUSED, repr(error)
        except (OSError, ValueError) as error:
            outcome, note = BROKEN, repr(error)
        unanswered = len(identities) - len(records)
        records += [Record(self.index, started_s, time.monotonic(), outcome, note)] * unanswered
        if self._ends or any(record.outcome != RIGHT for record in records):
            self.close()
        return records

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._read.clear()
        self._ends = self._way is Way.CLOSE

    def _identity(self) -> str:
        self._count += 1
        return f"{self._number}-{self._count}"

    def _request(self, identity: str) -> bytes:
        target = self._kind.path.replace("ID", identity)
        if isinstance(self._address, tuple):
            last = "Connection: close\r\n" if self._way is Way.CLOSE else ""
            return f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n".encode()
        path, _, query = target.partition("?")
        return client.packet(path, QUERY_STRING=query)

    async def _send(self, data: bytes) -> None:
        if self._socket is None:
            self._socket = await self._connect()
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def _connect(self) -> socket.socket:
        made = socket.socket(socket.AF_INET if isinstance(self._address, tuple) else socket.AF_UNIX)
        made.setblocking(False)
        try:
            if isinstance(self._address, tuple):
                await asyncio.get_running_loop().sock_connect(made, self._address)
            else:
                made.connect(str(self._address))  # connect never waits here: EAGAIN says that the backlog is full
        except BaseException:
            made.close()
            raise
        return made

    async def _answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer.

        Raises:
            OSError: the kernel's error.
            ValueError: the answer is not complete.
        """
        while (head_bytes := self._read.find(b"\r\n\r\n")) < 0:
            await self._receive()
        head = bytes(self._read[:head_bytes])
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if length is None:
            raise ValueError(f"without a length: {head[:200]!r}")
        end = head_bytes + 4 + int(length[1])
        while len(self._read) < end:
            await self._receive()
        body = bytes(self._read[head_bytes + 4 : end])
        del self._read[:end]
        # requests that were pipelined have to be answered nevertheless
        if re.search(rb"(?i)\r\nconnection: *close", head):
            self._ends = True
        return int(head.split()[1]), body

    async def _receive(self) -> None:
        assert self._socket is not None
        block = await asyncio.get_running_loop().sock_recv(self._socket, 1 << 18)
        if not block:
            raise ValueError(f"the answer ends after {len(self._read)} bytes")
        self._read += block


def _judge(kind: Kind, identity: str, status: int, body: bytes) -> tuple[str, str]:
    """Outcome and note of a complete answer."""
    text = body.decode("latin-1")
    if status != 200:
        return f"status {status}", text[:200]
    match = re.fullmatch(kind.pattern.replace("ID", identity), text, re.DOTALL)
    if match is None or (kind.size_bytes and len(body) != kind.size_bytes):
        return WRONG, text[:200]
    return RIGHT, match.groupdict().get("version", "")


async def _ask_on(plan: Plan, number: int, ended: asyncio.Event) -> None:
    """The whole life of one client."""
    asking = _Client(plan, number)
    while not ended.is_set():
        records = await asking.ask()
        sys.stdout.write("".join(f"{json.dumps(record)}\n" for record in records))
        sys.stdout.flush()
        if plan.every_s or any(record.outcome in plan.ends_with for record in records):
            break
        await asyncio.sleep(plan.pause_s)
    asking.close()


async def run(plan: Plan) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)  # at end-of-file, the load's block is over
    tasks: list[asyncio.Task[None]] = []
    for number in range(plan.clients):
        tasks.append(asyncio.create_task(_ask_on(plan, number, ended)))
        await asyncio.sleep(plan.pause_s / plan.clients)  # so that not all clients start at the same moment
    print(json.dumps(BEGUN), flush=True)
    while plan.every_s and not ended.is_set():
        tasks.append(asyncio.create_task(_ask_on(plan, len(tasks), ended)))
        await asyncio.sleep(plan.every_s)
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(run(pickle.load(sys.stdin.buffer)))
