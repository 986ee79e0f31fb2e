import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.core.errors import Error, ErrorClass, error
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.core.outcomes import RECORDED, Decision, Event, Outcome, copied, decided, invalid, response_ids, timestamp
from tests.support.builders import (
    CART,
    CUSTOMER,
    NOW,
    accepted,
    after,
    body,
    cloud_event,
    event,
    members,
    refused,
    request,
    text_of,
)

KIB = 1024
FITS = 49_152
"""Bytes that base64 makes 64 KiB of."""
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_TRACE = "00-11111111111111111111111111111111-2222222222222222-00"
CORRELATION = "c0ffee00-0000-4000-8000-00000000000a"
STARTED = datetime(2026, 11, 22, 9, 59, 58, 765432, UTC)
FINISHED = datetime(2026, 11, 22, 10, 0, 0, 123999, UTC)
ANSWERED: dict[str, str | int] = {"status": 201, "requestId": "r", "correlationId": "c", "cv": "v"}
REFUSAL = error(ErrorClass.CART, "It’s no.", code="800089", source="PartnerFD", data=("a", "b"))  # noqa: RUF001


def data_of(found: Event) -> dict[str, Any]:
    data = json.loads(found.text)["data"]
    assert isinstance(data, dict)
    return data


def full_request() -> CheckoutRequest:
    data = members(
        requestId="Bestellung №7",
        correlationId=CORRELATION,
        traceparent=TRACE,
        context="#",
        customerUserUpn="kim@c.com",
    )
    message = cloud_event(data, id='e "1"').replace(b'"#"', b'{ "price" : 36.480, "x":"\\u00e9\\ud800" }')
    return accepted(message, inserted_at=STARTED)


# --- the event of a decision --------------------------------------------------------------------------------


def test_an_outcome_is_the_expected_cloud_event() -> None:
    found = full_request()
    decision = Decision(
        Outcome.PARTIAL, 3, result=' {"orders": [{"totalPrice": 36.480}] }', error=REFUSAL, response=ANSWERED
    )
    expected = (
        '{"specversion":"1.0",'
        f'"id":"{found.event_id}",'
        '"source":"urn:partnercenter:cart-checkout",'
        '"type":"partnercenter.cart.checkout.partial",'
        f'"subject":"customers/{CUSTOMER}/carts/{CART}",'
        '"time":"2026-11-22T10:00:00.123Z",'
        '"datacontenttype":"application/json",'
        '"dataschema":"urn:partnercenter:cart-checkout:partial:1",'
        f'"partitionkey":"{CUSTOMER}",'
        f'"correlationid":"{CORRELATION}",'
        '"causationid":"e \\"1\\"",'
        f'"traceparent":"{TRACE}",'
        '"data":{'
        '"outcome":"partial",'
        f'"customerId":"{CUSTOMER}",'
        f'"cartId":"{CART}",'
        '"requestId":"Bestellung №7",'
        '"context":{ "price" : 36.480, "x":"\\u00e9\\ud800" },'
        '"attempts":3,'
        '"revision":7,'
        '"startedAt":"2026-11-22T09:59:58.765Z",'
        '"finishedAt":"2026-11-22T10:00:00.123Z",'
        '"response":{"status":201,"requestId":"r","correlationId":"c","cv":"v"},'
        '"result": {"orders": [{"totalPrice": 36.480}] },'
        '"error":{"class":"cart","code":"800089","description":"It’s no.","source":"PartnerFD",'  # noqa: RUF001
        f'"data":["a","b"],"retryable":false,"advice":"{REFUSAL.advice}"}}'
        "}}"
    )
    assert expected == decided(found, decision, FINISHED, revision=7).text


def test_absent_members_are_left_out() -> None:
    found = accepted(body())
    expected = (
        f'{{"specversion":"1.0","id":"{found.event_id}","source":"urn:partnercenter:cart-checkout",'
        '"type":"partnercenter.cart.checkout.failed",'
        f'"subject":"customers/{CUSTOMER}/carts/{CART}","time":"2026-11-22T10:00:00.123Z",'
        '"datacontenttype":"application/json","dataschema":"urn:partnercenter:cart-checkout:failed:1",'
        f'"partitionkey":"{CUSTOMER}","correlationid":"{found.correlation_id}",'
        f'"data":{{"outcome":"failed","customerId":"{CUSTOMER}","cartId":"{CART}","requestId":"{found.request_id}",'
        '"attempts":0,"revision":1,"startedAt":"2026-11-22T10:00:00.000Z","finishedAt":"2026-11-22T10:00:00.123Z",'
        f'"error":{{"class":"rejected","description":"no","retryable":false,"advice":"Do this."}}}}}}'
    )
    refusal = Error(ErrorClass.REJECTED, "no", "Do this.")
    assert expected == decided(found, Decision(Outcome.FAILED, 0, error=refusal), FINISHED).text


