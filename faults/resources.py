"""What runs out, and who takes: crash loops, descriptors, disks, nonsense on the wire, clients that leave or are slow,
thousands at once, and hours of it.

Rules
* A real server, and every request is counted by what became of it (faults/crowd.py).
* Sizes are arguments: `make faults` takes them as they stand, the test suite takes small ones and looks at the counts.
* CPU is what the kernel has counted (proc(5)).
* Memory is Pss, what the machine would get back.  Whether it grows is asked without the pages of files: those cannot
  leak, and their share changes when any other program of the machine comes or goes.
"""

import json
import os
import random
import resource
import struct
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import psutil

from faults import crowd
from faults.crowd import Address, Client
from faults.report import Result, Scenario
from tests.support import client
from tests.support.client import packet
from tests.support.server import Server, eventually
from tools.nginx import EXAMPLES, Nginx, example
from wsgid.ipc.scoreboard import Scoreboard, Word

KB = 1000
MB = 1000 * KB

APP = """
    import io, itertools, json, os, sys, time, gc, greenlet
    from collections import Counter
    big = b"x" * 4_000_000
    half = b"y" * 512_000
    count = Counter()

    class Stream:
        def __init__(self):
            count["opened"] += 1
            self.left = 200
        def __iter__(self):
            return self
        def __next__(self):
            self.left -= 1
            if not self.left:
                raise StopIteration
            time.sleep(0.001)
            return b"z" * 16_384
        def close(self):
            count["closed"] += 1

    def state():
        return dict(count, greenlets=sum(isinstance(one, greenlet.greenlet) for one in gc.get_objects()))

    def application(environ, start_response):
        path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
        if path == "/broken":
            raise RuntimeError("broken on purpose")
        if path == "/print":
            print("something for the log", file=environ["wsgi.errors"])
        if path == "/logging":
            import logging
            logging.getLogger("app").warning("something for the log")
        if path == "/read":
            environ["wsgi.input"].read()
        if path == "/sleep":
            time.sleep(float(query))
        start_response("200 OK", [("Content-Type", "text/plain")])
        if path == "/big":
            return [big]
        if path == "/half":
            return [half]
        if path == "/stream":
            return Stream()
        if path == "/file":
            return environ["wsgi.file_wrapper"](open("big", "rb"))
        return [json.dumps(state()).encode()] if path == "/state" else [b"hello"]
"""


# --- the site ---------------------------------------------------------------------------------------------------------


def scoreboard_of(pid: int) -> Scoreboard:
    """The scoreboard of a master, which has it open."""
    links = {
        os.readlink(link).removeprefix("/memfd:").partition(" ")[0]: link for link in Path(f"/proc/{pid}/fd").iterdir()
    }
    fds = [os.open(links[f"wsgid-scoreboard-{name}"], os.O_RDWR) for name in ("live", "past")]
    try:
        return Scoreboard(*fds)
    finally:
        for fd in fds:
            os.close(fd)


class Site:
    """A server, and what it costs."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.address = server.directory / "app.sock"

    def scoreboard(self) -> Scoreboard:
        """The one of the master, which has it open."""
        return scoreboard_of(self.server.pid)

    def settle(self) -> None:
        """Wait until nothing is in flight."""
        board, slots = self.scoreboard(), range(len(self.server.worker_pids()))
        eventually(lambda: not in_flight(board, slots), "nothing is in flight any more")

    def weigh(self) -> "Weight":
        """What the workers hold when nothing is in flight."""
        self.settle()
        pids = self.server.worker_pids()
        return Weight(sum(map(own_bytes, pids)), sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids))


@dataclass(frozen=True, slots=True)
class Weight:
    own_bytes: int
    descriptors: int

    def growth(self, later: "Weight") -> float:
        return later.own_bytes / self.own_bytes - 1


@contextmanager
def site(
    app: str, *options: str, workers: int = 1, socket: str = "app.sock", prefix: Sequence[str] = ()
) -> Iterator[Site]:
    """A server that is ready, in a directory of its own; at the end it has to stop with code 0 and leave nothing."""
    with tempfile.TemporaryDirectory(prefix="wsgid-faults-") as name:
        directory = Path(name)
        (directory / "app.py").write_text(dedent(app))
        server = Server(
            directory, "--socket", socket, "--workers", str(workers), *options, "app:application", prefix=prefix
        )
        try:
            if "--logto" in options:  # nothing will be heard of it
                eventually(lambda: len(server.worker_pids()) == workers, "all workers live")
            else:
                server.wait_ready(workers)
            yield Site(server)
            assert server.stop() == 0, server.log
            server.assert_nothing_left()
        finally:
            server.end()


def in_flight(board: Scoreboard, slots: range) -> int:
    return sum(board.line(slot)[Word.IN_FLIGHT] for slot in slots)


def pss_bytes(pids: list[int]) -> int:
    return sum(int(psutil.Process(pid).memory_full_info().pss) for pid in pids)


def own_bytes(pid: int) -> int:
    """Pss without the pages of files (proc(5), smaps_rollup)."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        sizes = {name: value.split()[0] for name, _, value in (line.partition(":") for line in rollup) if value}
    return 1024 * (int(sizes["Pss"]) - int(sizes["Pss_File"]))


