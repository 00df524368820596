"""Malformed requests, while good requests run in parallel."""

import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator

from faults import crowd
from faults.apps import APP
from faults.crowd import Client
from faults.report import Result, Scenario
from faults.rows import all_met, growth, in_words, same_descriptors
from faults.site import site
from tests.support.client import Address, packet
from wsgid.ipc.scoreboard import Word


def malformed(count: int = 20_000, warm_up: int = 10_000, seed: int = 1) -> list[Result]:
    """Malformed packets on both kinds of socket, four for each good request that runs in parallel."""
    with site(APP, "--socket", "127.0.0.1:0", "--socket-timeout", "5") as abused:
        (said,) = abused.server.wait_for(r"listens on \S+, ([\d.]+):(\d+) with")
        addresses: list[Address] = [abused.address, (said[1], int(said[2]))]
        chance = random.Random(seed)
        _abuse(addresses, warm_up, chance)
        before, lines, started_s = abused.weigh(), len(abused.server.lines), time.monotonic()
        refused = abused.scoreboard().line(0)[Word.REJECTED]
        good, bad = _abuse(addresses, count, chance)
        after, took_s = abused.weigh(), time.monotonic() - started_s
        refused = abused.scoreboard().line(0)[Word.REJECTED] - refused
        said_lines = abused.server.lines[lines:]
    tracebacks = sum("Traceback" in line for line in said_lines)
    return [
        all_met(f"the {good.total():,} good ones in between answered", good, (count + 3) // 4),
        Result(f"all {count:,} bad ones come to an end", in_words(bad), bad.total() == count and not bad["no answer"]),
        same_descriptors(before, after),
        growth(before, after, 0.05, f"{count:,}"),
        Result("at most one log line each", f"{len(said_lines):,} for {refused:,} refused", len(said_lines) <= count),
        Result("no traceback", str(tracebacks), not tracebacks),
        Result(
            "and the log is limited: 10 lines a second",
            f"{len(said_lines):,} in {took_s:.0f} s",
            len(said_lines) <= 10 * took_s + 10,
        ),
    ]


def _abuse(addresses: list[Address], count: int, chance: random.Random) -> tuple[Counter[str], Counter[str]]:
    """Returns the outcomes of the good and of the malformed requests."""
    good: Counter[str] = Counter()
    bad: Counter[str] = Counter()

    def clients() -> Iterator[Client]:
        for number in range(count):
            address = addresses[number % len(addresses)]
            yield crowd.into(bad, chance.choice(NONSENSE)(address, chance))
            if number % 4 == 0:
                yield crowd.into(good, crowd.ask(address, packet()))

    crowd.run(clients(), 64)
    return good, bad


def _random_bytes(address: Address, chance: random.Random) -> Client:
    start = chance.choice((b"", b"\0", b"\0\xff\xff\0", b"\x1e"))
    return say_and_end(address, [start + chance.randbytes(chance.randrange(1, 3000))])


def _truncated(address: Address, chance: random.Random) -> Client:
    whole = packet("/read", b"body")
    return say_and_end(address, [whole[: chance.randrange(1, len(whole) - 4)]])


def _overlapping(address: Address, chance: random.Random) -> Client:
    whole = bytearray(packet())
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(4, 40)
        whole[at] = chance.randrange(256)
    return say_and_end(address, [bytes(whole)])


def _wrong_size(address: Address, chance: random.Random) -> Client:
    whole = packet()
    return say_and_end(address, [struct.pack("<BHB", 0, chance.randrange(65536), 0) + whole[4:]])


def _dripped(address: Address, chance: random.Random) -> Client:
    whole = packet("/read", CONTENT_LENGTH=chance.choice(("x", "-1", "+5", "9" * 30)))
    pieces = sorted(chance.sample(range(1, len(whole)), 5))
    return say_and_end(address, [whole[start:end] for start, end in zip([0, *pieces], [*pieces, len(whole)])], 0.02)


def _http(address: Address, chance: random.Random) -> Client:
    method = chance.choice((b"GET", b"POST", b"HEAD", b"BREW"))
    return say_and_end(address, [method + b" / HTTP/1.1\r\nHost: localhost\r\n\r\n"])


def _short_body(address: Address, chance: random.Random) -> Client:
    size = chance.randrange(1, 100_000)
    return say_and_end(address, [packet("/read", CONTENT_LENGTH=str(size)) + bytes(chance.randrange(size))])


NONSENSE: tuple[Callable[[Address, random.Random], Client], ...] = (
    _random_bytes,
    _truncated,
    _overlapping,
    _wrong_size,
    _dripped,
    _http,
    _short_body,
)


def say_and_end(address: Address, pieces: list[bytes], pause_s: float = 0.0) -> Client:
    """Send these pieces and end the stream, then read the answer."""
    connection = yield from crowd.connect(address)
    with connection:
        for number, piece in enumerate(pieces):
            if number:
                yield pause_s
            yield from crowd.send(connection, piece)
        connection.shutdown(1)
        return crowd.verdict((yield from crowd.receive_all(connection)))


SCENARIOS: tuple[Scenario, ...] = (malformed,)
