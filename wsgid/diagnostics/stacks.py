"""Where everything in this process is: the Python stacks of all greenlets and threads.

Rules
* Only type() is asked of what the collector knows: isinstance() would ask __class__, and wake up lazy objects.
* The same stack of many is one entry with a count, so that ten thousand requests at one place are one stack.
* Nothing here waits in the hub: it also runs in a signal handler, while the hub is held up.
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

from wsgid.serving.greenlets import RequestGreenlet

STACKS_MAX = 200  # different ones in an answer
FRAMES_MAX = 200  # of a stack, the innermost
NAMED_MAX = 10  # of a stack's requests or greenlets, that many are named

_Place = tuple[CodeType, int]
_thread_ident = monkey.get_original("_thread", "get_ident")  # of the operating system's thread


class _StackWriter:
    """Entries, the same stacks together."""

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
    """The stacks of this process.

    Args:
        requests: the greenlets that serve requests.
        held: where the hub is held up, if this runs in the signal handler that has met it there.

    Returns: `stacks`, a list of {kind, count, named, frames}, the innermost frame last; kind is 'holder' (it holds the
    hub), 'request', 'greenlet' or 'thread'. `idle`: how many greenlets wait for a request, or for its rest. `omitted`:
    how many greenlets and threads did not fit.
    """
    stacks = _StackWriter()
    current = greenlet.getcurrent()
    if held is not None:
        stacks.add("holder", held, _named(current))
    idle = 0
    for one in sorted(requests, key=_age_key):
        if one is current:
            continue
        if one.environ is None:
            idle += 1
        else:
            stacks.add("request", one.gr_frame, one.facts())
    hub = get_hub()
    for other in _others((current, hub, hub.parent)):
        stacks.add("greenlet", other.gr_frame, _named(other))
    for ident, frame in sys._current_frames().items():
        if ident != _thread_ident():
            stacks.add("thread", frame, f"thread {ident}")
    return {"stacks": stacks.entries(), "idle": idle, "omitted": stacks.omitted}


def _age_key(one: RequestGreenlet) -> float:
    return one.started_s if one.environ is not None else 0.0


def _others(known: tuple[Any, ...]) -> Iterable[Any]:
    """The greenlets that the application has started."""
    for one in gc.get_objects():
        if not issubclass(type(one), greenlet.greenlet) or isinstance(one, RequestGreenlet):
            continue
        if one.gr_frame is not None and not any(one is other for other in known) and not _is_ours(one):
            yield one


def _is_ours(one: Any) -> bool:
    """Whether it answers a question, as this one does, or is that with which a thread begins: threads are shown too."""
    return str(getattr(getattr(one, "_run", None), "__module__", "")).startswith("wsgid.") or one.parent is None


def _named(one: Any) -> Any:
    """A request's facts, or what a greenlet is called."""
    if isinstance(one, RequestGreenlet):
        return one.facts() if one.environ is not None else "a greenlet between two requests"
    if isinstance(one, gevent.Greenlet):
        run = getattr(one, "_run", None)
        return f"{one.name}: {getattr(run, '__module__', '?')}.{getattr(run, '__qualname__', '?')}"
    return "the event loop" if one is get_hub() else type(one).__name__


def _places(frame: FrameType | None) -> tuple[_Place, ...]:
    """From the outermost to the innermost."""
    places: list[_Place] = []
    while frame is not None and len(places) < FRAMES_MAX:
        places.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(reversed(places))


def _frames(places: Iterable[_Place]) -> list[dict[str, Any]]:
    return [
        {
            "file": code.co_filename,
            "line": line,
            "function": code.co_qualname,
            "source": linecache.getline(code.co_filename, line).strip(),
        }
        for code, line in places
    ]