def cpu_s(pids: list[int]) -> float:
    """User and system time of these processes, without that of their children."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return float(sum(one.user + one.system for one in times))


def tree_cpu_s(pid: int) -> float:
    """Processor time, user and system, of a master, of all it has reaped, and of all that live below it."""
    master = psutil.Process(pid)
    spent_s = 0.0
    for child in master.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just died: the master's children's time has it, or soon will
            spent_s += sum(child.cpu_times()[:4])
    return spent_s + sum(master.cpu_times()[:4])


def allow_descriptors(needed: int) -> None:
    """For us, and for the servers that we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= needed, f"{needed} descriptors are needed, and the hard limit is {hard}: raise it (ulimit -Hn)"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))


def all_met(bar: str, met: Counter[str], count: int, status: str = "200") -> Result:
    """The row of requests that all have to get this status."""
    return Result(bar, _in_words(met), met == Counter({status: count}))


def _in_words(met: Counter[str]) -> str:
    return ", ".join(f"{count:,} x {what}" for what, count in met.most_common()) or "nothing"


def _growth(before: Weight, after: Weight, limit: float, over: str) -> Result:
    return Result(
        f"Pss of the workers grows by less than {limit:.0%} over {over}",
        f"{before.own_bytes / MB:.1f} MB -> {after.own_bytes / MB:.1f} MB, {before.growth(after):+.1%}",
        before.growth(after) < limit,
    )


def _same_descriptors(before: Weight, after: Weight) -> Result:
    return Result(
        "no descriptor more than before",
        f"{before.descriptors} -> {after.descriptors}",
        after.descriptors <= before.descriptors,
    )


# --- crash loops ------------------------------------------------------------------------------------------------------


def crash_loop_at_import() -> list[Result]:
    """An application that cannot be imported: said once, and no loop at all."""
    with tempfile.TemporaryDirectory(prefix="wsgid-faults-") as name:
        directory = Path(name)
        (directory / "app.py").write_text("raise RuntimeError('broken at import')\n")
        started_s = time.monotonic()
        server = Server(directory, "--socket", "app.sock", "--workers", "4", "app:application")
        try:
            code, took_s = server.wait(), time.monotonic() - started_s
            server.assert_nothing_left()
        finally:
            server.end()
        tracebacks = server.log.count("Traceback (most recent call last)")
    return [
        Result("exit code 3", str(code), code == 3),
        Result("within a second", f"{took_s:.2f} s", took_s < 1),
        Result("one traceback", str(tracebacks), tracebacks == 1),
        Result("no process and no socket left", "none", True),
    ]


DIES_YOUNG = """
    import os, signal, gevent
    with open("starts", "a") as starts:
        starts.write("x")
        odd = starts.tell() % 2

    def die():
        if odd:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(7)

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"hello"]

    gevent.spawn_later(0.05, die)
"""


