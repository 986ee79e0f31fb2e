"""One attempt at the service: gate, entry, POST, verdict.

The result is a value: a `Conclusion` to record and publish, or a `Deferral` to try again later. Nothing here waits.

    answered without a POST?   notAfter, the last POST made, a refusal in the copy, poisoned twice ──► `conclusions`
    may it POST now?           another request's POST, the closed gate, no token ──► defer
    enter ─ POST ─ verdict     bought ──► conclude
                               refused ──► conclude on a closed cart, else settle and ask
                               ordered ──► POST once more, which repeats the first result
                               transient ──► defer, or give up

A lost race starts over with the answer still in hand (`Steps.answer`).
"""

import logging
from collections.abc import Callable
from datetime import datetime

from msgspec.structs import replace

from shared.conclusions import OUT_OF_TIME, Conclusions, Ending, Ordered, ordered_though
from shared.context import Answer, DeliveryContext, EntryAge
from shared.core.cart_state import Post, after_purchase, enter, settle_remaining, wait_for_others
from shared.core.errors import Error, ErrorClass, error
from shared.core.evidence import evidence_of
from shared.core.outcomes import Decision
from shared.core.refusal import to_refusal
from shared.core.retry import (
    Deferral,
    RetryPolicy,
    ThrottleGate,
    Uniform,
    after_closed_gate,
    behind_another,
    is_last,
    is_last_day,
    settling,
    without_call,
)
from shared.core.rules import InHand
from shared.core.verdict import AlreadyOrdered, Bought, Refused, Retry, judge
from shared.ports import PartnerCenterApi, TokenUnavailable
from shared.steps import Conclusion, Steps
from shared.telemetry import one_word

MAX_ENTRIES = 3
"""How often one delivery enters its POST: once more after a 401, and where an entry became too old."""
_UNAUTHORIZED = 401

Step = Conclusion | Deferral | Ordered


