"""What the page asks for: questions, and orders. Each answer is one JSON object.

Rules
* A failure of the server is an answer, too: {"error": sentence}. The page shows the sentence.
* An order is followed once for each POST. The page asks its reader before.
* Strings from requests are escaped, as in a terminal. The page writes all text as text, never as HTML.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from wsgid.counted import counted
from wsgid.ctl import flamegraph, profile_data
from wsgid.ctl.client import CtlError, Server
from wsgid.ctl.commands import connections, memory, profile, stacks
from wsgid.ctl.commands.requests import LIMIT_MAX, merged
from wsgid.ctl.dashboard.history import NAMES
from wsgid.ctl.dashboard.sampler import Sampler, pause_s
from wsgid.ctl.tables import printable
from wsgid.ctl.troubles import is_held_up

FRESH_S = 1.0  # several readers of the page share an answer of this age
STALE_S = 5.0  # the newest numbers of the page; older ones are named
SECONDS_MAX = 120.0  # of a profile from the page
_MIN_SHARE = 0.0005  # of the width; narrower boxes of a flame graph are left out
_MIN_PAUSE_S = 2.0  # between two questions for the table of requests

Given = Mapping[str, Any]
Answer = dict[str, Any]


class Api:
    """Answers the page.

    Args:
        server: that the page shows.
        sampler: has the history.
    """

    def __init__(self, server: Server, sampler: Sampler) -> None:
        self._server = server
        self._sampler = sampler
        self._lock = threading.Lock()
        self._requests: dict[int, tuple[float, Answer]] = {}
        self.questions: dict[str, Callable[[Given], Answer]] = {
            "live": self._live,
            "requests": self._in_flight,
            "stacks": self._stacks,
            "memory": lambda given: memory.collect(self._server, _number(given, "worker")),
            "connections": lambda given: connections.collect(self._server, None),
        }
        self.orders: dict[str, Callable[[Given], Answer]] = {"profile": self._profile, "act": self._act}

    def answer(self, said: Callable[[Given], Answer], given: Given) -> Answer:
        """Return the answer to a question or an order, or why there is none."""
        try:
            return said(given)
        except CtlError as error:
            return {"error": str(error)}

    # --- questions ---

    def _live(self, given: Given) -> Answer:
        """Return what is new since the page has last asked: `rows`, `memory` and `marks` are the last numbers that the
        page has."""
        rows, memory_, marks = (_number(given, name) or 0 for name in ("rows", "memory", "marks"))
        sampler = self._sampler
        with sampler.lock:
            history, look = sampler.history, sampler.look
            sample = look.sample
            return {
                "now_s": time.time(),
                "names": NAMES,
                "rows": [row for row in history.rows if row.number > rows],
                "memory": [row for row in history.memory if row.number > memory_],
                "marks": [mark for mark in history.marks if mark.number > marks],
                "distribution": history.distribution(),
                "silence": look.silence or _staleness(history.rows[-1].at_s),
                "sample": sample.as_dict() if sample else None,
                "held_up": [worker["slot"] for worker in sample.status["workers"] if is_held_up(worker, sample.status)]
                if sample
                else [],
                "slow": list(map(_shown, sampler.slow.ended())),
            }

    def _in_flight(self, given: Given) -> Answer:
        """Return the oldest requests in flight, of all workers that have some."""
        limit = min(max(_number(given, "limit") or 1, 1), LIMIT_MAX)
        with self._lock:
            at_s, answer = self._requests.get(limit, (0.0, {}))
            if time.monotonic() - at_s > FRESH_S:
                answer = self._ask_requests(limit)
                self._requests[limit] = time.monotonic(), answer
        return answer

    def _ask_requests(self, limit: int) -> Answer:
        look = self._sampler.look
        status = look.sample.status if look.sample and not look.silence else self._server.ask("status")
        busy = [worker["slot"] for worker in status["workers"] if worker["pid"] and worker["in_flight"]]
        said = self._server.ask_workers("requests", busy, limit=limit) if busy else {}
        found = {slot: answer for slot, answer in said.items() if not isinstance(answer, CtlError)}
        oldest, total = merged(found, limit)
        return {
            "requests": list(map(_shown, oldest)),
            "total": total,
            "silent": {slot: str(answer) for slot, answer in said.items() if isinstance(answer, CtlError)},
            "pause_s": max(_MIN_PAUSE_S, pause_s(status) * 2),
        }

    def _stacks(self, given: Given) -> Answer:
        request = given.get("request")
        try:
            started_s = None if request is None else float(request)
        except ValueError:
            raise CtlError("request has to be a number") from None
        worker = _number(given, "worker")
        if worker is None:
            raise CtlError("worker is missing")
        found = stacks.collect(self._server, worker, started_s)
        for said in found["workers"]:
            for stack in said["stacks"]:
                stack["named"] = [_shown(named) if isinstance(named, dict) else named for named in stack["named"]]
        return found

    # --- orders ---

    def _profile(self, given: Given) -> Answer:
        """Profile one worker, and return the boxes of a flame graph: x and width are shares of the whole width."""
        seconds = given.get("seconds")
        if not isinstance(seconds, (int, float)) or not 1 <= seconds <= SECONDS_MAX:
            raise CtlError(f"seconds has to be a number from 1 to {SECONDS_MAX:g}")
        clock = "wall" if given.get("clock") == "wall" else "cpu"
        worker = _number(given, "worker")
        said = self._server.ask(
            "profile", seconds + profile.MARGIN_S, worker=worker, seconds=seconds, hz=profile.HZ, clock=clock
        )
        counted = profile_data.from_answers([said])
        return {
            "title": profile.title([said], counted),
            "total_us": counted.total_us,
            "boxes": list(_boxes(counted)),
            "svg": flamegraph.svg(counted, profile.title([said], counted), _UNITS[clock]),
        }

    def _act(self, given: Given) -> Answer:
        action = given.get("action")
        act = ACTIONS.get(action) if isinstance(action, str) else None
        if act is None:
            raise CtlError(f"there is no such action; there are {', '.join(ACTIONS)}")
        return {"said": act(self._server)}


def _staleness(newest_s: float) -> str:
    """Return a sentence if the last look was long ago."""
    age_s = time.time() - newest_s
    return f"the numbers are {age_s:.0f} s old: the server answers slowly, or not at all" if age_s > STALE_S else ""


_UNITS = {"cpu": "of CPU", "wall": "of requests' time"}


def _reload(server: Server) -> str:
    return f"generation {server.ask('reload')['generation']} is on its way"


def _resize(change: int) -> Callable[[Server], str]:
    def resize(server: Server) -> str:
        answer = server.ask("workers", change=change)
        return f"{counted(answer['workers'], 'worker')} from now on, instead of {answer['before']}"

    return resize


def _reopen(server: Server) -> str:
    server.ask("log-reopen")
    return "the server has been told to reopen its logs"


def _stop(server: Server) -> str:
    server.ask("stop", now=False)
    return "the server stops when the requests in flight are finished"


ACTIONS: dict[str, Callable[[Server], str]] = {
    "reload": _reload,
    "more": _resize(1),
    "fewer": _resize(-1),
    "log-reopen": _reopen,
    "stop": _stop,
}


def _boxes(counted: profile_data.StackCounts) -> Any:
    """Yield (depth, x, width, name, file and line, owner) for each function."""
    whole = flamegraph.WIDTH - 2 * flamegraph.SIDE
    top = flamegraph.tree(counted)
    for box in flamegraph.layout(top, whole * _MIN_SHARE):
        frame = box.node.frame
        kind = flamegraph.Flame.ROOT if box.depth < 2 else flamegraph.kind_of(frame)
        place = f"{frame.file}:{frame.line}" if frame.file else ""
        x, width = round((box.x - flamegraph.SIDE) / whole, 6), round(box.width / whole, 6)
        yield box.depth, x, width, frame.name, place, kind.name.lower()


def _shown(request: Answer) -> Answer:
    return {**request, **{name: printable(request[name]) for name in ("method", "path", "peer")}}


def _number(given: Given, name: str) -> int | None:
    """Return a whole number, which an address has as text."""
    value = given.get(name)
    if value is None:
        return None
    try:
        return int(value)
    except (ValueError, TypeError):
        raise CtlError(f"{name} has to be a whole number") from None
