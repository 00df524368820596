"""wsgid.offload: a function runs in a thread of the operating system, and the caller waits in the event loop.

    caller (greenlet) -> a place in the queue -> a thread -> function(...) -> the caller goes on with the result
         |                                                        |
         '-- gives up (time-out, kill): a call that has not       '-- a call that runs goes on, and keeps its thread
             begun never begins

Rules
* Each offloaded function has threads of its own, at most `threads`. They are started when they are needed, stay, and
  belong to one worker. No thread is started before the worker serves, or survives a fork.
* Where no event loop of a worker can wait, the function runs directly, in the caller's thread: in plain Python, during
  the application's import, in another thread (also in an offloaded call), and in the hub itself.
* Everything except `Call.run` happens in the thread of the event loop, so no lock is needed. `Call.claim` decides
  whether a call begins: list.pop is atomic.
* The scoreboard has the counts (offload_home.py).
* This module is loaded only in applications that use it.
"""

import contextvars
import functools
import inspect
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

import gevent
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from wsgid.application import offload_home
from wsgid.application.offload_home import Home
from wsgid.errors import OffloadTimeout
from wsgid.ipc.scoreboard import Word

THREADS = 20
THREADS_MAX = 1000

P = ParamSpec("P")
R = TypeVar("R")


class Call:
    """One call of an offloaded function.

    Args:
        function: with its arguments, and the context of the caller.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._claims = [True]
        self._value: Any = None
        self._error: BaseException | None = None
        self.ended = False

    @property
    def waits(self) -> bool:
        """Whether it has not begun yet, and somebody waits for it."""
        return bool(self._claims)

    def claim(self) -> bool:
        """Begin, or never begin. Returns False if somebody else has decided before."""
        try:
            return self._claims.pop()
        except IndexError:
            return False

    def run(self) -> None:
        """Call the function. Runs in a thread of the pool; raises nothing, because gevent would log it."""
        if not self.claim():
            return
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error
        self.ended = True

    def result(self) -> Any:
        """Return or raise what the function has returned or raised, with the traceback of its thread."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            return self._value
        finally:
            del error  # else the traceback, which has this frame, would keep everything alive


class Offloaded:
    """A function with its threads.

    Args:
        function: runs in a thread.
        threads: how many calls run at the same time.
        timeout_s: how long a caller waits, in seconds; None: as long as it takes.
    """

    def __init__(self, function: Callable[..., Any], threads: int, timeout_s: float | None) -> None:
        self._function = function
        self._threads = threads
        self._timeout_s = timeout_s
        self._pool: ThreadPool | None = None
        self._pid = 0  # of the process that the pool belongs to
        self._before_forks: list[ThreadPool] = []  # their threads do not exist here; they are kept, and not destroyed

    def call(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Call the function in a thread, or directly if no event loop can wait.

        Raises:
            OffloadTimeout: the caller has waited for timeout_s.
            BaseException: whatever the function raises, or is thrown into the waiting greenlet.
        """
        home = offload_home.current()
        if home is None or not home.can_wait():
            return self._function(*arguments, **keywords)
        context = contextvars.copy_context()
        call = Call(functools.partial(context.run, self._function, *arguments, **keywords))
        home.count(Word.OFFLOADED)
        home.calls.add(call)
        try:
            self._wait_for(call, home)
        except BaseException:
            home.count(Word.OFFLOAD_GIVEN_UP)
            if call.claim():  # it never begins, and needs no place
                home.calls.discard(call)
            raise
        return call.result()

    def _wait_for(self, call: Call, home: Home) -> None:
        """Wait until the call has ended. Raises OffloadTimeout, or whatever is thrown into this greenlet."""
        limit = gevent.Timeout(self._timeout_s)
        limit.start()
        try:
            # The pool first waits here until there is room in its queue.
            done: AsyncResult = self._threads_of(home).spawn(call.run)
            done.rawlink(lambda _: home.calls.discard(call))
            done.get()
        except gevent.Timeout as error:
            if error is not limit:
                raise
            if not call.ended:  # else the loop was late, and the result has come meanwhile
                raise OffloadTimeout(self._too_late(call)) from None
        finally:
            limit.close()

    def _too_late(self, call: Call) -> str:
        state = "all its threads are busy" if call.waits else "it goes on in its thread"
        return f"{_name(self._function)} did not return within {self._timeout_s:g} s (offload): {state}"

    def _threads_of(self, home: Home) -> ThreadPool:
        """Return the threads of this process."""
        pid = os.getpid()
        if self._pool is None or pid != self._pid:
            if self._pool is not None:
                self._before_forks.append(self._pool)
            self._pool, self._pid = ThreadPool(self._threads, home.hub), pid
        return self._pool


@overload
def offload(function: Callable[P, R], *, threads: int = ..., timeout_s: float | None = ...) -> Callable[P, R]: ...


@overload
def offload(
    function: None = ..., *, threads: int = ..., timeout_s: float | None = ...
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def offload(function: Any = None, *, threads: int = THREADS, timeout_s: float | None = None) -> Any:
    """Let a function run in threads, so that the requests of the worker do not wait for it.

    For functions that wait or compute in C: drivers such as mysqlclient, images, compression. Python code in a thread
    shares the interpreter's lock with the event loop. docs/offload.md has examples.

        resize = wsgid.offload(resize, threads=4)

        @wsgid.offload(threads=20, timeout_s=2)
        def query(sql): ...

    Args:
        function: what runs in a thread. Its result and its exception reach the caller, and it sees the context
            variables of the caller.
        threads: how many calls run at the same time, in each worker. Further calls wait, in the order of their arrival.
        timeout_s: how long a caller waits, in seconds, the time in the queue included; None: as long as it takes.

    Returns:
        a function with the same signature. Without `function`: a decorator.

    Raises:
        TypeError: `function` cannot be called, or returns before its work is done (a generator or a coroutine).
        ValueError: `threads` or `timeout_s` has an impossible value.
    """
    if function is None:
        return functools.partial(offload, threads=threads, timeout_s=timeout_s)
    _check(function, threads, timeout_s)
    offloaded = Offloaded(function, threads, timeout_s)

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        return offloaded.call(arguments, keywords)

    return call


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", repr(function)))


def _check(function: Any, threads: Any, timeout_s: Any) -> None:
    if not callable(function):
        raise TypeError(f"offload takes a function, and {function!r} is none: write offload(function, threads=20)")
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        raise TypeError(f"{_name(function)} would return before its work is done: offload a plain function")
    if type(threads) is not int or not 1 <= threads <= THREADS_MAX:
        raise ValueError(f"threads is {threads!r}: it has to be a whole number from 1 to {THREADS_MAX}")
    if timeout_s is not None and not timeout_s > 0:
        raise ValueError(f"timeout_s is {timeout_s!r}: it has to be a number of seconds above 0, or None")
