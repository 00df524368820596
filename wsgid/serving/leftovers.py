"""Work that answered requests have left behind. A leaving worker waits for it, within its mercy time.

    all requests answered -> wait for threads, jobs of executors, greenlets, processes -> atexit -> the worker is gone

Rules
* As at the end of any Python program, the worker waits for threads that are no daemons and for jobs of executors. It
  also waits for processes of multiprocessing that are no daemons.
* The worker waits for jobs in threads of gevent's pool, but not for idle threads.
* There are no daemon greenlets.  The worker waits for a greenlet that a request has started (also indirectly) until the
  greenlet is as old as the mercy time: an older greenlet is a background loop without an end.  A greenlet that a hook
  or a timer has started counts as such a loop. So does a loop of a library that is known (_LOOPS).
* Work that is cut is named in the log.  The only cost is at the start of a greenlet, which is recorded.
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
from wsgid.counted import counted
from wsgid.serving.greenlets import RequestGreenlet

LOOK_S = 0.05  # how often the worker checks whether the work has ended
NAMED_MAX = 10
_LOOPS = {  # of python-engineio and python-socketio, started by the first visitor or with each one
    "engineio.server.Server._service_task",
    "engineio.socket.Socket._send_ping",
    "socketio.pubsub_manager.PubSubManager._thread",
}

_thread_ident = monkey.get_original("_thread", "get_ident")


class Leftovers:
    """The work that the requests of one worker have left behind.

    Args:
        hub: the worker's.
        mercy_s: how long a leaving worker waits for its requests.
    """

    def __init__(self, hub: Any, mercy_s: float) -> None:
        self._hub = hub
        self._mercy_s = mercy_s
        self._spawned: WeakKeyDictionary[Any, float] = WeakKeyDictionary()  # started by requests, and when
        gevent.Greenlet.add_spawn_callback(self._note)
        # A new thread is a daemon if the thread that starts it is a daemon. Within a request that thread is a dummy
        # thread of gevent, which is a daemon. In other servers a request runs in a thread that is no daemon.
        threading._DummyThread.daemon = property(lambda _: False)  # type: ignore[assignment]

    def _note(self, spawned: gevent.Greenlet) -> None:
        spawner = greenlet.getcurrent()
        if isinstance(spawner, RequestGreenlet) or spawner in self._spawned:
            self._spawned[spawned] = time.monotonic()

    def wait(self, until_s: float) -> None:
        """Wait until all work has ended, but not beyond `until_s`; then log what is cut. Called in the main greenlet
        when no request is in flight.

        Args:
            until_s: by the monotonic clock.
        """
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
        """Return the greenlets, except threads, that may still end."""
        young_s = time.monotonic() - self._mercy_s
        return [
            spawned
            for spawned, since_s in list(self._spawned.items())
            if since_s > young_s and whereabouts.thread_of(spawned) is None and not _is_loop(spawned)
        ]

    def _remaining(self, greenlets: list[Any]) -> list[str]:
        """Describe the work that the worker waits for."""
        return [
            *self._threads(),
            *(whereabouts.of_greenlet(spawned) for spawned in greenlets if bool(spawned)),
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
        log.error("cut after the mercy time: %d more like these", len(names) - NAMED_MAX)


def _is_loop(spawned: Any) -> bool:
    """Whether this greenlet is wsgid's own, or a library's loop that never ends by itself."""
    name = whereabouts.function_of(spawned)
    return name.startswith("wsgid.") or name in _LOOPS


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more


def _end_executors() -> None:
    """Let threads of executors end: idle ones at once, busy ones after their jobs, as at the end of any Python program.
    concurrent.futures registers this with `threading`. It joins the threads, so it needs a greenlet of its own."""

    def run() -> None:
        for call in reversed(list(getattr(threading, "_threading_atexits", ()))):
            try:
                call()
            except Exception:
                log.error("a library's function for the end of its threads has failed", exc_info=True)

    gevent.spawn(run).join(LOOK_S)


def _jobs() -> Iterator[str]:
    """Describe what threads of gevent's pools do now. Jobs that are C code only, such as a lookup of a host, are left
    out: the code that needs their result waits for them anyway."""
    for ident, frame in sys._current_frames().items():
        if ident != _thread_ident() and whereabouts.is_job(frame) and not whereabouts.is_waiting(frame):
            yield whereabouts.of_job(frame)


def _queued(hub: Any) -> Iterator[str]:
    """Describe jobs that wait for a thread of the hub's pool."""
    pool = hub._threadpool
    if pool is not None and (jobs := pool.task_queue.qsize()):
        yield f"{counted(jobs, 'job')} in the queue for a thread of gevent's pool"


def _processes() -> Iterator[str]:
    for process in _children():
        yield f"the process {process.name!r}, pid {process.pid}"


def _children() -> list[Any]:
    module = sys.modules.get("multiprocessing")
    return [child for child in module.active_children() if not child.daemon] if module is not None else []


def _release_processes() -> None:
    """Remove multiprocessing's own atexit function, which would wait for the processes without a limit."""
    for process in _children():
        sys.modules["multiprocessing.process"]._children.discard(process)