def crash_loop_after_start(seconds: float = 20.0) -> list[Result]:
    """Workers that die 50 ms after they were ready, every time, in two ways."""
    with site(DIES_YOUNG, "--lazy-apps", workers=2) as crashing:
        server = crashing.server
        before_s, started_s = tree_cpu_s(server.pid), time.monotonic()

        def visitors() -> Iterator[Client]:
            while time.monotonic() - started_s < seconds:
                yield paused(0.1, crowd.ask(crashing.address, packet()))

        met = crowd.run(visitors(), 5)
        share = (tree_cpu_s(server.pid) - before_s) / (time.monotonic() - started_s)
    deaths = sum("exited with code" in line and "worker" in line for line in server.lines)
    tracebacks = server.log.count("Traceback (most recent call last)")
    sentences = [line for line in server.lines if "exited with code 7" in line]
    return [
        Result("less than 2 % CPU for the whole tree", f"{share:.1%}, {deaths} deaths in {seconds:g} s", share < 0.02),
        Result("at most one traceback a kind", f"{tracebacks} for 2 kinds", tracebacks <= 2),
        Result(
            "a sentence says who died of what",
            sentences[-1].split("wsgid ")[-1] if sentences else "none",
            bool(sentences),
        ),
        Result("visitors are served in between", _in_words(met), met["200"] > 0),
    ]


def paused(seconds: float, client: Client) -> Client:
    yield seconds
    return (yield from client)


# --- what runs out ----------------------------------------------------------------------------------------------------


def out_of_descriptors(count: int = 200, sleep_s: float = 1.0, limit: int = 64) -> list[Result]:
    """More slow visitors than the server may have descriptors."""
    with site(APP, prefix=["bash", "-c", 'ulimit -n "$0"; exec "$@"', str(limit)]) as small:
        pids, lines = small.server.worker_pids(), len(small.server.lines)
        before_s, started_s = cpu_s(pids), time.monotonic()
        met = crowd.run(
            (crowd.ask(small.address, packet("/sleep", QUERY_STRING=str(sleep_s))) for _ in range(count)), count
        )
        took_s, used_s = time.monotonic() - started_s, cpu_s(pids) - before_s
        said = small.server.lines[lines:]
        again = crowd.run((crowd.ask(small.address, packet()) for _ in range(count)), count)
        same = pids == small.server.worker_pids()
    return [
        all_met(f"all {count} slow ones answered with {limit} descriptors", met, count),
        all_met(f"{count} more answered afterwards", again, count),
        Result("the same worker", "yes" if same else "no", same),
        Result("no spin: less than 10 % CPU", f"{used_s:.2f} s in {took_s:.1f} s", used_s < 0.1 * took_s),
        Result("at most one log line a second", f"{len(said)} in {took_s:.1f} s", len(said) <= took_s),
    ]


IGNORES = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ignored"]
"""


def ignored_body(count: int = 40, size_bytes: int = 10 * MB) -> list[Result]:
    """Uploads to an application that does not read them, through nginx."""
    results = []
    for kind in ("unix", "TCP"):
        for buffering in ("on", "off"):
            met = _upload(count, size_bytes, "127.0.0.1:0" if kind == "TCP" else "app.sock", buffering)
            results.append(
                all_met(
                    f"{count} of {count} POSTs of {size_bytes:,} bytes answered: {kind}, "
                    f"uwsgi_request_buffering {buffering}",
                    met,
                    count,
                )
            )
    return results


def _upload(count: int, size_bytes: int, socket: str, buffering: str) -> Counter[str]:
    with site(IGNORES, socket=socket) as ignoring:
        (said,) = ignoring.server.wait_for(r"listens on (\S+) with")
        upstream = f"unix:{said[1]}" if socket == "app.sock" else said[1]
        with Nginx(example("flask_nginx.conf", upstream), server=f"uwsgi_request_buffering {buffering};") as nginx:
            head = (
                f"POST / HTTP/1.1\r\nHost: {nginx.host}:{nginx.port}\r\nConnection: close\r\n"
                f"Content-Length: {size_bytes}\r\n\r\n"
            ).encode("ascii")
            data = head + bytes(size_bytes)
            return crowd.run((crowd.upload((nginx.host, nginx.port), data) for _ in range(count)), 8)


LOUD = ("/broken", "/print", "/logging", "/", "/read")


def disk_full_log(count: int = 100) -> list[Result]:
    """A log that cannot be written, from the start or since a minute ago."""
    results = _serve_without_log("/dev/full", count)
    with tempfile.TemporaryDirectory(prefix="wsgid-disk-") as name:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", name], capture_output=True).returncode:
            return [*results, Result("a disk that fills up", "not tried: no permission to mount one", True)]
        try:
            return results + _fill_up(Path(name), count)
        finally:
            subprocess.run(["umount", name], check=True)


def _visit_all(address: Address, count: int) -> dict[str, Counter[str]]:
    return {path: crowd.run((crowd.ask(address, packet(path)) for _ in range(count // len(LOUD))), 4) for path in LOUD}


def _serve_without_log(logto: str, count: int) -> list[Result]:
    with site(APP, "--logto", logto) as silent:
        met = _visit_all(silent.address, count)
        pids = silent.server.worker_pids()
        again = crowd.run([crowd.ask(silent.address, packet())], 1)
        same = pids == silent.server.worker_pids()
    return [
        *_loud_rows(met, f"--logto {logto}"),
        all_met(f"--logto {logto}: served afterwards", again, 1),
        Result(f"--logto {logto}: the same worker", "yes" if same else "no", same),
    ]


def _loud_rows(met: dict[str, Counter[str]], what: str) -> list[Result]:
    return [
        all_met(f"{what}: {path} answered", counts, counts.total(), "500" if path == "/broken" else "200")
        for path, counts in met.items()
    ]


def _fill_up(disk: Path, count: int) -> list[Result]:
    """The log's disk gets full while the server runs, and has room again."""
    with site(APP, "--logto", str(disk / "log")) as loud:
        filler = disk / "filler"
        try:
            filler.write_bytes(bytes(1 << 20))
        except OSError:
            pass
        met = _visit_all(loud.address, count)
        filler.unlink()
        before = (disk / "log").stat().st_size
        crowd.run([crowd.ask(loud.address, packet("/broken"))], 1)
        said = (disk / "log").read_bytes()[before:].decode(errors="replace")
    return [
        *_loud_rows(met, "a full disk"),
        Result("logs again when there is room", f"{len(said)} bytes", "broken on purpose" in said),
    ]


