"""What a request ends with when it is not posted (again): `failed`, `unknown`, or a wait until that can be said.

    why it ends        closed ──────────────────────────► `failed`
    (an `Ending`)      in doubt, not settled ───────────► wait until it is
                       settled: GET cart ─ Active ──────► `failed`
                                         ─ Ordered ─────► `Ordered`: the caller posts once more, which can only repeat
                                         ─ no answer ───► defer, until the last day
                                         ─ else ────────► `unknown`

Nothing here posts. See `shared.core.cart_state` for when a cart is closed.
"""

from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec.structs import replace

from shared.context import DeliveryContext
from shared.core.cart_state import (
    CartLookup,
    Post,
    after_giving_up,
    after_refusal,
    after_unknown,
    in_doubt_since,
    is_closed,
    settle_remaining,
)
from shared.core.errors import TRANSIENT, UNRESOLVED, Error, ErrorClass, error
from shared.core.evidence import lookup_of
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Outcome
from shared.core.refusal import error_of, post_of, response_of
from shared.core.retry import (
    Deferral,
    Refusal,
    RetryPolicy,
    ThrottleGate,
    Uniform,
    after_transient,
    is_last,
    is_last_day,
    retry_after,
    settling,
    without_call,
)
from shared.core.verdict import CartStatusReading, candidates, with_line_errors
from shared.ports import PartnerCenterApi
from shared.steps import Conclusion

OUT_OF_TIME = "out_of_time"
"""The reason of a deferral where the next step might not have ended in time."""
ATTEMPTS_BEFORE_A_NEW_KEY = 3
"""From this attempt on, a copy whose key is spent waits until the cart can be closed, so that it gets a new one."""
_NOT_FOUND = 404
_NOT_ASKED = ServiceResponse(None, failure="not sent: out of time", sent=False)


class Ending(msgspec.Struct, frozen=True):
    """Why a request is not posted any more. `refusal`: the one that stands once the cart is closed."""

    error: Error
    response: dict[str, str | int] | None = None
    result: str | None = None
    refusal: Refusal | None = None


class Ordered(msgspec.Struct, frozen=True):
    """The service says that the cart is ordered. `cart`: the response to GET cart, where that said so."""

    error: Error
    cart: ServiceResponse | None = None


class Look(msgspec.Struct, frozen=True):
    """GET cart: what came back, and what it says."""

    lookup: CartLookup
    response: ServiceResponse


