"""What fills the memory of this worker: the kernel's numbers, objects by type, and what tracemalloc has traced.

Rules
* Counting takes turns with the requests: after each SLICE objects the hub runs.
* Only type() of an object is used: isinstance() would ask __class__, which wakes up lazy objects.
"""

import gc
from collections import Counter
from typing import Any

import gevent

from wsgid.linux import memory

TYPES_SHOWN = 20
LINES_SHOWN = 20
OBJECTS_MAX = 1_000_000  # further objects are not counted
SLICE = 20_000


class Heap:
    """Makes the reports of one worker. Remembers the last report, to tell what has grown since."""

    def __init__(self) -> None:
        self._traced: dict[str, int] = {}  # bytes for each line of code, at the last report

    def report(self) -> dict[str, Any]:
        """Return one report.

        `parts`: see linux.memory.parts. `objects`: {tracked, counted, frozen, types}; objects of the template are
        frozen, and are not counted. `traced`: None without tracemalloc, otherwise {total_bytes, first, lines}: what has
        grown since the last report, or everything in the first report.
        """
        return {"parts": memory.parts("self"), "objects": _objects(), "traced": self._growth()}

    def _growth(self) -> dict[str, Any] | None:
        import tracemalloc  # only here: it takes 0.3 MB, and most workers are never asked

        if not tracemalloc.is_tracing():
            return None
        first = not self._traced
        statistics = tracemalloc.take_snapshot().statistics("lineno")
        before, self._traced = self._traced, {str(statistic.traceback): statistic.size for statistic in statistics}
        grown = {line: size - (0 if first else before.get(line, 0)) for line, size in self._traced.items()}
        largest = sorted(grown, key=lambda line: -grown[line])[:LINES_SHOWN]
        return {
            "total_bytes": sum(self._traced.values()),
            "first": first,
            "lines": [
                {"line": line, "bytes": self._traced[line], "grown_bytes": None if first else grown[line]}
                for line in largest
            ],
        }


def _objects() -> dict[str, Any]:
    tracked = gc.get_objects()
    counts: Counter[type] = Counter()
    counted = min(len(tracked), OBJECTS_MAX)
    for start in range(0, counted, SLICE):
        counts.update(map(type, tracked[start : min(start + SLICE, counted)]))
        gevent.sleep(0)
    types = [
        {"type": f"{kind.__module__}.{kind.__qualname__}", "count": count}
        for kind, count in counts.most_common(TYPES_SHOWN)
    ]
    return {"tracked": len(tracked), "counted": counted, "frozen": gc.get_freeze_count(), "types": types}
