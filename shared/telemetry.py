"""One wide log line per delivery, spans and metrics. Nothing secret: ids, classes, times and sizes only.

The line is a JSON object, so that a log query can parse it. Of the producer's and the service's text it holds only ids
and error codes, never a token, the UPN or a connection string. Of an exception both the line and the span hold only
the type: its text may quote anything.

    the trace of the message's `traceparent`
    └── process {carts}          CONSUMER   one delivery
        ├── recall               INTERNAL   the record is loaded
        ├── POST …/checkout      CLIENT     the call to the service, likewise the GETs
        ├── create {outcomes}    PRODUCER   decided and recorded: its id is the outcome's `traceparent`
        └── send {outcomes}      CLIENT     published. Or `send {carts}`: a deferred copy

`shared.semconv` has the names, docs/telemetry.md lists them. Telemetry that fails does not fail a checkout: its
exceptions are dropped.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime

import msgspec
from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import Link, SpanKind, StatusCode

from shared.core.jsontext import printable
from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage
from shared.core.models import ServiceResponse
from shared.otlp import export_if_configured
from shared.semconv import Attributes, Endpoints, Instruments, Operation, operations, response_attributes

NAME = "cart_checkout"
LOGGER = logging.getLogger(NAME)
_LONGEST_FACT = 400
_WORD = re.compile(r"[0-9A-Za-z._-]{1,40}", re.ASCII)
_KINDS = ("result", "outcome", "class", "reason")
_IDS = {
    "customerId": "cart_checkout.customer_id",
    "cartId": "cart_checkout.cart_id",
    "requestId": "cart_checkout.request_id",
    "eventId": "cart_checkout.event_id",
    "correlationId": "messaging.message.conversation_id",
}


class Step(msgspec.Struct):
    """One step of a delivery: its operation, its span, and attributes that are set at its end."""

    operation: Operation
    span: trace.Span
    attributes: Attributes = {}

    def set_response(self, response: ServiceResponse) -> None:
        """Set the attributes of the response to the call that this step makes."""
        self.attributes = response_attributes(response.status, response.failure)


class LogLine:
    """The facts of one delivery, collected while it is handled and logged once at its end."""

    def __init__(self, telemetry: "Telemetry") -> None:
        self._telemetry = telemetry
        self.level = logging.INFO
        self.facts: dict[str, str | int | float | bool | None] = {}
        self._milliseconds: dict[str, float] = {}

    def add(self, **facts: str | float | bool | None) -> None:
        """Add facts. A later one of the same name replaces the earlier."""
        self.facts.update(facts)

    def escalate(self, level: int) -> None:
        """Log the line at this level at least, so that an alert can match it."""
        self.level = max(self.level, level)

    def note_owner(self, response: ServiceResponse) -> None:
        """Log an ERROR where a call was given another's answer: something on the way mixes up customers."""
        if response.foreign:
            self.add(failure=response.failure)
            self.escalate(logging.ERROR)

    @contextmanager
    def step(self, name: str, *, to_poison: bool = False) -> Iterator[Step]:
        """Time a step in milliseconds and record a span of it. The times of a repeated step add up.

        `to_poison`: the step sends to the poison queue.
        """
        step = self._telemetry.begin(f"{name} to poison" if to_poison else name, self.facts)
        started = time.perf_counter()
        try:
            with _current(step.span):
                yield step
        except BaseException as error:
            step.attributes = {"error.type": type(error).__name__}
            raise
        finally:
            seconds = time.perf_counter() - started
            self._milliseconds[name] = round(self._milliseconds.get(name, 0.0) + seconds * 1000, 1)
            self._telemetry.finish(step, seconds)

    def text(self) -> str:
        """The line: a compact JSON object of the facts that are not None, with all text made printable."""
        facts = {
            name: printable(value, _LONGEST_FACT) if isinstance(value, str) else value
            for name, value in self.facts.items()
            if value is not None
        }
        return json.dumps({**facts, "ms": self._milliseconds}, separators=(",", ":"))


