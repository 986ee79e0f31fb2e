"""One wide log line per message, spans and metrics. Nothing secret: ids, classes, times and sizes only.

The line is a JSON object, so that a log query can parse it. Of what the producer or the service wrote only ids
and error codes enter it; tokens, the UPN and connection strings never do. Of an exception only its type does, in
line and span alike: its text may quote anything.

    the trace of the message's `traceparent`
    └── process {carts}          CONSUMER   one delivery
        ├── recall               INTERNAL
        ├── POST …/checkout      CLIENT     the service, and so are the GETs
        ├── create {outcomes}    PRODUCER   decided and kept: its id is the outcome's `traceparent`
        └── send {outcomes}      CLIENT     told. Or `send {carts}`: a copy that waits

`shared.semconv` has the names, docs/telemetry.md tells them. Telemetry that fails breaks no checkout: what
raises in it is dropped.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime

import msgspec
from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import Link, SpanKind, StatusCode

from shared.core.jsontext import printable
from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage
from shared.otlp import export_where_asked
from shared.semconv import Attributes, Endpoints, Instruments, Operation, operations, response_attributes

NAME = "cart_checkout"
LOGGER = logging.getLogger(NAME)
_LONGEST_FACT = 400
_KINDS = ("result", "outcome", "class", "reason")
_IDS = {
    "customerId": "cart_checkout.customer_id",
    "cartId": "cart_checkout.cart_id",
    "requestId": "cart_checkout.request_id",
    "eventId": "cart_checkout.event_id",
    "correlationId": "messaging.message.conversation_id",
}


class _Step(msgspec.Struct):
    """One step on its way; the times are set when it has returned, `error` when it has failed."""

    operation: Operation
    span: trace.Span
    seconds: float = 0.0
    ended_at: int = 0
    error: str | None = None


class LogLine:
    """The facts of one message, gathered on its way and logged once at its end."""

    def __init__(self, telemetry: "Telemetry") -> None:
        self._telemetry = telemetry
        self.level = logging.INFO
        self.facts: dict[str, str | int | float | bool | None] = {}
        self._milliseconds: dict[str, float] = {}
        self._returned: _Step | None = None

    def add(self, **facts: str | float | bool | None) -> None:
        """Add facts; a later one of the same name replaces the earlier."""
        self.facts.update(facts)
        if "status" in facts:
            self.settle(facts["status"], facts.get("failure"))

    def escalate(self, level: int) -> None:
        """Log the line at this level at least: an alert can match it."""
        self.level = max(self.level, level)

    @contextmanager
    def step(self, name: str, *, to_poison: bool = False) -> Iterator[None]:
        """Time a step of the way, in milliseconds, and span it. A repeated step adds up.

        `to_poison`: what it sends goes to the poison queue.
        """
        self.settle()
        step = self._telemetry.begin(f"{name} to poison" if to_poison else name, self.facts)
        begin = time.perf_counter()
        try:
            with _inside(step.span):
                yield
        except BaseException as error:
            step.error = type(error).__name__
            raise
        finally:
            step.seconds, step.ended_at = time.perf_counter() - begin, time.time_ns()
            self._milliseconds[name] = round(self._milliseconds.get(name, 0.0) + step.seconds * 1000, 1)
            self._returned = step
            if step.error or not step.operation.url:
                self.settle()

    def settle(self, status: object = None, failure: object = None) -> None:
        """Finish the step that has returned: of a call it is known only afterwards what was answered."""
        step, self._returned = self._returned, None
        if step is not None:
            self._telemetry.finish(step, status, failure)

    def text(self) -> str:
        """The line: a compact JSON object without what is absent, every text in it made printable."""
        facts = {
            name: printable(value, _LONGEST_FACT) if isinstance(value, str) else value
            for name, value in self.facts.items()
            if value is not None
        }
        return json.dumps({**facts, "ms": self._milliseconds}, separators=(",", ":"))


class Telemetry:
    """Where the lines, spans and metrics of a process go."""

    def __init__(self, places: Endpoints, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._operations = operations(places)
        self._tracer: trace.Tracer = trace.NoOpTracer()
        meter: metrics.Meter = metrics.NoOpMeter(NAME)
        with suppress(Exception):  # a provider that the environment names and nobody can load
            export_where_asked(os.environ)
            self._tracer = trace.get_tracer(NAME)
            meter = metrics.get_meter(NAME)
        self._measure = Instruments(meter)

    @contextmanager
    def message(self, delivery: Delivery, request: CheckoutRequest | InvalidMessage) -> Iterator[LogLine]:
        """Span, count and log one delivery. The span is a child of the message's own `traceparent`.

        That is attached by hand: the worker gives a function of its thread pool no trace context or, on Python
        3.11 and 3.12, the host's; to that the span is linked.
        """
        line = LogLine(self)
        line.add(**_facts(delivery, request))
        operation = self._operations[str(line.facts["function"])]
        span = self._start(operation, _of_message(operation, delivery, line.facts), _traceparent(request))
        line.add(traceId=_trace_id(span))
        since = request.started_at if isinstance(request, CheckoutRequest) else delivery.inserted_at
        begin = time.perf_counter()
        with _inside(span):
            try:
                yield line
            except BaseException as error:
                line.add(result="raised", exception=type(error).__name__)
                line.escalate(logging.ERROR)
                raise
            finally:
                line.settle()
                with suppress(Exception):
                    line.add(waited=round(max(0.0, (self._clock() - since).total_seconds()), 1))
                with suppress(Exception):
                    LOGGER.log(line.level, "%s", line.text())
                with suppress(Exception):
                    self._count(operation, span, line.facts, time.perf_counter() - begin)
                with suppress(Exception):
                    span.end()

    def begin(self, name: str, facts: Mapping[str, object]) -> _Step:
        """A step of the way begins."""
        operation = self._operations.get(name) or Operation(name, SpanKind.INTERNAL, {})
        return _Step(operation, self._start(operation, operation.span_attributes(facts)))

    def finish(self, step: _Step, status: object, failure: object) -> None:
        """A step of the way has ended; `status` and `failure` tell of the answer to a call."""
        known: Attributes = {"error.type": step.error} if step.error else response_attributes(status, failure)
        with suppress(Exception):
            step.span.set_attributes(known)
            if "error.type" in known:
                step.span.set_status(StatusCode.ERROR)
            step.span.end(step.ended_at)
        with suppress(Exception):
            attributes = step.operation.attributes | known
            if step.operation.sends:
                self._measure.sent.add(1, attributes)
                self._measure.sending.record(step.seconds, attributes)
            elif step.operation.url:
                self._measure.calling.record(step.seconds, attributes)

    def _start(self, operation: Operation, attributes: Attributes, traceparent: str | None = None) -> trace.Span:
        with suppress(Exception):
            parent = propagate.extract({"traceparent": traceparent}) if traceparent else None
            host = trace.get_current_span().get_span_context()
            links = [Link(host)] if parent is not None and host.is_valid else []
            return self._tracer.start_span(operation.name, parent, operation.kind, attributes, links)
        return trace.INVALID_SPAN

    def _count(self, operation: Operation, span: trace.Span, facts: Mapping[str, object], seconds: float) -> None:
        kinds: Attributes = {f"cart_checkout.{kind}": str(facts[kind]) for kind in _KINDS if facts.get(kind)}
        error: Attributes = {"error.type": str(facts["exception"])} if facts.get("result") == "raised" else {}
        age = facts.get("waited")
        span.set_attributes({**kinds, **error, **({"cart_checkout.age": age} if isinstance(age, float) else {})})
        if error:
            span.set_status(StatusCode.ERROR)
        self._measure.consumed.add(1, operation.attributes | error)
        self._measure.processing.record(seconds, operation.attributes | error)
        if facts.get("result") == "told":
            told: Attributes = {
                name: kinds[name] for name in ("cart_checkout.outcome", "cart_checkout.class") if name in kinds
            }
            self._measure.outcomes.add(1, told)
            if isinstance(age, float):
                self._measure.ages.record(age, told)
        elif facts.get("result") == "deferred":
            self._measure.deferrals.add(1, {"cart_checkout.reason": kinds["cart_checkout.reason"]})


def current_traceparent() -> str | None:
    """The trace context to pass on: of the span we are in, where somebody records spans."""
    carrier: dict[str, str] = {}
    with suppress(Exception):
        propagate.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def _inside(span: trace.Span) -> Iterator[None]:
    """The span is the current one. What is raised passes by it: a span would keep its text and stack."""
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        yield


def _facts(delivery: Delivery, request: CheckoutRequest | InvalidMessage) -> dict[str, str | int | bool | None]:
    """What the line begins with."""
    facts: dict[str, str | int | bool | None] = {
        "function": "report_poison" if delivery.last else "checkout_cart",
        "messageId": delivery.message_id,
        "dequeueCount": delivery.dequeue_count,
        "customerId": request.customer_id,
        "cartId": request.cart_id,
    }
    if isinstance(request, CheckoutRequest):
        facts |= {
            "requestId": request.request_id,
            "eventId": request.event_id,
            "correlationId": request.correlation_id,
            "attempt": request.retry.attempt,
            "poisoned": request.retry.poisoned or None,
        }
    return facts


def _of_message(operation: Operation, delivery: Delivery, facts: Mapping[str, object]) -> Attributes:
    """What the span of a message says from its beginning, where a sampler sees it."""
    attributes: Attributes = {
        **operation.attributes,
        "messaging.message.id": delivery.message_id,
        "cart_checkout.dequeue_count": delivery.dequeue_count,
    }
    for fact, name in _IDS.items():
        if isinstance(value := facts.get(fact), str):
            attributes[name] = printable(value, _LONGEST_FACT)
    return attributes


def _traceparent(request: CheckoutRequest | InvalidMessage) -> str | None:
    return request.traceparent if isinstance(request, CheckoutRequest) else None


def _trace_id(span: trace.Span) -> str | None:
    with suppress(Exception):
        context = span.get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else None
    return None
