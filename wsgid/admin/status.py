"""What `wsgidctl status` shows, as one JSON object made from a Snapshot.

Rules
* Ages are in seconds and sizes in bytes; the names have the unit at their end. A share is a number from 0 to 1.
* There is no judgement here: ctl/troubles.py decides what is wrong.
"""

from typing import Any

from wsgid.admin.snapshot import ListenerView, Snapshot, WorkerView
from wsgid.config.options import Settings
from wsgid.ipc.scoreboard import DURATION_BOUNDS_US, Word
from wsgid.supervisor.slots import SlotState

_TOTALS: dict[str, int] = {
    "requests": Word.REQUESTS,
    "1xx": Word.STATUS_1XX,
    "2xx": Word.STATUS_1XX + 1,
    "3xx": Word.STATUS_1XX + 2,
    "4xx": Word.STATUS_1XX + 3,
    "5xx": Word.STATUS_1XX + 4,
    "failed": Word.FAILED,
    "torn": Word.TORN,
    "disconnected": Word.DISCONNECTED,
    "rejected": Word.REJECTED,
    "timed_out": Word.TIMED_OUT,
    "offloaded": Word.OFFLOADED,
    "offload_given_up": Word.OFFLOAD_GIVEN_UP,
    "upgraded": Word.UPGRADED,
    "sent_bytes": Word.SENT_BYTES,
    "busy_us": Word.BUSY_US,
    "hub_late_us": Word.HUB_LATE_US,
    "fronted": Word.FRONTED,
    "front_us": Word.FRONT_US,
    "waiting_us": Word.WAITING_US,
    "reading_us": Word.READING_US,
    "sending_us": Word.SENDING_US,
    "collections": Word.COLLECTIONS,
    "full_collections": Word.FULL_COLLECTIONS,
    "collector_us": Word.COLLECTOR_US,
    "cpu_us": Word.CPU_US,
}


def status(snapshot: Snapshot, settings: Settings) -> dict[str, Any]:
    """Return the status. `totals` count all workers that ever lived; a worker's `requests` are its own."""
    failure = snapshot.failure
    return {
        "version": snapshot.version,
        "python": snapshot.python,
        "prefix": snapshot.prefix,
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
        "workers": [_worker(worker, snapshot) for worker in snapshot.workers],
        "templates": [
            {"generation": template.generation, "state": template.state.name.lower(), "pid": template.pid}
            for template in snapshot.templates
        ],
        "spare_pid": snapshot.spare_pid,
        "listeners": [_listener(listener) for listener in snapshot.listeners],
        "daemons": [
            {"command": daemon.command, "pid": daemon.pid, "starts": daemon.starts, "failures": daemon.failures}
            for daemon in snapshot.daemons
        ],
        "totals": {name: sum(worker.words[word] for worker in snapshot.workers) for name, word in _TOTALS.items()},
        "durations": _durations(snapshot),
        "connections": dict(snapshot.connections),
        "failure": {
            "generation": failure.generation,
            "reason": failure.reason,
            "age_s": round(snapshot.now_s - failure.at_s, 3),
        }
        if failure
        else None,
    }


def _durations(snapshot: Snapshot) -> dict[str, list[int]]:
    """Return the histogram of all requests: one count more than bounds, for what took longer; not cumulated."""
    counts = [sum(column) for column in zip(*(worker.durations for worker in snapshot.workers))]
    return {"bounds_us": list(DURATION_BOUNDS_US), "counts": counts or [0] * (len(DURATION_BOUNDS_US) + 1)}


def _worker(worker: WorkerView, snapshot: Snapshot) -> dict[str, Any]:
    lives = worker.state is not SlotState.VACANT
    return {
        "slot": worker.slot,
        "state": worker.state.name.lower(),
        "pid": worker.pid,
        "generation": worker.generation,
        "age_s": round(max(snapshot.now_s - worker.spawned_s, 0), 1) if lives else 0.0,
        "requests": worker.since[Word.REQUESTS],
        "in_flight": worker.in_flight,
        "idle_greenlets": worker.words[Word.IDLE_GREENLETS],
        "offload_running": worker.words[Word.OFFLOAD_RUNNING],
        "offload_waiting": worker.words[Word.OFFLOAD_WAITING],
        "upgraded": worker.words[Word.UPGRADED_NOW],
        "lag_s": worker.words[Word.LAG_US] / 1e6,
        "stood_still": worker.words[Word.HUB_LATE_PERMILLE] / 1000,
        "heartbeat_age_s": round(worker.heartbeat_age_s, 3),
        "rss_bytes": worker.memory.rss_bytes,
        "cpu_us": worker.cpu_us,
        "collector_longest_us": worker.words[Word.COLLECTOR_LONGEST_US],
        "restarts": {cause.value: count for cause, count in worker.deaths.items() if count},
        "failures": worker.failures,
        "rests_s": round(worker.rests_s, 3),
    }


def _listener(listener: ListenerView) -> dict[str, Any]:
    return {"address": listener.address, "queue": listener.queue, "backlog": listener.backlog}
