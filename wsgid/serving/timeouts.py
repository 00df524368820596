"""Time-outs that end the request that is to blame, and no other request.

Rules
* A slow request: the worker checks now and then which requests are overdue, and raises the time-out in their greenlets.
* A held-up hub: the master sends a signal. The handler runs in the greenlet that holds the hub, logs its stack, and
  raises there.
* A time-out is a BaseException (errors.RequestTimeout). If the application swallows it, it is raised again.
* A greenlet in which a time-out was raised is spent: it ends with its request.  Drivers clean up after an Exception,
  but not after a time-out. So connections in thread-locals may hold a part of an answer
  (docs/decisions/015-spent-greenlets.md).
* Deadlines move by the time in which the loop was held up, except that of the request which held it (clock.py).
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import greenlet

from wsgid import log
from wsgid.config.options import Settings
from wsgid.errors import RequestTimeout
from wsgid.ipc.scoreboard import Word, add
from wsgid.log.stack_text import stack_text
from wsgid.serving.clock import CLOCK
from wsgid.serving.deadlines import Deadlines
from wsgid.serving.greenlets import RequestGreenlet

AGAIN_S = 1.0  # after this time, a swallowed time-out is raised again
STALE_S = 1.0  # a hub without a heartbeat for this long is held up, whatever --hub-warn says


class Timeouts:
    """The time-outs of a worker.

    Args:
        settings: the operator's settings.
        hub: while the hub, or the greenlet that makes this object, holds the loop, no request is ended.
        line: the worker's words of the scoreboard.
        answer: answers the questions that wait for the hub. Takes the frame that holds the hub, and returns whether
            there were questions.
    """

    def __init__(self, settings: Settings, hub: Any, line: memoryview, answer: Callable[[Any], bool]) -> None:
        self._settings = settings
        self._answer = answer
        self._spared = (hub, greenlet.getcurrent())
        self._line = line
        self._held_s = CLOCK.held_s  # by how much deadlines have been moved

    def end_overdue(self, deadlines: Deadlines, now_s: float) -> None:
        """Raise the time-out in each overdue greenlet; again later if it was swallowed."""
        if CLOCK.held_s > self._held_s:
            self._move_deadlines(deadlines.greenlets(), now_s)
        for serving in deadlines.due(now_s):
            serving.deadline_s = now_s + AGAIN_S
            add(self._line, Word.TIMED_OUT)
            log.error(
                "harakiri: %s; the stack:", serving.described(), extra={"traceback": stack_text(serving.gr_frame)}
            )
            _end(serving, "the request took longer than it may (--harakiri)")

    def _move_deadlines(self, greenlets: Iterable[RequestGreenlet], now_s: float) -> None:
        """The loop was held up: move all deadlines, except that of the request that has held it."""
        held_s, self._held_s = CLOCK.held_s - self._held_s, CLOCK.held_s
        own = CLOCK.take_own()
        for serving in greenlets:
            if serving.environ is not None:
                lost_s = min(held_s, now_s - serving.started_s) - own.get(id(serving), 0.0)
                serving.deadline_s += max(lost_s, 0.0)

    def end_all(self, greenlets: Iterable[RequestGreenlet]) -> None:
        """The mercy time is over: end each request now. The requests can clean up."""
        for serving in list(greenlets):
            if serving.environ is not None:
                log.error("cut after the mercy time: %s", serving.described())
                _end(serving, "the worker leaves, and the request has taken longer than --worker-reload-mercy")

    def on_stall(self, _signo: int, frame: Any) -> None:
        """Handle SIGXCPU from the master. The hub has not run for too long: after --hub-timeout, the code that holds
        the hub is ended here. The signal also comes when an operator asks what the worker does."""
        held_s = (time.monotonic_ns() - self._line[Word.HEARTBEAT_NS]) / 1e9
        if held_s < min(self._settings.hub_warn, STALE_S) / 2:  # the hub runs again
            return
        holder = greenlet.getcurrent()
        CLOCK.name(holder)
        asked = self._answer(frame)
        overdue = held_s >= self._settings.hub_timeout_s
        if overdue or not asked:
            request = f" by {holder.described()}" if isinstance(holder, RequestGreenlet) and holder.environ else ""
            log.error(
                "the event loop has been held up for %.1f s%s; the stack:",
                held_s,
                request,
                extra={"traceback": stack_text(frame)},
            )
        if overdue and holder not in self._spared and not _is_between_requests(holder):
            add(self._line, Word.TIMED_OUT)
            if isinstance(holder, RequestGreenlet):
                holder.spend()
            raise RequestTimeout(f"it held up the event loop for {held_s:.1f} s, longer than --hub-timeout")


def _end(serving: RequestGreenlet, why: str) -> None:
    serving.spend()
    serving.throw(RequestTimeout(why))


def _is_between_requests(holder: object) -> bool:
    """Whether this greenlet runs code of wsgid, and no application."""
    return isinstance(holder, RequestGreenlet) and holder.environ is None
