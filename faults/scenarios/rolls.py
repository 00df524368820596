"""Reloads and upgrades under load: no request fails, and new code answers soon."""

import os
import re
import time
from dataclasses import dataclass, field
from signal import Signals
from statistics import median

from faults.apps import MIXED, VERSIONED
from faults.report import Result, Scenario
from faults.rows import fast_ones, none_failed
from faults.serverlog import said_s
from faults.site import CLIENTS, PAUSE_S, ended, nginx_address, nginx_for, serving
from tests.support.load import RIGHT, Load, Plan
from tests.support.server import Server

NEW_CODE_BAR_S = 0.5


@dataclass
class Roll:
    """One run of reloads or upgrades."""

    load: Load
    log: list[str] = field(default_factory=list)
    signalled_s: list[float] = field(default_factory=list)  # time.monotonic()
    end: Result | None = None

    def counts(self) -> list[Result]:
        assert self.end
        return [*none_failed(self.load), self.end]


def reload() -> list[Result]:
    run = roll(Signals.SIGHUP, CLIENTS, 6, 3.0)
    return [*run.counts(), fast_ones(run.load), *new_code(run)]


def upgrade() -> list[Result]:
    run = roll(Signals.SIGUSR2, CLIENTS, 3, 5.0)
    return [*run.counts(), upgraded(run), fast_ones(run.load)]


def roll(signo: Signals, clients: int, count: int, period_s: float, pause_s: float = PAUSE_S) -> Roll:
    """Send the signal again and again under mixed load. Before each signal the application gets a new version."""
    with serving() as server:
        with nginx_for(server) as nginx, Load(Plan(nginx_address(nginx), MIXED, clients, pause_s)) as load:
            run = Roll(load)
            for number in range(1, count + 1):
                time.sleep(period_s)
                write_version(server, number)
                run.signalled_s.append(time.monotonic())
                server.send_signal(signo)
            time.sleep(period_s)
        run.end = ended(server)
        run.log = server.lines
    return run


def write_version(server: Server, number: int) -> None:
    """Replace the application's source, as an editor does."""
    fresh = server.directory / "app.py.new"
    fresh.write_text(VERSIONED.replace("v0", f"v{number}"))
    # Python compares a .pyc with its source by size and whole seconds: too coarse for this test
    os.utime(fresh, (number, number))
    fresh.rename(server.directory / "app.py")


def new_code(run: Roll) -> list[Result]:
    """When new code has answered first, and when old code has answered last."""
    firsts_s, lasts_s = zip(*switches(run))
    readies_s = [ready_after_s(run.log, number) for number in range(1, len(firsts_s) + 1)]
    return [
        Result(
            f"first answer of new code within {NEW_CODE_BAR_S:g} s of the signal",
            _spread(firsts_s),
            max(firsts_s) < NEW_CODE_BAR_S,
        ),
        Result("of that, until its first worker was ready (no bar)", _spread(readies_s), True),
        Result("last answer of old code after the signal (no bar)", _spread(lasts_s), True),
    ]


def switches(run: Roll) -> list[tuple[float, float]]:
    """For each signal: how long after it came the first answer of the new version, and the last of an older version."""
    found = []
    for number, signalled_s in enumerate(run.signalled_s, 1):
        right = [record for record in run.load.records if record.outcome == RIGHT]
        first_s = min((record.ended_s for record in right if record.note == f"v{number}"), default=float("inf"))
        last_s = max((record.ended_s for record in right if int(record.note[1:]) < number), default=signalled_s)
        found.append((first_s - signalled_s, last_s - signalled_s))
    return found


def ready_after_s(log: list[str], generation: int) -> float:
    """The time from the log line of the reload that made this generation to the line of its first ready worker."""
    asked = [said_s(line) for line in log if "SIGHUP: reloading the application" in line]
    ready = [said_s(line) for line in log if re.search(rf"\(generation {generation}, pid \d+\) is ready$", line)]
    return ready[0] - asked[generation - 1] if ready else float("inf")


def _spread(values_s: tuple[float, ...] | list[float]) -> str:
    return f"median {median(values_s):.2f}, max {max(values_s):.2f} s of {len(values_s)}" if values_s else "none"


def upgraded(run: Roll) -> Result:
    """How often the master has executed itself, and the new image has gone on listening."""
    log = "\n".join(run.log)
    count = log.count("wsgid starts anew, in this process")
    return Result(
        "every SIGUSR2 starts wsgid anew",
        f"{count} of {len(run.signalled_s)}",
        count == len(run.signalled_s) == log.count(" listens on ") - 1,
    )


SCENARIOS: tuple[Scenario, ...] = (reload, upgrade)
