"""One line per message with nothing secret in it, at the level its end deserves; spans under the message's trace."""

import base64
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry import metrics, propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from shared.bootstrap import bootstrap
from shared.core.errors import Error, ErrorClass, error
from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage, decode
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Outcome, decided
from shared.ports import MissingBlob, StorageUnavailable, StoredBlob, TokenUnavailable
from shared.records import Records
from shared.semconv import Endpoints
from shared.settings import Settings
from shared.telemetry import LOGGER, Telemetry, current_traceparent
from tests.support.memory import MemoryBlobs, MemoryQueue, Responses
from tests.support.world import World

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
SETTINGS = Settings("carts", "outcomes", "records", storage_connection_string="unused")
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
PLANTED = "planted-words"
"""What the producer or the service wrote: passed on in events and records, never in logs."""
UPN = "kim@planted-upn.example"
JWT = "eyJhbGciOiJub25lIn0.e30.c2lnbmF0dXJl"
REQUEST: dict[str, Any] = {
    "customerId": "c0ffee00-1111-4222-8333-444444444444",
    "cartId": "bebebebe-1111-4222-8333-444444444444",
    "requestId": "order-1",
    "customerUserUpn": UPN,
    "context": {"note": PLANTED},
    "traceparent": TRACEPARENT,
}
DELIVERY = Delivery("message-1", 1, NOW)
PLACES = Endpoints("carts", "outcomes", "https://api.partnercenter.microsoft.com/v1")


def fault(status: int, code: int) -> ServiceResponse:
    return ServiceResponse(status, json.dumps({"code": code, "description": PLANTED, "source": PLANTED}).encode())


def orders(status: str) -> ServiceResponse:
    return ServiceResponse(201, json.dumps({"orders": [{"id": PLANTED, "status": status}]}).encode())


class Service(Responses):
    """Answers every POST alike, and every GET with planted text. An exception is raised by the POST or its token."""

    def __init__(self, answer: ServiceResponse | Exception) -> None:
        planted = ServiceResponse(200, json.dumps({"status": PLANTED}).encode())
        self._answer = answer
        super().__init__(self._to_post, cart=planted, orders=planted)

    def token(self) -> str:
        if isinstance(self._answer, TokenUnavailable):
            raise self._answer
        return super().token()

    def _to_post(self) -> ServiceResponse:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Away:
    """A queue or container that is not there."""

    def send(self, text: str, delay: float = 0.0) -> None:
        raise StorageUnavailable("away", len(text), delay)

    def read(self, name: str) -> StoredBlob | MissingBlob:
        raise StorageUnavailable(f"away: {len(name)}")


def handle(
    answer: ServiceResponse | Exception,
    body: bytes | None = None,
    delivery: Delivery = DELIVERY,
    **away: Any,
) -> tuple[dict[str, MemoryQueue], MemoryBlobs]:
    queues = {name: MemoryQueue(lambda: NOW) for name in ("carts", "carts-poison", "outcomes")}
    blobs = MemoryBlobs(lambda: NOW)
    checkout = bootstrap(
        SETTINGS,
        partner_center=Service(answer),
        queue=lambda name: away.get(name.replace("-", "_")) or queues[name],
        blobs=away.get("blobs") or blobs,
        clock=lambda: NOW,
        monotonic=lambda: 0.0,
    )
    checkout.handle(json.dumps(REQUEST).encode() if body is None else body, delivery)
    return queues, blobs


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], tuple[str, dict[str, Any]]]]:
    """The one line that was logged: its level and its facts."""

    def only() -> tuple[str, dict[str, Any]]:
        (record,) = [record for record in caplog.records if record.name == "cart_checkout"]
        text = record.getMessage()
        assert len(text.splitlines()) == 1
        assert text.isascii()
        facts = json.loads(text)
        assert isinstance(facts, dict)
        return record.levelname, facts

    with caplog.at_level(logging.DEBUG, LOGGER.name):
        yield only


Logged = Callable[[], tuple[str, dict[str, Any]]]

