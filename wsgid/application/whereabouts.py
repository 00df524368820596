"""A greenlet or a thread of the application's in words, for a sentence of the log: what it is called, and where it is.

Rules
* The place is the innermost line that is neither gevent's nor of the standard library's waiting: whoever reads the log
  looks for a line of the application's.
* Only public attributes of gevent's, or none is said.
"""

import gc
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any

import greenlet
from gevent.hub import Hub

_WAITING = ("gevent", "threading", "queue", "concurrent", "importlib")  # packages whose lines say nothing


def greenlets() -> list[Any]:
    """All of the application's that have begun or will, threads among them: neither the hub, nor who asks."""
    current = greenlet.getcurrent()
    main = _root(current)  # that of another thread's is not ours to look after
    # Only type() is asked: isinstance() would ask __class__, and wake up lazy objects.
    return [
        one
        for one in gc.get_objects()
        if issubclass(type(one), greenlet.greenlet)
        and not issubclass(type(one), Hub)
        and one is not current
        and one.parent is not None
        and bool(one)
        and _root(one) is main
    ]


def _root(one: Any) -> Any:
    while one.parent is not None:
        one = one.parent
    return one


def is_dummy(thread: threading.Thread) -> bool:
    """Made by current_thread() for a greenlet that is no thread: it never ends (threading, dummy thread objects)."""
    return isinstance(thread, threading._DummyThread)


def of_thread(thread: threading.Thread, known: Iterable[Any]) -> str:
    """A thread of `threading`, which is one of the `known` greenlets after patch_all."""
    frame = next((one.gr_frame for one in known if thread_of(one) is thread), None)
    return f"the thread {thread.name!r}{_at(frame)}"


def of_greenlet(one: Any) -> str:
    """A greenlet that is no thread."""
    return f"the greenlet {_function(one)}{_at(one.gr_frame)}"


def of_native(frame: FrameType) -> str:
    """A thread of the operating system's."""
    return of_job(frame) if is_job(frame) else f"a thread{_at(frame)}"


def of_job(frame: FrameType) -> str:
    """What a thread of gevent's pool does now."""
    names = []
    inner: FrameType | None = frame
    while inner is not None:
        if not is_waiting(inner):
            names.append(f"{inner.f_globals.get('__name__', '?')}.{inner.f_code.co_qualname}")
        inner = inner.f_back
    return f"{names[-1] if names else 'a job'} in a thread of gevent's{_at(frame)}"


def is_job(frame: FrameType | None) -> bool:
    """Whether a thread is one of gevent's pool."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "gevent.threadpool":
            return True
        frame = frame.f_back
    return False


def is_waiting(frame: FrameType) -> bool:
    """Whether this line says nothing of the application."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in _WAITING


def thread_of(one: Any) -> threading.Thread | None:
    """The thread that a greenlet is, if it is one."""
    found: dict[int, threading.Thread] = threading._active  # type: ignore[attr-defined]
    return found.get(id(one))  # gevent's get_ident is the greenlet's id


def _function(one: Any) -> str:
    run: Any = getattr(one, "_run", None)
    while hasattr(run, "func"):  # functools.partial
        run = run.func
    name = getattr(run, "__qualname__", None)
    if name is None:
        return type(one).__name__
    return f"{getattr(run, '__module__', '?')}.{name}"


def _at(frame: FrameType | None) -> str:
    """' at FILE:LINE in FUNCTION'; nothing if it has not begun to run, or waits where no line of the application is."""
    while frame is not None and is_waiting(frame):
        frame = frame.f_back
    return f" at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}" if frame else ""
