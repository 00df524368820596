"""The Python stacks of all greenlets and threads of this process.

Rules
* Only type() of collected objects is used: isinstance() would ask __class__, which wakes up lazy objects.
* Equal stacks are one entry with a count. Ten thousand requests at the same place are one stack.
* Nothing here waits in the hub, because this code also runs in a signal handler while the hub is held up.
"""

import gc
import linecache
import sys
from collections.abc import Iterable
from types import CodeType, FrameType
from typing import Any

import gevent
import greenlet
from gevent import monkey
from gevent.hub import get_hub

from wsgid.log.stack_text import forgetting_sources
from wsgid.serving import stutter
from wsgid.serving.greenlets import RequestGreenlet

STACKS_MAX = 200  # different stacks in an answer
FRAMES_MAX = 200  # the innermost frames of a stack
NAMED_MAX = 10  # requests or greenlets that are named for each stack

_Place = tuple[CodeType, int]
_thread_ident = monkey.get_original("_thread", "get_ident")  # of the operating system's thread


class _StackWriter:
    """Collects entries; equal stacks become one entry."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, tuple[_Place, ...]], dict[str, Any]] = {}
        self.omitted = 0

    def add(self, kind: str, frame: FrameType | None, named: Any) -> None:
        places = _places(frame)
        entry = self._found.get((kind, places))
        if entry is None:
            if len(self._found) >= STACKS_MAX:
                self.omitted += 1
                return
            entry = self._found[kind, places] = {"kind": kind, "count": 0, "named": [], "frames": _frames(places)}
        entry["count"] += 1
        if len(entry["named"]) < NAMED_MAX:
            entry["named"].append(named)

    def entries(self) -> list[dict[str, Any]]:
        return list(self._found.values())


def report(requests: Iterable[RequestGreenlet], held: FrameType | None = None) -> dict[str, Any]:
    """Return the stacks of this process.

    Args:
        requests: the greenlets that serve requests.
        held: the frame that holds the hub, if this runs in the signal handler.

    Returns:
        `stacks`: a list of {kind, count, named, frames}, with the innermost frame last. kind is 'holder' (this code
        holds the hub), 'request', 'greenlet' or 'thread'.
        `idle`: the number of greenlets that wait for a request, or for the rest of a request.
        `omitted`: the number of greenlets and threads that did not fit.
    """
    stacks = _StackWriter()
    current = greenlet.getcurrent()
    if held is not None:
        stacks.add("holder", held, _named(current))
    idle = 0
    for serving in sorted(requests, key=_age_key):
        if serving is current:
            continue
        if serving.environ is None:
            idle += 1
        else:
            stacks.add("request", serving.gr_frame, serving.facts())
    hub = get_hub()
    for other in _others((current, hub, hub.parent)):
        stacks.add("greenlet", other.gr_frame, _named(other))
    for ident, frame in sys._current_frames().items():
        if ident != _thread_ident() and not stutter.is_witness(frame):
            stacks.add("thread", frame, f"thread {ident}")
    return {"stacks": stacks.entries(), "idle": idle, "omitted": stacks.omitted}


def of_request(requests: Iterable[RequestGreenlet], started_s: float, held: FrameType | None = None) -> dict[str, Any]:
    """Return the stack of one request, in the form of `report`; no stack if the request has ended.

    Args:
        requests: the greenlets that serve requests.
        started_s: of the request, from its facts.
        held: as in `report`.
    """
    stacks = _StackWriter()
    current = greenlet.getcurrent()
    for serving in requests:
        if serving.environ is None or serving.started_s != started_s:
            continue
        if serving is current and held is not None:
            stacks.add("holder", held, serving.facts())
        else:
            stacks.add("request", serving.gr_frame, serving.facts())
    return {"stacks": stacks.entries(), "idle": 0, "omitted": 0}


def _age_key(serving: RequestGreenlet) -> float:
    return serving.started_s if serving.environ is not None else 0.0


def _others(known: tuple[Any, ...]) -> Iterable[Any]:
    """Yield the greenlets that the application has started."""
    for candidate in gc.get_objects():
        if not issubclass(type(candidate), greenlet.greenlet) or isinstance(candidate, RequestGreenlet):
            continue
        if (
            candidate.gr_frame is not None
            and not any(candidate is other for other in known)
            and not _is_ours(candidate)
        ):
            yield candidate


def _is_ours(candidate: Any) -> bool:
    """Whether this greenlet answers a question, as the present greenlet does, or is the main greenlet of a thread.
    Threads are shown separately."""
    return str(getattr(getattr(candidate, "_run", None), "__module__", "")).startswith("wsgid.") or (
        candidate.parent is None
    )


def _named(named: Any) -> Any:
    """Return a request's facts, or a greenlet's name."""
    if isinstance(named, RequestGreenlet):
        return named.facts() if named.environ is not None else "a greenlet between two requests"
    if isinstance(named, gevent.Greenlet):
        run = getattr(named, "_run", None)
        return f"{named.name}: {getattr(run, '__module__', '?')}.{getattr(run, '__qualname__', '?')}"
    return "the event loop" if named is get_hub() else type(named).__name__


def _places(frame: FrameType | None) -> tuple[_Place, ...]:
    """Return the places from the outermost to the innermost."""
    places: list[_Place] = []
    while frame is not None and len(places) < FRAMES_MAX:
        places.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(reversed(places))


def _frames(places: Iterable[_Place]) -> list[dict[str, Any]]:
    with forgetting_sources():
        return [
            {
                "file": code.co_filename,
                "line": line,
                "function": code.co_qualname,
                "source": linecache.getline(code.co_filename, line).strip(),
            }
            for code, line in places
        ]
