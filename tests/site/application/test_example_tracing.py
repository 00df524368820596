"""OpenTelemetry: the spans of the workers arrive at a collector. examples/tracing.py sends the last ones, too."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from signal import Signals

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from tests.conftest import Start
from tests.support import client
from tests.support.server import eventually
from tools.nginx import EXAMPLES

STARTED_BY_THE_APPLICATION = """
    from opentelemetry.instrumentation.auto_instrumentation import initialize

    initialize()

    from opentelemetry import trace

    def application(environ, start_response):
        with trace.get_tracer("shop").start_as_current_span("page"):
            start_response("200 OK", [])
            return [b"page"]
"""
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Takes what an exporter of OTLP over HTTP sends: https://opentelemetry.io/docs/specs/otlp/#otlphttp"""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receive)
        self.received: list[ResourceSpans] = []

    def spans(self) -> list[Span]:
        return [span for resource in self.received for scope in resource.scope_spans for span in scope.spans]

    def attributes(self) -> list[dict[str, str]]:
        return [{item.key: item.value.string_value for item in one.resource.attributes} for one in self.received]


class Receive(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        assert self.headers.get("Content-Encoding", "identity") == "identity"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            self.server.received += ExportTraceServiceRequest.FromString(body).resource_spans
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The test's own log has no line for each request."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_spans_of_each_worker_arrive_with_the_trace_of_the_request(start: Start, collector: Collector) -> None:
    environ = {
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "3600000",  # ms: only the end of a worker sends
        "NO_PROXY": "127.0.0.1",
    }
    options = ("--workers", "2", "--access-log", "stdio", "--log-format", "trace=%(var.HTTP_TRACEPARENT) %(status)")
    source = (EXAMPLES / "tracing.py").read_text()
    server = start("--socket", "app.sock", *options, "app:application", app=source, environ=environ).wait_ready(2)
    for number in range(20):
        answer = client.get(
            server.directory / "app.sock", f"/orders/{number}", HTTP_TRACEPARENT=f"00-{TRACE}-{PARENT}-01"
        )
        assert answer.body == f"order {number}\n".encode()
    assert collector.received == []
    assert server.stop() == 0
    spans = collector.spans()
    outer = {span.span_id: span for span in spans if span.kind == Span.SPAN_KIND_SERVER}
    inner = [span for span in spans if span.name == "look up the order"]
    assert len(outer) == len(inner) == 20 and len(spans) == 40
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert {span.parent_span_id.hex() for span in outer.values()} == {PARENT}
    assert {span.parent_span_id for span in inner} == set(outer)
    resources = collector.attributes()
    assert {resource["service.name"] for resource in resources} == {"shop"}
    assert {resource["service.instance.id"] for resource in resources} <= {"0", "1"}
    assert len(server.wait_for(f"trace=00-{TRACE}-{PARENT}-01 200", 20)) == 20
    server.assert_nothing_left()


def test_opentelemetry_that_the_application_itself_starts_sends_from_each_worker(
    start: Start, collector: Collector
) -> None:
    """As docs/gevent.md has it, with opentelemetry-distro. Its threads start again in each worker: no warning."""
    environ = {
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "50",  # ms: the thread of the worker sends, not its end
        "NO_PROXY": "127.0.0.1",
    }
    server = start(
        "--socket", "app.sock", "--workers", "2", "app", app=STARTED_BY_THE_APPLICATION, environ=environ
    ).wait_ready(2)

    def visit(times: int, spans: int) -> None:
        for _ in range(times):
            assert client.get(server.directory / "app.sock").body == b"page"
        eventually(lambda: len(collector.spans()) == spans, "all spans have arrived")

    visit(30, 30)
    server.send_signal(Signals.SIGHUP)
    server.wait_for(r"\(generation 0, .* exited with code 0", 2)
    visit(10, 40)
    assert server.stop() == 0
    assert {span.name for span in collector.spans()} == {"page"} and len(collector.spans()) == 40
    assert "started threads" not in server.log
    server.assert_nothing_left()