# --- the line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "level", "facts"),
    [
        (orders("completed"), "INFO", {"result": "told", "outcome": "completed", "status": 201}),
        (orders("pending_review"), "INFO", {"outcome": "action_required"}),
        (orders("error"), "INFO", {"outcome": "partial"}),
        (fault(400, 800002), "INFO", {"result": "told", "outcome": "failed", "class": "cart", "code": "800002"}),
        (fault(404, 800008), "INFO", {"outcome": "failed", "class": "not_found"}),
        (fault(400, 999999), "INFO", {"result": "deferred", "reason": "settling", "status": 400}),
        (fault(400, 800065), "WARNING", {"outcome": "unknown", "class": "already_ordered"}),
        (fault(500, 800003), "INFO", {"result": "deferred", "reason": "service", "status": 500}),
        (
            ServiceResponse(None, failure="no answer: ReadTimeout"),
            "INFO",
            {"result": "deferred", "failure": "no answer: ReadTimeout"},
        ),
        (ServiceResponse(429, b"", retry_after="60"), "INFO", {"result": "deferred", "reason": "throttled"}),
        (fault(409, 800064), "INFO", {"result": "deferred", "reason": "in_progress"}),
        (fault(401, 800001), "ERROR", {"result": "deferred", "reason": "authentication"}),
        (fault(403, 900308), "ERROR", {"result": "deferred", "reason": "configuration"}),
        (TokenUnavailable("no token"), "ERROR", {"result": "deferred", "reason": "authentication"}),
        (fault(403, 13605), "INFO", {"outcome": "failed", "class": "partner"}),
    ],
)
def test_a_message_is_logged_in_one_line_at_the_level_of_its_result(
    answer: ServiceResponse | Exception, level: str, facts: dict[str, Any], logged: Logged
) -> None:
    handle(answer)
    said_level, text = logged()
    assert (said_level, {name: text.get(name) for name in facts}) == (level, facts)


def test_the_line_has_the_ids_of_the_message_and_the_cart_and_those_for_support(logged: Logged) -> None:
    handle(orders("completed"))
    _, facts = logged()
    assert facts["function"] == "checkout_cart"
    assert (facts["messageId"], facts["dequeueCount"]) == ("message-1", 1)
    assert (facts["customerId"], facts["cartId"]) == (REQUEST["customerId"], REQUEST["cartId"])
    assert (facts["requestId"], facts["attempt"]) == ("order-1", 0)
    assert {"eventId", "correlationId", "msRequestId", "toldEventId"} <= set(facts)
    assert set(facts["ms"]) == {"recall", "enter", "post", "keep", "publish"}
    assert all(isinstance(taken, float) and taken >= 0 for taken in facts["ms"].values())


def test_the_line_says_which_trace_it_belongs_to(logged: Logged) -> None:
    handle(orders("completed"))
    assert TRACE == logged()[1]["traceId"]


def test_without_a_trace_the_line_names_none(logged: Logged) -> None:
    handle(orders("completed"), json.dumps({**REQUEST, "traceparent": "nonsense"}).encode())
    assert "traceId" not in logged()[1]


@pytest.mark.parametrize(
    ("since", "waited"), [(timedelta(0), 0.0), (timedelta(minutes=-61), 3660.0), (timedelta(seconds=5), 0.0)]
)
def test_the_line_says_how_long_the_cart_has_waited_since_it_entered_the_queue(
    since: timedelta, waited: float, logged: Logged
) -> None:
    request = CheckoutRequest(REQUEST["customerId"], REQUEST["cartId"], "order-1", NOW + since)
    with Telemetry(PLACES, lambda: NOW).message(DELIVERY, request):
        pass
    assert waited == logged()[1]["waited"]


def test_the_line_of_an_invalid_message_says_how_long_the_message_has_waited(logged: Logged) -> None:
    delivery = Delivery("message-1", 1, NOW - timedelta(hours=2))
    with Telemetry(PLACES, lambda: NOW).message(delivery, InvalidMessage(b"", "$", "x")):
        pass
    assert 7200.0 == logged()[1]["waited"]


def test_absent_members_are_left_out(logged: Logged) -> None:
    handle(orders("completed"))
    assert None not in logged()[1].values()


@pytest.mark.parametrize(
    ("delivery", "function"), [(DELIVERY, "checkout_cart"), (Delivery("m", 1, NOW, from_poison=True), "report_poison")]
)
def test_an_invalid_message_is_logged_without_its_text(delivery: Delivery, function: str, logged: Logged) -> None:
    body = json.dumps(REQUEST | {PLANTED: UPN, "cartId": PLANTED}).encode()
    handle(orders("completed"), body, delivery)
    level, facts = logged()
    assert (level, facts["function"], facts["outcome"], facts["class"]) == (
        "INFO",
        function,
        "invalid",
        "invalid_message",
    )
    assert PLANTED not in str(facts)
    assert UPN not in str(facts)


