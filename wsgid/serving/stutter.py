"""A loop that stutters: no single stop is long, but together they take the worker's time. Says where it stands still.

    a late timer -> greenlets are traced (clock.py), and a thread is the witness
    -> each TICK_S: does one greenlet run on? where? -> standstill.py adds up -> the statistics, a sentence for the log

gevent's own monitor thread (gevent._monitor, GEVENT_MONITOR_THREAD_ENABLE) looks in the same way, but always.

Rules
* While no timer is late, there is no thread, no tracer and no further timer. The witness ends when the window has no
  stop.
* While the loop rests (rounds.py), the witness waits for the end of the rest, and only goes on to the next bucket of
  the window. A crowd that has come too fast for the machine must not cost anything while it waits.
* The loop stands still if one greenlet runs for LONG_S without a switch. Many short runs are a busy loop, not a stop.
* The witness is a thread and no signal. A signal would interrupt the calls of C libraries, and not all of them go on
  after EINTR (signal(7)). A signal could not tell a call that blocks from a process that was stopped, either.
* Only time counts in which the process lived, and its main thread did not wait for a processor: a crowded machine,
  SIGSTOP and a suspended machine are no fault of the code that was running
  (docs/decisions/023-a-loop-that-stutters.md).
* The witness runs in another thread. It uses nothing of gevent, and neither logs nor sends. It is the only one that
  writes HUB_LATE_PERMILLE.
"""

import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

from gevent import monkey
from gevent.hub import Hub

from wsgid import log
from wsgid.application import forks
from wsgid.application.blame import Blamed, blamed
from wsgid.ipc.scoreboard import Word
from wsgid.linux.thread_times import ThreadClock
from wsgid.serving.clock import CLOCK, LONG_S, ROUND_S, Clock
from wsgid.serving.lost_time import TICK_S, LostTime
from wsgid.serving.standstill import Said, Standstill, bucket_s

LATE_S = 0.02  # a timer that is so late, without having waited for a processor, makes the witness look
QUIET_S = 3.0  # how long the witness looks after a late timer
_KEY_MAX_CHARS = 1000

_monotonic = time.monotonic
_lock = monkey.get_original("_thread", "allocate_lock")
_sleep = monkey.get_original("time", "sleep")
_start_thread = monkey.get_original("_thread", "start_new_thread")
_thread_ident = monkey.get_original("_thread", "get_ident")
_native_id = monkey.get_original("_thread", "get_native_id")
_HUB_RUNS = Hub.run.__code__


class Stutter:
    """Finds out where the loop of a worker stands still. Its methods are called in the hub.

    Args:
        line: the worker's words of the scoreboard.
        application: MODULE:NAME, or a file.
        shown_s: the log shows each longer stop by itself (--hub-warn).
        say_once: takes a key and a sentence that the operator has to be told once.
    """

    def __init__(
        self, line: memoryview, application: str, shown_s: float, say_once: Callable[[str, str], None]
    ) -> None:
        self._line = line
        self._package = application.partition(":")[0].partition(".")[0]
        self._shown_s = shown_s
        self._say_once = say_once
        self._standstill: Standstill | None = None  # remembers what was said
        self._witness: Witness | None = None
        self._taken_s = 0.0
        self._looked_s = math.inf
        self._main = ThreadClock(os.getpid())  # of the main thread, which runs this
        forks.own(self._main.fd)
        self._times = self._main.read()  # at the last beat

    def beat(self, late_s: float) -> float:
        """A beat of the loop was so late. Returns for how long the loop stood still since the last beat, as far as the
        witness has seen."""
        times, self._times = self._times, self._main.read()
        self._note_late(late_s - (self._times - times).waited_s)
        taken_s, self._taken_s = self._taken_s, self._standstill.stood_s if self._standstill is not None else 0.0
        return self._taken_s - taken_s

    def _note_late(self, late_s: float) -> None:
        if late_s < LATE_S:
            return
        if self._witness is not None:
            self._witness.look_until_s = _monotonic() + QUIET_S
        elif CLOCK.trace():
            self._standstill = self._standstill or Standstill(_monotonic())
            self._witness = Witness(CLOCK, self._main, self._standstill, self._line, self._package, self._shown_s)
            self._witness.start()

    def rest(self, until_s: float) -> None:
        """`look` is not called before this time: the loop rests.

        Args:
            until_s: of time.monotonic(); the present if the rest has ended.
        """
        self._looked_s = until_s
        if self._witness is None:
            return
        if until_s > _monotonic():
            self._witness.rest()
        else:
            self._witness.wake()

    def look(self) -> None:
        """Say what the witness has found. Called every ROUND_S, and at the end of each `rest`."""
        now_s = _monotonic()
        late_s = now_s - self._looked_s - ROUND_S
        self._looked_s = now_s
        if late_s >= LATE_S:
            self._note_late(late_s - (self._main.read() - self._times).waited_s)
        if self._witness is not None:
            self._hear(self._witness)

    def _hear(self, witness: "Witness") -> None:
        if witness.said is not None:
            said, witness.said = witness.said, None
            self._say_once(f"stutter {said.key}"[:_KEY_MAX_CHARS], said.text)
        if witness.has_ended:
            self._witness = None
            if witness.failure:
                log.error("the thread that watches the event loop has failed", extra={"traceback": witness.failure})
        elif not CLOCK.trace():
            witness.stop()

    def stop(self) -> None:
        """Look no more: the worker ends."""
        if self._witness is not None:
            self._witness.stop()

    def abandon(self) -> None:
        """Forget the witness in a process that was forked from the worker: fork(2) copies no other thread."""
        self._witness = None


def is_witness(frame: FrameType | None) -> bool:
    """Whether a thread with this innermost frame is a witness. Witnesses are wsgid's own business."""
    while frame is not None:
        if frame.f_code is Witness._look_on.__code__:
            return True
        frame = frame.f_back
    return False


