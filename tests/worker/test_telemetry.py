"""Telemetry that arrives: through Microsoft's worker library, by its own set-up and by OTLP, which needs no code."""

import gzip
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from local.simulator import scenarios
from local.simulator.server import Simulator
from tests.conftest import Storage
from tests.worker.test_worker_library import CUSTOMER, TENANT, invoke, published

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="azure-functions-runtime is made for Python 3.13 and newer"
)

TRACE, PRODUCER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
UPN = "kim@planted-upn.example"
CHECKOUT = "POST /customers/{customerId}/carts/{cartId}/checkout"
METRICS = {
    "messaging.process.duration",
    "messaging.client.consumed.messages",
    "messaging.client.operation.duration",
    "messaging.client.sent.messages",
    "cart_checkout.service.duration",
    "cart_checkout.outcomes",
    "cart_checkout.age",
}


def body(**more: str) -> bytes:
    cart = scenarios.cart_id("created", "traced")
    return json.dumps({"customerId": CUSTOMER, "cartId": cart, "customerUserUpn": UPN, **more}).encode()


def test_a_cart_is_one_trace_in_the_worker_whatever_trace_the_host_is_in(storage: Storage) -> None:
    with Simulator(tenant_id=TENANT) as simulator:
        environ = {**simulator.environment(), **storage.environ}
        sent = body(traceparent=f"00-{TRACE}-{PRODUCER}-01")
        result = invoke("checkout_cart", sent, environ, "--record")

    assert (True, None) == (result["ok"], result["error"])
    carts, outcomes = storage.carts.queue_name, storage.outcomes.queue_name
    message, *steps = result["spans"]
    assert [
        (f"process {carts}", "SpanKind.CONSUMER"),
        ("recall", "SpanKind.INTERNAL"),
        ("enter", "SpanKind.INTERNAL"),
        (CHECKOUT, "SpanKind.CLIENT"),
        (f"create {outcomes}", "SpanKind.PRODUCER"),
        (f"send {outcomes}", "SpanKind.CLIENT"),
    ] == [(span["name"], span["kind"]) for span in result["spans"]]
    assert {f"0x{TRACE}"} == {span["context"]["trace_id"] for span in result["spans"]}
    assert f"0x{PRODUCER}" == message["parent_id"]
    assert {message["context"]["span_id"]} == {span["parent_id"] for span in steps}
    created = next(span for span in steps if span["name"].startswith("create"))
    assert f"00-{TRACE}-{created['context']['span_id'][2:]}-01" == published(storage)["traceparent"]
    assert set(result["metrics"]) >= METRICS
    assert UPN not in json.dumps(result["spans"])


def test_a_message_without_a_trace_begins_one_in_the_worker(storage: Storage) -> None:
    with Simulator(tenant_id=TENANT) as simulator:
        environ = {**simulator.environment(), **storage.environ}
        result = invoke("checkout_cart", body(), environ, "--record")

    message, *_ = result["spans"]
    assert message["parent_id"] is None
    assert message["context"]["trace_id"] == f"0x{published(storage)['traceparent'].split('-')[1]}"


def test_spans_and_metrics_are_exported_by_otlp_to_the_configured_endpoint(storage: Storage) -> None:
    with collector() as (endpoint, received), Simulator(tenant_id=TENANT) as simulator:
        environ = {
            **simulator.environment(),
            **storage.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_SERVICE_NAME": "cart-checkout",
        }
        result = invoke("checkout_cart", body(traceparent=f"00-{TRACE}-{PRODUCER}-01"), environ)

    assert (True, None) == (result["ok"], result["error"])
    traces = [ExportTraceServiceRequest.FromString(content) for path, content in received if path == "/v1/traces"]
    resources = [resource for request in traces for resource in request.resource_spans]
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert {TRACE} == {span.trace_id.hex() for span in spans}
    assert {CHECKOUT, f"process {storage.carts.queue_name}"} <= {span.name for span in spans}
    services = {
        item.value.string_value for r in resources for item in r.resource.attributes if item.key == "service.name"
    }
    assert {"cart-checkout"} == services
    measures = [ExportMetricsServiceRequest.FromString(content) for path, content in received if path == "/v1/metrics"]
    names = {m.name for each in measures for r in each.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert names >= METRICS
    assert not [path for path, content in received if UPN.encode() in content]


def test_an_unreachable_collector_does_not_fail_a_checkout(storage: Storage) -> None:
    with Simulator(tenant_id=TENANT) as simulator:
        environ = {
            **simulator.environment(),
            **storage.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        }
        result = invoke("checkout_cart", body(), environ)

    assert (True, None) == (result["ok"], result["error"])
    assert "completed" == published(storage)["data"]["outcome"]


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """An OTLP receiver on this machine: its address, and what was sent to it."""
    received: list[tuple[str, bytes]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, gzip.decompress(content) if self.headers["Content-Encoding"] else content))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()