@pytest.mark.parametrize("outcome", ["completed", "action_required", "partial", "failed", "unknown"])
def test_each_outcome_has_a_type_of_its_own(outcome: str) -> None:
    published = json.loads(event(Outcome(outcome)).text)
    assert (f"partnercenter.cart.checkout.{outcome}", outcome) == (published["type"], published["data"]["outcome"])


def test_there_are_five_outcomes_of_requests_of_which_three_bought_the_cart() -> None:
    assert ("completed", "action_required", "partial", "failed", "unknown") == RECORDED
    assert [*RECORDED, "invalid"] == list(Outcome)
    assert [True, True, True, False, False, False] == [event(outcome).bought for outcome in Outcome]


@pytest.mark.parametrize("error_class", list(ErrorClass))
def test_an_error_says_its_class_and_whether_a_new_request_may_succeed(error_class: ErrorClass) -> None:
    published = data_of(event(Outcome.FAILED, error=error(error_class, "no")))["error"]
    found = error(error_class, "no")
    assert {
        "class": error_class.value,
        "description": "no",
        "retryable": found.retryable,
        "advice": found.advice,
    } == published


RESULTS = [
    '{"orders":[{"totalPrice":36.480}]}',
    '\n{"orders" : [ {"x":1E+2,"y":-0.0} ] }\r\n',
    '{"orders":[{"id":"\\ud800\\u00e9\\/é"}]}',
    '{"orders":[{"id":1}],"orders":[{"id":2}]}',
    '{"orders":[{"id":' + "9" * 5000 + "}]}",
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda text: ascii(text)[:40])
def test_a_result_is_published_byte_for_byte(result: str) -> None:
    assert f'"result":{result},"error":' in event(result=result, error=REFUSAL).text


def test_the_moment_of_the_decision_is_published_twice_and_in_utc() -> None:
    zone = timezone(timedelta(hours=-8))
    published = json.loads(decided(request(), Decision(Outcome.COMPLETED, 1), NOW.astimezone(zone)).text)
    assert "2026-11-22T10:00:00.000Z" == published["time"] == published["data"]["finishedAt"]


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (datetime(2026, 11, 22, 10, tzinfo=UTC), "2026-11-22T10:00:00.000Z"),
        (datetime(2026, 11, 22, 10, 0, 0, 999999, UTC), "2026-11-22T10:00:00.999Z"),
        (datetime(2026, 11, 22, 23, 30, tzinfo=timezone(timedelta(hours=-5, minutes=-30))), "2026-11-23T05:00:00.000Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_is_rfc_3339_in_utc(instant: datetime, text: str) -> None:
    assert text == timestamp(instant)
    assert instant - datetime.fromisoformat(text) < timedelta(milliseconds=1)


def test_the_current_span_takes_precedence_over_the_messages_own() -> None:
    found = request(traceparent=TRACE)
    published = decided(found, Decision(Outcome.COMPLETED, 1), NOW, traceparent=OTHER_TRACE)
    assert OTHER_TRACE == json.loads(published.text)["traceparent"]
    assert TRACE == json.loads(event(of=found).text)["traceparent"]


def test_the_upn_is_never_published() -> None:
    assert "kim@c.com" not in decided(full_request(), Decision(Outcome.COMPLETED, 1), NOW).text


@pytest.mark.parametrize(
    ("answer", "published"),
    [
        (ServiceResponse(None, failure="timeout"), None),
        (ServiceResponse(201, request_id="r", correlation_id="c", cv="v"), ANSWERED),
        (
            ServiceResponse(201, request_id="r", correlation_id="c"),
            {"status": 201, "requestId": "r", "correlationId": "c"},
        ),
        (ServiceResponse(503), {"status": 503, "requestId": "sent-r", "correlationId": "sent-c"}),
        (ServiceResponse(503, request_id="", cv=""), {"status": 503, "requestId": "sent-r", "correlationId": "sent-c"}),
    ],
)
def test_the_ids_that_support_asks_for_are_the_services_or_else_those_we_sent(
    answer: ServiceResponse, published: dict[str, str | int] | None
) -> None:
    assert published == response_ids(answer, "sent-r", "sent-c")


# --- corrections and borrowed outcomes ----------------------------------------------------------------------


def test_a_correction_names_what_it_replaces_and_has_an_id_of_its_own() -> None:
    found = request()
    earlier = event(Outcome.FAILED, found)
    published = decided(found, Decision(Outcome.COMPLETED, 2), NOW, corrects=[earlier])
    assert (found.correction_id(), found.event_id) == (published.id, data_of(published)["corrects"])
    assert found.correction_id() == json.loads(published.text)["id"]
    assert "corrects" not in data_of(earlier)


def test_a_correction_of_a_correction_replaces_the_last_one() -> None:
    found = request()
    first = event(Outcome.UNKNOWN, found)
    second = decided(found, Decision(Outcome.FAILED, 1), NOW, corrects=[first])
    third = decided(found, Decision(Outcome.COMPLETED, 1), NOW, corrects=[first, second])
    assert (found.correction_id(2), second.id) == (third.id, data_of(third)["corrects"])


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.ACTION_REQUIRED, Outcome.PARTIAL])
def test_a_copied_outcome_repeats_the_entry_under_the_requests_own_ids_and_times(outcome: Outcome) -> None:
    result = '{ "orders" : [{"totalPrice":36.480}] }'
    theirs = event(outcome, request("theirs", context=1), result=result, error=REFUSAL, response=ANSWERED)
    ours = request("ours", context=2)
    published = decided(ours, copied(theirs, theirs.data or "", 4), after(99))
    assert (outcome, ours.event_id) == (published.outcome, published.id)
    assert f'"result":{result},' in published.text
    assert {
        "outcome": outcome.value,
        "customerId": CUSTOMER,
        "cartId": CART,
        "requestId": "ours",
        "context": 2,
        "attempts": 4,
        "revision": 1,
        "startedAt": "2026-11-22T10:00:00.000Z",
        "finishedAt": "2026-11-22T10:01:39.000Z",
        "result": {"orders": [{"totalPrice": 36.480}]},
        "error": data_of(theirs)["error"],
        "answeredBy": theirs.id,
    } == data_of(published)


