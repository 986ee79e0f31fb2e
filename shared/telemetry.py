"""One wide log line per message, spans and counters. Nothing secret: ids, classes, times and sizes only.

The line is a JSON object, so that a log query can parse it. Of what the producer or the service wrote only ids
and error codes enter it; tokens, the UPN and connection strings never do.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import SpanKind

from shared.jsontext import printable
from shared.messages import CheckoutRequest, Delivery, InvalidMessage

NAME = "cart_checkout"
LOGGER = logging.getLogger(NAME)
_LONGEST_FACT = 400


class Line:
    """The facts of one message, gathered on its way and logged once at its end."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self.level = logging.INFO
        self.facts: dict[str, str | int | float | bool | None] = {}
        self._milliseconds: dict[str, float] = {}

    def add(self, **facts: str | float | bool | None) -> None:
        """Add facts; a later one of the same name replaces the earlier."""
        self.facts.update(facts)

    def raise_level(self, level: int) -> None:
        """Log the line at this level at least: an alert can match it."""
        self.level = max(self.level, level)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step of the way, in milliseconds, and span it. A repeated step adds up."""
        begin = time.perf_counter()
        with self._tracer.start_as_current_span(name):
            try:
                yield
            finally:
                taken = (time.perf_counter() - begin) * 1000
                self._milliseconds[name] = round(self._milliseconds.get(name, 0.0) + taken, 1)

    def text(self) -> str:
        """The line: a compact JSON object without what is absent, every text in it made printable."""
        facts = {
            name: printable(value, _LONGEST_FACT) if isinstance(value, str) else value
            for name, value in self.facts.items()
            if value is not None
        }
        return json.dumps({**facts, "ms": self._milliseconds}, separators=(",", ":"))


class Telemetry:
    """Where the lines, spans and counters of a process go."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(NAME)
        meter = metrics.get_meter(NAME)
        self._messages = meter.create_counter(
            "cart_checkout.messages", unit="{message}", description="Messages handled, by what came of them"
        )
        self._duration = meter.create_histogram(
            "cart_checkout.duration", unit="s", description="From delivery to return, by what came of it"
        )

    @contextmanager
    def message(self, delivery: Delivery, request: CheckoutRequest | InvalidMessage) -> Iterator[Line]:
        """Span, count and log one delivery. The span is a child of the message's own `traceparent`.

        That is attached by hand: the worker gives a function of its thread pool no trace context.
        """
        line = Line(self._tracer)
        line.add(
            function="report_poison" if delivery.last else "checkout_cart",
            messageId=delivery.message_id,
            dequeueCount=delivery.dequeue_count,
            customerId=request.customer_id,
            cartId=request.cart_id,
        )
        traceparent = None
        if isinstance(request, CheckoutRequest):
            traceparent = request.traceparent
            line.add(
                requestId=request.request_id,
                eventId=request.event_id,
                correlationId=request.correlation_id,
                attempt=request.retry.attempt,
                poisoned=request.retry.poisoned or None,
            )
        parent = propagate.extract({"traceparent": traceparent}) if traceparent else None
        begin = time.perf_counter()
        with self._tracer.start_as_current_span("checkout cart", context=parent, kind=SpanKind.CONSUMER) as span:
            try:
                yield line
            except BaseException as error:
                line.add(result="raised", exception=type(error).__name__)
                line.raise_level(logging.ERROR)
                raise
            finally:
                kinds = {
                    key: str(line.facts[key]) for key in ("result", "outcome", "class", "reason") if line.facts.get(key)
                }
                span.set_attributes({f"cart_checkout.{key}": value for key, value in kinds.items()})
                self._messages.add(1, kinds)
                self._duration.record(time.perf_counter() - begin, kinds)
                LOGGER.log(line.level, "%s", line.text())


def current_traceparent() -> str | None:
    """The trace context to pass on: of the span we are in, where somebody records spans."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")
