"""Describes a greenlet or a thread of the application in a few words for the log: its name, and where it is.

Rules
* The place is the innermost line outside of gevent and of the standard library's waiting functions: the reader of the
  log looks for a line of the application.
* Only public attributes of gevent are used. Where there is none, nothing is said.
"""

import gc
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any

import greenlet
from gevent.hub import Hub

_OFFLOADING = "wsgid.application.offloading"  # between gevent's thread and the application's function
_WAITING = ("gevent", "threading", "queue", "concurrent", "importlib")  # lines that say nothing


def greenlets() -> list[Any]:
    """Return all greenlets of the application that run or will run, threads included. Not the hub, and not the
    caller."""
    current = greenlet.getcurrent()
    main = _root(current)  # greenlets of other threads do not count
    # type() only: isinstance() would ask __class__, which wakes up lazy objects.
    return [
        candidate
        for candidate in gc.get_objects()
        if issubclass(type(candidate), greenlet.greenlet)
        and not issubclass(type(candidate), Hub)
        and candidate is not current
        and candidate.parent is not None
        and bool(candidate)
        and _root(candidate) is main
    ]


def _root(candidate: Any) -> Any:
    while candidate.parent is not None:
        candidate = candidate.parent
    return candidate


def is_dummy(thread: threading.Thread) -> bool:
    """Whether current_thread() has made this object for a greenlet that is no thread. Such a thread never ends
    (`threading`, dummy thread objects)."""
    return isinstance(thread, threading._DummyThread)


def of_thread(thread: threading.Thread, known: Iterable[Any]) -> str:
    """Describe a thread of `threading`; after patch_all it is one of the `known` greenlets."""
    frame = next((candidate.gr_frame for candidate in known if thread_of(candidate) is thread), None)
    return f"the thread {thread.name!r}{_at(frame)}"


def of_greenlet(started: Any) -> str:
    """Describe a greenlet that is no thread."""
    return f"the greenlet {function_of(started)}{_at(started.gr_frame)}"


def of_native(frame: FrameType) -> str:
    """Describe a thread of the operating system."""
    return of_job(frame) if is_job(frame) else f"a thread{_at(frame)}"


def of_job(frame: FrameType) -> str:
    """Describe what a thread of gevent's pool does now."""
    names = []
    inner: FrameType | None = frame
    while inner is not None:
        if not is_waiting(inner) and inner.f_globals.get("__name__") != _OFFLOADING:
            names.append(f"{inner.f_globals.get('__name__', '?')}.{inner.f_code.co_qualname}")
        inner = inner.f_back
    return f"{names[-1] if names else 'a job'} in a thread of gevent's{_at(frame)}"


def is_job(frame: FrameType | None) -> bool:
    """Whether a thread belongs to gevent's pool."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "gevent.threadpool":
            return True
        frame = frame.f_back
    return False


def is_waiting(frame: FrameType) -> bool:
    """Whether this line says nothing of the application."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in _WAITING


def thread_of(candidate: Any) -> threading.Thread | None:
    """Return the thread that a greenlet is, or None."""
    found: dict[int, threading.Thread] = threading._active  # type: ignore[attr-defined]
    return found.get(id(candidate))  # gevent's get_ident is the greenlet's id


def function_of(candidate: Any) -> str:
    """Return the name of the function that a greenlet runs: MODULE.NAME."""
    run: Any = getattr(candidate, "_run", None)
    while hasattr(run, "func"):  # functools.partial
        run = run.func
    name = getattr(run, "__qualname__", None)
    if name is None:
        return type(candidate).__name__
    return f"{getattr(run, '__module__', '?')}.{name}"


def _at(frame: FrameType | None) -> str:
    """Return ' at FILE:LINE in FUNCTION'. Empty if the code has not begun to run, or has no line of the application."""
    while frame is not None and is_waiting(frame):
        frame = frame.f_back
    return f" at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}" if frame else ""
