"""The limiters of an application: RequestRate, WindowCount, Concurrency, and combine.

Rules
* A limiter is made once, at the import, and is shared by all workers. Its name and its numbers tell it from others; the
  default name is the module and the line that make it.
* `acquire` returns a Permit, or a Rejected, which is false.  Neither raises: `with` raises the Rejected.
* A delay lets only the present greenlet sleep. A permit is undone exactly if the client has left meanwhile.
* A Rejected is made only for a caller that gets one.
"""

import re
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from wsgid.counted import counted
from wsgid.errors import ClientDisconnected, Rejected
from wsgid.limits.home import HOME
from wsgid.limits.layout import LimitCount
from wsgid.limits.permit import Bounds, HeldPermit, Kind, Permit, Ruling
from wsgid.limits.table import USED_MAX

__all__ = ["Combined", "Concurrency", "Permit", "Permits", "RequestRate", "WindowCount", "combine", "storage_uri"]

_NS = 1_000_000_000
_LOOK_S = 0.25  # how often a delayed request looks whether its client has left
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)r?/([0-9]+(?:\.[0-9]+)?)?([smhd])")
_YEAR_S = 366 * 86400
_UNDECIDED, _ADMITTED = int(Ruling.NONE), int(Ruling.ADMITTED)
_WAITING = int(LimitCount.WAITING)
_NAME_MAX_CHARS = 64

Key = str | bytes | int


class Limiter(Bounds):
    """What all limiters have."""

    delays = True  # whether admitted requests may have to wait
    _permit: type[Permit] = Permit

    def acquire(self, key: Key, *, wait: bool = True) -> Permit | Rejected:
        """Decide about one request, and sleep if it has to be delayed.

        Args:
            key: whose limit it is, for example the client's address.
            wait: whether to sleep here. Otherwise the caller does, for the permit's `delay_s`.

        Returns:
            a permit, or a Rejected, which is false.

        Raises:
            ClientDisconnected: the client has left during the delay, and the permit is undone.
            TypeError: the key is no str, bytes or int.
        """
        permit = self._permit(self, key)
        (HOME.store or HOME.open()).decide(permit, True)
        if permit.held:
            HOME.requests.hold(permit)
        if permit.ruling == _ADMITTED:
            if permit.wait_ns and wait and self.delays:
                _sleep((permit,), permit.wait_ns)
            return permit
        return permit if permit.admitted else Rejected(permit)

    def peek(self, key: Key) -> Permit | Rejected:
        """Decide about one request without spending anything. Arguments and result are those of `acquire`."""
        permit = self._permit(self, key)
        (HOME.store or HOME.open()).decide(permit, False)
        return permit if permit.admitted else Rejected(permit)


class RequestRate(Limiter):
    """So many requests in a time, for each key, evenly: a leaky bucket, as nginx's limit_req.

    Args:
        rate: requests per second as a number, or a text such as "10r/s", "100r/m", "5/10s".
        burst: how many requests may come before their time. They are delayed to the rate.
        delay: False: requests of the burst are not delayed (nginx's nodelay).
        name: for statistics; tells limiters with the same numbers apart.
        dry_run: whether the limiter only counts, and admits all requests at once.

    Raises:
        ValueError: a number is impossible.
    """

    def __init__(
        self, rate: float | str, burst: int = 0, *, delay: bool = True, name: str = "", dry_run: bool = False
    ) -> None:
        interval_ns = _interval_ns(rate)
        _check("burst", burst, 0)
        if interval_ns * (burst + 1) > _YEAR_S * _NS:
            raise ValueError(f"rate {rate!r} and burst {burst} make a bucket of more than a year: choose a lower burst")
        name = name or _caller()
        identity = f"rate {interval_ns} {burst} {name}".encode()
        super().__init__(Kind.RATE, identity, name, dry_run, interval_ns=interval_ns, burst_ns=interval_ns * burst)
        self.delays = delay


