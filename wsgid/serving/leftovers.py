"""Work that answered requests have left behind: a worker that leaves waits for it, within its mercy time.

    all requests answered -> wait: threads, executors' jobs, greenlets, processes -> atexit -> the worker is gone

Rules
* As in any Python program that ends, threads are waited for that are no daemons, and jobs of executors; so are
  processes of multiprocessing's that are no daemons.
* Jobs in threads of gevent's pool are waited for; idle threads are not.
* A greenlet knows no daemons.  One that a request has started, or what it has started in its turn, is waited for until
  it is as old as the mercy time: what has not ended by then is a loop in the background, and has no end.
  A greenlet that no request has started, but a hook or a timer, is one too.
* What is cut is named.  What nobody has left behind costs nothing: a greenlet is noted where it is spawned.
"""

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import gevent
import greenlet
from gevent import monkey

from wsgid import log
from wsgid.application import whereabouts
from wsgid.serving.greenlets import RequestGreenlet

LOOK_S = 0.05  # how often it is looked whether it has ended
NAMED_MAX = 10

_thread_ident = monkey.get_original("_thread", "get_ident")


class Leftovers:
    """What the requests of one worker have left behind.

    Args:
        hub: the worker's.
        mercy_s: how long a worker that leaves waits for its requests.
    """

    def __init__(self, hub: Any, mercy_s: float) -> None:
        self._hub = hub
        self._mercy_s = mercy_s
        self._spawned: WeakKeyDictionary[Any, float] = WeakKeyDictionary()  # by a request: and when
        gevent.Greenlet.add_spawn_callback(self._note)
        # A thread is a daemon if the one that starts it is, unless it says otherwise. Within a request that is a dummy
        # thread of gevent's, which is a daemon; in other servers a request runs in a thread that is none.
        threading._DummyThread.daemon = property(lambda _: False)  # type: ignore[assignment]

    def _note(self, spawned: gevent.Greenlet) -> None:
        spawner = greenlet.getcurrent()
        if isinstance(spawner, RequestGreenlet) or spawner in self._spawned:
            self._spawned[spawned] = time.monotonic()

    def wait(self, until_s: float) -> None:
        """Wait until there is nothing left, but not beyond this time of the monotonic clock; then say what is cut. To
        be called in the main greenlet, when no request is in flight."""
        _end_executors()
        greenlets = self._young()
        remaining = self._remaining(greenlets)
        if not remaining:
            return
        log.info(
            "waiting for what requests have left behind, at most %.1f s: %s",
            max(until_s - time.monotonic(), 0),
            _listed(remaining),
        )
        while time.monotonic() < until_s and self._remaining(self._young()):
            gevent.sleep(min(LOOK_S, max(until_s - time.monotonic(), 0)))
        _say_cut(self._remaining(greenlets))
        _release_processes()

    def _young(self) -> list[Any]:
        """The greenlets, no threads, that may still end."""
        young_s = time.monotonic() - self._mercy_s
        return [
            one
            for one, since_s in list(self._spawned.items())
            if since_s > young_s and whereabouts.thread_of(one) is None and not _is_ours(one)
        ]

    def _remaining(self, greenlets: list[Any]) -> list[str]:
        """What is waited for, in words."""
        return [
            *self._threads(),
            *(whereabouts.of_greenlet(one) for one in greenlets if bool(one)),
            *_jobs(),
            *_queued(self._hub),
            *_processes(),
        ]

    def _threads(self) -> Iterator[str]:
        known = list(self._spawned)
        for thread in threading.enumerate():
            if not thread.daemon and thread is not threading.main_thread() and not whereabouts.is_dummy(thread):
                yield whereabouts.of_thread(thread, known)


def _say_cut(names: list[str]) -> None:
    for name in names[:NAMED_MAX]:
        log.error("cut after the mercy time, left behind by a request: %s", name)
    if len(names) > NAMED_MAX:
        log.error("cut after the mercy time: %d more of such", len(names) - NAMED_MAX)


def _is_ours(one: Any) -> bool:
    return str(getattr(getattr(one, "_run", None), "__module__", "")).startswith("wsgid.")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more


def _end_executors() -> None:
    """Have idle threads of executors end, and busy ones after their jobs, as at the end of any Python program:
    concurrent.futures registers that with threading, and it joins them. So it has a greenlet of its own."""

    def run() -> None:
        for call in reversed(list(getattr(threading, "_threading_atexits", ()))):
            try:
                call()
            except Exception:
                log.error("what a library does at the end of its threads has failed", exc_info=True)

    gevent.spawn(run).join(LOOK_S)


def _jobs() -> Iterator[str]:
    """What threads of gevent's pools do now. Not what is C alone, such as the wait for a host's address: whoever needs
    the result of that waits for it, and is waited for."""
    for ident, frame in sys._current_frames().items():
        if ident != _thread_ident() and whereabouts.is_job(frame) and not whereabouts.is_waiting(frame):
            yield whereabouts.of_job(frame)


def _queued(hub: Any) -> Iterator[str]:
    """Jobs that wait for a thread of the hub's pool."""
    pool = hub._threadpool
    if pool is not None and (count := pool.task_queue.qsize()):
        yield f"{count} jobs that wait for a thread of gevent's pool"


def _processes() -> Iterator[str]:
    for process in _children():
        yield f"the process {process.name!r}, pid {process.pid}"


def _children() -> list[Any]:
    module = sys.modules.get("multiprocessing")
    return [one for one in module.active_children() if not one.daemon] if module is not None else []


def _release_processes() -> None:
    """multiprocessing's own function for atexit would wait for them without an end."""
    for process in _children():
        sys.modules["multiprocessing.process"]._children.discard(process)