class CheckoutAttempt:
    """Attempts the checkout of a cart. Thread-safe: deliveries share only the gate."""

    def __init__(
        self,
        partner_center: PartnerCenterApi,
        steps: Steps,
        gate: ThrottleGate,
        policy: RetryPolicy,
        clock: Callable[[], datetime],
        uniform: Uniform,
    ) -> None:
        self._partner_center = partner_center
        self._steps = steps
        self._gate = gate
        self._policy = policy
        self._clock = clock
        self._uniform = uniform
        self._conclusions = Conclusions(partner_center, gate, policy, clock, uniform)

    def run(self, ctx: DeliveryContext) -> Conclusion | Deferral:
        """Conclude from the answer in hand, or POST, unless the request must not be posted (now).

        Raises:
            Conflict: another writer of the record was first. The record must be read again.
            StorageUnavailable: the POST could not be entered, so none was made.
        """
        step = self._first(ctx)
        while isinstance(step, Ordered):  # at most twice: a POST that repeats is made once
            step = self._repeat(ctx, step)
        return step

    def _first(self, ctx: DeliveryContext) -> Step:
        if ctx.in_hand is InHand.ORDERED and ctx.record.own(ctx.request):
            # a copy of this message was told `failed` meanwhile: this corrects it, and must not wait
            cause = error(ErrorClass.ALREADY_ORDERED, "GET cart says that it is ordered")
            return self._conclusions.unknown_order(ctx, Ordered(cause))
        if ctx.answer is not None:
            return self._conclude(ctx, ctx.answer)
        if (ending := self._conclusions.ending(ctx)) is not None:
            return self._conclusions.conclude(ctx, ending)
        if wait := wait_for_others(ctx.state, ctx.request.event_id, ctx.now(), self._policy.settle):
            return behind_another(ctx.request.retry, wait)
        token = self._admitted(ctx)
        if not isinstance(token, str):
            return self._conclusions.conclude(ctx, token) if isinstance(token, Ending) else token
        renewed = self._may_renew_key(ctx)
        return self._post(ctx, token, closed=renewed) if isinstance(renewed, bool) else renewed

    def _repeat(self, ctx: DeliveryContext, ordered: Ordered) -> Step:
        """The cart is ordered: one more POST under the same key can only repeat the first result.

        Not where that was done, where nobody knows the key, or where the message kills its worker.
        """
        ctx.ordered = True
        if ctx.repeated or ctx.poisoned_twice or ctx.state.key is None:
            return self._conclusions.unknown_order(ctx, ordered)
        if wait := wait_for_others(ctx.state, ctx.request.event_id, ctx.now(), self._policy.settle):
            return behind_another(ctx.request.retry, wait)
        token = self._admitted(ctx)
        if isinstance(token, Ending):
            return self._conclusions.unknown_order(ctx, ordered)
        if isinstance(token, Deferral):
            return replace(token, marks=True)
        return self._post(ctx, token)

    # --- may it POST now? -------------------------------------------------------------------------------------

    def _admitted(self, ctx: DeliveryContext) -> str | Ending | Deferral:
        """The token for a POST, unless this customer is throttled or there is none."""
        request, now = ctx.request, self._clock()
        too_late = is_last_day(request.started_at, now)
        opening = self._gate.opening(request.customer_id, now)
        if opening is not None:
            if too_late:
                return Ending(error(ErrorClass.THROTTLED, "Throttled until the cart's last day"))
            return after_closed_gate(request.retry, self._uniform, opening, now)
        if not ctx.budget.allows(ctx.budget.limits.token):
            return without_call(request.retry, self._uniform, OUT_OF_TIME)
        try:
            return self._partner_center.token()
        except TokenUnavailable as failure:
            ctx.line.add(exception=type(failure).__name__, detail=str(failure))
            ctx.line.escalate(logging.ERROR)
            if too_late:
                return Ending(error(ErrorClass.AUTHENTICATION, str(failure)))
            return without_call(request.retry, self._uniform, ErrorClass.AUTHENTICATION)

    def _may_renew_key(self, ctx: DeliveryContext) -> bool | Step:
        """Whether the next POST gets a new key: the present one is spent or lost, and the cart is closed.

        Without a key there is no POST, so a cart with a lost state that is not closed is concluded or deferred.
        """
        state, lost = ctx.state, ctx.state.key is None
        if not (state.spent or lost):
            return False
        if self._conclusions.is_closed(ctx, None, None):
            return True
        if settle_remaining(state, ctx.now(), self._policy.settle):
            return False  # not `lost`: that one waits for others until it is settled
        look = self._conclusions.get_cart(ctx)
        if isinstance(look, Deferral):
            return look
        if closed := self._conclusions.is_closed(ctx, look.lookup, None):
            return closed
        ending = Ending(error(ErrorClass.UNANSWERED, "The record had lost its state"))
        return self._conclusions.not_closed(ctx, ending, look) if lost else False

    # --- the POST ---------------------------------------------------------------------------------------------

    def _post(self, ctx: DeliveryContext, token: str, *, closed: bool = False) -> Step:
        """Enter the POST, make it, and conclude.

        Entered anew, as a POST of its own, is the second one after a 401, and one that did not begin in time:

            enter 1 ─ POST ─ 401 ─ enter 2 ─ POST, with another token
            enter 1 ─ (frozen) ─ too old, nothing sent ─ enter 2 ─ POST

        None begins after `notAfter`, however long the entry or the connection took, but what repeats an ordered cart's.
        """
        answered: Post | None = None
        answer: Answer | None = None
        for _ in range(MAX_ENTRIES):
            if not ctx.budget.allows(ctx.budget.limits.entry_and_post):
                break
            age = EntryAge(ctx)
            by, now = ctx.request.event_id, ctx.now()
            state = enter(ctx.state, by, now, delivery=ctx.delivery.name, closed=closed, answered=answered)
            self._steps.enter(ctx, state)
            answer = ctx.answer = self._checkout(ctx, token, age)
            closed, answered = False, answer.heard
            if answer.response.status == _UNAUTHORIZED and ctx.budget.allows(ctx.budget.limits.token):
                renewed = self._partner_center.renew_token(token)
                if renewed is None:
                    break
                token = renewed
            elif answer.response.sent or age.holds() or not self._may_post(ctx):
                break
        if answer is None:
            return without_call(ctx.request.retry, self._uniform, OUT_OF_TIME)
        return self._conclude(ctx, answer)

    def _checkout(self, ctx: DeliveryContext, token: str, age: EntryAge) -> Answer:
        post, key = ctx.state.post, ctx.state.key
        if post is None or key is None:
            raise ValueError("a POST without an entry")
        ms_request_id = ctx.ms_request_id(key)
        with ctx.line.step("post") as step:
            response = self._partner_center.checkout(
                ctx.request,
                ms_request_id=ms_request_id,
                token=token,
                may_begin=lambda: age.holds() and self._may_post(ctx),
            )
            step.set_response(response)
        ctx.line.note_owner(response)
        ctx.posted = True
        ctx.repeated = ctx.ordered and response.sent
        ctx.line.add(status=response.status, msRequestId=ms_request_id, failure=response.failure)
        verdict = judge(response)
        return Answer(post, key, response, verdict, evidence_of(response, verdict))

    def _may_post(self, ctx: DeliveryContext) -> bool:
        not_after = ctx.request.not_after
        return ctx.ordered or not_after is None or self._clock() < not_after

    # --- the answer -------------------------------------------------------------------------------------------

    def _conclude(self, ctx: DeliveryContext, answer: Answer) -> Step:
        """Turn the answer in hand into a conclusion or a deferral, or say that the cart is ordered."""
        verdict = answer.verdict
        match verdict:
            case Bought(outcome, result, cause):
                decision = Decision(outcome, ctx.attempts, result, cause, ctx.response_ids)
                return Conclusion(decision, after_purchase(ctx.state, answer.post))
            case AlreadyOrdered(cause):
                return Ordered(cause)
            case Refused(cause) if ctx.repeated:
                return Ordered(ordered_though(cause))
            case Refused():
                return self._refused(ctx, answer, verdict)
            case Retry(cause):
                return self._try_again(ctx, answer, cause)

    def _refused(self, ctx: DeliveryContext, answer: Answer, refused: Refused) -> Step:
        """A refusal stands on a closed cart.

        POST 1 ───────────────── (no answer) ──────────── still ordering ─► Ordered
                POST 2 ─ 400 ─ GET cart: Active            proves nothing yet: `failed` could be untrue
                                      ···· settle ···· POST 3 ─ 400 ─ GET cart: Active ─► failed

        One that proves nothing is no answer to its own POST: it is not posted again, and stands once settled.
        """
        refusal = to_refusal(refused.error, ctx.response_ids, answer.post, answer.key)
        if not answer.left.heard:
            remaining = settle_remaining(ctx.state, ctx.now(), self._policy.settle)
            return settling(replace(ctx.request.retry, refused=refusal), remaining)
        return self._conclusions.conclude(ctx, Ending(refused.error, ctx.response_ids, refused.result, refusal))

    def _try_again(self, ctx: DeliveryContext, answer: Answer, cause: Error) -> Step:
        """After a transient response: defer, unless this was the last POST."""
        started_at, reason = ctx.request.started_at, cause.error_class
        ctx.line.add(code=one_word(cause.code))
        if ctx.ordered:  # what repeats an ordered cart's POST is tried until the last day
            if is_last_day(started_at, self._clock()):
                return self._conclusions.unknown_order(ctx, Ordered(ordered_though(cause)))
        elif is_last(ctx.request.retry, self._policy, started_at, answer.post.at, reason=reason):
            return self._conclusions.conclude(ctx, Ending(cause, ctx.response_ids))
        return self._conclusions.later(ctx, answer.response, reason)