class WindowCount(Limiter):
    """So many requests in each window, for each key. A window begins with the first request in it.

    Args:
        count: the requests of a window, at most 16,777,215.
        seconds: the length of a window.
        name, dry_run: as for RequestRate.

    Raises:
        ValueError: a number is impossible.
    """

    def __init__(self, count: int, seconds: float, *, name: str = "", dry_run: bool = False) -> None:
        _check("count", count, 1)
        if not 0.001 <= seconds <= _YEAR_S:
            raise ValueError(f"seconds is {seconds!r}: a window lasts from 0.001 s to a year")
        name = name or _caller()
        window_ms = round(seconds * 1000)
        identity = f"window {count} {window_ms} {name}".encode()
        super().__init__(Kind.WINDOW, identity, name, dry_run, count=count, window_ms=window_ms)


class Concurrency(Limiter):
    """So many requests at the same time, for each key. A permit is held until the response is closed, or released.

    Args:
        limit: requests at the same time without a delay.
        burst: further requests, which are delayed.
        delay: the delay of the first such request, in seconds. Later it is the average of how long permits of the key
            were held. With n times `limit` requests at the same time, the delay is n times as long.
        name, dry_run: as for RequestRate.

    Raises:
        ValueError: a number is impossible.
    """

    _permit = HeldPermit

    def __init__(
        self, limit: int, burst: int = 0, delay: float = 1.0, *, name: str = "", dry_run: bool = False
    ) -> None:
        _check("limit", limit, 1)
        _check("burst", burst, 0)
        if not 0.001 <= delay <= 3600:
            raise ValueError(f"delay is {delay!r}: it lasts from 0.001 s to an hour")
        name = name or _caller()
        unit_ns = round(delay * _NS)
        identity = f"concurrency {limit} {burst} {name}".encode()
        super().__init__(Kind.CONCURRENCY, identity, name, dry_run, count=limit, burst=burst, unit_ns=unit_ns)


class Permits:
    """The permits of several limiters, given together. Used as one permit is."""

    def __init__(self, permits: Sequence[Permit]) -> None:
        self.permits = permits

    def __enter__(self) -> "Permits":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give all permits back."""
        for permit in self.permits:
            permit.release()

    def undo(self) -> None:
        """Give all permits back as if they had never been given."""
        for permit in self.permits:
            permit.undo()

    @property
    def delay_s(self) -> float:
        """The longest delay, in seconds."""
        return max(permit.delay_s for permit in self.permits)

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of the limit that has the least left; see Permit.headers."""
        told = [permit for permit in self.permits if permit.limiter.kind != Kind.CONCURRENCY]
        return min(told, key=lambda permit: permit.remaining).headers() if told else []


class Combined:
    """Several limiters that decide together; see `combine`."""

    def __init__(self, limiters: Sequence[Limiter]) -> None:
        self._limiters = limiters

    def acquire(self, *keys: Key, wait: bool = True) -> Permits | Rejected:
        """Decide about one request: all limiters give a permit, or none does.

        Args:
            keys: one for all limiters, or one for each.
            wait: as for a limiter. The delay is the longest of all.

        Returns:
            the permits, or the Rejected of the first limiter that rejects.

        Raises:
            ClientDisconnected: the client has left during the delay, and all permits are undone.
            TypeError: a key is no str, bytes or int, or there are too many keys or too few.
        """
        permits = self._permits(keys)
        if not (HOME.store or HOME.open()).decide_all(permits, True):
            return _rejection(permits)
        for permit in permits:
            if permit.held:
                HOME.requests.hold(permit)
        wait_ns = max(
            permit.wait_ns if permit.ruling == _ADMITTED and limiter.delays else 0
            for permit, limiter in zip(permits, self._limiters)
        )
        if wait_ns and wait:
            _sleep(permits, wait_ns)
        return Permits(permits)

    def peek(self, *keys: Key) -> Permits | Rejected:
        """Decide about one request without spending anything. Arguments and result are those of `acquire`."""
        permits = self._permits(keys)
        admitted = (HOME.store or HOME.open()).decide_all(permits, False)
        return Permits(permits) if admitted else _rejection(permits)

    def _permits(self, keys: Sequence[Key]) -> list[Permit]:
        if len(keys) not in (1, len(self._limiters)):
            raise TypeError(
                f"limits.combine with {counted(len(self._limiters), 'limit')} takes one key for all, or one for each: "
                f"it got {len(keys)}"
            )
        each = list(keys) if len(keys) > 1 else [keys[0]] * len(self._limiters)
        return [limiter._permit(limiter, key) for limiter, key in zip(self._limiters, each)]