class Conclusions:
    """Concludes requests without a POST. Thread-safe: deliveries share only the gate."""

    def __init__(
        self,
        partner_center: PartnerCenterApi,
        gate: ThrottleGate,
        policy: RetryPolicy,
        clock: Callable[[], datetime],
        uniform: Uniform,
    ) -> None:
        self._partner_center = partner_center
        self._gate = gate
        self._policy = policy
        self._clock = clock
        self._uniform = uniform

    def ending(self, ctx: DeliveryContext) -> Ending | None:
        """Why the request is not posted any more, or None.

        The last POST may be another request's, which is under the same key. Else two requests that nobody answers
        would replace each other's before it is settled, for ever:

            request A   last POST ─ ? ·· waits for B ············ settled: GET cart
            request B        waits for A ·· last POST ─ ? ·····┘
        """
        request, retry = ctx.request, ctx.request.retry
        if retry.refused is not None:
            return Ending(error_of(retry.refused), response_of(retry.refused), refusal=retry.refused)
        if ctx.poisoned_twice:
            return Ending(error(ErrorClass.INTERNAL, "The program failed on this message in every delivery."))
        if request.not_after is not None and self._clock() >= request.not_after:
            return Ending(error(ErrorClass.EXPIRED, f"Not bought before {request.not_after.isoformat()}"))
        since = in_doubt_since(ctx.state)
        clocks = (None, ErrorClass.CONFIGURATION)  # the class of its response is not known: `since`, or `held`
        if since is not None and any(
            is_last(retry, self._policy, request.started_at, since, reason=clock) for clock in clocks
        ):
            given_up = next((each for each in TRANSIENT if each == retry.reason), ErrorClass.SERVICE)
            return Ending(error(given_up, "The last POST got no certain answer"))
        return None

    def conclude(self, ctx: DeliveryContext, ending: Ending) -> Conclusion | Deferral | Ordered:
        """`failed` on a closed cart. Else wait until every POST in doubt is settled, and GET the cart.

        entry ─ POST ─ ? ········· settled
                                      GET sent ─ Active ─► `failed`
        """
        answered = ctx.heard
        if self.is_closed(ctx, None, answered):
            return self._failed(ctx, ending)
        if remaining := settle_remaining(ctx.state, ctx.now(), self._policy.settle, answered):
            given_up = ending.error.error_class in TRANSIENT
            return settling(ctx.request.retry, remaining, ending.error.error_class if given_up else "settling")
        look = self.get_cart(ctx)
        if isinstance(look, Deferral):
            return look
        refusal = ending.refusal
        refused_404 = post_of(refusal, ctx.request.event_id) if refusal and refusal.status == _NOT_FOUND else None
        if self.is_closed(ctx, look.lookup, answered, refused_404):
            told = ending.error if refusal is None else with_line_errors(ending.error, look.response)
            return self._failed(ctx, replace(ending, error=told))
        return self.not_closed(ctx, ending, look)

    def not_closed(self, ctx: DeliveryContext, ending: Ending, look: Look) -> Conclusion | Deferral | Ordered:
        """What GET cart leads to where it did not close the cart, and nothing can be at work any more."""
        reading, transient = look.lookup.reading, look.lookup.transient
        if reading is CartStatusReading.ORDERED:
            return Ordered(ordered_though(ending.error), look.response)
        if transient is not None and not is_last_day(ctx.request.started_at, self._clock()):
            return self.later(ctx, look.response, transient)
        return self._unknown(ctx, _unresolved(ending, reading), ending.response)

    def unknown_order(self, ctx: DeliveryContext, ordered: Ordered) -> Conclusion:
        """Report the orders that could be the cart's own, without choosing one: it could be another cart's."""
        cart = ordered.cart
        if cart is None:
            look = self.get_cart(ctx)
            cart = look.response if isinstance(look, Look) else _NOT_ASKED
        orders = _NOT_ASKED
        if ctx.budget.allows(ctx.budget.limits.get):
            with ctx.line.step("list_orders"):
                orders = self._partner_center.list_orders(ctx.request)
            ctx.line.note_owner(orders)
        cause = replace(ordered.error, data=candidates(cart, orders, self._clock()) or None)
        return self._unknown(ctx, cause, ctx.response_ids)

    def later(self, ctx: DeliveryContext, response: ServiceResponse, reason: ErrorClass) -> Deferral:
        """The deferral after a transient response, of a POST or of GET cart. `reason`: its class."""
        now, retry = self._clock(), ctx.request.retry
        wait = retry_after(response.retry_after, now)
        if reason is ErrorClass.THROTTLED:
            self._gate.close(ctx.request.customer_id, now, wait)
        deferral = after_transient(retry, self._policy, self._uniform, now, reason=reason, wait=wait)
        spent = ctx.state.spent or (ctx.answer is not None and ctx.answer.left.spent)
        remaining = settle_remaining(ctx.state, ctx.now(), self._policy.settle, ctx.heard)
        if spent and remaining and deferral.retry.attempt >= ATTEMPTS_BEFORE_A_NEW_KEY:
            deferral = replace(deferral, delay=max(deferral.delay, settling(retry, remaining).delay))
        return deferral

    def get_cart(self, ctx: DeliveryContext) -> Look | Deferral:
        """GET the cart, or defer where that might not end in time. `CartLookup.sent` is the time before it is sent."""
        if not ctx.budget.allows(ctx.budget.limits.get):
            return replace(without_call(ctx.request.retry, self._uniform, OUT_OF_TIME), marks=True)
        sent = ctx.now()
        with ctx.line.step("get_cart"):
            response = self._partner_center.get_cart(ctx.request)
        ctx.line.note_owner(response)
        return Look(lookup_of(response, sent), response)

    def is_closed(
        self, ctx: DeliveryContext, look: CartLookup | None, answered: Post | None, refused_404: Post | None = None
    ) -> bool:
        """Whether no order of the cart exists and none can come: see `shared.core.cart_state.is_closed`."""
        return is_closed(
            ctx.state,
            bought=ctx.record.bought() is not None,
            look=look,
            settle=self._policy.settle,
            answered=answered,
            refused_404=refused_404,
        )

    def _failed(self, ctx: DeliveryContext, ending: Ending) -> Conclusion:
        decision = Decision(Outcome.FAILED, ctx.attempts, ending.result, ending.error, ending.response)
        if ending.refusal is not None:
            return Conclusion(decision, after_refusal(ctx.state, ending.refusal.key))
        return Conclusion(decision, after_giving_up(ctx.state))

    def _unknown(self, ctx: DeliveryContext, cause: Error, response: dict[str, str | int] | None) -> Conclusion:
        decision = Decision(Outcome.UNKNOWN, ctx.attempts, error=cause, response=response)
        return Conclusion(decision, after_unknown(ctx.state, ctx.heard))


def ordered_though(cause: Error) -> Error:
    """The error that tells of an ordered cart, where the answer to the POST said something else."""
    return error(
        ErrorClass.ALREADY_ORDERED, f"The cart is ordered, though: {cause.description or cause.code}", code=cause.code
    )


def _unresolved(ending: Ending, reading: CartStatusReading) -> Error:
    """What is told where neither the POSTs nor GET cart have proved anything."""
    cause = ending.error
    said = f"{cause.description or cause.code}; GET cart then said: {reading}"
    if ending.refusal is None:
        return error(ErrorClass.UNANSWERED, said)
    return error(ErrorClass.UNANSWERED, said, code=cause.code, source=cause.source, advice=UNRESOLVED)
