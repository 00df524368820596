"""python -m bench [SHAPE|GROUP ...]: measure these shapes, or all shapes, and print the tables and the bars.

All shapes take some forty minutes. Only then the results are written to bench/RESULTS.md. The exit code is 1 if a bar
is missed.

`python -m bench shared` measures caches and limits instead, without a server.
"""

import argparse
import compileall
import os
import resource
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import apps, bars, report, shared
from bench.databases import Databases
from bench.front import front
from bench.load import calibrate
from bench.peers import HOST, PEERS, Launch
from bench.sample import Failed, Metric, Sample, Table
from bench.server import ROOT, Route, ServerError, running
from bench.shapes import SHAPES, Shape, named
from tools import apt
from tools.databases import DatabaseError
from tools.nginx import Nginx, NginxError, free_port

DESCRIPTORS = 16384


@dataclass(frozen=True, slots=True)
class Options:
    shapes: list[str]
    peers: list[str]
    rounds: int
    duration_s: int

    @property
    def is_whole(self) -> bool:
        return len(self.shapes) == len(SHAPES) and len(self.peers) == len(PEERS)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The programs around the servers. They are the same for all servers."""

    nginx: Nginx
    socket: Path  # the path on which the servers listen, one after the other
    port: int  # the port on which they listen if connections are kept
    databases: Databases


def main() -> int:
    if sys.argv[1:2] == [shared.__name__.rpartition(".")[2]]:
        return shared.main()
    options = parse()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        found = bench(options)
    except KeyboardInterrupt:
        return 130
    except (NginxError, DatabaseError, apt.MissingPackage) as error:
        print(error, file=sys.stderr)
        return 1
    verdicts = list(bars.judge(found))
    if verdicts:
        print(report.of_bars(verdicts))
    if options.is_whole:
        report.write(found, verdicts, shlex.join(["python", "-m", "bench", *sys.argv[1:]]))
    return 0 if all(verdict.held for verdict in verdicts) else 1


def parse() -> Options:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    groups = sorted({shape.group for shape in SHAPES.values() if shape.group})
    parser.add_argument(
        "shapes",
        nargs="*",
        metavar="SHAPE",
        help=f"one of {', '.join(SHAPES)}; or a group of shapes: {', '.join(groups)}",
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each peer in each shape (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="length of the measurement of a run (default 3)")
    parser.add_argument(
        "--peer", action="append", choices=list(PEERS), help="measure only this peer; may be given several times"
    )
    given = parser.parse_args()
    for name in given.shapes:
        if not named(name):
            parser.error(f"no shape is called {name}; there are {', '.join([*SHAPES, *groups])}")
    shapes = dict.fromkeys(shape for name in given.shapes or SHAPES for shape in named(name))
    return Options(list(shapes), given.peer or list(PEERS), given.rounds, given.seconds)


def interrupt(_number: int, _frame: object) -> None:
    """Accept only one Ctrl-C: a second one must not interrupt the end of the processes that this program has
    started."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def compile_sources(root: Path) -> None:
    """Write the bytecode of wsgid and of the applications, as pip does for the peers when it installs them. Otherwise
    each start of wsgid would compile its modules, where PYTHONDONTWRITEBYTECODE is set."""
    for package in ("wsgid", "bench"):
        compileall.compile_dir(root / package, quiet=1)


def bench(options: Options) -> dict[str, Table]:
    apt.ensure("wrk", "wrk")
    compile_sources(ROOT)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the servers inherit the limit
    os.environ[apps.TURNS_NAME] = str(calibrate())
    found: dict[str, Table] = {}
    with tempfile.TemporaryDirectory(prefix="wsgid-bench-") as directory:
        socket = Path(directory) / "server.sock"
        with open(socket.with_name(apps.FILE), "wb") as file:
            file.truncate(apps.FILE_BYTES)
        port = free_port(HOST)
        with front(socket, port, min(hard, DESCRIPTORS)) as nginx, Databases() as databases:
            surroundings = Surroundings(nginx, socket, port, databases)
            for name in options.shapes:
                found[name] = measure(SHAPES[name], options, surroundings)
                print(report.of_shape(name, found[name]), flush=True)
    return found


def measure(shape: Shape, options: Options, surroundings: Surroundings) -> Table:
    """All peers run in each round, and every second round in reverse order. So a machine that slowly becomes faster or
    slower affects all peers."""
    table: Table = {name: [] for name in shape.peers if name in options.peers}
    for number in range(options.rounds):
        order: Sequence[str] = list(table)[:: -1 if number % 2 else 1]
        for name in order:
            run = once(shape, name, surroundings, options.duration_s)
            table[name].append(run)
            print(f"{shape.name}, round {number + 1} of {options.rounds}: {name} {in_short(run)}", file=sys.stderr)
    return table


def once(shape: Shape, name: str, around: Surroundings, duration_s: int) -> Sample | Failed:
    if name in shape.cannot:
        return Failed(shape.cannot[name])
    port = 0 if shape.route is Route.NGINX else around.port
    launch = Launch(shape.application, shape.workers, shape.waiting, around.socket, port)
    try:
        with (
            around.databases.counting(shape.database) as connections,
            running(PEERS[name], launch, around.nginx, shape.request, shape.route) as server,
        ):
            return {**shape.measure(server, shape.request, duration_s), **connections()}
    except ServerError as error:
        return Failed(str(error))


def in_short(run: Sample | Failed) -> str:
    if isinstance(run, Failed):
        return run.reason
    return ", ".join(f"{metric.form.format(run[metric])} {metric.heading}" for metric in Metric if metric in run)


if __name__ == "__main__":
    sys.exit(main())