def combine(*limiters: Limiter) -> Combined:
    """Let several limiters decide together: a request spends in all of them, or in none.

    Args:
        limiters: each only once.

    Raises:
        ValueError: there is no limiter, or one is given twice.
    """
    if not limiters or len({limiter.identity for limiter in limiters}) < len(limiters):
        raise ValueError("combine takes one limiter or more, each only once: two with the same numbers need names")
    return Combined(limiters)


def storage_uri() -> str:
    """Return the URI of the storage for the library `limits`, and register the storage there: for Flask-Limiter,
    Limiter(storage_uri=limits.storage_uri()).

    Raises:
        ImportError: the library `limits` is not installed.
    """
    from wsgid.limits.storage import URI  # only here: the library `limits` need not be installed

    return URI


def _rejection(permits: Sequence[Permit]) -> Rejected:
    return next(Rejected(permit) for permit in permits if permit.ruling != _UNDECIDED and not permit.admitted)


def _sleep(permits: Sequence[Permit], wait_ns: int) -> None:
    """Let this greenlet sleep. Permits that are held are given back however that ends.

    Raises:
        ClientDisconnected: the client has left, and the permits are undone.
        BaseException: whatever is thrown into this greenlet.
    """
    delayed = max(permits, key=lambda permit: permit.wait_ns)
    table = HOME.table()
    table.count(delayed.limiter, _WAITING, 1)
    try:
        until_ns = time.monotonic_ns() + wait_ns
        while (left_ns := until_ns - time.monotonic_ns()) > 0:
            time.sleep(min(left_ns / _NS, _LOOK_S))
            if HOME.requests.client_left():
                for permit in permits:
                    permit.undo()
                raise ClientDisconnected("the client has left while a limit delayed its request")
    except BaseException:
        for permit in permits:
            permit.release()
        raise
    finally:
        table.count(delayed.limiter, _WAITING, -1)


def _interval_ns(rate: float | str) -> int:
    """Return the time between two requests.

    Raises:
        ValueError: this is no rate.
    """
    text = f"{rate}/s" if isinstance(rate, (int, float)) else rate
    match = _RATE.fullmatch(text)
    if match is None or not float(match[1]) or (match[2] and not float(match[2])):
        raise ValueError(f"{rate!r} is no rate: write a number of requests a second, or a text such as '10r/s', '5r/m'")
    interval_ns = round(float(match[2] or 1) * _UNITS_S[match[3]] * _NS / float(match[1]))
    if not 1 <= interval_ns <= _YEAR_S * _NS:
        raise ValueError(f"{rate!r} is no rate: it goes from one request a year to a thousand million a second")
    return interval_ns


def _check(name: str, number: Any, least: int) -> None:
    if type(number) is not int or not least <= number <= USED_MAX:
        raise ValueError(f"{name} is {number!r}: it is a whole number from {least} to {USED_MAX}")


def _caller() -> str:
    """Return the module and the line that make a limiter."""
    frame = sys._getframe(2)
    return f"{frame.f_globals.get('__name__', '?')}:{frame.f_lineno}"[-_NAME_MAX_CHARS:]