# --- nonsense ---------------------------------------------------------------------------------------------------------


def malformed(count: int = 20_000, warm_up: int = 10_000, seed: int = 1) -> list[Result]:
    """Packets that are none, on both kinds of socket, while good requests run in parallel: four to one."""
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
        Result(f"all {count:,} bad ones come to an end", _in_words(bad), bad.total() == count and not bad["no answer"]),
        _same_descriptors(before, after),
        _growth(before, after, 0.05, f"{count:,}"),
        Result("at most one log line each", f"{len(said_lines):,} for {refused:,} refused", len(said_lines) <= count),
        Result("no traceback", str(tracebacks), not tracebacks),
        Result(
            "and the log is limited: 10 lines a second",
            f"{len(said_lines):,} in {took_s:.0f} s",
            len(said_lines) <= 10 * took_s + 10,
        ),
    ]


def _abuse(addresses: list[Address], count: int, chance: random.Random) -> tuple[Counter[str], Counter[str]]:
    """Returns what the good and what the bad ones met."""
    good: Counter[str] = Counter()
    bad: Counter[str] = Counter()

    def clients() -> Iterator[Client]:
        for number in range(count):
            address = addresses[number % len(addresses)]
            yield into(bad, chance.choice(NONSENSE)(address, chance))
            if number % 4 == 0:
                yield into(good, crowd.ask(address, packet()))

    crowd.run(clients(), 64)
    return good, bad


def into(met: Counter[str], client: Client) -> Client:
    """Count it there as well."""
    try:
        word = yield from client
    except OSError as error:
        word = type(error).__name__
    except GeneratorExit:
        met["no answer"] += 1
        raise
    met[word] += 1
    return word


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
    """Send these, then nothing more; and see what comes."""
    one = yield from crowd.connect(address)
    with one:
        for number, piece in enumerate(pieces):
            if number:
                yield pause_s
            yield from crowd.send(one, piece)
        one.shutdown(1)
        return crowd.verdict((yield from crowd.receive_all(one)))


# --- clients ----------------------------------------------------------------------------------------------------------