def test_a_copied_outcome_without_an_error_has_none() -> None:
    theirs = event(Outcome.COMPLETED, request("theirs"), result="{}")
    assert Decision(Outcome.COMPLETED, 0, result="{}", answered_by=theirs.id) == copied(theirs, theirs.data or "", 0)


def test_a_copied_error_is_not_reformatted() -> None:
    theirs = event(Outcome.PARTIAL)
    data = '{"result": {} ,"error" : { "class":"of a newer version", "x":1.0 } }'
    assert '"error":{ "class":"of a newer version", "x":1.0 }' in decided(request(), copied(theirs, data, 1), NOW).text


# --- invalid messages ---------------------------------------------------------------------------------------


def test_the_outcome_of_an_invalid_message_is_the_expected_cloud_event() -> None:
    message = body(requestID="order-4711")
    found = refused(message)
    published = json.loads(invalid(found).text)
    data = published.pop("data")
    described = data["error"].pop("description")
    assert [
        ("specversion", "1.0"),
        ("id", found.event_id),
        ("source", "urn:partnercenter:cart-checkout"),
        ("type", "partnercenter.cart.checkout.invalid"),
        ("subject", f"customers/{CUSTOMER}/carts/{CART}"),
        ("datacontenttype", "application/json"),
        ("dataschema", "urn:partnercenter:cart-checkout:invalid:1"),
        ("partitionkey", CUSTOMER),
    ] == list(published.items())
    assert {
        "outcome": "invalid",
        "customerId": CUSTOMER,
        "cartId": CART,
        "requestId": "order-4711",
        "body": base64.b64encode(message).decode(),
        "size": len(message),
        "sha256": hashlib.sha256(message).hexdigest(),
        "truncated": False,
        "error": {
            "class": "invalid_message",
            "path": "$.requestID",
            "expected": found.expected,
            "retryable": False,
            "advice": error(ErrorClass.INVALID_MESSAGE, "").advice,
        },
    } == data
    assert "requestID" in described


@pytest.mark.parametrize(
    ("message", "present"),
    [
        (b"", set()),
        (body(cartId="x"), {"customerId"}),
        (body(customerId="x"), {"cartId"}),
        (body(x=1), {"customerId", "cartId"}),
    ],
    ids=["none", "customer", "cart", "both"],
)
def test_the_ids_of_an_invalid_message_are_published_only_where_they_are_ids(message: bytes, present: set[str]) -> None:
    published = json.loads(invalid(refused(message)).text)
    assert present == {"customerId", "cartId"} & published["data"].keys()
    assert ("customerId" in present) is ("partitionkey" in published)
    assert (len(present) == 2) is ("subject" in published)


