"""Runs the hooks of wsgid.hooks in a worker.

    worker forked -> on_worker_start -> the worker accepts ... drains -> timers end -> on_worker_stop -> atexit
                                        every(...): a greenlet for each timer

Rules
* The start hooks run in the main greenlet, one after the other. If one of them raises, the worker has failed to boot.
* Later, an exception of a hook is logged with the name of the hook, and stops nothing.
* A timer keeps to its beats: in one worker alone they are the multiples of its interval on the monotonic clock, which
  all processes of the machine share. So another worker goes on in the same rhythm. In each worker they are counted from
  the start of the worker, so that the workers do not all call at the same moment.
* The master says which worker leads (supervisor/leader.py). A call also needs the lock of its name (ipc/locks.py).  So
  two workers never call at the same time, even if the first one hangs within its call.
* A beat that finds no one to call is missed, and is not made up for. The log says so, at most once a minute for each
  timer.
* A process that the application forks runs no hooks.
"""

import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
import greenlet

from wsgid import hooks, log
from wsgid.counted import counted
from wsgid.errors import ApplicationImportError
from wsgid.hooks import Timer, name_of
from wsgid.ipc.locks import Locks
from wsgid.linux import forked_child
from wsgid.log.rate_limit import RateLimit

STOP_MIN_S = 1.0  # what the stop hooks have at least, also if the requests have used the whole mercy time
_SAY_PER_S, _SAY_BURST = 1 / 60, 1


class HookRunner:
    """The hooks of one worker.

    Args:
        locks: of the server.
    """

    def __init__(self, locks: Locks) -> None:
        self._locks = locks
        self._beats: dict[Timer, Beats] = {}
        self._leads = False
        self._rests = False  # whether the worker leaves
        self._late: list[Any] = []  # greenlets of start hooks that were registered too late

    # --- the start ---

    def start(self, begin: Callable[[str], None]) -> None:
        """Run the start hooks, then begin the timers. Called in the main greenlet, before the worker accepts.

        Args:
            begin: called with a description of each hook before it runs.

        Raises:
            ApplicationImportError: a hook has raised.
        """
        registry = hooks.registered()
        for function in registry.starts:  # a hook may register another one
            begin(f"the hook {name_of(function)} (on_worker_start)")
            try:
                function()
            except (Exception, SystemExit) as error:
                forked_child.end_if_one(error)
                raise ApplicationImportError(
                    f"the hook {name_of(function)} (on_worker_start) has failed: {type(error).__name__}: {error}"
                ) from error
            forked_child.end_if_one()
        hooks.run_in(self)
        for timer in registry.timers:
            self.begin(timer)

    def start_late(self, function: Callable[[], Any]) -> None:
        """Call a start hook of a worker that has started already."""
        log.warning(
            "the hook %s (on_worker_start) was registered after the worker had started, and is called now: "
            "import its module with the application, or name the module by --import",
            name_of(function),
        )
        self._late.append(gevent.spawn(call, function, "on_worker_start"))

    def begin(self, timer: Timer) -> None:
        """Begin to call a timer."""
        if not self._rests:
            beats = self._beats.setdefault(timer, Beats(timer, self._locks))
            if self._leads or not timer.in_one_worker:
                beats.begin()

    # --- one worker of all ---

    def lead(self, leads: bool, vacant_s: float) -> None:
        """Begin or end to call the timers that only one worker calls. A call that runs ends as usual.

        Args:
            leads: whether this worker leads from now on.
            vacant_s: how long no worker has led.
        """
        self._leads = leads
        for timer, beats in self._beats.items():
            if not timer.in_one_worker or self._rests:
                continue
            if leads:
                beats.begin()
                beats.say_missed(vacant_s)
            else:
                beats.end()

    # --- the end ---

    def rest(self) -> None:
        """The worker leaves: no timer begins a call any more."""
        self._rests = True
        for beats in self._beats.values():
            beats.end()

    def stop(self, until_s: float) -> None:
        """Wait for calls of timers that still run, then run the stop hooks. Called in the main greenlet, when no
        request is in flight.

        Args:
            until_s: the end of the mercy time, by the monotonic clock.
        """
        self.rest()
        registry = hooks.registered()
        running = [beats.greenlet for beats in self._beats.values() if beats.calls] + [g for g in self._late if g]
        if not running and not registry.stops:
            return
        until_s = max(until_s, time.monotonic() + STOP_MIN_S)
        reserve_s = STOP_MIN_S if registry.stops else 0.0
        gevent.joinall(running, timeout=max(until_s - reserve_s - time.monotonic(), 0))
        for beats in self._beats.values():
            if beats.calls:
                _say_cut(beats.greenlet, f"{beats.name} (every)")
        self._run_stops(list(registry.stops), until_s)

    def _run_stops(self, functions: list[Callable[[], Any]], until_s: float) -> None:
        left = functions.copy()

        def run() -> None:
            while left:
                call(left[-1], "on_worker_stop")
                if left:
                    left.pop()

        running = gevent.spawn(run)
        running.join(max(until_s - time.monotonic(), 0))
        if left:
            *others, last = left
            left.clear()
            _say_cut(running, f"{name_of(last)} (on_worker_stop)")
            for function in reversed(others):
                log.error("no time was left for the hook %s (on_worker_stop)", name_of(function))

    def abandon(self) -> None:
        """The application has forked this process: it is no worker."""
        hooks.run_in(None)
        self._beats.clear()


