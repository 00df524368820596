"""Turns at the event loop: no loop over a socket holds the event loop for longer than a slice of time.

gevent goes to the hub only when a read or a write would block. A socket that is always ready never makes its reader
wait. So code that reads or writes one socket again and again calls `give_way` before it goes on.

Rules
* A slice begins when the event loop has last looked at all sockets.
* Greenlets that give way wait in one queue. The event loop looks at all sockets before each of them goes on.
* gevent's own `sleep(0)` and `run_callback` are not enough: fifty such callbacks run before a socket is looked at.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent.hub import Waiter, get_hub

from wsgid.serving.syscalls import monotonic

SLICE_S = 0.001

_time = time.time

_ends_s = 0.0  # when the slice of the running greenlet ends


class _Queue:
    """The greenlets of one hub that have given way."""

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._timer = hub.loop.timer(0)

    def add(self, call: Callable[..., object], *arguments: Any) -> None:
        self._calls.append((call, arguments))
        if len(self._calls) == 1:
            self._timer.start(self._next)

    def _next(self) -> None:
        call, arguments = self._calls.popleft()
        if self._calls:
            self._timer.start(self._next)
        call(*arguments)


_queue: _Queue | None = None


def later(call: Callable[..., object], *arguments: Any) -> None:
    """Let the hub of this worker call a function, after the event loop has looked at all sockets."""
    global _queue
    hub = get_hub()
    if _queue is None or _queue.hub is not hub:
        _queue = _Queue(hub)
    _queue.add(call, *arguments)


def give_way() -> None:
    """Let other greenlets run if the slice is over. Must not be called in the hub.

    Raises:
        BaseException: whatever is thrown into this greenlet meanwhile, for example a time-out.
    """
    global _ends_s
    now_s = monotonic()
    if now_s < _ends_s:
        return
    # The loop stores the time at which it has looked at the sockets. An operator may have set the clock back since.
    left_s = min(SLICE_S - (_time() - get_hub().loop.now()), SLICE_S)
    if left_s <= 0.0:
        _wait()
        now_s, left_s = monotonic(), SLICE_S
    _ends_s = now_s + left_s


def _wait() -> None:
    hub = get_hub()
    if _queue is not None and _queue.hub is not hub:  # a thread of the application
        gevent.sleep(0)
        return
    turn = Waiter(hub)
    later(turn.switch, None)
    turn.get()
