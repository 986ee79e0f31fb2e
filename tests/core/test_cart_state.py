from datetime import datetime, timedelta

import pytest

from shared.core.cart_state import (
    CartLookup,
    CartState,
    Post,
    PostEvidence,
    after_deferral,
    after_giving_up,
    after_purchase,
    after_refusal,
    after_unknown,
    enter,
    entry_holds,
    in_doubt_since,
    is_closed,
    lost_state,
    may_resolve_as_not_bought,
    settle_remaining,
    wait_for_others,
)
from shared.core.verdict import CartStatusReading
from tests.support.builders import NOW, after

SETTLE = 600.0
TICK = timedelta(microseconds=1)
FRESH, SETTLED = after(-100), after(-600)
OURS, THEIRS = Post("ours", FRESH), Post("theirs", FRESH)
HEARD = Post("theirs", FRESH, heard=True)
LOST = lost_state(SETTLED)
LOST_KEY = int(SETTLED.timestamp())


def look(reading: CartStatusReading, sent: datetime = NOW, *, not_found: bool = False) -> CartLookup:
    return CartLookup(sent, reading, not_found)


ACTIVE, ORDERED = look(CartStatusReading.ACTIVE), look(CartStatusReading.ORDERED)
UNCLEAR, GONE = look(CartStatusReading.UNCLEAR), look(CartStatusReading.UNCLEAR, not_found=True)


@pytest.mark.parametrize(
    ("seconds", "state"),
    [
        (0.0, CartState()),
        (30.0, CartState(post=THEIRS)),
        (0.0, CartState(post=HEARD)),
        (30.0, CartState(doubt=FRESH)),
        (30.0, CartState(post=HEARD, doubt=FRESH)),
        (30.0, CartState(post=Post("theirs", SETTLED), doubt=FRESH)),
        (0.0, CartState(post=Post("theirs", SETTLED), doubt=SETTLED)),
        (1.0, CartState(post=Post("theirs", after(-599)))),
        (0.0, CartState(post=OURS)),
        (0.0, CartState(post=OURS, doubt=FRESH)),
        (30.0, lost_state(FRESH)),
        (0.0, LOST),
    ],
)
def test_a_request_waits_while_the_post_of_another_may_be_at_work(seconds: float, state: CartState) -> None:
    assert seconds == wait_for_others(state, "ours", NOW, SETTLE)


@pytest.mark.parametrize(
    ("since", "state", "answered"),
    [
        (None, CartState(), None),
        (FRESH, CartState(post=OURS), None),
        (None, CartState(post=OURS), OURS),
        (FRESH, CartState(post=OURS), Post("ours", SETTLED)),
        (FRESH, CartState(post=THEIRS), OURS),
        (None, CartState(post=HEARD), None),
        (SETTLED, CartState(post=HEARD, doubt=SETTLED), None),
        (SETTLED, CartState(post=OURS, doubt=SETTLED), OURS),
        (FRESH, CartState(post=OURS, doubt=SETTLED), None),
        (FRESH, CartState(post=Post("ours", SETTLED), doubt=FRESH), None),
        (SETTLED, LOST, None),
    ],
)
def test_in_doubt_since_the_latest_post_that_is_not_heard(
    since: datetime | None, state: CartState, answered: Post | None
) -> None:
    assert since == in_doubt_since(state, answered)


@pytest.mark.parametrize(
    ("seconds", "at"), [(500.0, FRESH), (0.0, SETTLED), (0.0, after(-10_000)), (600.0, after(30)), (0.5, after(-599.5))]
)
def test_a_doubt_settles_when_its_post_cannot_be_at_work_any_more(seconds: float, at: datetime) -> None:
    assert seconds == settle_remaining(CartState(doubt=at), NOW, SETTLE)


def test_nothing_needs_to_settle_where_nobody_is_in_doubt() -> None:
    assert 0.0 == settle_remaining(CartState(post=OURS), NOW, SETTLE, answered=OURS)