class Beats:
    """The calls of one timer.

    Args:
        timer: what is called, and how often.
        locks: of the server.
    """

    def __init__(self, timer: Timer, locks: Locks) -> None:
        self.name = name_of(timer.function)
        self.calls = False  # whether it calls its function now
        self.greenlet: Any = None
        self._timer = timer
        self._locks = locks
        self._phase_s = 0.0 if timer.in_one_worker else time.monotonic()
        self._goes_on = False
        self._said = RateLimit(_SAY_PER_S, _SAY_BURST)
        self._missed = 0  # since the log has said so

    def begin(self) -> None:
        """Call the function at each beat from now on."""
        self._goes_on = True
        if not self.greenlet:
            self.greenlet = gevent.spawn(self._run)

    def end(self) -> None:
        """Call it no more. A call that runs ends as usual."""
        self._goes_on = False
        if self.greenlet and not self.calls:
            self.greenlet.kill(block=False)
            self.greenlet = None

    def say_missed(self, past_s: float) -> None:
        """Say how many beats there were in the last seconds, when no worker led."""
        now_s = time.monotonic()
        self._miss(self._count(now_s) - self._count(now_s - past_s), f"no worker was ready for {past_s:.1f} s")

    def _run(self) -> None:
        done = self._count(time.monotonic())
        while self._goes_on:
            gevent.sleep(max(self._phase_s + (done + 1) * self._timer.interval_s - time.monotonic(), 0))
            began_s = time.monotonic()
            due, done = done + 1, max(self._count(began_s), done + 1)
            self._miss(done - due, "the event loop was held up")
            self._call_once()
            took_s = time.monotonic() - began_s
            last, done = done, max(self._count(began_s + took_s), done)
            self._miss(done - last, f"a call took {took_s:.1f} s")
        self.greenlet = None

    def _call_once(self) -> None:
        self.calls = True
        try:
            if not self._timer.in_one_worker:
                call(self._timer.function, "every")
            elif self._locks.take(self.name):
                try:
                    call(self._timer.function, "every")
                finally:
                    self._locks.release(self.name)
            else:
                self._miss(1, f"process {self._locks.holder(self.name)} has not ended its call")
        finally:
            self.calls = False

    def _count(self, at_s: float) -> int:
        """Return how many beats there were until this time."""
        return int((at_s - self._phase_s) / self._timer.interval_s + 1e-9)

    def _miss(self, count: int, why: str) -> None:
        if count <= 0:
            return
        self._missed += count
        if self._said.admit(time.monotonic()):
            missed, self._missed = self._missed, 0
            log.warning("every(%g): %s missed %s: %s", self._timer.interval_s, self.name, counted(missed, "beat"), why)


def call(function: Callable[[], Any], kind: str) -> None:
    """Call a hook. Its exception is logged.

    Args:
        function: the hook.
        kind: its decorator.
    """
    try:
        function()
        forked_child.end_if_one()
    except gevent.GreenletExit:  # it was cut, which is in the log
        return
    except BaseException as error:  # a time-out (--hub-timeout) or SystemExit, too: the worker goes on
        forked_child.end_if_one(error)
        log.error("the hook %s (%s) has failed", name_of(function), kind, exc_info=True)


def _say_cut(running: Any, described: str) -> None:
    """Log where a hook is, and end it."""
    frame = running.gr_frame
    log.error(
        "the hook %s has not ended within the mercy time, and is cut; the stack:",
        described,
        extra={"traceback": "".join(traceback.format_stack(frame)).rstrip()} if frame else None,
    )
    with suppress(greenlet.error):
        running.kill(block=False)
