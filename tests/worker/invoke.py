"""Index function_app.py and invoke it through Microsoft's worker library, as the host's worker would.

Run as a program of its own, since the library keeps its registry in globals: `python invoke.py FUNCTION`, the
message's body on standard input or, with `--many`, a line of base64 for each. Prints one JSON line: what was indexed,
and how the invocations ended. With `--record` OpenTelemetry's SDK is set up before the app is loaded, as the worker
itself does it for Azure Monitor, and what it recorded is printed too. HOST is the trace that the host gives the
invocation.

The library's interface is internal; it is pinned in the requirements and used by tests alone.
"""

import base64
import json
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from azure_functions_runtime import start_threadpool_executor, stop_threadpool_executor
from azure_functions_runtime.bindings.datumdef import Datum
from azure_functions_runtime.bindings.meta import load_binding_registry
from azure_functions_runtime.handle_event import _functions
from azure_functions_runtime.loader import index_function_app, process_indexed_function
from azure_functions_runtime.native_invocation import run_invocation_sync
from azure_functions_runtime.otel import otel_manager, update_opentelemetry_status
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

ROOT = Path(__file__).parent.parent.parent


HOST = "00-11111111111111111111111111111111-2222222222222222-01"


class BindingInfo(SimpleNamespace):
    """The part of the host's protocol that indexing compares with: the directions and data types by number."""

    inout, out, undefined = 2, 1, 0


PROTOCOL = SimpleNamespace(BindingInfo=BindingInfo, RpcFunctionMetadata=SimpleNamespace)


class Recorder:
    """OpenTelemetry's SDK with everything kept in memory."""

    def __init__(self) -> None:
        self._spans, self._metrics = InMemorySpanExporter(), InMemoryMetricReader()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._spans))
        trace.set_tracer_provider(provider)
        metrics.set_meter_provider(MeterProvider([self._metrics]))
        otel_manager.set_azure_monitor_available(azure_monitor_available=True)
        update_opentelemetry_status()

    def recorded(self) -> dict[str, Any]:
        """Spans in the order in which they began, and the names of the metrics."""
        spans = sorted(self._spans.get_finished_spans(), key=lambda span: span.start_time or 0)
        data = self._metrics.get_metrics_data()
        found = [m.name for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
        return {"spans": [json.loads(span.to_json()) for span in spans], "metrics": found}


def deliver(function_id: str, body: bytes) -> tuple[bool, str | None, str | None]:
    """Deliver one message to an indexed function: whether it succeeded, and else the error and the stack."""
    now = json.dumps(datetime.now(UTC).isoformat())
    _, ok, _, _, error, stack = run_invocation_sync(
        "00000000-0000-0000-0000-000000000001",
        function_id,
        [("message", Datum(body, "bytes"))],
        {
            "Id": Datum("message-1", "string"),
            "DequeueCount": Datum("1", "json"),
            "InsertionTime": Datum(now, "json"),
            "ExpirationTime": Datum(now, "json"),
            "NextVisibleTime": Datum(now, "json"),
            "PopReceipt": Datum("receipt", "string"),
        },
        trace_parent=HOST,
    )
    return ok, error, stack


def main(function: str, bodies: list[bytes], *, record: bool = False) -> dict[str, Any]:
    """Index the app and deliver these messages to a function of it. `results` has how each ended."""
    sys.path.insert(0, str(ROOT))
    recorder = Recorder() if record else None
    load_binding_registry()
    indexed = index_function_app(str(ROOT / "function_app.py"))
    metadata = process_indexed_function(PROTOCOL, _functions, indexed, str(ROOT))[0]
    function_id = next(found.function_id for found in metadata if found.name == function)
    start_threadpool_executor()
    threads = threading.active_count()
    results = [deliver(function_id, body) for body in bodies]
    stop_threadpool_executor()
    ok, error, stack = results[-1]
    bindings = {found.name: [json.loads(raw) for raw in found.raw_bindings] for found in metadata}
    result = {"bindings": bindings, "ok": ok, "error": error, "trace": stack, "threads": threads, "results": results}
    return result | (recorder.recorded() if recorder else {})


if __name__ == "__main__":
    given = sys.stdin.buffer.read()
    messages = [base64.b64decode(line) for line in given.split()] if "--many" in sys.argv else [given]
    print(json.dumps(main(sys.argv[1], messages, record="--record" in sys.argv)))  # noqa: T201  its result