def test_the_outcome_of_an_invalid_message_depends_on_its_bytes_alone() -> None:
    message = cloud_event(members(x=1, traceparent=TRACE, correlationId=CORRELATION, requestId="r"), traceparent=TRACE)
    one = invalid(refused(message))
    assert one == invalid(refused(message, message_id="m-2", count=4, inserted_at=after(99), from_poison=True))
    published = json.loads(one.text)
    assert set() == {"time", "correlationid", "traceparent"} & published.keys()
    assert set() == {"startedAt", "finishedAt", "attempts", "revision", "context"} & published["data"].keys()


@pytest.mark.parametrize(
    ("size", "shown", "truncated"),
    [(0, 0, False), (6 * KIB - 1, 6 * KIB - 1, False), (6 * KIB, 6 * KIB, False), (6 * KIB + 1, 6 * KIB, True)],
)
def test_six_kib_of_an_invalid_message_are_shown(size: int, shown: int, truncated: bool) -> None:
    message = b"\xff\0" * (size // 2) + b"x" * (size % 2)
    data = data_of(invalid(refused(message)))
    assert (message[:shown], size, truncated) == (base64.b64decode(data["body"]), data["size"], data["truncated"])
    assert hashlib.sha256(message).hexdigest() == data["sha256"]


def test_a_deferred_copy_that_cannot_be_read_is_invalid_too_and_the_cart_must_be_looked_at() -> None:
    found = refused(body(retry={}, newField=1))
    published = invalid(found)
    assert (Outcome.INVALID, found.event_id) == (published.outcome, published.id)
    data = data_of(published)
    assert ("invalid", True, "invalid_message") == (data["outcome"], data["deferred"], data["error"]["class"])
    assert "Nothing was bought" not in data["error"]["advice"]
    assert "look at the cart" in data["error"]["advice"]


def test_an_invalid_message_is_published_with_the_request_id_and_the_cause_that_were_read() -> None:
    found = replace(refused(body(x=1)), request_id="order-4711", causation_id="7f3a")
    published = json.loads(invalid(found).text)
    assert ("order-4711", "7f3a") == (published["data"]["requestId"], published["causationid"])
    assert ["cartId", "requestId", "body"] == list(published["data"])[2:5]


@pytest.mark.parametrize(("length", "told"), [(0, False), (1, True), (1024, True), (1025, False), (44 * KIB, False)])
def test_a_cause_of_an_invalid_message_that_is_too_long_for_its_event_is_left_out(length: int, told: bool) -> None:
    published = invalid(replace(refused(b"x" * 44 * KIB), causation_id="\x01" * length))
    assert told is ("causationid" in json.loads(published.text))
    assert not published.too_large


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda name: body(**{name: 1})))
def test_the_outcome_of_any_invalid_message_fits_a_queue_message(message: bytes) -> None:
    published = invalid(refused(b"\xff" + message * 250))
    assert len(base64.b64encode(published.text.encode())) <= 64 * KIB
    assert not published.too_large


# --- the claim check ----------------------------------------------------------------------------------------


def of_size(size: int, letter: str = "x") -> Event:
    """An event whose JSON has exactly so many bytes."""
    rest = size - len(event(result='{"x":""}').text)
    width = len(letter.encode())
    return event(result=f'{{"x":"{letter * (rest // width)}{"x" * (rest % width)}"}}')


@pytest.mark.parametrize("letter", ["x", "é", "🛒"])
def test_an_event_is_too_large_when_its_base64_does_not_fit_64_kib(letter: str) -> None:
    fits, too_large = of_size(FITS, letter), of_size(FITS + 1, letter)
    assert 64 * KIB == len(base64.b64encode(fits.text.encode()))
    assert 64 * KIB < len(base64.b64encode(too_large.text.encode()))
    assert [False, True] == [fits.too_large, too_large.too_large]


def test_a_claim_check_has_a_dataref_in_the_place_of_the_data() -> None:
    found = decided(full_request(), Decision(Outcome.COMPLETED, 1, result=text_of("9" * FITS)), FINISHED)
    checked = found.claim_check('https://account/records/"x"/é.data.json')
    attributes = json.loads(found.text)
    del attributes["data"]
    attributes["dataref"] = 'https://account/records/"x"/é.data.json'
    assert list(attributes.items()) == list(json.loads(checked.text).items())
    assert (found.id, found.outcome, None, attributes["dataref"]) == (
        checked.id,
        checked.outcome,
        checked.data,
        checked.dataref,
    )
    assert not checked.too_large