class Telemetry:
    """The log lines, spans and metrics of a process."""

    def __init__(self, endpoints: Endpoints, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._operations = operations(endpoints)
        self._tracer: trace.Tracer = trace.NoOpTracer()
        meter: metrics.Meter = metrics.NoOpMeter(NAME)
        with suppress(Exception):  # the environment names a provider that cannot be loaded
            export_if_configured(os.environ)
            self._tracer = trace.get_tracer(NAME)
            meter = metrics.get_meter(NAME)
        self._instruments = Instruments(meter)

    @contextmanager
    def message(self, delivery: Delivery, request: CheckoutRequest | InvalidMessage) -> Iterator[LogLine]:
        """Span, count and log one delivery. The span is a child of the message's own `traceparent`.

        The context is attached explicitly: in its thread pool the worker gives a function no trace context or, on
        Python 3.11 and 3.12, the host's, to which the span is linked.
        """
        line = LogLine(self)
        line.add(**_facts(delivery, request))
        operation = self._operations[str(line.facts["function"])]
        span = self._start(operation, _message_attributes(operation, delivery, line.facts), _traceparent(request))
        line.add(traceId=_trace_id(span))
        since = request.started_at if isinstance(request, CheckoutRequest) else delivery.inserted_at
        started = time.perf_counter()
        with _current(span):
            try:
                yield line
            except BaseException as error:
                line.add(result="raised", exception=type(error).__name__)
                line.escalate(logging.ERROR)
                raise
            finally:
                with suppress(Exception):
                    line.add(waited=round(max(0.0, (self._clock() - since).total_seconds()), 1))
                with suppress(Exception):
                    LOGGER.log(line.level, "%s", line.text())
                with suppress(Exception):
                    self._count(operation, span, line.facts, time.perf_counter() - started)
                with suppress(Exception):
                    span.end()

    def begin(self, name: str, facts: Mapping[str, object]) -> Step:
        """Start the span of a step."""
        operation = self._operations.get(name) or Operation(name, SpanKind.INTERNAL, {})
        return Step(operation, self._start(operation, operation.span_attributes(facts)))

    def finish(self, step: Step, seconds: float) -> None:
        """End the span of a step, and record its metrics."""
        with suppress(Exception):
            step.span.set_attributes(step.attributes)
            if "error.type" in step.attributes:
                step.span.set_status(StatusCode.ERROR)
            step.span.end()
        with suppress(Exception):
            attributes = step.operation.attributes | step.attributes
            if step.operation.sends:
                self._instruments.sent.add(1, attributes)
                self._instruments.sending.record(seconds, attributes)
            elif step.operation.url:
                self._instruments.calling.record(seconds, attributes)

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
        self._instruments.consumed.add(1, operation.attributes | error)
        self._instruments.processing.record(seconds, operation.attributes | error)
        if facts.get("result") == "told":
            labels: Attributes = {
                name: kinds[name] for name in ("cart_checkout.outcome", "cart_checkout.class") if name in kinds
            }
            self._instruments.outcomes.add(1, labels)
            if isinstance(age, float):
                self._instruments.ages.record(age, labels)
        elif facts.get("result") == "deferred":
            self._instruments.deferrals.add(1, {"cart_checkout.reason": kinds["cart_checkout.reason"]})


def one_word(text: str | None) -> str | None:
    """The text, where it is one word such as an error's class or code: free text is never logged."""
    return text if text is not None and _WORD.fullmatch(text) else None


def current_traceparent() -> str | None:
    """The `traceparent` of the current span, where spans are recorded."""
    carrier: dict[str, str] = {}
    with suppress(Exception):
        propagate.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def _current(span: trace.Span) -> Iterator[None]:
    """Make the span the current one, without recording exceptions: a span would hold their text and stack."""
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        yield


def _facts(delivery: Delivery, request: CheckoutRequest | InvalidMessage) -> dict[str, str | int | bool | None]:
    """The facts known at the start of a delivery."""
    facts: dict[str, str | int | bool | None] = {
        "function": "report_poison" if delivery.from_poison else "checkout_cart",
        "messageId": delivery.message_id,
        "dequeueCount": delivery.dequeue_count,
        "customerId": request.customer_id,
        "cartId": request.cart_id,
        "requestId": request.request_id,
    }
    if isinstance(request, CheckoutRequest):
        facts |= {
            "eventId": request.event_id,
            "correlationId": request.correlation_id,
            "attempt": request.retry.attempt,
            "poisoned": request.retry.poisoned or None,
        }
    return facts


def _message_attributes(operation: Operation, delivery: Delivery, facts: Mapping[str, object]) -> Attributes:
    """The attributes that a sampler sees when the span of a message starts."""
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
