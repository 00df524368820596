"""--metrics: Prometheus reads the right counts, also after workers have died."""

import os
import re
import subprocess
import sys
from signal import Signals

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser

from tests.conftest import Start
from tests.support import DOCS, ROOT, client
from tests.support.server import Server, eventually
from tests.support.snapshots import snapshot
from wsgid.admin import metrics
from wsgid.admin.metrics import METRICS, MetricType
from wsgid.admin.snapshot import ListenerView
from wsgid.ipc.scoreboard import DURATION_BOUNDS_US
from wsgid.supervisor.slots import SlotState

APP = """
    import time
    import gevent.monkey
    block = gevent.monkey.get_original("time", "sleep")
    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/sleep":
            environ["wsgid.harakiri"](0.5)
            time.sleep(600)
        if path == "/short":
            time.sleep(0.06)
        if path == "/block":
            block(5)
        if path == "/hold":
            block(600)
        if path == "/boom":
            raise RuntimeError("boom")
        if path == "/torn":
            start_response("200 OK", [])
            return torn()
        start_response({"/no": "404 Not Found", "/away": "302 Found"}.get(path, "200 OK"), [])
        return [b"x" * 10]
    def torn():
        yield b"x"
        raise RuntimeError("torn")
"""


def serve(start: Start, *options: str, workers: int = 1) -> Server:
    return start(
        "--socket",
        "app.sock",
        "--workers",
        str(workers),
        "--metrics",
        "metrics.sock",
        *options,
        "app:application",
        app=APP,
    ).wait_ready(workers)


def get(server: Server, path: str = "/") -> client.Answer:
    return client.get(server.directory / "app.sock", path)


