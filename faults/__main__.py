"""python -m faults [SCENARIO ...]: run these scenarios, or all, and print the table. Exit code 1 if a bar is missed."""

import importlib
import pkgutil
import sys
import time
from collections.abc import Iterator

from faults import scenarios
from faults.report import Result, Scenario, table


def _named(attribute: str) -> Iterator[tuple[str, Scenario]]:
    """The scenarios that the modules of faults/scenarios/ have in this attribute, each with its name."""
    for found in pkgutil.iter_modules(scenarios.__path__, f"{scenarios.__name__}."):
        module = importlib.import_module(found.name)
        for scenario in getattr(module, attribute, ()):
            yield scenario.__name__.replace("_", "-"), scenario


SCENARIOS: dict[str, Scenario] = dict(_named("SCENARIOS"))
BY_NAME: dict[str, Scenario] = dict(_named("BY_NAME"))  # scenarios that take long, and run only if they are named


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
