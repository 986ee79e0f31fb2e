"""What is read back from a recorded event: its error's kind, and in what another request of its id differs."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from shared.core.errors import ErrorClass, error
from shared.core.messages import InvalidMessage
from shared.core.outcomes import Event, Outcome, invalid
from shared.core.recorded import differing_members, told_error
from tests.support.builders import accepted, body, cloud_event, event, request, text_of

CORRELATION = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "bbbbbbbb-0000-4000-8000-000000000002"


def read(data: str) -> Event:
    """An event with these data, as a record has it."""
    return Event.parse(f'{{"id": "e", "type": "partnercenter.cart.checkout.failed", "data": {data}}}')


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (event(), (None, None)),
        (event(Outcome.FAILED, error=error(ErrorClass.CART, "x", code="800002")), ("cart", "800002")),
        (event(Outcome.UNKNOWN, error=error(ErrorClass.UNANSWERED, "x")), ("unanswered", None)),
        (event(error='{"class":"cart"}', result='{"error": {"class": "other"}}'), ("cart", None)),
        (invalid(InvalidMessage(b"", "$", "x")), ("invalid_message", None)),
        (event(Outcome.FAILED, error=error(ErrorClass.CART, "x")).claim_check("https://account/x"), (None, None)),
    ],
    ids=str,
)
def test_the_kind_of_the_error_is_that_of_the_event(told: Event, expected: tuple[str | None, str | None]) -> None:
    assert expected == told_error(told)
    assert expected == told_error(Event.parse(told.text))


@pytest.mark.parametrize(
    "data",
    ["null", "5", '"error"', "[]", "{}", '{"error": null}', '{"error": "cart"}', '{"error": [1]}', '{"error": 1e999}'],
)
def test_data_that_somebody_has_edited_have_no_kind_and_do_no_harm(data: str) -> None:
    assert (None, None) == told_error(read(data))


@pytest.mark.parametrize("raw", ["800002", "null", "true", "{}", '["cart"]'])
def test_what_is_no_text_is_no_kind(raw: str) -> None:
    assert (None, None) == told_error(read(f'{{"error": {{"class": {raw}, "code": {raw}}}}}'))


# --- the same id again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "again", "expected"),
    [
        ({}, {}, ()),
        ({"context": {"order": 1}}, {"context": {"order": 1}}, ()),
        ({"context": {"order": 1}}, {"context": {"order": 2}}, ("context",)),
        ({"context": {"order": 1}}, {}, ("context",)),
        ({}, {"context": []}, ("context",)),
        ({"context": None}, {}, ()),
        ({"context": {"a": 1, "b": 2}}, {"context": {"b": 2, "a": 1}}, ()),
        ({"context": "\ud800"}, {"context": "\ud801"}, ("context",)),
        ({"correlationId": CORRELATION}, {"correlationId": CORRELATION.upper()}, ()),
        ({"correlationId": CORRELATION}, {"correlationId": OTHER}, ("correlationId",)),
        ({"correlationId": CORRELATION}, {}, ("correlationId",)),
        (
            {"context": 1, "correlationId": OTHER},
            {"context": 2, "correlationId": CORRELATION},
            ("context", "correlationId"),
        ),
        ({"customerUserUpn": "kim@contoso.com"}, {"notAfter": "2026-11-22T18:00:00Z"}, ()),
    ],
    ids=str,
)
def test_the_members_that_differ_are_named(
    first: dict[str, Any], again: dict[str, Any], expected: tuple[str, ...]
) -> None:
    told = event(of=request(**first))
    assert expected == differing_members(told, request(**again))
    assert expected == differing_members(Event.parse(told.text), request(**again))


@pytest.mark.parametrize(
    ("first", "again", "differs"),
    [
        ('{"price": 36.480}', '{ "price":36.480 }', False),
        ('{"price": 36.480}', '{"price": 36.48}', False),
        ('{"price": 36.480}', '{"price": 36.481}', True),
        (f"[{'9' * 5000}]", f"[{'9' * 4999}8]", True),
        ('"\\u00e9"', '"é"', False),
    ],
)
def test_contexts_are_compared_by_what_they_say(first: str, again: str, differs: bool) -> None:
    ids = text_of({"customerId": request().customer_id, "cartId": request().cart_id, "requestId": "order-4711"})
    one, other = (accepted(f'{ids[:-1]},"context":{context}}}'.encode()) for context in (first, again))
    assert (("context",) if differs else ()) == differing_members(event(of=one), other)


def test_a_copy_of_a_message_differs_in_nothing() -> None:
    for text in (
        body(context={"a": [1, 2]}, correlationId=CORRELATION, requestId="order-4711"),
        cloud_event(id="e-1"),
        body(),
    ):
        sent = accepted(text)
        copy = accepted(sent.copy(replace(sent.retry, attempt=7)), message_id="another")
        assert () == differing_members(event(of=sent), copy)


def test_another_cloud_event_around_the_same_request_is_no_difference() -> None:
    first, again = (accepted(cloud_event({**_MEMBERS}, id=name, source="/shop")) for name in ("e-1", "e-2"))
    assert () == differing_members(event(of=first), again)


_MEMBERS = {"customerId": request().customer_id, "cartId": request().cart_id, "requestId": "order-4711"}


@pytest.mark.parametrize("data", ["null", "[]", '"x"'])
def test_an_event_that_somebody_has_edited_is_compared_as_far_as_it_goes(data: str) -> None:
    assert () == differing_members(read(data), request())
    assert ("context",) == differing_members(read(data), request(context=1))


def test_data_in_a_blob_are_not_compared() -> None:
    told = event(of=request(context=1, correlationId=CORRELATION)).claim_check("https://account/x")
    assert ("correlationId",) == differing_members(told, request(context=2, correlationId=OTHER))
