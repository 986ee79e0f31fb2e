"""The names of spans and metrics: OpenTelemetry's semantic conventions for messaging and HTTP, as plain data.

The names are plain text, since the package that lists them costs import time and few of them are stable yet.
Source: OpenTelemetry semantic conventions, messaging spans, messaging client metrics, HTTP client spans.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.trace import SpanKind

SYSTEM = "azure_queue_storage"
"""`messaging.system`: the conventions have no value for Storage queues, and allow custom ones."""

Attributes = dict[str, str | int | float | bool]

_CALLS = {
    "post": ("POST", "/customers/{customerId}/carts/{cartId}/checkout"),
    "get_cart": ("GET", "/customers/{customerId}/carts/{cartId}"),
    "list_orders": ("GET", "/customers/{customerId}/orders"),
}
_HTTP_ERROR = 400
# The conventions' own boundaries end at 10 s. A checkout may take three minutes, and a cart may wait for days.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0, 300.0)
_AGES = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 259_200.0, 518_400.0)


class Endpoints(msgspec.Struct, frozen=True):
    """The names in spans and metrics: two queue names, and the URL of the service with its version."""

    carts: str
    outcomes: str
    service: str


class Operation(msgspec.Struct, frozen=True):
    """A step in OpenTelemetry. `url`: the URL template of a call to the service. `sends`: it sends to a queue."""

    name: str
    kind: SpanKind
    attributes: Attributes
    url: str = ""
    sends: bool = False

    def span_attributes(self, facts: Mapping[str, object]) -> Attributes:
        """The attributes of one span. Those of a metric name no cart."""
        if not self.url:
            return self.attributes
        url = self.url
        for name in ("customerId", "cartId"):
            url = url.replace(f"{{{name}}}", str(facts.get(name)))
        return self.attributes | {"url.full": url}


def operations(endpoints: Endpoints) -> dict[str, Operation]:
    """The operations by step, and those of the two functions. A step that is missing here is internal."""
    poison = f"{endpoints.carts}-poison"
    return {
        "checkout_cart": _messaging("process", endpoints.carts, SpanKind.CONSUMER),
        "report_poison": _messaging("process", poison, SpanKind.CONSUMER),
        # by the conventions the span whose context a message carries is PRODUCER, and the call that sends it CLIENT
        "keep": _messaging("create", endpoints.outcomes, SpanKind.PRODUCER),
        "publish": _messaging("send", endpoints.outcomes, SpanKind.CLIENT),
        "defer": _messaging("send", endpoints.carts, SpanKind.CLIENT),
        "defer to poison": _messaging("send", poison, SpanKind.CLIENT),
        **{step: _call(endpoints.service, method, template) for step, (method, template) in _CALLS.items()},
    }


def _messaging(operation: str, queue: str, kind: SpanKind) -> Operation:
    attributes: Attributes = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
    }
    return Operation(f"{operation} {queue}", kind, attributes, sends=operation == "send")


def _call(service: str, method: str, template: str) -> Operation:
    url = urlsplit(service)
    attributes: Attributes = {
        "http.request.method": method,
        "url.template": template,
        "server.address": url.hostname or "",
        "server.port": url.port or (80 if url.scheme == "http" else 443),
    }
    return Operation(f"{method} {template}", SpanKind.CLIENT, attributes, url=service + template)


def response_attributes(status: object, failure: object) -> Attributes:
    """The attributes of a response: its status, or how the call failed ("no answer: ReadTimeout")."""
    if isinstance(status, int):
        failed: Attributes = {"error.type": str(status)} if status >= _HTTP_ERROR else {}
        return {"http.response.status_code": status, **failed}
    if isinstance(failure, str):
        kind = failure.partition(": ")[2].partition(" (")[0]
        return {"error.type": kind if kind.isidentifier() else "_OTHER"}
    return {}


class Instruments:
    """The metrics of a process."""

    def __init__(self, meter: Meter) -> None:
        def seconds(name: str, description: str, boundaries: tuple[float, ...] = _SECONDS) -> Histogram:
            return meter.create_histogram(
                name, unit="s", description=description, explicit_bucket_boundaries_advisory=boundaries
            )

        self.processing = seconds("messaging.process.duration", "Duration of processing operation.")
        self.consumed = meter.create_counter(
            "messaging.client.consumed.messages",
            unit="{message}",
            description="Number of messages that were delivered to the application.",
        )
        self.sending = seconds(
            "messaging.client.operation.duration",
            "Duration of messaging operation initiated by a producer or consumer client.",
        )
        self.sent = meter.create_counter(
            "messaging.client.sent.messages",
            unit="{message}",
            description="Number of messages producer attempted to send to the broker.",
        )
        self.calling = seconds("cart_checkout.service.duration", "Duration of calls to Partner Center, by response.")
        self.outcomes = meter.create_counter(
            "cart_checkout.outcomes", unit="{outcome}", description="Outcomes published, by outcome and error class."
        )
        self.deferrals = meter.create_counter(
            "cart_checkout.deferrals", unit="{message}", description="Deferred copies sent, by reason."
        )
        self.ages = seconds(
            "cart_checkout.age", "Age of a request when its outcome is published, since it entered the queue.", _AGES
        )
