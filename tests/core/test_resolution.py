from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from shared.core.cart_state import CartLookup, CartState, Post
from shared.core.errors import ErrorClass, error
from shared.core.outcomes import Decision, Event, Outcome, decided
from shared.core.resolution import (
    NOT_BOUGHT,
    NotAllowed,
    Resolution,
    as_bought,
    as_copy,
    as_not_bought,
    ask_rules,
    doubtful,
    must_look,
)
from shared.core.rules import CopyOf, InHand, Record, Replay, Undecided, apply_rules
from shared.core.verdict import CartStatusReading
from tests.support.builders import NOW, after, event, request

if TYPE_CHECKING:
    from datetime import datetime

    from shared.core.messages import CheckoutRequest

SETTLE = 600.0
MINE, OTHER = request("order-1"), request("order-2")
UNKNOWN = event(Outcome.UNKNOWN, MINE, error=error(ErrorClass.UNANSWERED, "no answer"))
IN_DOUBT = CartState(key=1, doubt=after(-3600), spent=True)
RULING = Undecided((UNKNOWN,))
ORDER = '{"id": "4711", "totalPrice": 36.480}'


def looked(reading: CartStatusReading, sent: datetime = NOW, *, not_found: bool = False) -> CartLookup:
    return CartLookup(sent, reading, not_found=not_found)


ACTIVE = looked(CartStatusReading.ACTIVE)


def resolve(
    state: CartState = IN_DOUBT, look: CartLookup | None = ACTIVE, *, now: datetime = NOW, note: str = ""
) -> Resolution | NotAllowed:
    return as_not_bought(state, RULING, now=now, look=look, settle=SETTLE, attempts=3, note=note)


# --- the rules first ----------------------------------------------------------------------------------------------


def test_an_unknown_can_be_resolved() -> None:
    assert RULING == ask_rules(Record((UNKNOWN,)), MINE)


def test_another_requests_purchase_answers_it() -> None:
    bought = event(Outcome.PARTIAL, OTHER)
    assert CopyOf(bought, (UNKNOWN,)) == ask_rules(Record((UNKNOWN, bought)), MINE)


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.UNKNOWN])
def test_any_other_last_outcome_is_refused_and_said(outcome: Outcome) -> None:
    last = event(outcome, MINE)
    found = ask_rules(Record((last, UNKNOWN_OF_OTHER)), MINE)
    assert isinstance(found, NotAllowed)
    assert f"its last outcome is `{outcome}` (event {last.id})" in found.reason


UNKNOWN_OF_OTHER = event(Outcome.UNKNOWN, OTHER)


def test_a_corrected_unknown_is_refused() -> None:
    corrected = decided(MINE, Decision(Outcome.FAILED, 1), NOW, corrects=(UNKNOWN,))
    assert isinstance(ask_rules(Record((UNKNOWN, corrected)), MINE), NotAllowed)


def test_an_unknown_that_corrects_a_failed_can_be_resolved() -> None:
    failed = event(Outcome.FAILED, MINE)
    again = decided(MINE, Decision(Outcome.UNKNOWN, 1), NOW, corrects=(failed,))
    assert Undecided((failed, again)) == ask_rules(Record((failed, again)), MINE)


@pytest.mark.parametrize("entries", [(), (UNKNOWN_OF_OTHER,)])
def test_a_request_without_an_outcome_is_refused(entries: tuple[Event, ...]) -> None:
    found = ask_rules(Record(entries), MINE)
    assert isinstance(found, NotAllowed)
    assert "no outcome of this request is recorded" in found.reason


def test_the_outcome_of_another_request_is_repeated_and_leaves_the_state() -> None:
    bought = event(Outcome.COMPLETED, OTHER, result='{"orders":[]}')
    found = as_copy(IN_DOUBT, CopyOf(bought, (UNKNOWN,)), bought.data or "", 3)
    decision = Decision(Outcome.COMPLETED, 3, result='{"orders":[]}', answered_by=bought.id)
    assert Resolution(decision, IN_DOUBT, (UNKNOWN,)) == found


# --- bought -------------------------------------------------------------------------------------------------------


def test_the_orders_are_told_as_they_were_received() -> None:
    found = as_bought(IN_DOUBT, RULING, MINE, [ORDER, '{"id": "4712"}'], 3)
    result = f'{{"orders":[{ORDER},{{"id": "4712"}}]}}'
    assert Resolution(Decision(Outcome.COMPLETED, 3, result), IN_DOUBT, (UNKNOWN,)) == found


@pytest.mark.parametrize(
    ("status", "expected"),
    [("completed", Outcome.COMPLETED), ("pending_review", Outcome.ACTION_REQUIRED), ("error", Outcome.PARTIAL)],
)
def test_the_status_of_an_order_says_which_outcome_it_is(status: str, expected: Outcome) -> None:
    found = as_bought(IN_DOUBT, RULING, MINE, [json.dumps({"id": "1", "status": status})], 1)
    assert isinstance(found, Resolution)
    assert (expected, expected is Outcome.COMPLETED) == (found.decision.outcome, found.decision.error is None)


