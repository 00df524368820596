"""uWSGI's signals, timers and crons, on wsgid.hooks.

Rules
* A timer or cron calls the handler of its signal in one worker of the server, as in uWSGI. The targets `workers` and
  `active-workers` mean each worker.
* A cron is looked at once a minute, by the local time. A cron is missed if no worker is ready in its minute.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

from wsgid import hooks
from wsgid.records import dataclass

_EACH_WORKER = ("workers", "active-workers")
_MINUTE_S = 60.0

Handler = Callable[[int], Any]


@dataclass(frozen=True, slots=True)
class Signal:
    """What a signal calls.

    Args:
        handler: takes the number of the signal.
        in_one_worker: whether one worker calls it.
    """

    handler: Handler
    in_one_worker: bool


_signals: dict[int, Signal] = {}


def register_signal(number: int, target: str, handler: Handler) -> None:
    """Let a signal call this function.

    Args:
        number: of the signal, from 0 to 255.
        target: the workers that call it.
        handler: takes the number.

    Raises:
        ValueError: there is no such signal, or the target is a spooler.
    """
    if not 0 <= number <= 255:
        raise ValueError(f"there is no signal {number}: use 0 to 255")
    if target.startswith("spooler"):
        raise ValueError("wsgid has no spooler: use a task queue such as Celery")
    _signals[number] = Signal(handler, target not in _EACH_WORKER)


def signal_registered(number: int) -> bool:
    """Whether the signal has a handler."""
    return number in _signals


def unused_signal() -> int:
    """Return the number of a signal without a handler, as uwsgidecorators does: from 255 down."""
    return next(number for number in range(255, -1, -1) if number not in _signals)


def add_timer(number: int, seconds: float) -> None:
    """Raise the signal every `seconds`. Raises ValueError: nothing is registered for it."""
    _every(number, seconds, lambda: True)


def add_rb_timer(number: int, seconds: float, iterations: int = 0) -> None:
    """Raise the signal every `seconds`, at most `iterations` times in a worker; 0: without an end."""
    left = [iterations]

    def is_due() -> bool:
        left[0] -= 1
        return not iterations or left[0] >= 0

    _every(number, seconds, is_due)


def add_cron(number: int, minute: int, hour: int, day: int, month: int, weekday: int) -> None:
    """Raise the signal at these times. -1 means any, and -N means every N; Sunday is 0 and 7."""
    wanted = (minute, hour, day, month, weekday)
    seen = [0]

    def is_due() -> bool:
        before, seen[0] = seen[0], int(time.time() // _MINUTE_S)
        minutes = new_minutes(before, seen[0])
        return any(is_cron_due(wanted, time.localtime(minute * _MINUTE_S)) for minute in minutes)

    _every(number, _MINUTE_S, is_due)


def new_minutes(before: int, now: int) -> range:
    """Return the minutes that a look at the crons has to judge. They are counted from the epoch.

    A look that comes at the edge of a minute may be a little early or late. So two looks may fall into one minute, and
    none into the next one: the look after them judges both. A clock that was put forward or back skips and repeats
    minutes, and these are not made up for.

    Args:
        before: the minute of the last look; 0 before the first look.
        now: the present minute.
    """
    return range(before + 1 if now == before + 2 else now, now + 1) if now != before else range(0)


def is_cron_due(wanted: tuple[int, ...], now: time.struct_time) -> bool:
    """Whether a cron is due in this minute. Day and weekday are alternatives if both are given, as in uWSGI and
    crontab(5).

    Args:
        wanted: minute, hour, day, month and weekday.
        now: local time.
    """
    minute, hour, day, month, weekday = wanted
    present_weekday = (now.tm_wday + 1) % 7
    if not (_fits(minute, now.tm_min) and _fits(hour, now.tm_hour) and _fits(month, now.tm_mon)):
        return False
    of_week = _fits(weekday % 7 if weekday >= 0 else weekday, present_weekday)
    of_month = _fits(day, now.tm_mday)
    return (of_week or of_month) if day != -1 and weekday != -1 else (of_week and of_month)


def _fits(wanted: int, present: int) -> bool:
    if wanted < 0:
        return present % -wanted == 0
    return wanted == present


def _every(number: int, seconds: float, is_due: Callable[[], bool]) -> None:
    if number not in _signals:
        raise ValueError(f"signal {number} has no handler: call register_signal first")
    signal = _signals[number]

    @functools.wraps(signal.handler)
    def call() -> None:
        if is_due():
            _signals[number].handler(number)

    hooks.every(seconds, signal.in_one_worker)(call)