class LostRace(MemoryBlobs):
    """A container in which another delivery of the message records its outcome just before this one does."""

    def __init__(self, outcome: Outcome, cause: Error | None = None) -> None:
        super().__init__(lambda: NOW)
        self._decision = Decision(outcome, 1, error=cause)
        self._lost = False

    def write(self, name: str, content: bytes, **more: Any) -> str:
        if content != b"[]" and not self._lost:
            self._lost = True
            message = decode(json.dumps(REQUEST).encode(), DELIVERY)
            assert isinstance(message, CheckoutRequest)
            records = Records(self)
            record = records.load(message.customer_id, message.cart_id)
            records.append(message, record, decided(message, self._decision, NOW))
        return super().write(name, content, **more)


HELD_FOR_LONG = json.dumps(REQUEST | {"retry": {"attempt": 9, "held": (NOW - timedelta(days=3)).isoformat()}}).encode()
"""A 401 or 403 that comes now is its last: it is given up."""
LOST_RACES = [
    (fault(403, 900308), Outcome.COMPLETED, None, ("INFO", None, None)),
    (fault(401, 800001), Outcome.ACTION_REQUIRED, error(ErrorClass.CART, "x", code="1"), ("INFO", "cart", "1")),
    (fault(400, 800002), Outcome.UNKNOWN, error(ErrorClass.UNANSWERED, "x"), ("WARNING", "unanswered", None)),
    (
        fault(400, 800002),
        Outcome.FAILED,
        error(ErrorClass.CONFIGURATION, "x", code="900308"),
        ("ERROR", "configuration", "900308"),
    ),
    (fault(400, 800002), Outcome.FAILED, error(ErrorClass.CART, "x", code=PLANTED * 9), ("INFO", "cart", None)),
]


@pytest.mark.parametrize(("judged", "outcome", "cause", "expected"), LOST_RACES, ids=str)
def test_after_a_lost_race_the_line_and_the_metric_say_what_was_published(
    judged: ServiceResponse,
    outcome: Outcome,
    cause: Error | None,
    expected: tuple[str, str | None, str | None],
    logged: Logged,
    measured: "Callable[[], Points]",
) -> None:
    queues, _ = handle(judged, HELD_FOR_LONG, blobs=LostRace(outcome, cause))

    level, facts = logged()
    assert (*expected, "told", outcome) == (
        level,
        facts.get("class"),
        facts.get("code"),
        facts["result"],
        facts["outcome"],
    )
    assert published(queues)["id"] == facts["toldEventId"]
    assert judged.status == facts["status"], "of its own POST"
    labels = {"cart_checkout.outcome": outcome} | ({"cart_checkout.class": expected[1]} if expected[1] else {})
    assert [(labels, 1)] == [(said, point.value) for said, point in measured()["cart_checkout.outcomes"]]


def test_the_line_of_a_large_outcome_has_its_class_though_its_data_lie_in_a_blob(logged: Logged) -> None:
    rows = [{"code": 800002, "description": "x" * 60_000}]
    queues, _ = handle(ServiceResponse(201, json.dumps({"orders": [{"id": "1"}], "orderErrors": rows}).encode()))
    assert "dataref" in published(queues)
    assert ("partial", "cart") == (logged()[1]["outcome"], logged()[1]["class"])


CORRELATION = "cccccccc-0000-4000-8000-000000000003"


@pytest.mark.parametrize(
    ("again", "differs"),
    [
        ({}, None),
        ({"customerUserUpn": "lee@planted-upn.example"}, None),
        ({"context": {"note": f"other {PLANTED}"}}, "context"),
        ({"context": None, "correlationId": CORRELATION}, "context correlationId"),
    ],
    ids=str,
)
@pytest.mark.parametrize("first", [fault(400, 800002), orders("completed")], ids=["failed", "completed"])
def test_a_request_id_that_is_used_for_another_request_is_a_warning_without_its_values(
    first: ServiceResponse, again: dict[str, Any], differs: str | None, caplog: pytest.LogCaptureFixture, logged: Logged
) -> None:
    queues, blobs = handle(first)
    caplog.clear()

    repeated, _ = handle(orders("error"), json.dumps(REQUEST | again).encode(), blobs=blobs)

    level, facts = logged()
    assert ("WARNING" if differs else "INFO", differs) == (level, facts.get("differs"))
    assert published(queues) == published(repeated), "it is answered by the record as always"
    for value in (PLANTED, "planted-upn", CORRELATION):
        assert value not in str({name: fact for name, fact in facts.items() if name != "correlationId"})


