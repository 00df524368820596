"""Metrics for Prometheus: the table of metrics, and their text.

Rules
* METRICS is the only list. docs/statistics.md shows it, and a test compares both.
* Metrics with the prefix uwsgi_ have the names, types, labels and values of uwsgi_exporter, from the same statistics
  (stats.py).  Its label stats_uri is left out: it names the server that was asked, which Prometheus itself does.
* Metrics with the prefix wsgid_ have no counterpart in uWSGI.  Their label `worker` is the slot's number, as in the
  log; worker_id is uWSGI's number, which is one higher.
* A metric without a known value has no line: a made-up 0 would be believed.
* Format: Prometheus's text exposition format, version 0.0.4.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any

from wsgid.admin import stats
from wsgid.admin.caches import MEANINGS, CacheView
from wsgid.admin.snapshot import ListenerView, Snapshot, WorkerView
from wsgid.cache.board import Count
from wsgid.ipc.scoreboard import DURATION_BOUNDS_US, Word
from wsgid.limits.layout import LimitCount
from wsgid.records import dataclass
from wsgid.supervisor.slots import SlotState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricType(Enum):
    """Prometheus's types of metrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Scraped:
    """The data that metrics are read from."""

    snapshot: Snapshot
    uwsgi: dict[str, Any]  # its statistics in uWSGI's form


