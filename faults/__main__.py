"""python -m faults [SCENARIO ...]: run these scenarios, or all, and print the table. Exit code 1 if a bar is missed."""

import sys
import time

from faults import hostile, load, resources, syscalls
from faults.report import Result, Scenario, table

SCENARIOS: dict[str, Scenario] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (*load.SCENARIOS, *resources.SCENARIOS, *hostile.SCENARIOS, *syscalls.SCENARIOS)
}
BY_NAME: dict[str, Scenario] = {scenario.__name__.replace("_", "-"): scenario for scenario in syscalls.BY_NAME}


def main(names: list[str]) -> int:
    known = {**SCENARIOS, **BY_NAME}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no scenario is called {unknown[0]}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    found: list[tuple[str, list[Result]]] = []
    for name in names or SCENARIOS:
        started_s = time.monotonic()
        results = known[name]()
        found.append((name, results))
        print(*table(found[-1:]).splitlines()[2:], f"{time.monotonic() - started_s:.0f} s", file=sys.stderr, flush=True)
    print(table(found))
    return 0 if all(result.held for _, results in found for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
