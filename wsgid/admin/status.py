"""What `wsgidctl status` shows, as one JSON object: a Snapshot in other words.

Rules
* Times that have passed are seconds, sizes are bytes, and the names end so.
* No judgement here: what is wrong is said by ctl/troubles.py.
"""

from typing import Any

from wsgid.admin.snapshot import ListenerView, Snapshot, WorkerView
from wsgid.config.options import Settings
from wsgid.ipc.scoreboard import Word
from wsgid.supervisor.slots import SlotState

_TOTALS: dict[str, int] = {
    "requests": Word.REQUESTS,
    "5xx": Word.STATUS_1XX + 4,
    "failed": Word.FAILED,
    "torn": Word.TORN,
    "disconnected": Word.DISCONNECTED,
    "rejected": Word.REJECTED,
    "timed_out": Word.TIMED_OUT,
    "sent_bytes": Word.SENT_BYTES,
    "busy_us": Word.BUSY_US,
}


def status(snapshot: Snapshot, settings: Settings) -> dict[str, Any]:
    """Everything at a glance. `totals` are of all workers that ever lived; a worker's `requests` its own."""
    failure = snapshot.failure
    return {
        "version": snapshot.version,
        "application": snapshot.application,
        "mode": snapshot.mode,
        "pid": snapshot.pid,
        "directory": snapshot.directory,
        "uptime_s": round(snapshot.now_s - snapshot.started_s, 3),
        "generation": snapshot.generation,
        "next_generation": snapshot.next_generation,
        "wanted": snapshot.wanted,
        "ready": snapshot.ready,
        "places": snapshot.places,
        "hub_warn_s": settings.hub_warn,
        "workers": [_worker(one, snapshot) for one in snapshot.workers],
        "templates": [
            {"generation": one.generation, "state": one.state.name.lower(), "pid": one.pid}
            for one in snapshot.templates
        ],
        "spare_pid": snapshot.spare_pid,
        "listeners": [_listener(one) for one in snapshot.listeners],
        "totals": {name: sum(one.words[word] for one in snapshot.workers) for name, word in _TOTALS.items()},
        "failure": {
            "generation": failure.generation,
            "reason": failure.reason,
            "age_s": round(snapshot.now_s - failure.at_s, 3),
        }
        if failure
        else None,
    }


def _worker(one: WorkerView, snapshot: Snapshot) -> dict[str, Any]:
    lives = one.state is not SlotState.VACANT
    return {
        "slot": one.slot,
        "state": one.state.name.lower(),
        "pid": one.pid,
        "generation": one.generation,
        "age_s": round(max(snapshot.now_s - one.spawned_s, 0), 1) if lives else 0.0,
        "requests": one.since[Word.REQUESTS],
        "in_flight": one.in_flight,
        "lag_s": one.words[Word.LAG_US] / 1e6,
        "heartbeat_age_s": round(one.heartbeat_age_s, 3),
        "rss_bytes": one.memory.rss_bytes,
        "restarts": {cause.value: count for cause, count in one.deaths.items() if count},
        "failures": one.failures,
        "rests_s": round(one.rests_s, 3),
    }


def _listener(one: ListenerView) -> dict[str, Any]:
    return {"address": one.address, "queue": one.queue, "backlog": one.backlog}
