"""One line per message with nothing secret in it, at the level its end deserves; spans under the message's trace."""

import base64
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, Tracer

from local.memory import MemoryBlobs, MemoryQueue
from shared.bootstrap import bootstrap
from shared.identity import TokenUnavailable
from shared.messages import CheckoutRequest, Delivery, InvalidMessage
from shared.models import Answer
from shared.settings import Settings
from shared.storage import StorageUnavailable
from shared.telemetry import LOGGER, Telemetry, current_traceparent

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


def fault(status: int, code: int) -> Answer:
    return Answer(status, json.dumps({"code": code, "description": PLANTED, "source": PLANTED}).encode())


def orders(status: str) -> Answer:
    return Answer(201, json.dumps({"orders": [{"id": PLANTED, "status": status}]}).encode())


class Service:
    """Answers every call alike; an exception is raised instead."""

    def __init__(self, answer: Answer | Exception) -> None:
        self._answer = answer

    def checkout(self, request: CheckoutRequest) -> Answer:
        del request
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def get_cart(self, request: CheckoutRequest) -> Answer:
        del request
        return Answer(200, json.dumps({"status": PLANTED}).encode())

    list_orders = get_cart


class Away:
    """A queue or container that is not there."""

    def send(self, text: str, delay: float = 0.0) -> None:
        raise StorageUnavailable("away", len(text), delay)

    def read(self, name: str) -> tuple[bytes, str] | None:
        raise StorageUnavailable(f"away: {len(name)}")


def handle(
    answer: Answer | Exception,
    body: bytes | None = None,
    delivery: Delivery = DELIVERY,
    **away: Any,
) -> tuple[dict[str, MemoryQueue], MemoryBlobs]:
    queues = {name: MemoryQueue(lambda: NOW) for name in ("carts", "carts-poison", "outcomes")}
    blobs = MemoryBlobs()
    checkout = bootstrap(
        SETTINGS,
        partner_center=Service(answer),
        queue=lambda name: away.get(name.replace("-", "_")) or queues[name],
        blobs=away.get("blobs") or blobs,
        clock=lambda: NOW,
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
        (fault(400, 999999), "WARNING", {"outcome": "unknown", "class": "rejected", "code": "999999"}),
        (fault(400, 800065), "WARNING", {"outcome": "unknown", "class": "already_ordered"}),
        (fault(500, 800003), "INFO", {"result": "deferred", "reason": "service", "status": 500}),
        (
            Answer(None, failure="no answer: ReadTimeout"),
            "INFO",
            {"result": "deferred", "failure": "no answer: ReadTimeout"},
        ),
        (Answer(429, b"", retry_after="60"), "INFO", {"result": "deferred", "reason": "throttled"}),
        (fault(409, 800064), "INFO", {"result": "deferred", "reason": "in_progress"}),
        (fault(401, 800001), "ERROR", {"result": "deferred", "reason": "authentication"}),
        (fault(403, 900308), "ERROR", {"result": "deferred", "reason": "configuration"}),
        (TokenUnavailable("no token"), "ERROR", {"result": "deferred", "reason": "authentication"}),
        (fault(403, 13605), "INFO", {"outcome": "failed", "class": "partner"}),
    ],
)
def test_a_message_ends_in_one_line_at_the_level_that_its_end_deserves(
    answer: Answer | Exception, level: str, facts: dict[str, Any], logged: Logged
) -> None:
    handle(answer)
    said_level, said = logged()
    assert (said_level, {name: said.get(name) for name in facts}) == (level, facts)


def test_the_line_names_the_message_the_cart_and_what_support_asks_for(logged: Logged) -> None:
    handle(orders("completed"))
    _, facts = logged()
    assert facts["function"] == "checkout_cart"
    assert (facts["messageId"], facts["dequeueCount"]) == ("message-1", 1)
    assert (facts["customerId"], facts["cartId"]) == (REQUEST["customerId"], REQUEST["cartId"])
    assert (facts["requestId"], facts["attempt"]) == ("order-1", 0)
    assert {"eventId", "correlationId", "msRequestId", "toldEventId"} <= set(facts)
    assert set(facts["ms"]) == {"recall", "post", "keep", "publish"}
    assert all(isinstance(taken, float) and taken >= 0 for taken in facts["ms"].values())


def test_what_is_absent_is_left_out(logged: Logged) -> None:
    handle(orders("completed"))
    assert None not in logged()[1].values()