def ask(server: Server, path: str) -> client.Answer:
    return client.parse(
        client.exchange(server.directory / "metrics.sock", f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    )


class Scrape:
    """The answer of /metrics, parsed by Prometheus's own reader."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in parser.text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def sum(self, name: str, /, **labels: str) -> float:
        found = [
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert found, name
        return sum(found)

    def has(self, name: str) -> bool:
        return any(sample.name == name for sample in self.samples)


def scrape(server: Server) -> Scrape:
    answer = ask(server, "/metrics")
    assert answer.status == 200 and answer.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(answer.body.decode())


def requests(found: Scrape) -> tuple[float, float, float]:
    """Three counts of the same requests."""
    return (
        found.sum("uwsgi_worker_requests_total"),
        found.sum("wsgid_request_duration_seconds_count"),
        found.sum("wsgid_request_duration_seconds_bucket", le="+Inf"),
    )


def test_each_request_is_counted_by_its_end(start: Start) -> None:
    server = serve(start, workers=2)
    for path, times in {"/": 5, "/no": 3, "/away": 2, "/boom": 2, "/torn": 1}.items():
        for _ in range(times):
            get(server, path)
    assert get(server, "/sleep").status == 504
    assert client.parse(client.exchange(server.directory / "app.sock", b"GET / HTTP/1.1\r\n\r\n")).status == 400
    eventually(lambda: requests(scrape(server))[0] == 14, "all requests are counted")
    found = scrape(server)
    by_status = {status: found.sum("wsgid_responses_total", status=status) for status in ("2xx", "3xx", "4xx", "5xx")}
    assert by_status == {"2xx": 6, "3xx": 2, "4xx": 3, "5xx": 3}
    assert found.sum("wsgid_failed_total") == 3 and found.sum("wsgid_torn_total") == 1
    assert found.sum("wsgid_timeouts_total") == found.sum("uwsgi_worker_harakiri_count_total") == 1
    assert found.sum("wsgid_rejected_packets_total") == 1
    assert found.sum("uwsgi_worker_exceptions_total") == found.sum("uwsgi_worker_app_exceptions_total") == 4
    assert found.sum("wsgid_workers_ready") == found.sum("wsgid_workers_wanted") == found.sum("uwsgi_workers") == 2
    assert found.sum("wsgid_worker_state", state="ready") == 2
    eventually(lambda: scrape(server).sum("uwsgi_worker_idle") == 2, "no request is in flight any more")


def test_prometheus_own_tool_finds_no_error(start: Start) -> None:
    server = serve(start, workers=2)
    client.get(server.directory / "app.sock")
    checked = subprocess.run(["promtool", "check", "metrics"], input=ask(server, "/metrics").body, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_durations_are_a_histogram(start: Start) -> None:
    server = serve(start)
    for path in ("/", "/", "/short", "/short", "/short"):
        get(server, path)
    eventually(lambda: requests(scrape(server))[0] == 5, "all requests are counted")
    found = scrape(server)
    assert found.families["wsgid_request_duration_seconds"].type == "histogram"
    assert requests(found) == (5, 5, 5)
    name = "wsgid_request_duration_seconds_bucket"
    counts = [found.sum(name, le=str(bound / 1e6)) for bound in DURATION_BOUNDS_US]
    assert counts == sorted(counts)
    assert found.sum(name, le="0.05") <= 2 and found.sum(name, le="5.0") == 5
    total_s = found.sum("wsgid_request_duration_seconds_sum")
    assert 3 * 0.06 <= total_s == found.sum("uwsgi_worker_running_time_seconds") < 20


def test_no_count_is_lost_by_a_kill_a_reload_or_an_upgrade(start: Start) -> None:
    server = serve(start, workers=2)
    for _ in range(10):
        get(server)
    eventually(lambda: requests(scrape(server)) == (10, 10, 10), "all requests are counted")
    os.kill(server.worker_pids()[0], Signals.SIGKILL)
    server.wait_ready(3)
    get(server)
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"\(generation 0, .* exited with code 0", 2)
    get(server)
    eventually(lambda: requests(scrape(server)) == (12, 12, 12), "all requests are counted")
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid starts anew")
    server.wait_for(r"\(generation 1, .* exited with code 0", 2)
    get(server)
    eventually(lambda: requests(scrape(server)) == (13, 13, 13), "all requests are counted")
    found = scrape(server)
    assert found.sum("uwsgi_worker_transmitted_bytes_total") == 130
    assert found.sum("wsgid_responses_total", status="2xx") == 13
    assert found.sum("wsgid_respawns_total", cause="crash") == 1
    assert found.sum("wsgid_respawns_total", cause="reload") == 4
    assert found.sum("uwsgi_worker_respawn_count_total") == 7
    assert found.sum("wsgid_generation") == 2


def test_how_late_the_loop_was_is_added_up_and_outlives_the_worker(start: Start) -> None:
    server = serve(start)
    before_s = scrape(server).sum("wsgid_hub_late_seconds_total")
    get(server, "/block")
    eventually(lambda: scrape(server).sum("wsgid_hub_late_seconds_total") > before_s + 4, "the delay is counted")
    os.kill(server.worker_pids()[0], Signals.SIGKILL)
    server.wait_ready(2)
    assert scrape(server).sum("wsgid_hub_late_seconds_total") > before_s + 4


def test_what_was_counted_in_a_vacant_slot_stays_in_sight_through_an_upgrade(start: Start) -> None:
    server = serve(start)
    for workers in (2, 3):
        server.send_signal(Signals.SIGTTIN)
        server.wait_ready(workers)
    for worker in (2, 1):
        server.send_signal(Signals.SIGTTOU)
        server.wait_for(rf"worker {worker} .* exited with code 0")
    assert scrape(server).sum("uwsgi_worker_respawn_count_total") == 3
    server.send_signal(Signals.SIGUSR2)
    server.wait_for("wsgid starts anew")
    server.wait_for(r"worker 0 .* exited with code 0")
    found = scrape(server)
    assert found.sum("uwsgi_worker_respawn_count_total") == 4
    assert found.sum("uwsgi_worker_respawn_count_total", worker_id="3") == 1


def test_a_scrape_asks_no_worker_so_no_worker_can_hold_it_up(start: Start) -> None:
    server = serve(start, "--hub-timeout", "600", workers=2)
    get(server)
    # The answer has come before the worker has freed the place.
    eventually(lambda: scrape(server).sum("wsgid_requests_in_flight") == 0, "the request is over")
    stopped, _blocked = server.worker_pids()
    os.kill(stopped, Signals.SIGSTOP)
    with client.connect(server.directory / "app.sock") as slow:
        slow.sendall(client.packet("/hold"))
        eventually(lambda: scrape(server).sum("wsgid_requests_in_flight") == 1, "the hub is held")
        eventually(lambda: scrape(server).sum("wsgid_heartbeat_age_seconds") > 2, "the heartbeats get old")
        found = scrape(server)
        assert found.sum("uwsgi_worker_requests_total") == 1 and found.sum("uwsgi_worker_busy") == 1
        os.kill(stopped, Signals.SIGCONT)


def test_a_vacant_slot_has_counters_and_no_heartbeat(start: Start) -> None:
    server = serve(start)
    get(server)
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"worker 0 .* exited with code 0")
    found = scrape(server)
    assert found.sum("uwsgi_worker_requests_total", worker_id="1") == 1
    assert found.sum("uwsgi_worker_cheap", worker_id="1") == found.sum("wsgid_worker_state", worker="0", state="vacant")
    assert [sample.labels for sample in found.samples if sample.name == "wsgid_heartbeat_age_seconds"] == [
        {"worker": "1"}
    ]


def test_the_backlog_of_each_listener_is_there(start: Start) -> None:
    server = serve(start, "--socket", "127.0.0.1:0", "--listen", "40")
    os.kill(server.worker_pids()[0], Signals.SIGSTOP)
    waiting = [client.connect(server.directory / "app.sock") for _ in range(3)]
    name = str(server.directory / "app.sock")
    eventually(lambda: scrape(server).sum("wsgid_listen_queue", listener=name) == 3, "the connections wait")
    found = scrape(server)
    assert found.sum("wsgid_listen_backlog") == found.sum("uwsgi_socket_max_queue_length", proto="uwsgi") == 80
    assert found.sum("uwsgi_listen_queue_length") == found.sum("uwsgi_socket_queue_length", name=name) == 3
    for connection in waiting:
        connection.close()


def test_sockets_that_share_an_address_are_one_listener(start: Start) -> None:
    server = start(
        "--http",
        "127.0.0.1:0",
        "--reuse-port",
        "--workers",
        "2",
        "--listen",
        "40",
        "--metrics",
        "metrics.sock",
        "app:application",
        app=APP,
    ).wait_ready(2)
    found = scrape(server)
    [backlog] = [sample for sample in found.samples if sample.name == "wsgid_listen_backlog"]
    assert backlog.value == 80  # of both sockets
    assert found.sum("uwsgi_socket_max_queue_length", proto="http") == 80


def test_what_a_scrape_costs_can_be_measured() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "tools.scrape_cost", "3"], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    assert re.findall(r"^(\S+): \d+ us of .*, [1-9]\d* bytes, 4 workers$", said, re.MULTILINE) == [
        "/metrics",
        "/readyz",
        "--stats",
    ]


# --- the text ---


def test_every_metric_is_declared_once_with_its_type_and_help() -> None:
    found = Scrape(metrics.render(snapshot(SlotState.READY)).decode())
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        family = found.families[metric.name.removesuffix("_total")]
        assert family.type == metric.kind.value and family.documentation == metric.help and family.samples, metric.name
        if not metric.name.startswith("uwsgi_cache_"):  # these names are uwsgi_exporter's
            assert metric.name.endswith("_total") == (metric.kind is MetricType.COUNTER), metric.name
        assert metric.help.endswith("."), metric.name


def test_the_documentation_has_the_table() -> None:
    text = (DOCS / "statistics.md").read_text()
    rows = [
        f"| `{metric.name}` | {metric.kind.value} | {', '.join(metric.labels)} | {metric.help} |\n"
        for metric in METRICS
    ]
    assert "".join(rows) in text


def test_what_is_not_known_has_no_line() -> None:
    unknown = ListenerView("/a.sock", "/a.sock", None, None)
    found = Scrape(metrics.render(snapshot(SlotState.READY, listeners=(unknown,))).decode())
    for name in (
        "wsgid_listen_queue",
        "wsgid_listen_backlog",
        "uwsgi_listen_queue_length",
        "uwsgi_socket_queue_length",
        "uwsgi_socket_max_queue_length",
    ):
        assert not found.has(name), name
    assert found.has("uwsgi_socket_shared")


@given(st.text(min_size=1))
def test_any_text_in_a_label_is_read_back(text: str) -> None:
    server = metrics.Scraped(snapshot(application=text), {})
    [sample] = Scrape("".join(metrics._lines(METRICS[0], server))).samples
    assert sample.labels["application"] == text


def test_a_name_that_is_no_text_spoils_nothing() -> None:
    assert b'application="?"' in metrics.render(snapshot(application="\udcff"))


# From uwsgi_exporter's pkg/collector/exporter.go, the descriptors except those of caches: name -> type, labels.
EXPORTER = {
    "": ((), "G listen_queue_length, G listen_queue_errors, G signal_queue_length, G workers"),
    "socket_": (("name", "proto"), "G queue_length, G max_queue_length, G shared, G can_offload"),
    "worker_": (
        ("worker_id",),
        """G accepting, G delta_requests, G signal_queue_length, G rss_bytes, G vsz_bytes,
        G running_time_seconds, G last_spawn_time_seconds, G average_response_time_seconds, G apps, G cores,
        C requests_total, C exceptions_total, C harakiri_count_total, C signals_total, C respawn_count_total,
        C transmitted_bytes_total, G busy, G idle, G cheap""",
    ),
    "worker_app_": (
        ("worker_id", "app_id", "mountpoint", "chdir"),
        "G startup_time_seconds, C requests_total, C exceptions_total",
    ),
    "worker_core_": (
        ("worker_id", "core_id"),
        """G busy, C requests_total, C static_requests_total,
        C routed_requests_total, C offloaded_requests_total, C write_errors_total, C read_errors_total""",
    ),
}


@pytest.mark.parametrize("subsystem", EXPORTER)
def test_the_metrics_of_uwsgi_exporter_are_there_with_types_and_labels(subsystem: str) -> None:
    labels, text = EXPORTER[subsystem]
    declared = {metric.name: metric for metric in METRICS}
    for kind, name in (entry.split() for entry in text.split(",")):
        metric = declared[f"uwsgi_{subsystem}{name}"]
        assert metric.labels == labels and metric.kind is {"G": MetricType.GAUGE, "C": MetricType.COUNTER}[kind]
