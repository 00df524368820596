"""What has happened between two looks at a server: the marks on the time axis of the page.

Rules
* No I/O.
* What the operator or an option has asked for is PLANNED. What nobody has asked for is UNPLANNED.
* Workers that were replaced for the same cause are one change: a reload of 64 workers is no 64 marks.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Any, NamedTuple

from wsgid.counted import counted
from wsgid.ctl.troubles import is_held_up

_NAMED_MAX = 8
_PLANNED_CAUSES = {"reload", "max-requests", "max-worker-lifetime", "surplus"}


class ChangeKind(Enum):
    """Whether somebody has asked for it."""

    PLANNED = "planned"
    UNPLANNED = "unplanned"


class Change(NamedTuple):
    """Something that has happened, in words."""

    kind: ChangeKind
    text: str


_PLANNED, _UNPLANNED = ChangeKind


def between(before: dict[str, Any], now: dict[str, Any]) -> Iterator[Change]:
    """Yield what has happened between two answers to `status`."""
    if now["pid"] != before["pid"]:
        yield Change(_UNPLANNED, f"another server answers: pid {now['pid']} instead of {before['pid']}")
        return
    if now["uptime_s"] < before["uptime_s"]:
        yield Change(_PLANNED, f"the master has executed itself: wsgid {now['version']}")
    yield from _server(before, now)
    yield from _replaced(before, now)
    yield from _held_up(before, now)


def _server(before: dict[str, Any], now: dict[str, Any]) -> Iterator[Change]:
    if now["generation"] > before["generation"]:
        yield Change(_PLANNED, f"reload: generation {now['generation']}")
    failed, failed_before = now["failure"], before["failure"]
    if failed and (not failed_before or failed["generation"] > failed_before["generation"]):
        yield Change(_UNPLANNED, f"generation {failed['generation']} could not boot: {failed['reason']}")
    if now["wanted"] != before["wanted"]:
        yield Change(_PLANNED, f"{counted(now['wanted'], 'worker')} wanted instead of {before['wanted']}")
    if now["mode"] != before["mode"]:
        yield Change(_PLANNED, f"the server is {now['mode']}")
    timed_out = now["totals"]["timed_out"] - before["totals"]["timed_out"]
    if timed_out > 0:
        yield Change(_UNPLANNED, f"{counted(timed_out, 'request')} timed out")


def _replaced(before: dict[str, Any], now: dict[str, Any]) -> Iterator[Change]:
    """Yield which workers have ended, by cause."""
    was = {worker["slot"]: worker["restarts"] for worker in before["workers"]}
    by_cause: dict[str, list[int]] = {}
    for worker in now["workers"]:
        for cause, number in worker["restarts"].items():
            if number > was.get(worker["slot"], {}).get(cause, 0):
                by_cause.setdefault(cause, []).append(worker["slot"])
    for cause, slots in by_cause.items():
        kind = _PLANNED if cause in _PLANNED_CAUSES else _UNPLANNED
        yield Change(kind, f"{_named(slots)} ended: {cause}")


def _held_up(before: dict[str, Any], now: dict[str, Any]) -> Iterator[Change]:
    """Yield the workers whose event loop has begun to stand still."""
    was = {worker["pid"] for worker in before["workers"] if is_held_up(worker, before)}
    for worker in now["workers"]:
        if worker["pid"] and worker["pid"] not in was and is_held_up(worker, now):
            yield Change(_UNPLANNED, f"the event loop of worker {worker['slot']} stands still")


def _named(slots: list[int]) -> str:
    names = ", ".join(map(str, slots[:_NAMED_MAX]))
    more = f" and {len(slots) - _NAMED_MAX} more" if len(slots) > _NAMED_MAX else ""
    return f"worker{'s' if len(slots) > 1 else ''} {names}{more}"