def clients_that_leave(count: int = 5_000, warm_up: int = 5_000) -> list[Result]:
    """They leave within their head, their body, or the response, whatever that is made of."""
    with site(APP) as left:
        (left.server.directory / "big").write_bytes(bytes(4 * MB))
        crowd.run(_leavers(left.address, warm_up), 100)
        # More at once than there will be later, for greenlets are kept, and reused.
        crowd.run((crowd.ask(left.address, packet("/sleep", QUERY_STRING="1")) for _ in range(300)), 300)
        before, at_first = left.weigh(), _state(left)
        met = crowd.run(_leavers(left.address, count), 100)
        after, at_last = left.weigh(), _state(left)
        log = left.server.log
    refusals, tracebacks = log.count("refused a packet"), log.count("Traceback")
    return [
        Result(f"{count:,} clients have left", _in_words(met), met.total() == count and not met["no answer"]),
        Result("nothing is left in flight", "0", True),
        _same_descriptors(before, after),
        Result(
            "no greenlet more than before",
            f"{at_first['greenlets']} -> {at_last['greenlets']}",
            at_last["greenlets"] <= at_first["greenlets"],
        ),
        _growth(before, after, 0.05, f"{count:,}"),
        Result(
            "close() of each response called",
            f"{at_last['closed']:,} of {at_last['opened']:,}",
            at_last["closed"] == at_last["opened"] > 0,
        ),
        Result("no traceback in the log", f"{tracebacks}; {refusals:,} half heads refused", not tracebacks),
    ]


def _state(one: Site) -> dict[str, int]:
    """What the application counts."""
    found: dict[str, int] = json.loads(client.get(one.address, "/state").body)
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
    """Send this, read so many blocks of the answer, and go."""
    one = yield from crowd.connect(address)
    with one:
        yield from crowd.send(one, data)
        for _ in range(blocks):
            yield from crowd.receive(one, 1024)
        yield 0.01
    return "left"


@dataclass
class Watched:
    """What one more client has seen while the crowd was in flight."""

    at_most: int = 0  # in flight at the same time
    pss_bytes: int = 0  # of the workers, when all were
    cpu_s: list[float] = field(default_factory=list)  # of the workers: when all places were taken, and later


def watch(one: Site, wanted: int, seen: Watched, rest_s: float = 0.0) -> Client:
    """Wait until that many are in flight at the same time, look at the workers, and again after `rest_s`."""
    board, pids = one.scoreboard(), one.server.worker_pids()
    deadline_s = time.monotonic() + crowd.PATIENCE_S
    now = 0
    while now < wanted and (now or not seen.at_most) and time.monotonic() < deadline_s:
        yield 0.02
        now = in_flight(board, range(len(pids)))
        seen.at_most = max(seen.at_most, now)
    seen.pss_bytes = pss_bytes(pids)
    seen.cpu_s.append(cpu_s(pids))
    yield rest_s
    seen.at_most = max(seen.at_most, in_flight(board, range(len(pids))))
    seen.cpu_s.append(cpu_s(pids))
    return "watched"