@pytest.mark.parametrize("orders", [[], ["[]"], ["no JSON"], [ORDER, "{}"], [ORDER, ORDER]])
def test_without_an_order_that_can_be_read_it_is_refused(orders: list[str]) -> None:
    assert isinstance(as_bought(IN_DOUBT, RULING, MINE, orders, 1), NotAllowed)


@pytest.mark.parametrize(("by", "kept"), [(MINE, False), (OTHER, True)])
def test_a_purchase_empties_its_own_post_only(by: CheckoutRequest, kept: bool) -> None:
    post = Post(by.event_id, after(-60))
    found = as_bought(CartState(post=post), RULING, MINE, [ORDER], 1)
    assert isinstance(found, Resolution)
    assert CartState(post=post if kept else None) == found.state


# --- not bought ---------------------------------------------------------------------------------------------------


def test_on_a_closed_cart_it_is_failed_and_the_key_stays() -> None:
    found = resolve(note="No order, Kim")
    assert isinstance(found, Resolution)
    assert (CartState(key=1, spent=True), (UNKNOWN,)) == (found.state, found.corrects)
    cause = found.decision.error
    assert cause is not None
    assert not isinstance(cause, str)
    assert (Outcome.FAILED, 3, ErrorClass.UNANSWERED, "No order, Kim", True) == (
        found.decision.outcome,
        found.decision.attempts,
        cause.error_class,
        cause.description,
        cause.retryable,
    )
    assert "Nothing was bought" in cause.advice


def test_without_a_note_the_description_says_who_has_found_it() -> None:
    found = resolve()
    assert isinstance(found, Resolution)
    assert NOT_BOUGHT == getattr(found.decision.error, "description", None)


@pytest.mark.parametrize(
    ("look", "why"),
    [
        (looked(CartStatusReading.ORDERED), "ordered: find its order, and resolve it with --bought"),
        (looked(CartStatusReading.NOT_NOW), "did not answer"),
        (looked(CartStatusReading.UNCLEAR), "its status is not Active"),
        (looked(CartStatusReading.UNCLEAR, not_found=True), "the service knows no such cart"),
        (looked(CartStatusReading.UNCLEAR), "possible from 2026-11-30T09:00:00.000Z on"),
    ],
)
def test_what_get_cart_says_instead_of_active_is_the_reason(look: CartLookup, why: str) -> None:
    found = resolve(look=look)
    assert isinstance(found, NotAllowed)
    assert why in found.reason


def test_before_it_is_settled_it_says_when_to_ask_again() -> None:
    state = CartState(post=Post("another", after(-60)), doubt=after(-3600))
    found = resolve(state, None)
    assert isinstance(found, NotAllowed)
    assert found.reason.endswith("ask again after 2026-11-22T10:09:00.000Z")


@pytest.mark.parametrize(("age", "asks"), [(0, False), (599, False), (600, True), (691_199, True), (691_200, False)])
def test_get_cart_is_asked_only_while_it_can_decide(age: int, asks: bool) -> None:
    assert asks is must_look(CartState(doubt=after(-age)), NOW, SETTLE)


def test_a_get_that_was_sent_too_early_proves_nothing() -> None:
    state = CartState(doubt=after(-610))
    assert isinstance(resolve(state, looked(CartStatusReading.ACTIVE, after(-11))), NotAllowed)
    assert isinstance(resolve(state, looked(CartStatusReading.ACTIVE, after(-10))), Resolution)


@pytest.mark.parametrize("look", [None, looked(CartStatusReading.ORDERED), looked(CartStatusReading.UNCLEAR)])
def test_after_eight_days_it_is_allowed_whatever_get_cart_says(look: CartLookup | None) -> None:
    state = CartState(doubt=after(days=-8))
    assert isinstance(resolve(state, look), Resolution)
    assert isinstance(resolve(state, look, now=after(-1)), NotAllowed)


def test_where_nobody_is_in_doubt_the_unknown_itself_is_one() -> None:
    assert CartState(key=1, doubt=after(-700)) == doubtful(CartState(key=1), after(-700))
    heard = CartState(post=Post(MINE.event_id, after(-3600), heard=True))
    assert after(-700) == doubtful(heard, after(-700)).doubt


def test_where_somebody_is_in_doubt_nothing_is_added() -> None:
    unheard = CartState(post=Post(MINE.event_id, after(-3600)))
    assert unheard == doubtful(unheard, after(-700))
    assert IN_DOUBT == doubtful(IN_DOUBT, after(-700))


def test_a_later_answer_that_bought_is_told_even_then() -> None:
    found = resolve()
    assert isinstance(found, Resolution)
    told = decided(MINE, found.decision, NOW, corrects=found.corrects)
    record = Record((UNKNOWN, told))
    assert Undecided((UNKNOWN, told)) == apply_rules(record, MINE, InHand.BOUGHT)
    assert Replay(told) == apply_rules(record, MINE)
    assert MINE.correction_id() == told.id
