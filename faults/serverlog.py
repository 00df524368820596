"""What the scenarios read in the server's log: killed workers, their requests in flight, and ready workers."""

import re
from dataclasses import dataclass, field
from datetime import datetime

from faults.report import Result
from tests.support.load import Load
from tests.support.server import Server

READY = r"worker (\d+) \(generation \d+, pid (\d+)\) is ready$"
KILLED = r"worker (\d+) \(generation \d+, pid (\d+)\) was killed by SIGKILL(?: with (\d+) requests? in flight)?$"


def said_s(line: str) -> float:
    """When a line of the log was written, in the seconds of time.time()."""
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()


def all_ready(server: Server, workers: int) -> bool:
    """Whether, by the log, this many workers are ready and not dead."""
    ready = {match[1] for line in server.lines if (match := re.search(r"pid (\d+)\) is ready$", line))}
    dead = {match[2] for line in server.lines if (match := re.search(KILLED, line))}
    return len(ready - dead) == workers


@dataclass
class Kills:
    """One run in which workers are killed."""

    load: Load
    log: list[str] = field(default_factory=list)
    killed_s: dict[int, float] = field(default_factory=dict)  # workers that the scenario has killed: pid -> time.time()
    end: Result | None = None

    def deaths(self) -> list[re.Match[str]]:
        return [match for line in self.log if (match := re.search(KILLED, line))]

    def in_flight(self) -> int:
        """The number of requests that were in flight in the killed workers, by the master's log."""
        return sum(int(match[3] or 0) for match in self.deaths())