@pytest.mark.parametrize("body", [None, b"no request"], ids=["a request", "no request"])
@pytest.mark.parametrize("copies", [True, False], ids=["a copy is sent", "no copy is sent"])
def test_nothing_is_said_to_be_told_before_it_is(
    copies: bool, body: bytes | None, logged: Logged, measured: "Callable[[], Points]"
) -> None:
    away: dict[str, Any] = {"outcomes": Away()} | ({} if copies else {"carts": Away()})
    with nullcontext() if copies else pytest.raises(StorageUnavailable):
        handle(fault(400, 800002), body, **away)

    level, facts = logged()
    assert (level, facts["result"]) == (("WARNING", "deferred") if copies else ("ERROR", "raised"))
    assert not {"outcome", "class", "code", "toldEventId"} & {*facts}
    assert "cart_checkout.outcomes" not in measured()


def test_unavailable_storage_is_a_warning(logged: Logged) -> None:
    handle(orders("completed"), blobs=Away())
    level, facts = logged()
    assert (level, facts["result"], facts["reason"]) == ("WARNING", "deferred", "storage")


def test_an_exception_is_logged_as_an_error_with_its_type_only(logged: Logged) -> None:
    with pytest.raises(StorageUnavailable):
        handle(fault(500, 800003), carts=Away())
    level, facts = logged()
    assert (level, facts["result"], facts["exception"]) == ("ERROR", "raised", "StorageUnavailable")


def test_a_poisoned_message_is_a_warning(logged: Logged) -> None:
    handle(orders("completed"), delivery=Delivery("message-1", 1, NOW, from_poison=True))
    level, facts = logged()
    assert (level, facts["function"], facts["result"], facts["reason"]) == (
        "WARNING",
        "report_poison",
        "deferred",
        "poisoned",
    )


