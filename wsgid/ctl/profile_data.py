"""The result of a profile as plain values: stacks with weights, the use of each function, and two formats for other
tools.

    folded       one line for each stack: `root;function (file:line);... microseconds`, for flamegraph.pl and similar
    tools speedscope   the JSON of https://www.speedscope.app/file-format-schema.json

Rules
* No I/O.
* A stack begins with its outermost frame, the root: the label of a request, or of a greenlet.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from wsgid.records import dataclass

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


class Frame(NamedTuple):
    """A function, by its definition. A root, or something that is no function, has neither file nor line."""

    name: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name} ({self.file}:{self.line})" if self.file else self.name

    def short(self) -> str:
        """The name, with the file's path inside of the directory for packages."""
        return str(self._replace(file=re.sub(r".*/(site|dist)-packages/", "", self.file)))


Stack = tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class StackCounts:
    """Distinct stacks.

    Args:
        weights_us: stack -> weight in microseconds.
        samples: number of samples of all stacks together.
    """

    weights_us: dict[Stack, int]
    samples: int

    @property
    def total_us(self) -> int:
        """The weight of all stacks together, in microseconds."""
        return sum(self.weights_us.values())


class Usage(NamedTuple):
    """The time of a function: its own, and with all functions that it has called."""

    frame: Frame
    self_us: int
    total_us: int


def from_answers(answers: Iterable[dict[str, Any]]) -> StackCounts:
    """Add up the answers of workers to "profile"."""
    weights_us: dict[Stack, int] = {}
    count = 0
    for answer in answers:
        frames = [Frame(*frame) for frame in answer["frames"]]
        for indexes, weight_us, samples in answer["stacks"]:
            stack = tuple(frames[index] for index in indexes)
            weights_us[stack] = weights_us.get(stack, 0) + weight_us
            count += samples
    return StackCounts(weights_us, count)


def usage(stacks: StackCounts) -> list[Usage]:
    """Return the use of all functions, sorted by their own time. Roots are left out: inner frames have their time."""
    own: dict[Frame, int] = {}
    total: dict[Frame, int] = {}
    for stack, weight_us in stacks.weights_us.items():
        own[stack[-1]] = own.get(stack[-1], 0) + weight_us
        for frame in set(stack[1:] or stack):  # a recursive function counts once
            total[frame] = total.get(frame, 0) + weight_us
    found = [Usage(frame, own.get(frame, 0), weight_us) for frame, weight_us in total.items()]
    return sorted(found, key=lambda used: (-used.self_us, -used.total_us, used.frame))


def folded(stacks: StackCounts) -> str:
    """Return the stacks in the folded format."""
    lines = [
        f"{';'.join(_escaped(str(frame)) for frame in stack)} {weight_us}\n"
        for stack, weight_us in stacks.weights_us.items()
    ]
    return "".join(sorted(lines))


def _escaped(text: str) -> str:
    """Escape semicolons and line breaks as Python does; `unicode_escape` reverses this."""
    return text.encode("unicode_escape").decode("ascii").replace(";", r"\x3b")


def speedscope(stacks: StackCounts, title: str) -> str:
    """Return the stacks as JSON for speedscope."""
    places = {frame: place for place, frame in enumerate(dict.fromkeys(_frames(stacks)))}
    return (
        json.dumps(
            {
                "$schema": SCHEMA,
                "exporter": "wsgidctl profile",
                "name": title,
                "activeProfileIndex": 0,
                "shared": {"frames": [_shared(frame) for frame in places]},
                "profiles": [
                    {
                        "type": "sampled",
                        "name": title,
                        "unit": "microseconds",
                        "startValue": 0,
                        "endValue": stacks.total_us,
                        "samples": [[places[frame] for frame in stack] for stack in stacks.weights_us],
                        "weights": list(stacks.weights_us.values()),
                    }
                ],
            }
        )
        + "\n"
    )


def _frames(stacks: StackCounts) -> Iterator[Frame]:
    for stack in stacks.weights_us:
        yield from stack


def _shared(frame: Frame) -> dict[str, Any]:
    return {"name": frame.name, "file": frame.file, "line": frame.line} if frame.file else {"name": frame.name}


def table(usages: Sequence[Usage], total_us: int) -> str:
    """Return a table for a terminal."""
    lines = ["   self           with calls     function"]
    for used in usages:
        lines.append(
            f"{used.self_us / 1e6:8.3f} s {_percent(used.self_us, total_us)}  "
            f"{used.total_us / 1e6:8.3f} s {_percent(used.total_us, total_us)}  {used.frame.short()}"
        )
    return "\n".join(lines)


def _percent(part_us: int, whole_us: int) -> str:
    return f"{part_us / whole_us:4.0%}" if whole_us else "   -"
