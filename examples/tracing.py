"""A Flask site whose requests are traced with OpenTelemetry, and whose log lines can be found by their trace.

    pip install flask opentelemetry-sdk opentelemetry-exporter-otlp-proto-http opentelemetry-instrumentation-wsgi
    OTEL_SERVICE_NAME=shop OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 \\
        wsgid --http 127.0.0.1:8000 --access-log=- --log-format 'trace=%(var.HTTP_TRACEPARENT) %(status) %(uri)' \\
        tracing:application

The exporter has a thread and connections. Neither belongs into more than one process, so a hook makes them in each
worker. docs/tracing.md describes the whole.
"""

from flask import Flask
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from wsgid import hooks

site = Flask(__name__)
tracer = trace.get_tracer(__name__)


@hooks.on_worker_start
def start_tracing() -> None:
    """Export the spans of this worker. OTEL_SERVICE_NAME and OTEL_EXPORTER_OTLP_ENDPOINT are in the environment."""
    resource = Resource.create({"service.instance.id": str(hooks.worker_number())})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


@hooks.on_worker_stop
def flush_spans() -> None:
    """Send the spans that have not been sent yet, when the worker leaves."""
    trace.get_tracer_provider().force_flush(5_000)  # type: ignore[attr-defined]  # milliseconds; it is the SDK's provider


@site.get("/orders/<int:number>")
def order(number: int) -> str:
    with tracer.start_as_current_span("look up the order"):
        return f"order {number}\n"


application = OpenTelemetryMiddleware(site)
