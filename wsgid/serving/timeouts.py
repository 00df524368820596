"""Time-outs that end the request that is to blame, and nobody else's.

Rules
* A slow request: the worker asks now and then which are overdue; the time-out is raised inside that one greenlet.
* A held-up hub: the master signals; the handler runs in the greenlet that holds the hub, shows it, and raises there.
* A time-out is a BaseException (errors.RequestTimeout); one that the application swallows is raised again.
* A greenlet in which a time-out was raised is spent: it ends with its request.  Drivers clean up after an Exception,
  but not after this: connections in thread-locals may hold half an answer (docs/decisions/015-spent-greenlets.md).
* Deadlines move by the time in which the loop was held up, but for the request that held it (clock.py).
"""

import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

import greenlet

from wsgid import log
from wsgid.config.options import Settings
from wsgid.errors import RequestTimeout
from wsgid.ipc.scoreboard import Word
from wsgid.serving.clock import CLOCK
from wsgid.serving.greenlets import RequestGreenlet

AGAIN_S = 1.0  # a time-out that was swallowed is raised again after this
STALE_S = 1.0  # a hub that has not run for this long is held up, whatever --hub-warn says


class Timeouts:
    """The time-outs of one worker.

    Args:
        hub: ends nothing while this, or the greenlet that makes this object, holds the loop: then nobody is to blame.
        line: the worker's words of the scoreboard.
        answer: answers the questions that wait for the hub; takes where it is held up, returns whether there were any.
    """

    def __init__(self, settings: Settings, hub: Any, line: memoryview, answer: Callable[[Any], bool]) -> None:
        self._settings = settings
        self._answer = answer
        self._spared = (hub, greenlet.getcurrent())
        self._line = line
        self._held_s = CLOCK.held_s  # for so much, deadlines have been moved

    def end_overdue(self, greenlets: Iterable[RequestGreenlet], now_s: float) -> None:
        """Raise the time-out inside each greenlet whose deadline is over; again later if it was swallowed."""
        if CLOCK.held_s > self._held_s:
            self._move_deadlines(greenlets, now_s)
        for serving in list(greenlets):
            if serving.environ is None or now_s < serving.deadline_s:
                continue
            serving.deadline_s = now_s + AGAIN_S
            self._line[Word.TIMED_OUT] += 1
            log.error("harakiri: %s; it is here:", serving.described(), extra={"traceback": _stack(serving.gr_frame)})
            _end(serving, "the request took longer than it may (--harakiri)")

    def _move_deadlines(self, greenlets: Iterable[RequestGreenlet], now_s: float) -> None:
        """The loop was held up: nobody pays for that time but who has held it."""
        held_s, self._held_s = CLOCK.held_s - self._held_s, CLOCK.held_s
        own = CLOCK.take_own()
        for serving in greenlets:
            if serving.environ is not None:
                lost_s = min(held_s, now_s - serving.started_s) - own.get(id(serving), 0.0)
                serving.deadline_s += max(lost_s, 0.0)

    def end_all(self, greenlets: Iterable[RequestGreenlet]) -> None:
        """The mercy time is over: each request ends now, and can clean up what it holds."""
        for serving in list(greenlets):
            if serving.environ is not None:
                log.error("cut after the mercy time: %s", serving.described())
                _end(serving, "the worker leaves, and the request has taken longer than --worker-reload-mercy")

    def on_stall(self, _signo: int, frame: Any) -> None:
        """SIGXCPU from the master: the hub has not run for too long; after --hub-timeout, its holder ends here. The
        signal also comes when an operator asks what the worker does."""
        held_s = (time.monotonic_ns() - self._line[Word.HEARTBEAT_NS]) / 1e9
        if held_s < min(self._settings.hub_warn, STALE_S) / 2:  # it runs again
            return
        holder = greenlet.getcurrent()
        CLOCK.name(holder)
        asked = self._answer(frame)
        overdue = held_s >= self._settings.hub_timeout_s
        if overdue or not asked:
            request = f" by {holder.described()}" if isinstance(holder, RequestGreenlet) and holder.environ else ""
            log.error(
                "the event loop has been held up for %.1f s%s; it is here:",
                held_s,
                request,
                extra={"traceback": _stack(frame)},
            )
        if overdue and holder not in self._spared and not _is_between_requests(holder):
            self._line[Word.TIMED_OUT] += 1
            if isinstance(holder, RequestGreenlet):
                holder.spend()
            raise RequestTimeout(f"it held up the event loop for {held_s:.1f} s, longer than --hub-timeout")


def _end(serving: RequestGreenlet, why: str) -> None:
    serving.spend()
    serving.throw(RequestTimeout(why))


def _is_between_requests(holder: object) -> bool:
    """Whether this is our own code, and no application's."""
    return isinstance(holder, RequestGreenlet) and holder.environ is None


def _stack(frame: Any) -> str:
    return "".join(traceback.format_stack(frame)).rstrip()
