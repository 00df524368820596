"""Clients that leave before the end of their request or response, and slow clients."""

import json
import time
from collections import Counter
from collections.abc import Iterator

from faults import crowd
from faults.apps import APP
from faults.crowd import Client
from faults.measure import KB, MB
from faults.report import Result, Scenario
from faults.rows import all_met, growth, in_words, same_descriptors
from faults.site import Site, Watched, site, watch
from tests.support import client
from tests.support.client import Address, packet

PLACES = 300


def clients_that_leave(count: int = 5_000, warm_up: int = 5_000) -> list[Result]:
    """Clients leave within their head, their body, or the response. Responses are of all kinds.

    At first all places are taken. On a busy machine, the server still works for clients that have left, and it keeps a
    greenlet for each of them.
    """
    with site(APP, "--gevent", str(PLACES)) as left:
        (left.server.directory / "big").write_bytes(bytes(4 * MB))
        crowd.run(_leavers(left.address, warm_up), 100)
        crowd.run((crowd.ask(left.address, packet("/sleep", QUERY_STRING="1")) for _ in range(PLACES)), PLACES)
        before, at_first = left.weigh(), _state(left)
        met = crowd.run(_leavers(left.address, count), 100)
        after, at_last = left.weigh(), _state(left)
        log = left.server.log
    refusals, tracebacks = log.count("refused a packet"), log.count("Traceback")
    return [
        Result(f"{count:,} clients have left", in_words(met), met.total() == count and not met["no answer"]),
        Result("nothing is left in flight", "0", True),
        same_descriptors(before, after),
        Result(
            "no greenlet more than before",
            f"{at_first['greenlets']} -> {at_last['greenlets']}",
            at_last["greenlets"] <= max(at_first["greenlets"], PLACES + 1),  # one more is the hub
        ),
        growth(before, after, 0.05, f"{count:,}"),
        Result(
            "close() of each response called",
            f"{at_last['closed']:,} of {at_last['opened']:,}",
            at_last["closed"] == at_last["opened"] > 0,
        ),
        Result("no traceback in the log", f"{tracebacks}; {refusals:,} half heads refused", not tracebacks),
    ]


def _state(left: Site) -> dict[str, int]:
    """The numbers that the application counts."""
    found: dict[str, int] = json.loads(client.get(left.address, "/state").body)
    return found


def _leavers(address: Address, count: int) -> Iterator[Client]:
    body = packet("/read", bytes(1000))
    kinds: list[tuple[bytes, int]] = [
        (packet()[:100], 0),
        (body[:-500], 0),
        (packet("/big"), 1),
        (packet("/stream"), 1),
        (packet("/file"), 1),
        (packet("/sleep", QUERY_STRING="0.05"), 0),
    ]
    for number in range(count):
        yield leave(address, *kinds[number % len(kinds)])


def leave(address: Address, data: bytes, blocks: int) -> Client:
    """Send this, read this many blocks of the answer, and close the connection."""
    connection = yield from crowd.connect(address)
    with connection:
        yield from crowd.send(connection, data)
        for _ in range(blocks):
            yield from crowd.receive(connection, 1024)
        yield 0.01
    return "left"


def slow_clients(count: int = 500, fast: int = 4_000, seconds: float = 6.0) -> list[Result]:
    """Slow readers and slow senders need a greenlet each. Requests of fast clients must not become slower."""
    with site(APP, "--gevent", str(4 * count)) as patient:
        pids, seen = patient.server.worker_pids(), Watched()
        slow: Counter[str] = Counter()
        quick: Counter[str] = Counter()
        took_s: list[float] = []

        def clients() -> Iterator[Client]:
            for _ in range(count):
                yield crowd.into(slow, read_slowly(patient.address, seconds))
                yield crowd.into(slow, send_slowly(patient.address, seconds))
            yield watch(patient, 2 * count, seen)
            for _ in range(fast):
                yield crowd.into(quick, crowd.timed(crowd.ask(patient.address, packet()), took_s))

        crowd.run(clients(), 2 * count + 5)
        same = pids == patient.server.worker_pids()
    ordered = sorted(took_s)
    p50_s, p99_s = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
    return [
        all_met(f"all {2 * count} slow ones answered", slow, 2 * count),
        all_met(f"all {fast:,} fast ones answered", quick, fast),
        Result(f"{2 * count} slow ones in flight in one worker", str(seen.at_most), seen.at_most >= 2 * count),
        Result("the same worker", "yes" if same else "no", same),
        Result("p99 of the fast ones below 100 ms", f"p50 {p50_s * 1e3:.1f} ms, p99 {p99_s * 1e3:.1f} ms", p99_s < 0.1),
    ]


def read_slowly(address: Address, seconds: float) -> Client:
    """Read 8 kB a second for that long, then the rest. The kernel's buffers take 200 kB at once; the answer is
    longer."""
    connection = yield from crowd.connect(address)
    with connection:
        yield from crowd.send(connection, packet("/half"))
        raw = b""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            raw += yield from crowd.receive(connection, 4 * KB)
            yield 0.5
        return crowd.verdict(raw + (yield from crowd.receive_all(connection)))


def send_slowly(address: Address, seconds: float) -> Client:
    """A head in two halves, and a body in eleven pieces."""
    body = bytes(11 * 512)
    whole = packet("/read", body)
    connection = yield from crowd.connect(address)
    with connection:
        yield from crowd.send(connection, whole[:100])
        for at in range(100, len(whole), 512):
            yield seconds / 12
            yield from crowd.send(connection, whole[at : at + 512])
        return crowd.verdict((yield from crowd.receive_all(connection)))


SCENARIOS: tuple[Scenario, ...] = (clients_that_leave, slow_clients)