Number = int | float
# The values of the labels, and the number; None if it is unknown.
Sample = tuple[tuple[str, ...], Number | None]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Args:
        name: with its prefix and its unit.
        kind: Prometheus's type.
        help: one sentence.
        labels: their names.
        read: returns the samples. Samples of a histogram begin with their suffix, and may end with `le`.
    """

    name: str
    kind: MetricType
    help: str
    labels: tuple[str, ...]
    read: Callable[[Scraped], Iterable[Sample]]


def render(snapshot: Snapshot) -> bytes:
    """Return the text of all metrics."""
    server = Scraped(snapshot, stats.statistics(snapshot))
    return "".join(line for metric in METRICS for line in _lines(metric, server)).encode("utf-8", "replace")


def _lines(metric: Metric, server: Scraped) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind.value}\n"
    histogram = metric.kind is MetricType.HISTOGRAM
    for values, number in metric.read(server):
        suffix, *values_ = values if histogram else ("", *values)
        names = (*metric.labels, "le") if histogram else metric.labels
        if number is not None:
            yield f"{metric.name}{suffix}{_braces(names, values_)} {number!r}\n"


def _braces(names: Iterable[str], values: list[str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


# --- where samples come from ---


def _one(read: Callable[[Snapshot], Number | None]) -> Callable[[Scraped], Iterable[Sample]]:
    return lambda server: [((), read(server.snapshot))]


def _workers(read: Callable[[WorkerView], Number | None]) -> Callable[[Scraped], Iterable[Sample]]:
    return lambda server: [((str(worker.slot),), read(worker)) for worker in server.snapshot.workers]


def _words(word: Word) -> Callable[[Scraped], Iterable[Sample]]:
    return _workers(lambda worker: worker.words[word])


def _listeners(read: Callable[[ListenerView], Number | None]) -> Callable[[Scraped], Iterable[Sample]]:
    return lambda server: [((listener.address,), read(listener)) for listener in server.snapshot.listeners]


def _uwsgi(read: Callable[[dict[str, Any]], Number | None]) -> Callable[[Scraped], Iterable[Sample]]:
    return lambda server: [((), read(server.uwsgi))]


def _uwsgi_sockets(field: str) -> Callable[[Scraped], Iterable[Sample]]:
    known = {"queue", "max_queue"}

    def read(server: Scraped) -> Iterator[Sample]:
        for shown, view in zip(server.uwsgi["sockets"], server.snapshot.listeners):
            yield (shown["name"], shown["proto"]), None if field in known and view.queue is None else shown[field]

    return read


def _uwsgi_workers(read: Callable[[dict[str, Any]], Number]) -> Callable[[Scraped], Iterable[Sample]]:
    return lambda server: [((str(worker["id"]),), read(worker)) for worker in server.uwsgi["workers"]]


def _uwsgi_field(field: str) -> Callable[[Scraped], Iterable[Sample]]:
    return _uwsgi_workers(lambda worker: worker[field])


def _uwsgi_status(status: str) -> Callable[[Scraped], Iterable[Sample]]:
    return _uwsgi_workers(lambda worker: int(worker["status"] == status))


def _uwsgi_apps(field: str) -> Callable[[Scraped], Iterable[Sample]]:
    return lambda server: [
        ((str(worker["id"]), str(app["id"]), app["mountpoint"], app["chdir"]), app[field])
        for worker in server.uwsgi["workers"]
        for app in worker["apps"]
    ]


def _uwsgi_cores(field: str) -> Callable[[Scraped], Iterable[Sample]]:
    return lambda server: [
        ((str(worker["id"]), str(core["id"])), core[field])
        for worker in server.uwsgi["workers"]
        for core in worker["cores"]
    ]


def _durations(server: Scraped) -> Iterator[Sample]:
    for worker in server.snapshot.workers:
        name, below = str(worker.slot), 0
        for bound_us, count in zip((*DURATION_BOUNDS_US, None), worker.durations):
            below += count
            yield ("_bucket", name, "+Inf" if bound_us is None else repr(bound_us / 1e6)), below
        yield ("_sum", name), worker.words[Word.BUSY_US] / 1e6
        yield ("_count", name), below


def _responses(server: Scraped) -> Iterator[Sample]:
    for worker in server.snapshot.workers:
        for hundreds in range(1, 6):
            yield (str(worker.slot), f"{hundreds}xx"), worker.words[Word.STATUS_1XX + hundreds - 1]


def _phases(server: Scraped) -> Iterator[Sample]:
    for worker in server.snapshot.workers:
        for phase, word in _PHASES.items():
            yield (str(worker.slot), phase), worker.words[word] / 1e6


_PHASES = {"front": Word.FRONT_US, "waiting": Word.WAITING_US, "reading": Word.READING_US, "sending": Word.SENDING_US}


def _states(server: Scraped) -> Iterator[Sample]:
    for worker in server.snapshot.workers:
        for state in SlotState:
            yield (str(worker.slot), state.name.lower()), int(worker.state is state)


def _respawns(server: Scraped) -> Iterator[Sample]:
    totals: dict[str, int] = {}
    for worker in server.snapshot.workers:
        for cause, count in worker.deaths.items():
            totals[cause.value] = totals.get(cause.value, 0) + count
    return (((cause,), count) for cause, count in totals.items())


def _connections(server: Scraped) -> Iterator[Sample]:
    return (((peer,), count) for peer, count in server.snapshot.connections.items())


def _caches(read: Callable[[CacheView], Number | None]) -> Callable[[Scraped], Iterable[Sample]]:
    return lambda server: [((view.name,), read(view)) for view in server.snapshot.caches]


def _cache_count(count: Count) -> Callable[[Scraped], Iterable[Sample]]:
    return _caches(lambda view: view.reading.counts[count])


def _known(read: Callable[[CacheView], Number]) -> Callable[[Scraped], Iterable[Sample]]:
    return _caches(lambda view: None if view.is_remote else read(view))


def _uwsgi_caches(field: str) -> Callable[[Scraped], Iterable[Sample]]:
    return lambda server: [((cache["name"],), cache[field]) for cache in server.uwsgi.get("caches", ())]


def _limits(count: LimitCount) -> Callable[[Scraped], Iterable[Sample]]:
    return lambda server: [((view.name,), view.counts[count]) for view in server.snapshot.limiters]


# --- the table ---

_LIMITER = ("limiter",)
_WORKER, _WORKER_ID, _LISTENER, _SOCKET = ("worker",), ("worker_id",), ("listener",), ("name", "proto")
_APP, _CORE = ("worker_id", "app_id", "mountpoint", "chdir"), ("worker_id", "core_id")
_CACHE, _NAME = ("cache",), ("name",)
_C, _G, _H = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM

METRICS = (
    Metric(
        "wsgid_info",
        _G,
        "The version of wsgid, and what it serves; always 1.",
        ("version", "application"),
        lambda server: [((server.snapshot.version, server.snapshot.application), 1)],
    ),
    Metric("wsgid_start_time_seconds", _G, "When this master began, since the epoch.", (), _one(lambda s: s.started_s)),
    Metric(
        "wsgid_generation",
        _G,
        "The generation of the application that workers shall have.",
        (),
        _one(lambda s: s.generation),
    ),
    Metric("wsgid_workers_wanted", _G, "How many workers shall be there.", (), _one(lambda s: s.wanted)),
    Metric("wsgid_workers_ready", _G, "How many workers accept connections.", (), _one(lambda s: s.ready)),
    Metric(
        "wsgid_workers_held_up",
        _G,
        "Workers whose event loop stands still for longer than --hub-warn.",
        (),
        _one(lambda s: sum(map(s.is_held_up, s.workers))),
    ),
    Metric(
        "wsgid_reload_failed",
        _G,
        "Whether the newest reload has failed, so that the generation before it keeps serving.",
        (),
        _one(lambda s: int(s.reload_failed)),
    ),
    Metric("wsgid_stopping", _G, "Whether a stop was asked for.", (), _one(lambda s: int(s.stopping))),
    Metric("wsgid_listen_queue", _G, "Connections that wait to be accepted.", _LISTENER, _listeners(lambda s: s.queue)),
    Metric("wsgid_listen_backlog", _G, "How many connections can wait.", _LISTENER, _listeners(lambda s: s.backlog)),
    Metric("wsgid_respawns_total", _C, "Workers that had to be replaced, by what ended them.", ("cause",), _respawns),
    Metric("wsgid_worker_state", _G, "1 for the state that the worker slot is in.", ("worker", "state"), _states),
    Metric(
        "wsgid_worker_generation",
        _G,
        "The generation of the application that the worker has.",
        _WORKER,
        _workers(lambda w: w.generation if w.pid else None),
    ),
    Metric(
        "wsgid_requests_in_flight",
        _G,
        "Connections that hold one of the worker's --gevent places.",
        _WORKER,
        _words(Word.IN_FLIGHT),
    ),
    Metric(
        "wsgid_hub_lag_seconds",
        _G,
        "How late the worker's last heartbeat came.",
        _WORKER,
        _workers(lambda w: w.words[Word.LAG_US] / 1e6 if w.words[Word.HEARTBEAT_NS] else None),
    ),
    Metric(
        "wsgid_hub_late_seconds_total",
        _C,
        "How late the beats of the worker's event loop came, added up.",
        _WORKER,
        _workers(lambda w: w.words[Word.HUB_LATE_US] / 1e6),
    ),
    Metric(
        "wsgid_heartbeat_age_seconds",
        _G,
        "How long ago the worker's event loop last ran its heartbeat; 0 while the loop rests, with nothing to do.",
        _WORKER,
        _workers(lambda w: w.heartbeat_age_s if w.words[Word.HEARTBEAT_NS] else None),
    ),
    Metric(
        "wsgid_request_duration_seconds",
        _H,
        "From the connection's turn to the response's last byte.",
        _WORKER,
        _durations,
    ),
    Metric(
        "wsgid_responses_total",
        _C,
        "Responses of the application, by the hundreds of their status.",
        ("worker", "status"),
        _responses,
    ),
    Metric(
        "wsgid_request_phase_seconds_total",
        _C,
        "Time of requests before, and outside of, the application.",
        ("worker", "phase"),
        _phases,
    ),
    Metric(
        "wsgid_requests_fronted_total",
        _C,
        "Requests that say when they reached the server in front.",
        _WORKER,
        _words(Word.FRONTED),
    ),
    Metric(
        "wsgid_cpu_seconds_total",
        _C,
        "Processor time of the workers of the slot.",
        _WORKER,
        _workers(lambda w: w.words[Word.CPU_US] / 1e6),
    ),
    Metric("wsgid_collections_total", _C, "Runs of the garbage collector.", _WORKER, _words(Word.COLLECTIONS)),
    Metric(
        "wsgid_full_collections_total",
        _C,
        "Runs of the garbage collector for all generations.",
        _WORKER,
        _words(Word.FULL_COLLECTIONS),
    ),
    Metric(
        "wsgid_collector_pause_seconds_total",
        _C,
        "The pauses of the garbage collector, added up.",
        _WORKER,
        _workers(lambda w: w.words[Word.COLLECTOR_US] / 1e6),
    ),
    Metric(
        "wsgid_collector_longest_pause_seconds",
        _G,
        "The longest pause of the garbage collector in the present worker.",
        _WORKER,
        _workers(lambda w: w.words[Word.COLLECTOR_LONGEST_US] / 1e6 if w.words[Word.HEARTBEAT_NS] else None),
    ),
    Metric("wsgid_failed_total", _C, "500s and 504s sent in the application's stead.", _WORKER, _words(Word.FAILED)),
    Metric("wsgid_torn_total", _C, "Responses that were cut after their head.", _WORKER, _words(Word.TORN)),
    Metric(
        "wsgid_disconnected_total",
        _C,
        "Clients that left before their response was sent.",
        _WORKER,
        _words(Word.DISCONNECTED),
    ),
    Metric("wsgid_rejected_packets_total", _C, "Packets that were refused.", _WORKER, _words(Word.REJECTED)),
    Metric(
        "wsgid_timeouts_total", _C, "Requests ended by --harakiri or --hub-timeout.", _WORKER, _words(Word.TIMED_OUT)
    ),
    Metric(
        "wsgid_idle_greenlets",
        _G,
        "Greenlets of the worker that wait for a request.",
        _WORKER,
        _workers(lambda w: w.words[Word.IDLE_GREENLETS] if w.words[Word.HEARTBEAT_NS] else None),
    ),
    Metric("wsgid_offloaded_total", _C, "Calls of functions of wsgid.offload.", _WORKER, _words(Word.OFFLOADED)),
    Metric(
        "wsgid_offload_given_up_total",
        _C,
        "Offloaded calls whose caller stopped waiting.",
        _WORKER,
        _words(Word.OFFLOAD_GIVEN_UP),
    ),
    Metric("wsgid_offload_running", _G, "Offloaded calls that have a thread.", _WORKER, _words(Word.OFFLOAD_RUNNING)),
    Metric(
        "wsgid_offload_waiting", _G, "Offloaded calls that wait for a thread.", _WORKER, _words(Word.OFFLOAD_WAITING)
    ),
    Metric(
        "wsgid_upgraded_total", _C, "Connections upgraded to WebSocket or the like.", _WORKER, _words(Word.UPGRADED)
    ),
    Metric("wsgid_upgraded_open", _G, "Upgraded connections that are open.", _WORKER, _words(Word.UPGRADED_NOW)),
    Metric(
        "wsgid_connections",
        _G,
        "Connections that go out of all workers: the 20 largest peers, and the others together.",
        ("peer",),
        _connections,
    ),
    *(
        Metric(f"wsgid_cache_{count.name.lower()}_total", _C, meaning, _CACHE, _cache_count(count))
        for count, meaning in MEANINGS.items()
    ),
    Metric("wsgid_cache_used_bytes", _G, "What the values take.", _CACHE, _known(lambda c: c.reading.used_bytes)),
    Metric("wsgid_cache_size_bytes", _G, "The size that --cache gives.", _CACHE, _known(lambda c: c.size_bytes)),
    Metric(
        "wsgid_cache_items",
        _G,
        "Values in the store, expired ones included.",
        _CACHE,
        _known(lambda c: c.reading.items),
    ),
    Metric("wsgid_limit_level", _G, "Permits of a Concurrency that are held now.", _LIMITER, _limits(LimitCount.HELD)),
    Metric("wsgid_limit_waiting", _G, "Requests that a limit delays now.", _LIMITER, _limits(LimitCount.WAITING)),
    Metric(
        "wsgid_limit_admitted_total", _C, "Requests that a limit has admitted.", _LIMITER, _limits(LimitCount.ADMITTED)
    ),
    Metric(
        "wsgid_limit_rejected_total", _C, "Requests that a limit has rejected.", _LIMITER, _limits(LimitCount.REJECTED)
    ),
    Metric(
        "wsgid_limit_delayed_total", _C, "Admitted requests that had to wait.", _LIMITER, _limits(LimitCount.DELAYED)
    ),
    Metric(
        "wsgid_limit_would_reject_total",
        _C,
        "Requests that a limit in its dry run has admitted, and would reject.",
        _LIMITER,
        _limits(LimitCount.WOULD_REJECT),
    ),
    Metric(
        "wsgid_limit_failed_open_total",
        _C,
        "Requests that went on without a decision: no place for the key, no lock, or no store.",
        _LIMITER,
        _limits(LimitCount.FAILED_OPEN),
    ),
    Metric(
        "wsgid_limit_undone_total",
        _C,
        "Permits that were undone, most of them because the client left while it was delayed.",
        _LIMITER,
        _limits(LimitCount.UNDONE),
    ),
    Metric("uwsgi_up", _G, "Always 1.", (), _uwsgi(lambda u: 1)),
    Metric(
        "uwsgi_listen_queue_length",
        _G,
        "The longest queue of a socket.",
        (),
        _one(lambda s: max([listener.queue for listener in s.listeners if listener.queue is not None], default=None)),
    ),
    Metric("uwsgi_listen_queue_errors", _G, "Always 0.", (), _uwsgi(lambda u: u["listen_queue_errors"])),
    Metric("uwsgi_signal_queue_length", _G, "Always 0.", (), _uwsgi(lambda u: u["signal_queue"])),
    Metric("uwsgi_workers", _G, "Worker slots, vacant ones included.", (), _uwsgi(lambda u: len(u["workers"]))),
    Metric("uwsgi_socket_queue_length", _G, "Connections that wait to be accepted.", _SOCKET, _uwsgi_sockets("queue")),
    Metric("uwsgi_socket_max_queue_length", _G, "How many connections can wait.", _SOCKET, _uwsgi_sockets("max_queue")),
    Metric("uwsgi_socket_shared", _G, "Always 0.", _SOCKET, _uwsgi_sockets("shared")),
    Metric("uwsgi_socket_can_offload", _G, "Always 0.", _SOCKET, _uwsgi_sockets("can_offload")),
    Metric(
        "uwsgi_worker_accepting", _G, "Whether the worker accepts connections.", _WORKER_ID, _uwsgi_field("accepting")
    ),
    Metric(
        "uwsgi_worker_delta_requests",
        _G,
        "Requests answered since the worker's last spawn.",
        _WORKER_ID,
        _uwsgi_field("delta_requests"),
    ),
    Metric("uwsgi_worker_signal_queue_length", _G, "Always 0.", _WORKER_ID, _uwsgi_field("signal_queue")),
    Metric("uwsgi_worker_rss_bytes", _G, "Resident memory.", _WORKER_ID, _uwsgi_field("rss")),
    Metric("uwsgi_worker_vsz_bytes", _G, "Address space.", _WORKER_ID, _uwsgi_field("vsz")),
    Metric(
        "uwsgi_worker_running_time_seconds",
        _G,
        "The sum of all requests' durations.",
        _WORKER_ID,
        _uwsgi_workers(lambda w: w["running_time"] / 1e6),
    ),
    Metric(
        "uwsgi_worker_last_spawn_time_seconds",
        _G,
        "When the worker was last spawned, since the epoch.",
        _WORKER_ID,
        _uwsgi_field("last_spawn"),
    ),
    Metric(
        "uwsgi_worker_average_response_time_seconds",
        _G,
        "Of the durations; each new one counts for half.",
        _WORKER_ID,
        _uwsgi_workers(lambda w: w["avg_rt"] / 1e6),
    ),
    Metric("uwsgi_worker_apps", _G, "Always 1.", _WORKER_ID, _uwsgi_workers(lambda w: len(w["apps"]))),
    Metric("uwsgi_worker_cores", _G, "Always 1.", _WORKER_ID, _uwsgi_workers(lambda w: len(w["cores"]))),
    Metric("uwsgi_worker_requests_total", _C, "Requests answered.", _WORKER_ID, _uwsgi_field("requests")),
    Metric(
        "uwsgi_worker_exceptions_total",
        _C,
        "Responses that failed or were torn.",
        _WORKER_ID,
        _uwsgi_field("exceptions"),
    ),
    Metric(
        "uwsgi_worker_harakiri_count_total",
        _C,
        "Requests ended by a time limit.",
        _WORKER_ID,
        _uwsgi_field("harakiri_count"),
    ),
    Metric("uwsgi_worker_signals_total", _C, "Always 0.", _WORKER_ID, _uwsgi_field("signals")),
    Metric(
        "uwsgi_worker_respawn_count_total", _C, "Spawns, the first included.", _WORKER_ID, _uwsgi_field("respawn_count")
    ),
    Metric("uwsgi_worker_transmitted_bytes_total", _C, "Bytes of response bodies.", _WORKER_ID, _uwsgi_field("tx")),
    *(
        Metric(
            f"uwsgi_worker_{status}", _G, f"Whether the worker's status is {status}.", _WORKER_ID, _uwsgi_status(status)
        )
        for status in ("busy", "idle", "cheap")
    ),
    Metric("uwsgi_worker_app_startup_time_seconds", _G, "Always 0.", _APP, _uwsgi_apps("startup_time")),
    Metric("uwsgi_worker_app_requests_total", _C, "As the worker's.", _APP, _uwsgi_apps("requests")),
    Metric("uwsgi_worker_app_exceptions_total", _C, "As the worker's.", _APP, _uwsgi_apps("exceptions")),
    Metric("uwsgi_worker_core_busy", _G, "Whether the worker has requests.", _CORE, _uwsgi_cores("in_request")),
    Metric("uwsgi_worker_core_requests_total", _C, "As the worker's.", _CORE, _uwsgi_cores("requests")),
    Metric("uwsgi_worker_core_static_requests_total", _C, "Always 0.", _CORE, _uwsgi_cores("static_requests")),
    Metric("uwsgi_worker_core_routed_requests_total", _C, "Always 0.", _CORE, _uwsgi_cores("routed_requests")),
    Metric("uwsgi_worker_core_offloaded_requests_total", _C, "Always 0.", _CORE, _uwsgi_cores("offloaded_requests")),
    Metric(
        "uwsgi_worker_core_write_errors_total",
        _C,
        "Clients that left before their response was sent.",
        _CORE,
        _uwsgi_cores("write_errors"),
    ),
    Metric("uwsgi_worker_core_read_errors_total", _C, "Always 0.", _CORE, _uwsgi_cores("read_errors")),
    Metric("uwsgi_cache_hits", _C, "Values that were found.", _NAME, _uwsgi_caches("hits")),
    Metric("uwsgi_cache_misses", _C, "Reads that found no fresh value.", _NAME, _uwsgi_caches("miss")),
    Metric("uwsgi_cache_full", _C, "Values that were refused.", _NAME, _uwsgi_caches("full")),
    Metric("uwsgi_cache_items", _G, "Values in the store.", _NAME, _uwsgi_caches("items")),
    Metric("uwsgi_cache_max_items", _G, "Always 0.", _NAME, _uwsgi_caches("max_items")),
)
