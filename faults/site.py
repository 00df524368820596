"""The sites of the scenarios: a server in a directory of its own, and nginx in front of it."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from textwrap import dedent

from faults import crowd
from faults.apps import VERSIONED
from faults.crowd import Client
from faults.measure import Weight, cpu_s, in_flight, own_bytes, pss_bytes, scoreboard_of
from faults.report import Result
from tests.support.server import Server, eventually
from tools.nginx import EXAMPLES, Nginx, example
from wsgid.ipc.scoreboard import Scoreboard, Word

CLIENTS = 64
PAUSE_S = 0.02  # between two requests of a client: the machine is busy, but has time for other work
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}  # as on a site: start-up times are with .pyc files


@contextmanager
def serving(*arguments: str, workers: int = 4, app: str = VERSIONED) -> Iterator[Server]:
    """A server on app.sock in a directory of its own. If the arguments name no application, the server serves `app`."""
    with tempfile.TemporaryDirectory(prefix="wsgid-faults-") as directory:
        server = start(Path(directory), *(arguments or ("app:application",)), workers=workers, app=app)
        try:
            yield server.wait_ready(workers)
        finally:
            server.end()


def start(directory: Path, *arguments: str, workers: int, app: str = VERSIONED) -> Server:
    (directory / "app.py").write_text(app)
    return Server(
        directory, "--socket", str(directory / "app.sock"), "--workers", str(workers), *arguments, environ=COMPILED
    )


def flask(*arguments: str) -> tuple[str, ...]:
    return ("--chdir", str(EXAMPLES), *arguments, "flask_app:application")


def nginx_for(server: Server, times: int = 2, server_directives: str = "") -> Nginx:
    """The site of the example. It lists the socket twice, or as often as `times` says."""
    address = f"unix:{server.directory}/app.sock"
    addresses = [address] if times == 2 else [f"{address} max_fails=0"] * times
    return Nginx(example("flask_nginx.conf", *addresses), server=server_directives)


def nginx_address(nginx: Nginx) -> tuple[str, int]:
    return nginx.host, nginx.port


def ended(server: Server, signo: Signals = Signals.SIGTERM) -> Result:
    """Stop the server if it runs, and check that nothing is left."""
    bar = "exit code 0; no process, no socket file is left"
    try:
        code = server.stop(signo)
        server.assert_nothing_left()
    except AssertionError as error:
        return Result(bar, f"{error}"[:200], False)
    return Result(bar, f"exit code {code}", code == 0)


class Site:
    """A server, and what the server costs."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.address = server.directory / "app.sock"

    def scoreboard(self) -> Scoreboard:
        """The scoreboard of the master, through the descriptor that the master has open."""
        return scoreboard_of(self.server.pid)

    def settle(self) -> None:
        """Wait until nothing is in flight."""
        board, slots = self.scoreboard(), range(len(self.server.worker_pids()))
        eventually(lambda: not in_flight(board, slots), "nothing is in flight any more")

    def rest(self) -> None:
        """Wait until each worker rests, and has given back what was free (serving/rounds.py): it vouches for some time
        to come, for the second time."""
        self.settle()
        board = self.scoreboard()
        for slot in range(len(self.server.worker_pids())):
            vouched: set[int] = set()

            def rests(slot: int = slot, vouched: set[int] = vouched) -> bool:
                until_ns = board.line(slot)[Word.HEARTBEAT_NS]
                if until_ns > time.monotonic_ns():
                    vouched.add(until_ns)
                return len(vouched) > 1

            eventually(rests, f"worker {slot} rests")

    def weigh(self) -> "Weight":
        """What the workers hold at rest, when no request is in flight."""
        self.rest()
        pids = self.server.worker_pids()
        return Weight(sum(map(own_bytes, pids)), sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids))


@contextmanager
def site(
    app: str, *options: str, workers: int = 1, socket: str = "app.sock", prefix: Sequence[str] = ()
) -> Iterator[Site]:
    """A server that is ready, in a directory of its own. At the end the server has to stop with code 0 and leave
    nothing."""
    with tempfile.TemporaryDirectory(prefix="wsgid-faults-") as name:
        directory = Path(name)
        (directory / "app.py").write_text(dedent(app))
        server = Server(
            directory, "--socket", socket, "--workers", str(workers), *options, "app:application", prefix=prefix
        )
        try:
            if "--logto" in options:  # the log goes elsewhere, so that no line arrives here
                eventually(lambda: len(server.worker_pids()) == workers, "all workers live")
            else:
                server.wait_ready(workers)
            yield Site(server)
            assert server.stop() == 0, server.log
            server.assert_nothing_left()
        finally:
            server.end()


@dataclass
class Watched:
    """What one more client has seen while the crowd was in flight."""

    at_most: int = 0  # requests in flight at the same time
    pss_bytes: int = 0  # Pss of the workers, when all requests were in flight
    # processor time of the workers: when all places were taken, and later
    cpu_s: list[float] = field(default_factory=list)


def watch(crowded: Site, wanted: int, seen: Watched, rest_s: float = 0.0) -> Client:
    """Wait until this many requests are in flight at the same time. Look at the workers then, and again after
    `rest_s`."""
    board, pids = crowded.scoreboard(), crowded.server.worker_pids()
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