@pytest.mark.parametrize(
    ("closed", "state", "seen"),
    [
        (True, CartState(), None),
        (True, CartState(post=HEARD), None),
        (True, CartState(post=HEARD), ORDERED),
        (False, CartState(doubt=SETTLED), None),
        (True, CartState(doubt=SETTLED), ACTIVE),
        (False, CartState(doubt=FRESH), ACTIVE),
        (False, CartState(doubt=SETTLED), look(CartStatusReading.ACTIVE, NOW - TICK)),
        (False, CartState(doubt=SETTLED), ORDERED),
        (False, CartState(doubt=SETTLED), UNCLEAR),
        (False, CartState(doubt=SETTLED), GONE),
        (False, CartState(doubt=SETTLED), look(CartStatusReading.NOT_NOW)),
        (False, CartState(post=THEIRS, doubt=SETTLED), ACTIVE),
        (True, CartState(post=Post("theirs", SETTLED)), ACTIVE),
        (True, LOST, ACTIVE),
        (False, LOST, None),
    ],
)
def test_a_cart_is_closed_when_nobody_is_in_doubt_or_it_is_active_once_settled(
    *, closed: bool, state: CartState, seen: CartLookup | None
) -> None:
    assert closed == is_closed(state, bought=False, look=seen, settle=SETTLE)


def test_a_cart_with_an_entry_that_bought_is_never_closed() -> None:
    assert not is_closed(CartState(), bought=True, look=ACTIVE, settle=SETTLE)


def test_the_own_entry_is_heard_while_its_answer_is_in_hand() -> None:
    state = CartState(post=OURS)
    assert is_closed(state, bought=False, look=None, settle=SETTLE, answered=OURS)
    assert not is_closed(state, bought=False, look=None, settle=SETTLE)


OWN = Post("ours", SETTLED)


@pytest.mark.parametrize(
    ("closed", "state", "seen", "refused"),
    [
        (True, CartState(post=OWN), GONE, OWN),
        (False, CartState(post=OWN), GONE, None),
        (False, CartState(post=OWN), UNCLEAR, OWN),
        (False, CartState(post=OWN), look(CartStatusReading.UNCLEAR, NOW - TICK, not_found=True), OWN),
        (False, CartState(post=OWN, doubt=SETTLED), GONE, OWN),
        (False, CartState(post=Post("theirs", SETTLED)), GONE, OWN),
    ],
)
def test_a_404_stands_where_the_cart_is_not_found_and_no_other_post_is_in_doubt(
    *, closed: bool, state: CartState, seen: CartLookup, refused: Post | None
) -> None:
    assert closed == is_closed(state, bought=False, look=seen, settle=SETTLE, refused_404=refused)


@pytest.mark.parametrize(
    ("may", "state", "seen"),
    [
        (True, CartState(), None),
        (True, CartState(doubt=SETTLED), ACTIVE),
        (False, CartState(doubt=SETTLED), GONE),
        (True, CartState(doubt=after(days=-8)), GONE),
        (False, CartState(doubt=after(days=-8) + TICK), GONE),
        (False, CartState(post=OURS, doubt=after(days=-8)), GONE),
    ],
)
def test_an_operator_may_say_not_bought_of_a_closed_cart_or_of_one_that_is_gone(
    *, may: bool, state: CartState, seen: CartLookup | None
) -> None:
    assert may == may_resolve_as_not_bought(state, NOW, bought=False, look=seen, settle=SETTLE)


def test_an_operator_may_never_say_not_bought_where_an_entry_bought() -> None:
    state = CartState(doubt=after(days=-9))
    assert not may_resolve_as_not_bought(state, NOW, bought=True, look=ACTIVE, settle=SETTLE)


@pytest.mark.parametrize(
    ("entered", "state"),
    [
        (CartState(0, Post("ours", NOW)), CartState()),
        (CartState(3, Post("ours", NOW), FRESH, spent=True), CartState(3, THEIRS, SETTLED, spent=True)),
        (CartState(3, Post("ours", NOW), FRESH), CartState(3, OURS)),
        (CartState(3, Post("ours", NOW)), CartState(3, HEARD)),
        (CartState(3, Post("ours", NOW), SETTLED), CartState(3, HEARD, SETTLED)),
        (CartState(3, Post("ours", NOW), FRESH), CartState(3, Post("theirs", SETTLED), FRESH)),
        (CartState(3, Post("ours", after(5) + TICK), after(5)), CartState(3, Post("theirs", after(5)))),
        (CartState(3, Post("ours", after(5) + TICK), after(5)), CartState(3, HEARD, after(5))),
    ],
)
def test_an_entry_puts_the_post_that_it_replaces_in_doubt(entered: CartState, state: CartState) -> None:
    assert entered == enter(state, "ours", NOW)


def test_an_entry_after_a_401_forgets_the_post_that_it_answered() -> None:
    assert CartState(3, Post("ours", NOW), SETTLED) == enter(CartState(3, OURS, SETTLED), "ours", NOW, answered=OURS)


