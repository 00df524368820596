"""The greenlets that serve requests. A greenlet is used again for later requests.

    run -> an idle greenlet, or a new one -> serve -> idle again, or spent -> ended

Rules
* A greenlet serves one request at a time, and is used again. A new greenlet that runs Python maps and unmaps its own
  frame stack (CPython 3.11 and newer).  Besides, thread-locals then live as long as in a thread pool, which Django's
  persistent database connections need.
* If a request was interrupted by something that is no Exception, its greenlet ends: see RequestGreenlet.spend.
* After a crowd, idle greenlets end, and their memory becomes free.
"""

import time
from collections.abc import Callable
from typing import Any

import greenlet

from wsgid import log

TRIM_S = 10.0  # how often idle greenlets are ended

_SHOWN_MAX_CHARS = 500
_THE_END = object()  # an idle greenlet gets this instead of work

# The spent greenlets of this process. Asking whether the set is empty costs nothing. A slot of each greenlet would be
# memory for each request that waits.
_spent: set["RequestGreenlet"] = set()


class RequestGreenlet(greenlet.greenlet):
    """A greenlet for requests; while it serves one, it has the facts of the request."""

    __slots__ = ("environ", "started_s", "allowed_s")

    environ: dict[str, Any] | None  # None while it is idle, or still reads the head
    started_s: float
    allowed_s: float  # how long the request may take; requests share this object, unless one has a time of its own

    def spend(self) -> None:
        """Serve no other request: the application was interrupted at an unknown point."""
        _spent.add(self)

    @property
    def deadline_s(self) -> float:
        """When the request has taken as long as it may (--harakiri)."""
        return self.started_s + self.allowed_s

    @deadline_s.setter
    def deadline_s(self, deadline_s: float) -> None:
        self.allowed_s = deadline_s - self.started_s

    @property
    def request(self) -> float | None:
        """A number that differs for each request; None without a request."""
        return self.started_s if self.environ is not None else None

    def described(self) -> str:
        """Describe the request, for the log."""
        environ = self.environ or {}  # the application may have changed it
        text = ascii(f"{environ.get('REQUEST_METHOD')} {environ.get('PATH_INFO')}")[1:-1]
        return f"{text}, {time.monotonic() - self.started_s:.1f} s old"

    def facts(self) -> dict[str, Any]:
        """Return the request for wsgidctl: strings as they arrived, cut to _SHOWN_MAX_CHARS."""
        environ = self.environ or {}
        return {
            "age_s": round(time.monotonic() - self.started_s, 3),
            "started_s": self.started_s,  # with the worker, it names the request
            "method": _shown(environ, "REQUEST_METHOD"),
            "path": _shown(environ, "PATH_INFO"),
            "peer": _shown(environ, "REMOTE_ADDR"),
        }


class RequestServer:
    """What greenlets do. A class, and no function: a call costs less time and less of the C stack, which is memory for
    each request that waits."""

    def serve(self, source: Any, me: RequestGreenlet) -> None:
        """Do the work of one wake-up. Raises nothing.

        Args:
            source: the argument of `GreenletPool.run`.
            me: the running greenlet.
        """
        raise NotImplementedError


class GreenletPool:
    """The greenlets of a worker.

    Args:
        hub: gevent's.
        server: does the work.
        kinds: the types that `run` takes. Anything else that reaches an idle greenlet comes from an earlier request.
        ended: takes each greenlet that has ended.
    """

    def __init__(
        self, hub: Any, server: RequestServer, kinds: tuple[type, ...], ended: Callable[[RequestGreenlet], None]
    ) -> None:
        self.greenlets: set[RequestGreenlet] = set()  # with or without a request
        self._hub = hub
        self._server = server
        self._kinds = kinds
        self._ended = ended
        self._idle: list[RequestGreenlet] = []
        self._unused = 0  # how many of them were idle all the time since the last trim
        self._trim_at_s = 0.0

    @property
    def idle(self) -> int:
        """How many greenlets wait for work."""
        return len(self._idle)

    def run(self, source: Any) -> None:
        """Let a greenlet serve this source. Runs in the hub. Returns when that greenlet waits or is done."""
        idle = self._idle.pop() if self._idle else self._new()
        idle.switch(source)

    def is_spent(self, me: RequestGreenlet) -> bool:
        """Whether this greenlet ends with its request."""
        return bool(_spent) and me in _spent

    def trim(self, now_s: float) -> None:
        """End half of the greenlets that were idle all the time since the last trim, so that the memory of a crowd
        becomes free. The oldest ones end; the greenlet that was used last is used next."""
        self._unused = min(self._unused, len(self._idle))
        if now_s < self._trim_at_s:
            return
        unused, self._idle = self._idle[: self._unused // 2], self._idle[self._unused // 2 :]
        for idle in unused:
            idle.switch(_THE_END)
        self._unused = len(self._idle)
        self._trim_at_s = now_s + TRIM_S

    def _new(self) -> RequestGreenlet:
        made = RequestGreenlet(self, self._hub)
        made.environ = None
        self.greenlets.add(made)
        return made

    def __call__(self, source: Any) -> None:
        """The life of a greenlet. (A method with a name would cost each of them 150 bytes of the C stack.)"""
        me: Any = greenlet.getcurrent()
        while source is not _THE_END:
            self._server.serve(source, me)
            source = self._next(me)
        self._end(me)

    def _next(self, me: RequestGreenlet) -> Any:
        return _THE_END if self.is_spent(me) else self._wait(me)

    def _end(self, me: RequestGreenlet) -> None:
        self.greenlets.discard(me)
        _spent.discard(me)
        self._ended(me)

    def _wait(self, me: RequestGreenlet) -> Any:
        """Wait for work. Returns the work, or _THE_END."""
        self._idle.append(me)
        while True:
            try:
                source = self._hub.switch()
            except BaseException as error:  # for example kill() by code that an earlier request has left running
                log.warning("an idle greenlet got %r from an earlier request, and ends", error)
                self._idle.remove(me)
                return _THE_END
            if isinstance(source, self._kinds) or source is _THE_END:
                return source
            log.warning(
                "an idle greenlet was called by a timer or callback of an earlier request: stop those that you start"
            )


def _shown(environ: dict[str, Any], name: str) -> str:
    """Return a value as text: the application may have put any object there."""
    value = environ.get(name, "")
    return value[:_SHOWN_MAX_CHARS] if isinstance(value, str) else f"<{type(value).__name__}>"