class Witness:
    """The thread that looks at the main thread.

    Args:
        clock: has the runs of the greenlets. The witness is made in the main thread.
        main: the times of the main thread.
        standstill: adds up. No other thread changes it.
        line: the worker's words of the scoreboard.
        package: the first part of the application's module name.
        shown_s: as in Stutter.
    """

    def __init__(
        self, clock: Clock, main: ThreadClock, standstill: Standstill, line: memoryview, package: str, shown_s: float
    ) -> None:
        self.look_until_s = _monotonic() + QUIET_S
        self.has_ended = False
        self.failure = ""
        self.said: Said | None = None  # for the hub to log
        self._stops = False
        self._resting: Any = None  # a lock that the main thread holds while the loop rests
        self._woken_s = 0.0  # when the last rest has ended
        self._clock = clock
        self._main = main
        self._standstill = standstill
        self._line = line
        self._package = package
        self._shown_s = shown_s
        self._main_ident = _thread_ident()
        self._looked_s = self._idle_s = 0.0  # when the witness last looked, and last saw the hub wait
        self._lost_s = 0.0  # of this tick, and in no run yet
        self._run = _Run(math.inf)  # the run that is looked at

    def start(self) -> None:
        """Begin to look."""
        try:
            _start_thread(self._look_on, ())
        except RuntimeError:  # the limit of processes: the next late timer tries again
            self.has_ended = True

    def stop(self) -> None:
        """End after the present tick."""
        self._stops = True
        self.wake()

    def rest(self) -> None:
        """Nothing happens in the loop until `wake` is called. Called in the main thread."""
        if self._resting is None:
            resting = _lock()
            resting.acquire()
            self._resting = resting

    def wake(self) -> None:
        """Something happens in the loop. Called in the main thread, before it happens."""
        resting, self._resting = self._resting, None
        if resting is not None:
            self._woken_s = _monotonic()
            resting.release()

    def _look_on(self) -> None:
        own = ThreadClock(_native_id())
        try:
            forks.own(own.fd)
            lost = LostTime(self._main, own)
            self._looked_s = _monotonic()
            while not self._stops and (self._looked_s < self.look_until_s or not self._standstill.is_over()):
                self._wait()
                self._look(lost)
        except Exception:  # for example no memory; the hub logs it
            self.failure = traceback.format_exc()
        finally:
            own.close()
            self._line[Word.HUB_LATE_PERMILLE] = 0
            self.has_ended = True

    def _wait(self) -> None:
        """Wait for the next tick. At rest: for the end of the rest, or of a bucket of the window."""
        resting = self._resting
        if resting is None:
            _sleep(TICK_S)
        elif resting.acquire(timeout=bucket_s()):
            self._looked_s = self._idle_s = self._woken_s  # until then the hub has waited

    def _look(self, lost: LostTime) -> None:
        """Look at the main thread. Nothing here gives the interpreter's lock away, so all belongs to one moment."""
        now_s = _monotonic()
        since_s = self._clock.run_since_s(self._clock.runner)
        frame = sys._current_frames().get(self._main_ident)
        self.tick(now_s, since_s, frame, lost.since_last(now_s - self._looked_s))
        said = self._standstill.turn(now_s)
        self.said = said or self.said
        self._line[Word.HUB_LATE_PERMILLE] = self._standstill.permille

    def tick(self, now_s: float, since_s: float, frame: FrameType | None, lost_s: float) -> None:
        """Count the runs since the last tick.

        Args:
            now_s: of the monotonic clock.
            since_s: when the present run began.
            frame: the innermost one of the main thread.
            lost_s: how long the main thread could not run since the last tick. This time may have passed in any run.
        """
        self._lost_s = lost_s
        while self._clock.long_runs:
            self._follow(*self._clock.long_runs.popleft(), None)
        if frame is None or frame.f_code is _HUB_RUNS:  # the hub waits, or works in C
            self._end_run()
            self._idle_s = now_s
        else:
            since_s = max(since_s, self._idle_s)  # a callback of the hub began later than the hub
            if self._clock.switched_s <= self._run.since_s < since_s:  # the next request, without a switch
                self._follow(self._run.since_s, since_s, None)
            self._follow(since_s, now_s, frame)
        self._looked_s = now_s

    def _follow(self, since_s: float, until_s: float, frame: FrameType | None) -> None:
        """Count a run, as far as it was not counted yet. A run has no frame any more when it is over."""
        if since_s != self._run.since_s:
            self._end_run()
            self._run = _Run(since_s)
        run = self._run
        run.until_s = until_s
        passed_s = max(until_s - max(since_s, self._looked_s), 0.0)
        taken_s = min(passed_s, self._lost_s)
        self._lost_s -= taken_s
        run.ran_s += passed_s - taken_s
        if run.ran_s < LONG_S:
            return
        stood_s, run.counted_s = run.ran_s - run.counted_s, run.ran_s
        self._standstill.add(stood_s)
        place = blamed(frame, self._package) if frame is not None else run.place
        if place is not None:
            run.place = place
            run.places[place] = run.places.get(place, 0.0) + stood_s

    def _end_run(self) -> None:
        if self._run.places and self._run.until_s - self._run.since_s < self._shown_s:
            self._standstill.tell(self._run.places)
        self._run = _Run(math.inf)


class _Run:
    """A run of one greenlet, from one switch to the next."""

    def __init__(self, since_s: float) -> None:
        self.since_s = self.until_s = since_s
        self.ran_s = 0.0
        self.counted_s = 0.0  # how much of it was added to the standstill
        self.place: Blamed | None = None  # the last one
        self.places: dict[Blamed, float] = {}  # with seconds
