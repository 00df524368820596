"""Workers that attack their master, while other workers serve."""

import random
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil

from faults.attacks import APP, Attacker
from faults.report import Result, Scenario
from faults.site import ended, serving
from tests.support import client
from tests.support.server import Server, eventually

MOVES = 10_000
WORKERS = 8
AT_ONCE = 8
HARMLESS_A_LIFE = 60  # on average half as many, before the move that ends the worker
FLAT_BYTES = 8 << 20


def hostile_worker() -> list[Result]:
    """Workers attack their master while other workers serve."""
    with serving(workers=WORKERS, app=APP) as server, _stranger() as stranger:
        master = psutil.Process(server.pid)
        attacker = Attacker(server.directory / "app.sock", random.Random(1), stranger.pid)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            rounds = pool.map(lambda _: attacker.attack_by_chance(HARMLESS_A_LIFE), range(AT_ONCE))  # warm
            list(rounds)
            _all_there(server)
            before = master.num_fds(), master.memory_info().rss
            fine, asked = 0, 0
            while attacker.moves < MOVES:
                under_way = [pool.submit(attacker.attack_by_chance, HARMLESS_A_LIFE) for _ in range(AT_ONCE)]
                while not all(future.done() for future in under_way):
                    asked += 1
                    fine += _is_fine(server.directory / "app.sock")
        _all_there(server)
        after = master.num_fds(), master.memory_info().rss
        deaths = server.log.count("was killed by SIGKILL")
        alive = stranger.poll() is None
        return [
            Result(f"at least {MOVES} moves of hostile workers", f"{attacker.moves}", attacker.moves >= MOVES),
            Result(
                "a fatal move ends its worker, and no other process",
                f"{attacker.fatal} moves, {deaths} deaths",
                attacker.fatal // 2 <= deaths <= attacker.fatal,
            ),  # two fatal moves may hit the same worker
            Result(
                "the master lives, without a traceback",
                f"{server.log.count('Traceback')} tracebacks",
                master.is_running() and "Traceback" not in server.log,
            ),
            Result(
                "the master's descriptors stay flat", f"{before[0]} before, {after[0]} after", after[0] <= before[0] + 2
            ),
            Result(
                f"the master's memory stays flat (within {FLAT_BYTES >> 20} MiB)",
                f"{before[1] / 2**20:.1f} MiB before, {after[1] / 2**20:.1f} MiB after",
                after[1] - before[1] < FLAT_BYTES,
            ),
            Result("no process of another program is signalled", "none" if alive else "one is dead", alive),
            Result(
                "a good request fails only with the worker that has it",
                f"{asked - fine} of {asked} failed",
                asked - fine <= attacker.fatal,
            ),
            ended(server),
        ]


@contextmanager
def _stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not belong to the server."""
    with subprocess.Popen(["sleep", "3600"]) as stranger:
        try:
            yield stranger
        finally:
            stranger.kill()


def _all_there(server: Server) -> None:
    eventually(lambda: len(server.worker_pids()) == WORKERS, f"{WORKERS} workers are there")


def _is_fine(address: Path) -> bool:
    try:
        return client.exchange(address, client.packet()).endswith(b"\r\n\r\nfine")
    except OSError:  # the worker was killed meanwhile
        return False


SCENARIOS: tuple[Scenario, ...] = (hostile_worker,)
