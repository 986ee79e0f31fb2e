"""How an operator ends an `unknown`: what may be said of the cart, and what is written with it. Pure.

    the record has an entry that bought     ──► the correction carries that outcome, whatever the operator has found
    bought: these are its orders            ──► `completed` with them, or what their status means
    not bought, on a closed cart, or once
    the cart cannot be bought any more      ──► `failed`, class `unanswered`; the key stays

Anything else is refused, with the reason. The state is read before GET cart is sent, and the correction is written
under the ETag of that reading, so a POST that is entered meanwhile makes the write fail:

    operator   load ─ GET cart: Active ─ confirm ─────────── append ✕ Conflict ─ load: the POST is in doubt ─ refused
    request                                    enter ─ POST ─ ?
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from shared.core.cart_state import (
    CART_GONE,
    CartLookup,
    CartState,
    after_giving_up,
    after_purchase,
    in_doubt_since,
    may_resolve_as_not_bought,
    settle_remaining,
)
from shared.core.errors import ErrorClass, error
from shared.core.messages import CheckoutRequest
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Event, Outcome, copied, timestamp
from shared.core.rules import CopyOf, InHand, Record, Replay, Undecided, apply_rules
from shared.core.verdict import Bought, CartStatusReading, judge, order_ids

NOT_BOUGHT = "An operator has looked at the cart and at the customer's orders, and found no order of it."
_NOT_BOUGHT_ADVICE = "Nothing was bought: a new request for the same cart may buy it, or a new cart."


class NotAllowed(msgspec.Struct, frozen=True):
    """It cannot be resolved so, or not now."""

    reason: str


class Resolution(msgspec.Struct, frozen=True):
    """What the correction says, the working state that is written with it, and the entries that it corrects."""

    decision: Decision
    state: CartState
    corrects: tuple[Event, ...]


def ask_rules(record: Record, request: CheckoutRequest) -> CopyOf | Undecided | NotAllowed:
    """Ask the record first: only a request whose last entry is `unknown` can be resolved.

    Returns:
        Another request's entry that bought the cart, which the correction has to carry, or that there is none.
    """
    own = record.own(request)
    if not own:
        return NotAllowed("no outcome of this request is recorded: it is still on its way, or was never sent")
    last = own[-1]
    ruling = apply_rules(record, request, InHand.BOUGHT)
    if last.outcome is not Outcome.UNKNOWN or isinstance(ruling, Replay):
        return NotAllowed(f"its last outcome is `{last.outcome}` (event {last.id}): only an `unknown` can be resolved")
    return ruling


def as_copy(state: CartState, ruling: CopyOf, data: str, attempts: int) -> Resolution:
    """Another request's entry answers. `data`: the data of that entry, as JSON text."""
    return Resolution(copied(ruling.entry, data, attempts), state, ruling.corrects)


def as_bought(
    state: CartState, ruling: Undecided, request: CheckoutRequest, orders: Sequence[str], attempts: int
) -> Resolution | NotAllowed:
    """The cart is bought. `orders`: its orders as the service tells them, each as JSON text.

    They are judged as the answer to the checkout would have been: an order may wait for a person, or have failed.
    """
    verdict = judge(ServiceResponse(200, ('{"orders":[' + ",".join(orders) + "]}").encode()))
    if not isinstance(verdict, Bought) or len(order_ids(verdict.result)) != len(orders):
        return NotAllowed("the service told no order that can be read")
    own = state.post if state.post is not None and state.post.by == request.event_id else None
    decision = Decision(verdict.outcome, attempts, verdict.result, verdict.error)
    return Resolution(decision, state if own is None else after_purchase(state, own), ruling.corrects)


def doubtful(state: CartState, decided_at: datetime) -> CartState:
    """The state, in doubt since its `unknown` was decided where no POST is in doubt.

    Such a cart was told `unknown` for what the service said of it, not for a lost answer. So GET cart decides here
    too, and not the lack of doubt alone.
    """
    return state if in_doubt_since(state) is not None else replace(state, doubt=decided_at)


def as_not_bought(
    state: CartState,
    ruling: Undecided,
    *,
    now: datetime,
    look: CartLookup | None,
    settle: float,
    attempts: int,
    note: str,
) -> Resolution | NotAllowed:
    """Nothing was bought, and nothing can be bought any more by a POST that has begun.

    Args:
        state: As `doubtful` returns it, read before GET cart was sent.
        ruling: What `ask_rules` said.
        now: The time by storage's clock.
        look: What GET cart said; None: it was not asked yet.
        settle: SETTLE_SECONDS.
        attempts: What the outcome says of them.
        note: What the operator says, for `error.description`.
    """
    if not may_resolve_as_not_bought(state, now, bought=False, look=look, settle=settle):
        return NotAllowed(_why_not(state, now, look, settle))
    cause = error(ErrorClass.UNANSWERED, note or NOT_BOUGHT, advice=_NOT_BOUGHT_ADVICE)
    return Resolution(Decision(Outcome.FAILED, attempts, error=cause), after_giving_up(state), ruling.corrects)


def must_look(state: CartState, now: datetime, settle: float) -> bool:
    """Whether GET cart can decide now. Before every doubt is settled it proves nothing, and later nothing is asked."""
    gone = may_resolve_as_not_bought(state, now, bought=False, look=None, settle=settle)
    return not gone and not settle_remaining(state, now, settle)


def _why_not(state: CartState, now: datetime, look: CartLookup | None, settle: float) -> str:
    since = in_doubt_since(state) or now
    if look is None:
        settled = since + timedelta(seconds=settle)
        return f"the POST of {timestamp(since)} may still be at work: ask again after {timestamp(settled)}"
    if look.reading is CartStatusReading.ORDERED:
        return "GET cart says that it is ordered: find its order, and resolve it with --bought"
    if look.reading is CartStatusReading.NOT_NOW:
        return "GET cart did not answer: ask again later"
    said = "the service knows no such cart" if look.not_found else "its status is not Active"
    return f"GET cart proves nothing ({said}): possible from {timestamp(since + CART_GONE)} on"
