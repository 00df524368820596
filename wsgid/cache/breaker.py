"""Keeps requests away from a Redis that does not answer.

    closed: calls go through -> one fails -> open: no call goes through, and somebody asks again and again
                                               '-> an answer -> closed

Rules
* Only calls that were in flight when Redis went wait, for the time-out of a call. Later calls are refused at once.
* The one who asks again is a thread of its own, in a worker a greenlet. No request pays for it.
* The log gets one sentence when it opens, at most one each second, and one when it closes.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from wsgid import log
from wsgid.cache import forking
from wsgid.errors import CacheUnavailable

AGAIN_S = 0.5  # between two questions
LOG_EVERY_S = 1.0

T = TypeVar("T")


class Breaker:
    """The state of one network store in this process.

    Args:
        what: its name, for the log.
        ask: raises one of `errors` if it does not answer.
        errors: the exceptions that mean so.
    """

    def __init__(self, what: str, ask: Callable[[], object], errors: tuple[type[Exception], ...]) -> None:
        self._what = what
        self._ask = ask
        self._errors = errors
        self._since_s: float | None = None  # None: closed
        self._log_at_s = 0.0
        forking.on_fork(self)

    @property
    def is_open(self) -> bool:
        """Whether calls are refused."""
        return self._since_s is not None

    def call(self, function: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
        """Call a function of the client.

        Raises:
            CacheUnavailable: it does not answer, or has not answered a moment ago.
        """
        if self._since_s is not None:
            raise CacheUnavailable(f"{self._what} does not answer")
        try:
            return function(*arguments, **keywords)
        except self._errors as error:
            self._open(error)
            raise CacheUnavailable(f"{self._what} does not answer: {error}") from error

    def forked(self) -> None:
        """In a child: who asks again is a thread of the parent."""
        self._since_s = None

    def _open(self, error: Exception) -> None:
        now_s = time.monotonic()
        if self._since_s is None:
            self._since_s = now_s
            threading.Thread(target=self._ask_again, daemon=True).start()
        if now_s >= self._log_at_s:
            self._log_at_s = now_s + LOG_EVERY_S
            log.error("%s does not answer: %s; nothing waits for it until it does", self._what, error)

    def _ask_again(self) -> None:
        while True:
            time.sleep(AGAIN_S)
            try:
                self._ask()
                break
            except self._errors:
                continue
        gone_s = time.monotonic() - (self._since_s or 0.0)
        self._since_s = None
        log.info("%s answers again, after %.1f s", self._what, gone_s)