@pytest.mark.parametrize(
    ("entered", "state"),
    [
        (CartState(4, Post("ours", NOW)), CartState(3, OURS, SETTLED, spent=True)),
        (CartState(3, Post("ours", NOW), SETTLED), CartState(3, OWN)),
        (CartState(LOST_KEY, Post("ours", NOW)), LOST),
    ],
)
def test_a_closed_cart_gets_a_new_key_where_its_key_is_spent_or_lost(entered: CartState, state: CartState) -> None:
    assert entered == enter(state, "ours", NOW, closed=True)


def test_a_lost_state_is_not_entered_before_the_cart_is_closed() -> None:
    with pytest.raises(ValueError, match="not posted before it is closed"):
        enter(LOST, "ours", NOW)


@pytest.mark.parametrize(
    ("holds", "monotonic", "wall"),
    [(True, 0.0, 0.0), (True, 30.0, 30.0), (False, 30.1, 0.0), (False, 0.0, 30.1), (True, 1.0, -50.0)],
)
def test_a_post_begins_within_half_a_minute_of_its_entry_by_both_clocks(
    *, holds: bool, monotonic: float, wall: float
) -> None:
    assert holds == entry_holds(monotonic, wall)


@pytest.mark.parametrize(
    ("left", "heard", "spent"),
    [
        (CartState(3, Post("ours", FRESH, heard=True)), True, False),
        (CartState(3, Post("ours", FRESH, heard=True), spent=True), True, True),
        (CartState(3, OURS, spent=True), False, True),
        (CartState(3, OURS), False, False),
    ],
)
def test_a_deferral_notes_what_the_answer_left(left: CartState, *, heard: bool, spent: bool) -> None:
    assert left == after_deferral(CartState(3, OURS), OURS, 3, PostEvidence(heard, spent))


@pytest.mark.parametrize(
    ("noted", "state"),
    [
        (CartState(3, THEIRS, FRESH, spent=True), CartState(3, THEIRS, FRESH)),
        (CartState(4, THEIRS), CartState(4, THEIRS)),
        (CartState(3, spent=True), CartState(3, spent=True)),
        (CartState(4, spent=True), CartState(4, spent=True)),
    ],
)
def test_an_answer_says_nothing_of_another_post_or_key(noted: CartState, state: CartState) -> None:
    assert noted == after_deferral(state, OURS, 3, PostEvidence(heard=True, spent=True))


@pytest.mark.parametrize(
    ("key", "state"),
    [
        (4, CartState(3, OURS, SETTLED, spent=True)),
        (5, CartState(5)),
        (4, CartState(4)),
        (LOST_KEY, LOST),
    ],
)
def test_a_refusal_that_stood_leaves_a_new_key_and_nothing_else(key: int, state: CartState) -> None:
    assert CartState(key) == after_refusal(state, 3)


def test_a_refusal_under_a_lost_key_leaves_a_key_after_it() -> None:
    assert CartState(LOST_KEY + 1) == after_refusal(LOST, LOST_KEY)


def test_giving_up_leaves_key_and_spent() -> None:
    assert CartState(3, spent=True) == after_giving_up(CartState(3, OURS, SETTLED, spent=True))


def test_giving_up_leaves_a_key_where_it_was_lost() -> None:
    assert CartState(LOST_KEY) == after_giving_up(LOST)


@pytest.mark.parametrize(
    ("left", "state"),
    [
        (CartState(3, None, SETTLED, spent=True), CartState(3, OURS, SETTLED, spent=True)),
        (CartState(3, THEIRS), CartState(3, THEIRS)),
        (CartState(3, Post("ours", NOW)), CartState(3, Post("ours", NOW))),
        (CartState(3), CartState(3)),
    ],
)
def test_a_purchase_empties_its_own_post(left: CartState, state: CartState) -> None:
    assert left == after_purchase(state, OURS)


@pytest.mark.parametrize(
    ("left", "state", "answered"),
    [
        (CartState(3, None, FRESH, spent=True), CartState(3, OURS, SETTLED, spent=True), None),
        (CartState(3, None, SETTLED), CartState(3, OURS, SETTLED), OURS),
        (CartState(3, None, SETTLED), CartState(3, HEARD, SETTLED), None),
        (LOST, LOST, None),
    ],
)
def test_unknown_keeps_what_is_in_doubt(left: CartState, state: CartState, answered: Post | None) -> None:
    assert left == after_unknown(state, answered)
