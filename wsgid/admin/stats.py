"""uWSGI's statistics as JSON, for uwsgitop, uwsgi_exporter and other programs that read uWSGI's --stats.

Rules
* All fields of uWSGI 2.0 without spoolers and the like are there, with uWSGI's types: readers in Go refuse a
  number that is no integer.
* A number without a counterpart in wsgid is 0, and a list is empty; docs/statistics.md names these fields.
* A worker's id is its slot's number plus one: uWSGI counts from 1, and readers skip 0.
* A vacant slot is a worker with the status "cheap", so that its counts do not vanish from the sums.
* `limits` is a field of wsgid's own, and only there if limits are used.
* A worker has one core, whatever --gevent is. uWSGI shows each place: a thousand places are 200 KB of zeros.
"""

import json
from collections.abc import Callable
from typing import Any

from wsgid.admin import caches, http
from wsgid.admin.http import Page
from wsgid.admin.server import Response
from wsgid.admin.snapshot import ListenerView, Snapshot, WorkerView
from wsgid.ipc.scoreboard import Word
from wsgid.limits.layout import LimitCount
from wsgid.limits.ledger import LimiterView
from wsgid.supervisor.slots import SlotState


def respond(take: Callable[[], Snapshot], request: bytes) -> Response:
    """Answer as uWSGI does: the connection itself is the question. `take` returns the master's snapshot."""
    return render(take())


def respond_over_http(take: Callable[[], Snapshot], request: bytes) -> Response:
    """Answer a request of HTTP, for --stats-http."""
    return http.respond(request, lambda path: Page("application/json", render(take())))


def render(snapshot: Snapshot) -> bytes:
    """Return the statistics as uWSGI's stats server sends them."""
    return json.dumps(statistics(snapshot)).encode()


def statistics(snapshot: Snapshot) -> dict[str, Any]:
    """Return the statistics, in uWSGI's order."""
    queue = max([listener.queue or 0 for listener in snapshot.listeners], default=0)
    # uWSGI has this section only if there are caches.
    shown = {"caches": list(map(caches.uwsgi, snapshot.caches))} if snapshot.caches else {}
    limits = {"limits": list(map(limiter, snapshot.limiters))} if snapshot.limiters else {}
    return {
        "version": snapshot.version,
        "listen_queue": queue,
        "listen_queue_errors": 0,
        "signal_queue": 0,
        "load": queue,
        "pid": snapshot.pid,
        "uid": snapshot.uid,
        "gid": snapshot.gid,
        "cwd": snapshot.directory,
        **_daemons(snapshot),
        "locks": [],
        **shown,
        "sockets": list(map(_socket, snapshot.listeners)),
        "workers": [_worker(worker, snapshot.places) for worker in snapshot.workers],
        **limits,
    }


def _daemons(snapshot: Snapshot) -> dict[str, Any]:
    """Return uWSGI's list of daemons, which it has only where there are some."""
    if not snapshot.daemons:
        return {}
    return {
        "daemons": [
            {"cmd": daemon.command, "pid": daemon.pid, "respawns": max(daemon.starts - 1, 0)}
            for daemon in snapshot.daemons
        ]
    }


def limiter(view: LimiterView) -> dict[str, Any]:
    """Return a limiter of wsgid.limits. uWSGI has none: the field `limits` is there only if there are some."""
    counts = {count.name.lower(): view.counts[count] for count in LimitCount if count is not LimitCount.HELD}
    return {"name": view.name, "kind": view.kind, "dry_run": view.dry_run, "level": view.level, **counts}


def _socket(listener: ListenerView) -> dict[str, Any]:
    return {
        "name": listener.address,
        "proto": listener.protocol,
        "queue": listener.queue or 0,
        "max_queue": listener.backlog or 0,
        "shared": 0,
        "can_offload": 0,
    }


def _worker(worker: WorkerView, places: int) -> dict[str, Any]:
    words = worker.words
    exceptions = words[Word.FAILED] + words[Word.TORN]
    return {
        "id": worker.slot + 1,
        "pid": worker.pid,
        "accepting": int(worker.state is SlotState.READY and worker.in_flight < places),
        "requests": words[Word.REQUESTS],
        "delta_requests": worker.since[Word.REQUESTS],
        "exceptions": exceptions,
        "harakiri_count": words[Word.TIMED_OUT],
        "signals": 0,
        "signal_queue": 0,
        "status": _status(worker),
        "rss": worker.memory.rss_bytes,
        "vsz": worker.memory.vsz_bytes,
        "running_time": words[Word.BUSY_US],
        "last_spawn": worker.spawned_s,
        "respawn_count": worker.spawns,
        "tx": words[Word.SENT_BYTES],
        "avg_rt": words[Word.AVERAGE_US],
        "apps": [
            {
                "id": 0,
                "modifier1": 0,
                "mountpoint": "",
                "startup_time": 0,
                "requests": words[Word.REQUESTS],
                "exceptions": exceptions,
                "chdir": "",
            }
        ],
        "cores": [
            {
                "id": 0,
                "requests": words[Word.REQUESTS],
                "static_requests": 0,
                "routed_requests": 0,
                "offloaded_requests": 0,
                "write_errors": words[Word.DISCONNECTED],
                "read_errors": 0,
                "in_request": int(worker.in_flight > 0),
                "vars": [],
                "req_info": {},
            }
        ],
    }


def _status(worker: WorkerView) -> str:
    if worker.state is SlotState.VACANT:
        return "cheap"
    return "busy" if worker.in_flight else "idle"