@pytest.mark.parametrize(
    ("delivery", "function"), [(DELIVERY, "checkout_cart"), (Delivery("m", 1, NOW, last=True), "report_poison")]
)
def test_an_invalid_message_is_a_line_too_without_its_words(delivery: Delivery, function: str, logged: Logged) -> None:
    body = json.dumps(REQUEST | {PLANTED: UPN, "cartId": PLANTED}).encode()
    handle(orders("completed"), body, delivery)
    level, facts = logged()
    assert (level, facts["function"], facts["outcome"], facts["class"]) == (
        "INFO",
        function,
        "failed",
        "invalid_message",
    )
    assert PLANTED not in str(facts)
    assert UPN not in str(facts)


def test_storage_that_is_away_is_a_warning(logged: Logged) -> None:
    handle(orders("completed"), blobs=Away())
    level, facts = logged()
    assert (level, facts["result"], facts["reason"]) == ("WARNING", "deferred", "storage")


def test_what_raises_is_an_error_that_names_its_type_alone(logged: Logged) -> None:
    with pytest.raises(StorageUnavailable):
        handle(fault(500, 800003), carts=Away())
    level, facts = logged()
    assert (level, facts["result"], facts["exception"]) == ("ERROR", "raised", "StorageUnavailable")


def test_a_poisoned_message_is_a_warning(logged: Logged) -> None:
    handle(orders("completed"), delivery=Delivery("message-1", 1, NOW, last=True))
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
    Answer(200, PLANTED.encode()),
    Answer(429, PLANTED.encode(), retry_after=PLANTED, request_id=PLANTED, correlation_id=PLANTED, cv=PLANTED),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_no_line_of_anybodys_repeats_what_the_producer_or_the_service_wrote(
    answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        queues, _ = handle(answer)
    assert sum(len(queue.messages) for queue in queues.values()) == 1
    assert caplog.records
    assert PLANTED not in caplog.text
    assert UPN not in caplog.text


@pytest.mark.parametrize("request_id", ["\u2028", JWT, f"x{JWT}", "\\\u202e", "é" * 256])
def test_a_strange_request_id_neither_breaks_the_line_nor_carries_a_token(request_id: str, logged: Logged) -> None:
    handle(orders("completed"), json.dumps(REQUEST | {"requestId": request_id}).encode())
    _, facts = logged()
    assert JWT not in facts["requestId"]
    assert facts["requestId"].isprintable()


def test_a_code_that_is_no_code_does_not_enter_the_line(logged: Logged) -> None:
    """Error codes are the one thing the line takes from the service."""
    body = json.dumps({"code": f"{JWT} {PLANTED}\n", "description": "x"}).encode()
    handle(Answer(500, body))
    assert JWT not in json.dumps(logged()[1])


# --- spans and the trace context -----------------------------------------------------------------------------


class Recorded(NonRecordingSpan):
    """A span that remembers how it began and what it was told."""

    def __init__(self, context: SpanContext, name: str, parent: SpanContext, kind: SpanKind) -> None:
        super().__init__(context)
        self.name = name
        self.parent = parent
        self.kind = kind
        self.attributes: dict[str, Any] = {}
        self.ended = False

    def set_attributes(self, attributes: Any) -> None:
        self.attributes.update(attributes)

    def end(self, end_time: int | None = None) -> None:
        del end_time
        self.ended = True


class Recorder(Tracer):
    """A tracer whose spans can be looked at."""

    def __init__(self) -> None:
        self.spans: list[Recorded] = []

    def start_span(
        self, name: str, context: Context | None = None, kind: SpanKind = SpanKind.INTERNAL, *_: Any, **__: Any
    ) -> Span:
        parent = trace.get_current_span(context).get_span_context()
        trace_id = parent.trace_id or 7
        made = SpanContext(trace_id, len(self.spans) + 1, is_remote=False, trace_flags=TraceFlags(1))
        self.spans.append(Recorded(made, name, parent, kind))
        return self.spans[-1]

    @contextmanager
    def start_as_current_span(self, name: str, *args: Any, **kwargs: Any) -> Iterator[Span]:  # type: ignore[override]
        with trace.use_span(self.start_span(name, *args, **kwargs), end_on_exit=True) as span:
            yield span


class Instruments:
    """A meter whose counts can be looked at."""

    def __init__(self) -> None:
        self.counted: list[dict[str, str]] = []
        self.recorded: list[tuple[float, dict[str, str]]] = []

    def create_counter(self, *_: Any, **__: Any) -> Any:
        return self

    create_histogram = create_counter

    def add(self, amount: int, attributes: dict[str, str]) -> None:
        assert amount == 1
        self.counted.append(attributes)

    def record(self, amount: float, attributes: dict[str, str]) -> None:
        self.recorded.append((amount, attributes))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A tracer in the place of the deployment's SDK."""
    made = Recorder()
    monkeypatch.setattr(trace, "get_tracer", lambda _: made)
    return made


def test_a_message_is_a_consumers_span_under_the_messages_own_trace(recorder: Recorder) -> None:
    handle(orders("completed"))
    message, *steps = recorder.spans
    assert (message.name, message.kind) == ("checkout cart", SpanKind.CONSUMER)
    assert f"{message.parent.trace_id:032x}-{message.parent.span_id:016x}" in TRACEPARENT
    assert message.attributes == {"cart_checkout.result": "told", "cart_checkout.outcome": "completed"}
    assert [span.name for span in steps] == ["recall", "post", "keep", "publish"]
    assert {span.parent.span_id for span in steps} == {message.get_span_context().span_id}
    assert {f"{span.get_span_context().trace_id:032x}" for span in recorder.spans} == {TRACE}
    assert all(span.ended for span in recorder.spans)


def test_spans_say_nothing_secret(recorder: Recorder) -> None:
    for answer in ANSWERS:
        handle(answer)
    said = str([(span.name, span.attributes) for span in recorder.spans])
    assert PLANTED not in said
    assert UPN not in said


def test_a_message_without_a_trace_begins_one(recorder: Recorder) -> None:
    handle(orders("completed"), json.dumps({**REQUEST, "traceparent": "nonsense"}).encode())
    assert not recorder.spans[0].parent.is_valid


def test_a_span_ends_when_its_step_raises(recorder: Recorder) -> None:
    with pytest.raises(StorageUnavailable):
        handle(fault(500, 800003), carts=Away())
    assert all(span.ended for span in recorder.spans)
    assert recorder.spans[0].attributes["cart_checkout.result"] == "raised"


def told(queues: dict[str, MemoryQueue]) -> dict[str, Any]:
    (message,) = queues["outcomes"].messages
    event = json.loads(base64.b64decode(message.text))
    assert isinstance(event, dict)
    return event


def test_with_an_sdk_the_outcome_is_told_under_our_span(recorder: Recorder) -> None:
    event = told(handle(orders("completed"))[0])
    assert event["traceparent"].split("-")[1] == TRACE
    spans = {f"{span.get_span_context().span_id:016x}" for span in recorder.spans}
    assert event["traceparent"].split("-")[2] in spans


def test_without_an_sdk_the_messages_own_trace_is_passed_on() -> None:
    assert told(handle(orders("completed"))[0])["traceparent"] == TRACEPARENT


def test_without_an_sdk_and_without_a_trace_none_is_made_up() -> None:
    body = json.dumps({name: value for name, value in REQUEST.items() if name != "traceparent"}).encode()
    assert "traceparent" not in told(handle(orders("completed"), body)[0])


def test_the_current_traceparent_is_the_messages_while_it_is_handled_and_none_after() -> None:
    request = CheckoutRequest(REQUEST["customerId"], REQUEST["cartId"], "order-1", NOW, traceparent=TRACEPARENT)
    assert current_traceparent() is None
    with Telemetry().message(DELIVERY, request) as line:
        assert current_traceparent() == TRACEPARENT
        with line.step("keep"):
            assert current_traceparent() == TRACEPARENT
    assert current_traceparent() is None


def test_one_messages_trace_does_not_leak_into_the_next() -> None:
    handle(orders("completed"))
    with Telemetry().message(DELIVERY, InvalidMessage(b"", "$", "x")):
        assert current_traceparent() is None


def test_messages_are_counted_and_timed_by_what_came_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    instruments = Instruments()
    monkeypatch.setattr(metrics, "get_meter", lambda _: instruments)
    handle(orders("completed"))
    handle(fault(500, 800003))
    handle(fault(400, 800002))
    assert instruments.counted == [
        {"result": "told", "outcome": "completed"},
        {"result": "deferred", "reason": "service"},
        {"result": "told", "outcome": "failed", "class": "cart"},
    ]
    assert [attributes for _, attributes in instruments.recorded] == instruments.counted
    assert all(0 <= seconds < 10 for seconds, _ in instruments.recorded)


# --- the line itself -----------------------------------------------------------------------------------------


def test_a_repeated_step_adds_up_and_a_later_fact_replaces_the_earlier(logged: Logged) -> None:
    with Telemetry().message(DELIVERY, InvalidMessage(b"", "$", "x")) as line:
        for _ in range(2):
            with line.step("recall"):
                line.add(result="first")
        line.add(result="second", absent=None)
        line.raise_level(logging.ERROR)
        line.raise_level(logging.WARNING)
    level, facts = logged()
    assert (level, facts["result"], list(facts["ms"])) == ("ERROR", "second", ["recall"])
    assert "absent" not in facts
