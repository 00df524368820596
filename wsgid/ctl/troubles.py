"""What is wrong with a server, in words; for status and top.

Rules
* Each sentence names the thing and its value. Things in order are not mentioned.
"""

from collections.abc import Iterator
from typing import Any

from wsgid.counted import counted
from wsgid.ctl.tables import age, percent

QUEUE_SHARE = 0.5  # of the backlog; from here on the backlog will soon be full
STOOD_SHARE = 1 / 3  # of the time; the worker's log message has the same limit


def troubles(status: dict[str, Any]) -> list[str]:
    """Return sentences about the answer to `status`, the worst first."""
    return [*_server(status), *_workers(status), *_listeners(status), *_failure(status)]


def _server(status: dict[str, Any]) -> Iterator[str]:
    if status["mode"] != "running":
        yield f"the server stops ({status['mode']})"
        return
    if not status["ready"]:
        yield "no worker serves: requests wait, or nginx answers with a 502"
    elif status["ready"] < status["wanted"]:
        yield f"{status['ready']} of {counted(status['wanted'], 'worker')} ready"
    if not status["templates"]:
        yield "there is no template: no worker can be replaced until the next one is there"


def _workers(status: dict[str, Any]) -> Iterator[str]:
    for worker in status["workers"]:
        name = f"worker {worker['slot']}"
        if is_held_up(worker, status):
            yield (
                f"{name}'s event loop has not run for {worker['heartbeat_age_s']:.1f} s: "
                f"see wsgidctl stacks --worker {worker['slot']}"
            )
        elif stutters(worker):
            yield (
                f"{name}'s event loop stood still for {percent(worker['stood_still'])} of the last 10 s: "
                "the server's log says where"
            )
        if worker["state"] in ("lost", "aborting"):
            yield f"{name} (pid {worker['pid']}) is {worker['state']}: it ends"
        if worker["rests_s"] > 0 and status["mode"] == "running":
            yield (
                f"{name} died young {counted(worker['failures'], 'time')} in a row: the next try is in "
                f"{worker['rests_s']:.1f} s"
            )
        if worker["in_flight"] >= status["places"] and worker["state"] == "ready":
            yield f"{name} is full: it serves {counted(status['places'], 'request')}, as many as --gevent allows"


def is_held_up(worker: dict[str, Any], status: dict[str, Any]) -> bool:
    """Whether the worker's event loop stands still."""
    beats = worker["state"] in ("ready", "stalled", "draining", "stuck")
    limit_s: float = min(status["hub_warn_s"], 1.0)
    late: float = worker["heartbeat_age_s"]
    return worker["state"] in ("stalled", "stuck") or (beats and late > limit_s)


def stutters(worker: dict[str, Any]) -> bool:
    """Whether the worker's event loop has stood still for a large part of the last 10 s."""
    return bool(worker["stood_still"] > STOOD_SHARE)


def _listeners(status: dict[str, Any]) -> Iterator[str]:
    for listener in status["listeners"]:
        queue, backlog = listener["queue"], listener["backlog"]
        if queue and backlog and queue >= QUEUE_SHARE * backlog:
            waiting = counted(queue, "connection")
            yield f"{listener['address']}: {waiting} in the backlog, which has room for {backlog}: more are refused"


def _failure(status: dict[str, Any]) -> Iterator[str]:
    failure = status["failure"]
    if failure and failure["generation"] > status["generation"]:
        yield (
            f"generation {failure['generation']} could not boot {age(failure['age_s'])} ago, generation "
            f"{status['generation']} keeps serving: {failure['reason']}"
        )