def test_the_data_has_a_hash() -> None:
    found = event(result='{"x":"é"}')
    assert found.data is not None
    assert found.text.endswith(f'"data":{found.data}}}')
    assert hashlib.sha256(found.data.encode()).hexdigest() == found.data_sha256


# --- reading an event again ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "found",
    [
        event(),
        event(Outcome.UNKNOWN, error=REFUSAL),
        decided(full_request(), Decision(Outcome.PARTIAL, 1, result="{ }"), NOW, corrects=[event()]),
        event(result=text_of("9" * FITS)).claim_check("https://account/x.data.json"),
        invalid(refused(b"")),
    ],
    ids=["completed", "unknown", "correction", "claim check", "invalid"],
)
def test_an_event_that_was_recorded_is_read_as_it_was(found: Event) -> None:
    assert found == Event.parse(found.text)


def test_an_event_with_other_formatting_keeps_its_text() -> None:
    text = f'{{ "data" : {{ "x":1.0 }}, "x":[], "type":"partnercenter\\u002ecart.checkout.failed", "id" : "{CART}" }}'
    assert Event(CART, Outcome.FAILED, text, '{ "x":1.0 }') == Event.parse(text)


NO_EVENTS = [
    {},
    [],
    5,
    None,
    {"id": "x"},
    {"type": "partnercenter.cart.checkout.completed"},
    {"id": "x", "type": None},
    {"id": "x", "type": 5},
    {"id": 5, "type": "partnercenter.cart.checkout.completed"},
    {"id": None, "type": "partnercenter.cart.checkout.completed"},
    {"id": "x", "type": "partnercenter.cart.checkout.completed", "dataref": 5},
    {"id": "x", "type": "partnercenter.cart.checkout.completed", "dataref": None},
]


@pytest.mark.parametrize("tree", NO_EVENTS, ids=str)
def test_text_that_is_not_an_event_is_not_parsed(tree: object) -> None:
    with pytest.raises((KeyError, ValueError)):
        Event.parse(text_of(tree))


@pytest.mark.parametrize("kind", ["completed", "partnercenter.cart.checkout.shipped", "another.completed"])
def test_an_event_of_an_unknown_type_is_parsed_without_an_outcome(kind: str) -> None:
    text = text_of({"id": "x", "type": kind, "data": {"n": 1}})
    event = Event.parse(text)
    assert ("x", None, text, False) == (event.id, event.outcome, event.text, event.bought)
    with pytest.raises(ValueError, match="answers nobody"):
        copied(event, "{}", 1)


# --- whatever is decided ------------------------------------------------------------------------------------

JSON_TEXT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=()), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
).map(text_of)
FOREIGN = st.text(max_size=20)
ERRORS = st.builds(
    Error,
    error_class=st.sampled_from(ErrorClass),
    description=FOREIGN,
    advice=FOREIGN,
    code=st.none() | FOREIGN,
    source=st.none() | FOREIGN,
    data=st.lists(FOREIGN, max_size=3).map(tuple),
)


@settings(deadline=None)
@given(
    st.sampled_from(Outcome),
    st.none() | JSON_TEXT,
    st.none() | ERRORS,
    JSON_TEXT,
    st.text(min_size=1, max_size=20),
    st.sampled_from([1, 100, 5000]),
    st.datetimes(timezones=st.just(UTC)),
)
def test_any_decision_is_published_as_json_that_fits_a_queue_message(
    outcome: Outcome,
    result: str | None,
    found: Error | None,
    context: str,
    causation: str,
    times: int,
    now: datetime,
) -> None:
    large = None if result is None else f"[{','.join([result] * times)}]"
    original = replace(request(), context=context, causation_id=causation * times)
    published = decided(original, Decision(outcome, 1, result=large, error=found), now)
    tree = json.loads(published.text)
    assert json.loads(context) == tree["data"]["context"]
    assert causation * times == tree["causationid"]
    assert (large and json.loads(large)) == tree["data"].get("result")
    assert published == Event.parse(published.text)
    assert published.too_large is (len(base64.b64encode(published.text.encode())) > 64 * KIB)


@pytest.mark.parametrize("letter", ["x", "ü", "🛒", '"', "\\", "\x01", "\x7f", "\u2028"], ids=ascii)
def test_a_claim_check_always_fits_however_long_the_cloud_events_id(letter: str) -> None:
    written = len(text_of(letter).encode()) - 2
    message = cloud_event(id=letter * ((44 * KIB - 300) // written))
    published = event(of=accepted(message), result=text_of("9" * 10**6))
    assert published.too_large
    assert not published.claim_check("https://account.blob.core.windows.net/records/" + "x" * 300).too_large
