"""What the scenarios have found, and the table of all results."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    bar: str  # what has to hold: "0 lost of those in flight"
    measured: str  # what was seen: "0 of 12,345"
    held: bool


Scenario = Callable[[], list[Result]]


def table(found: Iterable[tuple[str, list[Result]]]) -> str:
    """A Markdown table with one row for each result."""
    rows = ["| scenario | bar | measured | |", "| --- | --- | --- | --- |"]
    for name, results in found:
        rows += [
            f"| {name} | {result.bar} | {result.measured} | {'held' if result.held else '**MISSED**'} |"
            for result in results
        ]
    return "\n".join(rows)