def ten_thousand_in_flight(count: int = 10_000, sleep_s: float = 2.0, over_s: float = 1.5) -> list[Result]:
    """Two workers, and all of these requests at the same time."""
    allow_descriptors(count + 1000)
    with site(APP, "--gevent", str(count * 6 // 10), workers=2) as crowded:
        crowded.settle()
        before_bytes = pss_bytes(crowded.server.worker_pids())
        slow, seen = packet("/sleep", QUERY_STRING=str(sleep_s)), Watched()
        met: Counter[str] = Counter()

        def clients() -> Iterator[Client]:
            for _ in range(count):
                yield into(met, crowd.ask(crowded.address, slow))
            yield watch(crowded, count, seen)

        started_s = time.monotonic()
        crowd.run(clients(), count + 1)
        took_s = time.monotonic() - started_s
    each = (seen.pss_bytes - before_bytes) / count
    return [
        all_met(f"all {count:,} answered", met, count),
        Result(f"{count:,} in flight at the same time", f"{seen.at_most:,}", seen.at_most == count),
        Result(
            f"in less than {sleep_s + over_s:g} s, of which each sleeps {sleep_s:g} s",
            f"{took_s:.2f} s",
            took_s < sleep_s + over_s,
        ),
        Result("at most 12 kB Pss for each in flight", f"{each / KB:.1f} kB", each <= 12 * KB),
    ]


def at_the_limit(count: int = 500, places: int = 50, sleep_s: float = 1.0) -> list[Result]:
    """What comes beyond --gevent waits in the backlog, and costs nothing there."""
    with site(APP, "--gevent", str(places)) as full:
        slow, seen = packet("/sleep", QUERY_STRING=str(sleep_s)), Watched()
        met: Counter[str] = Counter()
        rest_s = sleep_s * count / places * 0.7

        def clients() -> Iterator[Client]:
            yield watch(full, places, seen, rest_s)
            for _ in range(count):
                yield into(met, crowd.ask(full.address, slow))

        crowd.run(clients(), count + 1)
    used_s = seen.cpu_s[1] - seen.cpu_s[0]
    return [
        all_met(f"all {count} answered", met, count),
        Result(f"{places} in flight, and never more", str(seen.at_most), seen.at_most == places),
        Result(
            "no spin: less than 5 % CPU while it is full", f"{used_s:.2f} s in {rest_s:.1f} s", used_s < 0.05 * rest_s
        ),
    ]


def slow_clients(count: int = 500, fast: int = 4_000, seconds: float = 6.0) -> list[Result]:
    """Slow readers and slow senders cost a greenlet each, and the fast ones do not notice."""
    with site(APP, "--gevent", str(4 * count)) as patient:
        pids, seen = patient.server.worker_pids(), Watched()
        slow: Counter[str] = Counter()
        quick: Counter[str] = Counter()
        took_s: list[float] = []

        def clients() -> Iterator[Client]:
            for _ in range(count):
                yield into(slow, read_slowly(patient.address, seconds))
                yield into(slow, send_slowly(patient.address, seconds))
            yield watch(patient, 2 * count, seen)
            for _ in range(fast):
                yield into(quick, crowd.timed(crowd.ask(patient.address, packet()), took_s))

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
    """8 kB a second for that long, then the rest. The kernel's buffers take 200 kB at once: it is more than that."""
    one = yield from crowd.connect(address)
    with one:
        yield from crowd.send(one, packet("/half"))
        raw = b""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            raw += yield from crowd.receive(one, 4 * KB)
            yield 0.5
        return crowd.verdict(raw + (yield from crowd.receive_all(one)))


def send_slowly(address: Address, seconds: float) -> Client:
    """A head in two halves, and a body in eleven pieces."""
    body = bytes(11 * 512)
    whole = packet("/read", body)
    one = yield from crowd.connect(address)
    with one:
        yield from crowd.send(one, whole[:100])
        for at in range(100, len(whole), 512):
            yield seconds / 12
            yield from crowd.send(one, whole[at : at + 512])
        return crowd.verdict((yield from crowd.receive_all(one)))


# --- the long run -----------------------------------------------------------------------------------------------------


# A 404 of Flask's leaves 82 objects in cycles, and how many lie about until the collector comes is chance: megabytes.
SOAKED = """
    import gc, itertools
    from flask_app import application as flask
    calls = itertools.count(1)

    def application(environ, start_response):
        if next(calls) % 500 == 0:
            gc.collect()
        if environ["PATH_INFO"] != "/hello":
            return flask(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]
"""


def soak(count: int = 200_000, warm_up: int = 20_000) -> list[Result]:
    """A plain answer, a POST of 1 kB, a 404 and a page of Flask in turn, again and again."""
    with site(SOAKED, "--pythonpath", str(EXAMPLES), workers=2) as soaked:
        lines = len(soaked.server.lines)
        early = _mix(soaked.address, warm_up)
        before = soaked.weigh()
        late = _mix(soaked.address, count - warm_up)
        after = soaked.weigh()
        lines = len(soaked.server.lines) - lines
    expected = Counter({"200": count - count // 4, "404": count // 4})
    return [
        Result(f"all {count:,} answered, a quarter of them 404", _in_words(early + late), early + late == expected),
        _growth(before, after, 0.02, f"{count - warm_up:,}"),
        _same_descriptors(before, after),
        Result("nothing in the log", f"{lines} lines", not lines),
    ]


def _mix(address: Address, count: int) -> Counter[str]:
    kinds = [packet("/hello"), packet("/upload", bytes(1000), REQUEST_METHOD="POST"), packet("/nowhere"), packet("/")]
    return crowd.run((crowd.ask(address, kinds[number % len(kinds)]) for number in range(count)), 32)


SCENARIOS: tuple[Scenario, ...] = (
    crash_loop_at_import,
    crash_loop_after_start,
    out_of_descriptors,
    ignored_body,
    disk_full_log,
    malformed,
    clients_that_leave,
    ten_thousand_in_flight,
    at_the_limit,
    slow_clients,
    soak,
)
