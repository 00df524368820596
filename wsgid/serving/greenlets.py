"""The greenlets that serve requests, and are reused.

    run -> an idle greenlet, or a new one -> serve -> idle again, or spent -> ended

Rules
* A greenlet serves one request at a time, and is reused: a new greenlet that runs Python maps and unmaps its own frame
  stack (CPython 3.11 and newer), and reuse gives thread-locals the life time that thread pools give them, which
  Django's persistent database connections rely on.
* A greenlet whose request was interrupted, by whatever is no Exception, ends with it: see RequestGreenlet.spend.
* After a crowd, greenlets are let go, and memory comes back.
"""

import time
from collections.abc import Callable
from typing import Any

import greenlet

from wsgid import log

TRIM_S = 10.0  # how often idle greenlets are let go

_SHOWN_MAX_CHARS = 500
_THE_END = object()  # what an idle greenlet gets instead of work


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


class GreenletPool:
    """The greenlets of one worker.

    Args:
        hub: gevent's.
        serve: does the work of one wake-up; takes what `run` got, and the greenlet. It raises nothing.
        kinds: what `run` takes. Whatever else reaches an idle greenlet comes from an earlier request.
        ended: takes each greenlet that has ended.
    """

    def __init__(
        self,
        hub: Any,
        serve: Callable[[Any, RequestGreenlet], None],
        kinds: tuple[type, ...],
        ended: Callable[[RequestGreenlet], None],
    ) -> None:
        self.greenlets: set[RequestGreenlet] = set()  # all, with or without a request
        self._hub = hub
        self._serve = serve
        self._kinds = kinds
        self._ended = ended
        self._spent: set[RequestGreenlet] = set()
        self._idle: list[RequestGreenlet] = []
        self._unused = 0  # how many of them were idle at any time since the last trim
        self._trim_at_s = 0.0

    def run(self, source: Any) -> None:
        """Have a greenlet serve this. Runs in the hub, and returns when that greenlet waits or is done."""
        idle = self._idle.pop() if self._idle else self._new()
        idle.switch(source)

    def is_spent(self, me: RequestGreenlet) -> bool:
        """Whether this greenlet ends with its request."""
        return bool(self._spent) and me in self._spent

    def trim(self, now_s: float) -> None:
        """End half of the greenlets that were idle all the time since the last trim: after a crowd, memory comes back.
        The oldest go; the last one used is the next to be used."""
        self._unused = min(self._unused, len(self._idle))
        if now_s < self._trim_at_s:
            return
        unused, self._idle = self._idle[: self._unused // 2], self._idle[self._unused // 2 :]
        for idle in unused:
            idle.switch(_THE_END)
        self._unused = len(self._idle)
        self._trim_at_s = now_s + TRIM_S

    def _new(self) -> RequestGreenlet:
        made = RequestGreenlet(self._live, self._hub)
        made.environ = None
        made.all_spent = self._spent
        self.greenlets.add(made)
        return made

    def _live(self, source: Any) -> None:
        """The life of a greenlet."""
        me: Any = greenlet.getcurrent()
        while source is not _THE_END:
            self._serve(source, me)
            source = _THE_END if self.is_spent(me) else self._wait(me)
        self.greenlets.discard(me)
        self._spent.discard(me)
        self._ended(me)

    def _wait(self, me: RequestGreenlet) -> Any:
        """Wait until there is something to do; returns that, or _THE_END."""
        self._idle.append(me)
        while True:
            try:
                source = self._hub.switch()
            except BaseException as error:  # kill(), say, by what an earlier request has left running
                log.warning("an idle greenlet got %r from an earlier request, and ends", error)
                self._idle.remove(me)
                return _THE_END
            if isinstance(source, self._kinds) or source is _THE_END:
                return source
            log.warning(
                "an idle greenlet was called by a timer or callback of an earlier request: stop those that you start"
            )


def set_harakiri(seconds: float) -> None:
    """environ["wsgid.harakiri"]: give this request that many seconds from now on, whatever --harakiri says.

    Raises:
        RuntimeError: it is called outside of the greenlet that serves a request.
    """
    current = greenlet.getcurrent()
    if not isinstance(current, RequestGreenlet):
        raise RuntimeError("wsgid.harakiri has to be called in the greenlet that serves the request")
    current.deadline_s = time.monotonic() + seconds


def _shown(environ: dict[str, Any], name: str) -> str:
    """The application may have put anything there."""
    value = environ.get(name, "")
    return value[:_SHOWN_MAX_CHARS] if isinstance(value, str) else f"<{type(value).__name__}>"
