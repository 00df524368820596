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

AGAIN_S = 1.0  # a time-out that was swallowed is raised again after this
STALE_S = 1.0  # a hub that has not run for this long is held up, whatever --hub-warn says
_SHOWN_MAX_CHARS = 500


class RequestGreenlet(greenlet.greenlet):
    """A reusable greenlet; while it serves a request, what can be said of that request."""

    __slots__ = ("environ", "started_s", "deadline_s", "all_spent")

    environ: dict[str, Any] | None  # None: it is idle, or still reads the head
    started_s: float
    deadline_s: float  # --harakiri
    all_spent: set["RequestGreenlet"]  # of this worker: a set, since asking whether it is empty costs nothing

    def spend(self) -> None:
        """It serves no other request: nobody knows in the middle of what it was interrupted."""
        self.all_spent.add(self)

    @property
    def request(self) -> float | None:
        """What tells its requests apart; None if it has none."""
        return self.started_s if self.environ is not None else None

    def described(self) -> str:
        """The request, for the log."""
        environ = self.environ or {}  # the application may have changed it
        text = ascii(f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')}")[1:-1]
        return f"{text}, {time.monotonic() - self.started_s:.1f} s old"

    def facts(self) -> dict[str, Any]:
        """The request, for wsgidctl: strings as they came, cut to _SHOWN_MAX_CHARS."""
        environ = self.environ or {}
        return {
            "age_s": round(time.monotonic() - self.started_s, 3),
            "method": _shown(environ, "REQUEST_METHOD"),
            "path": _shown(environ, "PATH_INFO"),
            "peer": _shown(environ, "REMOTE_ADDR"),
        }


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
        for one in list(greenlets):
            if one.environ is None or now_s < one.deadline_s:
                continue
            one.deadline_s = now_s + AGAIN_S
            self._line[Word.TIMED_OUT] += 1
            log.error("harakiri: %s; it is here:", one.described(), extra={"traceback": _stack(one.gr_frame)})
            _end(one, "the request took longer than it may (--harakiri)")

    def _move_deadlines(self, greenlets: Iterable[RequestGreenlet], now_s: float) -> None:
        """The loop was held up: nobody pays for that time but who has held it."""
        held_s, self._held_s = CLOCK.held_s - self._held_s, CLOCK.held_s
        own = CLOCK.take_own()
        for one in greenlets:
            if one.environ is not None:
                lost_s = min(held_s, now_s - one.started_s) - own.get(id(one), 0.0)
                one.deadline_s += max(lost_s, 0.0)

    def end_all(self, greenlets: Iterable[RequestGreenlet]) -> None:
        """The mercy time is over: each request ends now, and can clean up what it holds."""
        for one in list(greenlets):
            if one.environ is not None:
                log.error("cut after the mercy time: %s", one.described())
                _end(one, "the worker leaves, and the request has taken longer than --worker-reload-mercy")

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


def set_harakiri(seconds: float) -> None:
    """environ["wsgid.harakiri"]: give this request that many seconds from now on, whatever --harakiri says.

    Raises:
        RuntimeError: it is called outside of the greenlet that serves a request.
    """
    current = greenlet.getcurrent()
    if not isinstance(current, RequestGreenlet):
        raise RuntimeError("wsgid.harakiri has to be called in the greenlet that serves the request")
    current.deadline_s = time.monotonic() + seconds


def _end(one: RequestGreenlet, why: str) -> None:
    one.spend()
    one.throw(RequestTimeout(why))


def _is_between_requests(holder: object) -> bool:
    """Whether this is our own code, and no application's."""
    return isinstance(holder, RequestGreenlet) and holder.environ is None


def _stack(frame: Any) -> str:
    return "".join(traceback.format_stack(frame)).rstrip()


def _shown(environ: dict[str, Any], name: str) -> str:
    """The application may have put anything there."""
    value = environ.get(name, "")
    return value[:_SHOWN_MAX_CHARS] if isinstance(value, str) else f"<{type(value).__name__}>"