ANSWERS = [
    *(orders(status) for status in ("completed", "pending_review", "error", PLANTED)),
    *(
        fault(status, code)
        for status, code in [(400, 800002), (400, 1), (500, 800003), (403, 13605), (401, 1), (400, 800065)]
    ),
    ServiceResponse(200, PLANTED.encode()),
    ServiceResponse(429, PLANTED.encode(), retry_after=PLANTED, request_id=PLANTED, correlation_id=PLANTED, cv=PLANTED),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_no_log_line_repeats_text_of_the_producer_or_the_service(
    answer: ServiceResponse, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        queues, _ = handle(answer)
    assert sum(len(queue.messages) for queue in queues.values()) == 1
    assert caplog.records
    assert PLANTED not in caplog.text
    assert UPN not in caplog.text


@pytest.mark.parametrize("request_id", ["\u2028", JWT, f"x{JWT}", "\\\u202e", "é" * 256])
def test_an_unusual_request_id_neither_breaks_the_line_nor_shows_a_token(request_id: str, logged: Logged) -> None:
    handle(orders("completed"), json.dumps(REQUEST | {"requestId": request_id}).encode())
    _, facts = logged()
    assert JWT not in facts["requestId"]
    assert facts["requestId"].isprintable()


def test_free_text_in_the_place_of_a_code_is_not_logged(logged: Logged) -> None:
    """Error codes are the one thing the line takes from the service."""
    body = json.dumps({"code": f"{JWT} {PLANTED}\n", "description": "x"}).encode()
    handle(ServiceResponse(500, body))
    assert JWT not in json.dumps(logged()[1])


# --- spans and the trace context -----------------------------------------------------------------------------

SECRETS = (PLANTED, UPN, JWT)
KIND, MESSAGING = SpanKind, {"messaging.system": "azure_queue_storage"}
PROCESS = MESSAGING | {"messaging.operation.name": "process", "messaging.operation.type": "process"}
SEND = MESSAGING | {"messaging.operation.name": "send", "messaging.operation.type": "send"}
CREATE = MESSAGING | {"messaging.operation.name": "create", "messaging.operation.type": "create"}
CHECKOUT = "POST /customers/{customerId}/carts/{cartId}/checkout"


class Spans(InMemorySpanExporter):
    """What was recorded, as OpenTelemetry's own SDK exports it."""

    @property
    def ended(self) -> list[ReadableSpan]:
        """In the order in which they began."""
        return sorted(self.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.ended if span.name == name]
        return found

    @property
    def said(self) -> str:
        """All that they tell."""
        return "".join(span.to_json() for span in self.ended)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """OpenTelemetry's SDK in the place of the deployment's, and the settings that name the queues."""
    exporter, provider = Spans(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    monkeypatch.setenv("CARTS_QUEUE", "carts")
    monkeypatch.setenv("OUTCOMES_QUEUE", "outcomes")
    return exporter


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Of its trace, and its own."""
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def published(queues: dict[str, MemoryQueue]) -> dict[str, Any]:
    (message,) = queues["outcomes"].messages
    event = json.loads(base64.b64decode(message.text))
    assert isinstance(event, dict)
    return event


def test_a_cart_is_one_trace_from_its_producer_over_the_service_to_its_outcome(spans: Spans) -> None:
    event = published(handle(orders("completed"))[0])

    assert [
        ("process carts", KIND.CONSUMER),
        ("recall", KIND.INTERNAL),
        ("enter", KIND.INTERNAL),
        (CHECKOUT, KIND.CLIENT),
        ("create outcomes", KIND.PRODUCER),
        ("send outcomes", KIND.CLIENT),
    ] == [(span.name, span.kind) for span in spans.ended]
    message, *steps = spans.ended
    assert message.parent is not None
    assert TRACEPARENT == f"00-{message.parent.trace_id:032x}-{message.parent.span_id:016x}-01"
    assert {TRACE} == {ids(span)[0] for span in spans.ended}
    assert {ids(message)[1]} == {f"{span.parent.span_id:016x}" for span in steps if span.parent}
    assert f"00-{TRACE}-{ids(spans.named('create outcomes'))[1]}-01" == event["traceparent"]


def test_spans_follow_the_conventions(spans: Spans) -> None:
    event = published(handle(orders("completed"))[0])
    message = attributes(spans.named("process carts"))
    age = message.pop("cart_checkout.age")

    assert isinstance(age, float)
    assert message == PROCESS | {
        "messaging.destination.name": "carts",
        "messaging.message.id": "message-1",
        "messaging.message.conversation_id": event["correlationid"],
        "cart_checkout.dequeue_count": 1,
        "cart_checkout.customer_id": REQUEST["customerId"],
        "cart_checkout.cart_id": REQUEST["cartId"],
        "cart_checkout.request_id": "order-1",
        "cart_checkout.event_id": event["id"],
        "cart_checkout.result": "told",
        "cart_checkout.outcome": "completed",
    }
    assert CREATE | {"messaging.destination.name": "outcomes"} == attributes(spans.named("create outcomes"))
    assert SEND | {"messaging.destination.name": "outcomes"} == attributes(spans.named("send outcomes"))
    assert attributes(spans.named(CHECKOUT)) == {
        "http.request.method": "POST",
        "url.full": f"https://api.partnercenter.microsoft.com/v1/customers/{REQUEST['customerId']}/carts/{REQUEST['cartId']}/checkout",
        "url.template": "/customers/{customerId}/carts/{cartId}/checkout",
        "server.address": "api.partnercenter.microsoft.com",
        "server.port": 443,
        "http.response.status_code": 201,
    }


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (fault(400, 800002), {"http.response.status_code": 400, "error.type": "400"}),
        (fault(500, 800003), {"http.response.status_code": 500, "error.type": "500"}),
        (ServiceResponse(None, failure="no answer: ReadTimeout"), {"error.type": "ReadTimeout"}),
        (ServiceResponse(None, failure="no call: out of time"), {"error.type": "_OTHER"}),
    ],
    ids=str,
)
def test_the_span_of_a_failed_call_has_the_type_of_the_error(
    answer: ServiceResponse, said: dict[str, Any], spans: Spans
) -> None:
    handle(answer)
    call = spans.named(CHECKOUT)
    known = {
        name: value for name, value in attributes(call).items() if name in ("http.response.status_code", "error.type")
    }
    assert (said, StatusCode.ERROR) == (known, call.status.status_code)
    assert StatusCode.UNSET == spans.named("process carts").status.status_code  # it was answered, or waits


def test_the_gets_have_client_spans_too(spans: Spans) -> None:
    handle(fault(400, 800065))
    calls = [span for span in spans.ended if "http.request.method" in attributes(span)]
    assert [
        CHECKOUT,
        CHECKOUT,
        "GET /customers/{customerId}/carts/{cartId}",
        "GET /customers/{customerId}/orders",
    ] == [span.name for span in calls]
    assert {SpanKind.CLIENT} == {span.kind for span in calls}
    assert all((one.end_time or 0) <= (next_.start_time or 0) for one, next_ in pairwise(calls))


def test_a_copy_that_waits_is_sent_to_the_carts_queue(spans: Spans) -> None:
    handle(fault(500, 800003))
    assert SEND | {"messaging.destination.name": "carts"} == attributes(spans.named("send carts"))
    assert "deferred" == attributes(spans.named("process carts"))["cart_checkout.result"]


@pytest.mark.parametrize(("retry", "queue"), [({}, "carts"), ({"poisoned": True}, "carts-poison")])
def test_the_span_of_a_copy_from_the_poison_queue_names_its_destination(
    retry: dict[str, Any], queue: str, spans: Spans
) -> None:
    body = json.dumps(REQUEST | {"retry": retry}).encode()
    away = Away() if retry else None
    queues, _ = handle(orders("completed"), body, Delivery("m", 1, NOW, from_poison=True), blobs=away)
    assert 1 == len(queues[queue].messages)
    assert "process carts-poison" == spans.ended[0].name
    assert spans.named(f"send {queue}")


def test_deferred_and_poisoned_messages_stay_in_their_trace(spans: Spans) -> None:
    world = World()
    world.enqueue("dropped-after", traceparent=TRACEPARENT)
    (message,) = world.carts.messages
    world.poison.send(message.text)
    world.run()
    deliveries = [span.name for span in spans.ended if span.kind is KIND.CONSUMER]
    assert {"process carts", "process carts-poison"} == {*deliveries}
    assert len(deliveries) > 3
    assert {TRACE} == {ids(span)[0] for span in spans.ended}
    assert TRACE == world.outcome()["traceparent"].split("-")[1]


def test_the_trace_of_the_cloud_event_around_a_request_is_the_requests(spans: Spans) -> None:
    members = {name: value for name, value in REQUEST.items() if name != "traceparent"}
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/shop",
        "type": "t",
        "traceparent": TRACEPARENT,
        "data": members,
    }
    handle(orders("completed"), json.dumps(event).encode())
    assert {TRACE} == {ids(span)[0] for span in spans.ended}


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_spans_contain_no_secret(answer: ServiceResponse, spans: Spans) -> None:
    handle(answer)
    assert not [secret for secret in SECRETS if secret in spans.said]


def test_a_span_contains_neither_text_nor_stack_of_an_exception(spans: Spans) -> None:
    secret = RuntimeError(f"{PLANTED} {UPN} {JWT}")
    with pytest.raises(RuntimeError):
        handle(secret)
    assert not [secret for secret in SECRETS if secret in spans.said]
    assert [(), ()] == [spans.named(name).events for name in ("process carts", CHECKOUT)]
    for name in ("process carts", CHECKOUT):
        assert (StatusCode.ERROR, None) == (spans.named(name).status.status_code, spans.named(name).status.description)
        assert "RuntimeError" == attributes(spans.named(name))["error.type"]


def test_an_unusual_request_id_shows_no_token_in_a_span(spans: Spans) -> None:
    handle(orders("completed"), json.dumps(REQUEST | {"requestId": f"x{JWT}"}).encode())
    assert JWT not in spans.said


def test_a_message_without_a_trace_begins_one(spans: Spans) -> None:
    event = published(handle(orders("completed"), json.dumps({**REQUEST, "traceparent": "nonsense"}).encode())[0])
    assert spans.ended[0].parent is None
    assert ids(spans.ended[0])[0] == event["traceparent"].split("-")[1] != TRACE


def test_the_hosts_own_span_is_the_parent_where_the_message_names_none_and_else_a_link(spans: Spans) -> None:
    host = SpanContext(7, 9, is_remote=True, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(host)):
        handle(orders("completed"), json.dumps({**REQUEST, "traceparent": "nonsense"}).encode())
        handle(orders("completed"))
    alone, named = [span for span in spans.ended if span.name == "process carts"]
    assert alone.parent is not None
    assert ((7, 9), []) == ((alone.parent.trace_id, alone.parent.span_id), [*alone.links])
    assert (TRACE, [host]) == (ids(named)[0], [link.context for link in named.links])


def test_a_span_ends_when_its_step_raises(spans: Spans) -> None:
    with pytest.raises(StorageUnavailable):
        handle(fault(500, 800003), carts=Away())
    assert "raised" == attributes(spans.named("process carts"))["cart_checkout.result"]
    assert "StorageUnavailable" == attributes(spans.named("send carts"))["error.type"]


class Begun(SpanProcessor):
    """Counts the spans that begin, as an exporter sees only those that end."""

    def __init__(self) -> None:
        self.count = 0

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        del span, parent_context
        self.count += 1


def test_every_span_that_was_started_is_ended_whatever_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended, provider = Begun(), Spans(), TracerProvider()
    provider.add_span_processor(begun)
    provider.add_span_processor(SimpleSpanProcessor(ended))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    for answer in ANSWERS:
        handle(answer)
    handle(TokenUnavailable("no token"))
    assert begun.count == len(ended.ended) > 2 * len(ANSWERS)


def test_without_an_sdk_the_messages_own_trace_is_passed_on() -> None:
    assert published(handle(orders("completed"))[0])["traceparent"] == TRACEPARENT


def test_without_an_sdk_and_without_a_trace_there_is_no_traceparent() -> None:
    body = json.dumps({name: value for name, value in REQUEST.items() if name != "traceparent"}).encode()
    assert "traceparent" not in published(handle(orders("completed"), body)[0])


def test_the_current_traceparent_is_the_messages_while_it_is_handled_and_none_after() -> None:
    request = CheckoutRequest(REQUEST["customerId"], REQUEST["cartId"], "order-1", NOW, traceparent=TRACEPARENT)
    assert current_traceparent() is None
    with Telemetry(PLACES, lambda: NOW).message(DELIVERY, request) as line:
        assert current_traceparent() == TRACEPARENT
        with line.step("keep"):
            assert current_traceparent() == TRACEPARENT
    assert current_traceparent() is None


def test_one_messages_trace_does_not_leak_into_the_next() -> None:
    handle(orders("completed"))
    with Telemetry(PLACES, lambda: NOW).message(DELIVERY, InvalidMessage(b"", "$", "x")):
        assert current_traceparent() is None


# --- metrics -------------------------------------------------------------------------------------------------

Points = dict[str, list[tuple[dict[str, Any], Any]]]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Points]]:
    """The data points by metric, as OpenTelemetry's own SDK reads them: attributes, and a count or a histogram."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    monkeypatch.setenv("CARTS_QUEUE", "carts")
    monkeypatch.setenv("OUTCOMES_QUEUE", "outcomes")

    def points() -> Points:
        data = reader.get_metrics_data()
        found: list[Metric] = (
            [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
        )
        return {
            metric.name: [(dict(point.attributes or {}), point) for point in metric.data.data_points]
            for metric in found
        }

    yield points
    provider.shutdown()


def test_messages_are_counted_and_timed_by_the_names_of_the_conventions(measured: Callable[[], Points]) -> None:
    handle(orders("completed"))
    handle(fault(500, 800003))
    handle(fault(400, 800002))
    found = measured()
    process, carts, outcomes = (
        PROCESS,
        {"messaging.destination.name": "carts"},
        {"messaging.destination.name": "outcomes"},
    )

    assert [(process | carts, 3)] == [
        (said, point.value) for said, point in found["messaging.client.consumed.messages"]
    ]
    assert [(process | carts, 3)] == [(said, point.count) for said, point in found["messaging.process.duration"]]
    sent = [(SEND | outcomes, 2), (SEND | carts, 1)]
    assert sent == [(said, point.value) for said, point in found["messaging.client.sent.messages"]]
    assert sent == [(said, point.count) for said, point in found["messaging.client.operation.duration"]]
    assert all(0 <= point.sum < 10 for _, point in found["messaging.process.duration"])


def test_outcomes_deferrals_and_calls_have_metrics_of_their_own(measured: Callable[[], Points]) -> None:
    for answer in (
        orders("completed"),
        fault(400, 800002),
        fault(400, 800002),
        ServiceResponse(429, b"", retry_after="60"),
    ):
        handle(answer)
    found = measured()
    told_of = [
        ({"cart_checkout.outcome": "completed"}, 1),
        ({"cart_checkout.outcome": "failed", "cart_checkout.class": "cart"}, 2),
    ]
    assert told_of == [(said, point.value) for said, point in found["cart_checkout.outcomes"]]
    assert told_of == [(said, point.count) for said, point in found["cart_checkout.age"]]
    assert [({"cart_checkout.reason": "throttled"}, 1)] == [(s, p.value) for s, p in found["cart_checkout.deferrals"]]
    assert [(201, 1), (400, 2), (429, 1)] == [
        (said["http.response.status_code"], point.count) for said, point in found["cart_checkout.service.duration"]
    ]


def test_a_message_that_raised_is_measured_with_the_type_of_the_error(measured: Callable[[], Points]) -> None:
    with pytest.raises(StorageUnavailable):
        handle(fault(500, 800003), carts=Away())
    found = measured()
    for metric in (
        "messaging.process.duration",
        "messaging.client.consumed.messages",
        "messaging.client.sent.messages",
    ):
        assert ["StorageUnavailable"] == [said["error.type"] for said, _ in found[metric]]
    assert "cart_checkout.outcomes" not in found
    assert "cart_checkout.deferrals" not in found


def test_no_attribute_of_a_metric_is_an_id(measured: Callable[[], Points]) -> None:
    for answer in ANSWERS:
        handle(answer)
    attributes_text = str([attributes for points in measured().values() for attributes, _ in points])
    for secret in (*SECRETS, REQUEST["customerId"], REQUEST["cartId"], "order-1", "message-1", TRACE):
        assert secret not in attributes_text


# --- telemetry that fails ------------------------------------------------------------------------------------


def raising(*_: Any, **__: Any) -> Any:
    raise RuntimeError("telemetry is broken")


class BrokenTracer(trace.NoOpTracer):
    start_span = raising


class BrokenSpan(NonRecordingSpan):
    set_attributes = set_status = end = raising


class BrokenSpans(trace.NoOpTracer):
    def start_span(self, *_: Any, **__: Any) -> trace.Span:
        return BrokenSpan(SpanContext(7, 9, is_remote=False))


class BrokenInstrument:
    add = record = raising


class BrokenMeter(metrics.NoOpMeter):
    def create_counter(self, *_: Any, **__: Any) -> Any:
        return BrokenInstrument()

    create_histogram = create_counter


@pytest.mark.parametrize(
    ("where", "name", "broken"),
    [
        (trace, "get_tracer", raising),
        (metrics, "get_meter", raising),
        (trace, "get_tracer", lambda _: BrokenTracer()),
        (trace, "get_tracer", lambda _: BrokenSpans()),
        (metrics, "get_meter", BrokenMeter),
        (propagate, "inject", raising),
        (propagate, "extract", raising),
        (LOGGER, "log", raising),
    ],
    ids=["no tracer", "no meter", "no spans", "broken spans", "broken metrics", "inject", "extract", "log"],
)
@pytest.mark.parametrize("answer", [orders("completed"), fault(500, 800003), fault(400, 800065)], ids=str)
def test_failing_telemetry_does_not_fail_a_checkout(
    where: Any, name: str, broken: Any, answer: ServiceResponse, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = handle(answer)
    monkeypatch.setattr(where, name, broken)
    queues, _ = handle(answer)
    assert [len(queue.messages) for queue in expected[0].values()] == [len(queue.messages) for queue in queues.values()]


def test_failing_telemetry_does_not_change_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer", lambda _: BrokenSpans())
    monkeypatch.setattr(metrics, "get_meter", BrokenMeter)
    monkeypatch.setattr(LOGGER, "log", raising)
    with pytest.raises(StorageUnavailable):
        handle(fault(500, 800003), carts=Away())


# --- exporting by OTLP ---------------------------------------------------------------------------------------


def test_without_its_requirements_an_endpoint_is_a_warning_and_the_app_starts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation", None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:1/{PLANTED}")
    handle(orders("completed"))
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set" in warning.getMessage()
    assert "opentelemetry-distro and opentelemetry-exporter-otlp-proto-http" in warning.getMessage()
    assert PLANTED not in warning.getMessage()


def test_an_existing_tracer_provider_is_kept(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation", None)
    monkeypatch.setattr(trace, "get_tracer_provider", TracerProvider)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    handle(orders("completed"))
    assert "WARNING" not in [record.levelname for record in caplog.records]


def test_without_an_endpoint_no_sdk_is_imported(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation", None)
    handle(orders("completed"))
    assert "WARNING" not in [record.levelname for record in caplog.records]


# --- the line itself -----------------------------------------------------------------------------------------


def test_a_repeated_step_adds_up_and_a_later_fact_replaces_the_earlier(logged: Logged) -> None:
    with Telemetry(PLACES, lambda: NOW).message(DELIVERY, InvalidMessage(b"", "$", "x")) as line:
        for _ in range(2):
            with line.step("recall"):
                line.add(result="first")
        line.add(result="second", absent=None)
        line.escalate(logging.ERROR)
        line.escalate(logging.WARNING)
    level, facts = logged()
    assert (level, facts["result"], list(facts["ms"])) == ("ERROR", "second", ["recall"])
    assert "absent" not in facts
