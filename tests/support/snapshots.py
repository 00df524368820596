"""Examples of what a master knows at one moment."""

from typing import Any

from wsgid.admin.caches import CacheView
from wsgid.admin.snapshot import ListenerView, Snapshot, WorkerView
from wsgid.cache.board import Count, Reading
from wsgid.ipc.scoreboard import LINE_BYTES, DeathCause
from wsgid.limits.layout import LimitCount
from wsgid.limits.ledger import LimiterView
from wsgid.linux.memory import Size
from wsgid.supervisor.slots import SlotState

WORDS = LINE_BYTES // 8  # of a line of the scoreboard


def worker(slot: int, state: SlotState, **changes: Any) -> WorkerView:
    """A worker with 1 in each of its numbers. Keyword arguments replace fields."""
    values: dict[str, Any] = dict(
        generation=1,
        pid=1,
        spawns=1,
        spawned_s=1,
        heartbeat_age_s=1.0,
        memory=Size(1, 1),
        words=[1] * WORDS,
        since=[1] * WORDS,
        deaths=dict.fromkeys(DeathCause, 1),
    )
    return WorkerView(slot, state, **{**values, **changes})


def snapshot(*states: SlotState, **changes: Any) -> Snapshot:
    """A server with a worker in each of these states. Keyword arguments replace fields."""
    workers = tuple(worker(slot, state) for slot, state in enumerate(states))
    values: dict[str, Any] = dict(
        version="1",
        application="app",
        mode="running",
        stopping=False,
        pid=1,
        uid=1,
        gid=1,
        directory="/",
        now_s=1.0,
        started_s=1.0,
        generation=1,
        wanted=len(states),
        places=10,
        hub_warn_s=1.0,
        workers=workers,
        listeners=(ListenerView("/a.sock", "/a.sock", 1, 2),),
        connections={"127.0.0.1:5432": 1},
        caches=(CacheView("pages", False, 1, Reading(1, 1, 1, dict.fromkeys(Count, 1))),),
        limiters=(LimiterView("api", "rate", False, (1,) * len(LimitCount)),),
    )
    return Snapshot(**{**values, **changes})
