"""The module `uwsgidecorators`: postfork, timer, rbtimer, cron, lock, thread, harakiri.

The decorators behave as those of uWSGI's own module, also in their arguments.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from wsgid import hooks
from wsgid.application.uwsgi_api import timers

_postforks: list["Postfork"] = []


class Postfork:
    """@postfork, or @postfork(2) for the worker with the id 2.

    Args:
        given: the function, or the id of a worker.
    """

    def __init__(self, given: Any) -> None:
        self._worker_id = 0 if callable(given) else int(given)
        self._function: Callable[[], Any] | None = given if callable(given) else None
        if self._function is not None:
            functools.update_wrapper(self, self._function)
        _postforks.append(self)

    def __call__(self, *arguments: Any) -> Any:
        if self._function is None:
            (self._function,) = arguments
            functools.update_wrapper(self, self._function)
            return self
        if self._worker_id in (0, hooks.worker_number() + 1):
            return self._function(*arguments)
        return None


def postforks() -> Sequence[Callable[[], Any]]:
    """Return the functions to call in each worker."""
    return tuple(_postforks)


def _scheduled(add: Callable[..., None]) -> Callable[..., Callable[[timers.Handler], timers.Handler]]:
    """Return a decorator with the arguments of `add` behind the signal's number."""

    def with_arguments(*times: Any, **options: Any) -> Callable[[timers.Handler], timers.Handler]:
        number = options.pop("signum", None)
        target = options.pop("target", "")

        def decorate(function: timers.Handler) -> timers.Handler:
            chosen = timers.unused_signal() if number is None else number
            timers.register_signal(chosen, target, function)
            add(chosen, *times, **options)
            return function

        return decorate

    return with_arguments


def _thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let each call run in a thread of its own."""

    @functools.wraps(function)
    def started(*arguments: Any, **keywords: Any) -> threading.Thread:
        made = threading.Thread(target=function, args=arguments, kwargs=keywords, daemon=True)
        made.start()
        return made

    return started


def make(functions: Sequence[Callable[..., Any]]) -> ModuleType:
    """Return the module.

    Args:
        functions: of the module `uwsgi`; the decorators need some of them.
    """
    uwsgi = {function.__name__: function for function in functions}

    def lock(function: Callable[..., Any]) -> Callable[..., Any]:
        """Let one call run at a time, in all workers together."""

        @functools.wraps(function)
        def locked(*arguments: Any, **keywords: Any) -> Any:
            uwsgi["lock"]()
            try:
                return function(*arguments, **keywords)
            finally:
                uwsgi["unlock"]()

        return locked

    def harakiri(seconds: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Give a request this time while the function runs."""

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def limited(*arguments: Any, **keywords: Any) -> Any:
                uwsgi["set_user_harakiri"](seconds)
                try:
                    return function(*arguments, **keywords)
                finally:
                    uwsgi["set_user_harakiri"](0)

            return limited

        return decorate

    made = ModuleType("uwsgidecorators", "uWSGI's decorators on wsgid (--uwsgi-module)")
    made.__dict__.update(
        postfork=Postfork,
        timer=_scheduled(timers.add_timer),
        rbtimer=_scheduled(timers.add_rb_timer),
        cron=_scheduled(_add_cron),
        lock=lock,
        thread=_thread,
        harakiri=harakiri,
        __getattr__=_missing,
    )
    return made


def _add_cron(number: int, minute: int = -1, hour: int = -1, day: int = -1, month: int = -1, dayweek: int = -1) -> None:
    timers.add_cron(number, minute, hour, day, month, dayweek)


def _missing(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(
        f"the uwsgidecorators module of wsgid has no {name}: it has postfork, timer, rbtimer, cron, lock, thread and "
        "harakiri; for spoolers and mules use a task queue such as Celery"
    )
