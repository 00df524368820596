"""python -m fuzz [--seconds N] [TARGET ...]: try these decoders, or all. The exit code is 1 if something was found."""

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fuzz import build
from fuzz.targets import TARGETS
from tests.support import ROOT
from tools import apt

PLACE = Path(sys.prefix)  # the virtual environment that make has made for `make fuzz`; `make clean` removes it
SECONDS = 600


@dataclass(frozen=True, slots=True)
class Outcome:
    target: str
    executions: int
    seconds: int
    code: int  # the exit code of libFuzzer: 0 if nothing was found
    log: Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=SECONDS, help="length of the whole run (default: %(default)s)")
    given = parser.parse_args()
    names: list[str] = given.targets or [*TARGETS]
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"no target is called {unknown[0]}; there are {', '.join(TARGETS)}")
    apt.ensure("gcc", "gcc")
    compiled = build.make(PLACE / "asan")
    at_once = min(os.cpu_count() or 1, len(names))
    seconds = max(given.seconds * at_once // len(names), 1)
    with ThreadPoolExecutor(at_once) as pool:
        outcomes = list(pool.map(lambda name: _run(name, compiled, seconds), names))
    print("| decoder | inputs | seconds | findings |\n| --- | --- | --- | --- |")
    for outcome in outcomes:
        found = "none" if outcome.code == 0 else f"see {outcome.log}"
        print(f"| {outcome.target} | {outcome.executions:,} | {outcome.seconds} | {found} |")
    print(f"| all | {sum(outcome.executions for outcome in outcomes):,} | | |")
    return 1 if any(outcome.code for outcome in outcomes) else 0


def _run(name: str, compiled: Path, seconds: int) -> Outcome:
    directory = PLACE / "fuzz" / name
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "log"
    with log.open("wb") as written:
        code = subprocess.run(
            [sys.executable, "-m", "fuzz.run", name, str(compiled), str(directory), f"-max_total_time={seconds}"],
            cwd=ROOT,
            env={**os.environ, "WSGID_PURE": "1"},
            stdout=written,
            stderr=subprocess.STDOUT,
        ).returncode
    said = log.read_text(errors="replace")
    executions = re.search(r"stat::number_of_executed_units: *(\d+)", said)
    return Outcome(name, int(executions[1]) if executions else 0, seconds, code, log)


if __name__ == "__main__":
    sys.exit(main())
