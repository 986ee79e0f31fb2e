"""One attempt at the service: gate, entry, POST, verdict, and GET cart where the response proves nothing.

The result is a value: a `Conclusion` to record and publish, or a `Deferral` to try again later. Nothing here waits.

    answered without a POST?   notAfter, the last POST made, a refusal in the copy, poisoned twice ──► `without_post`
    may it POST now?           another request's POST, the closed gate, no token ──► defer
    enter ─ POST ─ verdict     bought ──► conclude
                               refused ──► conclude on a closed cart, else settle and ask
                               ordered ──► POST once more, which repeats the first result
                               transient ──► defer, or give up

A lost race starts over with the answer still in hand (`Steps.answer`).
"""

import logging
import re
from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec.structs import replace

from shared.context import Answer, DeliveryContext, EntryAge
from shared.core.cart_state import (
    CartLookup,
    Post,
    after_giving_up,
    after_purchase,
    after_refusal,
    after_unknown,
    enter,
    in_doubt_since,
    is_closed,
    settle_remaining,
    wait_for_others,
)
from shared.core.errors import HELD_FOR_OPERATOR, TRANSIENT, UNRESOLVED, Error, ErrorClass, error
from shared.core.evidence import evidence_of, lookup_of
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Outcome, response_ids
from shared.core.refusal import error_of, post_of, response_of, to_refusal
from shared.core.retry import (
    Deferral,
    Refusal,
    RetryPolicy,
    ThrottleGate,
    Uniform,
    after_closed_gate,
    after_transient,
    behind_another,
    is_last,
    is_last_day,
    retry_after,
    settling,
    without_call,
)
from shared.core.rules import InHand
from shared.core.verdict import (
    AlreadyOrdered,
    Bought,
    CartStatusReading,
    Refused,
    Retry,
    candidates,
    judge,
)
from shared.ports import PartnerCenterApi, TokenUnavailable
from shared.steps import Conclusion, Steps

MAX_ENTRIES = 3
"""How often one delivery enters its POST: once more after a 401, and where an entry became too old."""
ATTEMPTS_BEFORE_A_NEW_KEY = 3
"""From this attempt on, a copy whose key is spent waits until the cart can be closed, so that it gets a new one."""
_NOT_FOUND = 404
_UNAUTHORIZED = 401
_OUT_OF_TIME = ServiceResponse(None, failure="not sent: out of time", sent=False)
_WORD = re.compile(r"[0-9A-Za-z._-]{1,40}", re.ASCII)


class Ending(msgspec.Struct, frozen=True):
    """Why a request is not posted any more. `refusal`: the one that stands once the cart is closed."""

    error: Error
    response: dict[str, str | int] | None = None
    result: str | None = None
    refusal: Refusal | None = None


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

    def run(self, ctx: DeliveryContext) -> Conclusion | Deferral:
        """Conclude from the answer in hand, or POST, unless the request must not be posted (now).

        Raises:
            Conflict: another writer of the record was first. The record must be read again.
            StorageUnavailable: the POST could not be entered, so none was made.
        """
        if ctx.in_hand is InHand.ORDERED and ctx.record.own(ctx.request):
            # a copy of this message was told `failed` meanwhile: this corrects it, and must not wait
            return self._unknown_order(ctx, error(ErrorClass.ALREADY_ORDERED, "GET cart says that it is ordered"))
        if ctx.answer is not None:
            return self._conclude(ctx, ctx.answer)
        if (ending := self._ending(ctx)) is not None:
            return self._without_post(ctx, ending)
        if (wait := wait_for_others(ctx.state, ctx.request.event_id, ctx.now(), self._policy.settle)) > 0:
            return behind_another(ctx.request.retry, wait)
        token = self._admitted(ctx)
        if not isinstance(token, str):
            return self._without_post(ctx, token) if isinstance(token, Ending) else token
        renewed = self._may_renew_key(ctx)
        return self._post(ctx, token, closed=renewed) if isinstance(renewed, bool) else renewed

    # --- without a POST ---------------------------------------------------------------------------------------

    def _ending(self, ctx: DeliveryContext) -> Ending | None:
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
        if request.not_after is not None and self._is_expired(ctx):
            return Ending(error(ErrorClass.EXPIRED, f"Not bought before {request.not_after.isoformat()}"))
        since = in_doubt_since(ctx.state)
        clocks = (None, ErrorClass.CONFIGURATION)  # the class of its response is not known: `since`, or `held`
        if since is not None and any(
            is_last(retry, self._policy, request.started_at, since, reason=clock) for clock in clocks
        ):
            given_up = next((each for each in TRANSIENT if each == retry.reason), ErrorClass.SERVICE)
            return Ending(error(given_up, "The last POST got no certain answer"))
        return None

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
            return without_call(request.retry, self._uniform, "storage")  # which took the time
        try:
            return self._partner_center.token()
        except TokenUnavailable as failure:
            ctx.line.add(exception=type(failure).__name__, detail=str(failure))
            ctx.line.escalate(logging.ERROR)
            if too_late:
                return Ending(error(ErrorClass.AUTHENTICATION, str(failure)))
            return without_call(request.retry, self._uniform, ErrorClass.AUTHENTICATION)

    def _without_post(self, ctx: DeliveryContext, ending: Ending) -> Conclusion | Deferral:
        """`failed` on a closed cart. Else wait until every POST in doubt is settled, and GET the cart.

        entry ─ POST ─ ? ········· settled
                                      GET sent ─ Active ─► `failed`
                                                 Ordered ─► POST once more
                                                 no answer ─► defer, until the last day
                                                 else ─► `unknown`
        """
        answered = ctx.heard
        if self._closed(ctx, None, answered):
            return self._failed(ctx, ending)
        if remaining := settle_remaining(ctx.state, ctx.now(), self._policy.settle, answered):
            given_up = ending.error.error_class in TRANSIENT
            return settling(ctx.request.retry, remaining, ending.error.error_class if given_up else "settling")
        look, cart = self._get_cart(ctx)
        refusal = ending.refusal
        refused_404 = post_of(refusal, ctx.request.event_id) if refusal and refusal.status == _NOT_FOUND else None
        if self._closed(ctx, look, answered, refused_404):
            return self._failed(ctx, ending)
        if look.reading is CartStatusReading.ORDERED:
            return self._ordered(ctx, error(ErrorClass.ALREADY_ORDERED, _ordered_though(ending.error)), cart)
        if look.reading is CartStatusReading.NOT_NOW and not is_last_day(ctx.request.started_at, self._clock()):
            return self._later(ctx, cart)
        return self._unknown(ctx, _unresolved(ending, look.reading), ending.response)

    def _failed(self, ctx: DeliveryContext, ending: Ending) -> Conclusion:
        decision = self._decision(ctx, Outcome.FAILED, ending.error, ending.response, ending.result)
        if ending.refusal is not None:
            return Conclusion(decision, after_refusal(ctx.state, ending.refusal.key))
        return Conclusion(decision, after_giving_up(ctx.state))

    # --- the POST ---------------------------------------------------------------------------------------------

    def _may_renew_key(self, ctx: DeliveryContext) -> bool | Conclusion | Deferral:
        """Whether the next POST gets a new key: the present one is spent or lost, and the cart is closed.

        Without a key there is no POST, so a cart with a lost state that is not closed is concluded or deferred.
        """
        state, lost = ctx.state, ctx.state.key is None
        if not (state.spent or lost):
            return False
        if self._closed(ctx, None, None):
            return True
        if settle_remaining(state, ctx.now(), self._policy.settle):
            return False  # not `lost`: that one waits for others until it is settled
        look, cart = self._get_cart(ctx)
        if self._closed(ctx, look, None) or not lost:
            return self._closed(ctx, look, None)
        if look.reading is CartStatusReading.NOT_NOW and not is_last_day(ctx.request.started_at, self._clock()):
            return self._later(ctx, cart)
        if look.reading is CartStatusReading.ORDERED:
            return self._ordered(ctx, error(ErrorClass.ALREADY_ORDERED, "The record had lost its state"), cart)
        description = f"The record had lost its state; GET cart then said: {look.reading}"
        return self._unknown(ctx, error(ErrorClass.UNANSWERED, description))

    def _post(self, ctx: DeliveryContext, token: str, *, closed: bool = False) -> Conclusion | Deferral:
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
            return without_call(ctx.request.retry, self._uniform, "storage")  # which took the time
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
        _escalate_foreign(ctx, response)
        ctx.posts += 1
        ctx.repeated = ctx.ordered and response.sent
        ctx.line.add(status=response.status, msRequestId=ms_request_id, failure=response.failure)
        verdict = judge(response)
        return Answer(post, key, response, verdict, evidence_of(response, verdict))

    # --- the answer -------------------------------------------------------------------------------------------

    def _conclude(self, ctx: DeliveryContext, answer: Answer) -> Conclusion | Deferral:
        """Turn the answer in hand into a conclusion or a deferral."""
        verdict = answer.verdict
        match verdict:
            case Bought(outcome, result, cause):
                decision = self._decision(ctx, outcome, cause, self._ids(ctx, answer), result)
                return Conclusion(decision, after_purchase(ctx.state, answer.post))
            case AlreadyOrdered(cause):
                return self._ordered(ctx, cause)
            case Refused(cause) if ctx.repeated:
                return self._ordered(ctx, error(ErrorClass.ALREADY_ORDERED, _ordered_though(cause), code=cause.code))
            case Refused():
                return self._refused(ctx, answer, verdict)
            case Retry(cause):
                return self._try_again(ctx, answer, cause)

    def _refused(self, ctx: DeliveryContext, answer: Answer, refused: Refused) -> Conclusion | Deferral:
        """A refusal stands on a closed cart.

        POST 1 ───────────────── (no answer) ──────────── still ordering ─► Ordered
                POST 2 ─ 400 ─ GET cart: Active            proves nothing yet: `failed` could be untrue
                                      ···· settle ···· POST 3 ─ 400 ─ GET cart: Active ─► failed

        One that proves nothing is no answer to its own POST: it is not posted again, and stands once settled.
        """
        refusal = to_refusal(refused.error, self._ids(ctx, answer), answer.post, answer.key)
        if not answer.left.heard:
            remaining = settle_remaining(ctx.state, ctx.now(), self._policy.settle)
            return settling(replace(ctx.request.retry, refused=refusal), remaining)
        return self._without_post(ctx, Ending(refused.error, self._ids(ctx, answer), refused.result, refusal))

    def _try_again(self, ctx: DeliveryContext, answer: Answer, cause: Error) -> Conclusion | Deferral:
        """After a transient response: defer, unless this was the last POST."""
        request, reason, response = ctx.request, cause.error_class, answer.response
        if reason in HELD_FOR_OPERATOR:
            ctx.line.escalate(logging.ERROR)
        ctx.line.add(code=_code(cause))
        last = is_last(request.retry, self._policy, request.started_at, answer.post.at, reason=reason)
        if ctx.ordered:  # what repeats an ordered cart's POST is tried until the last day
            if is_last_day(request.started_at, self._clock()):
                return self._unknown_order(ctx, error(ErrorClass.ALREADY_ORDERED, _ordered_though(cause)))
            last = False
        if last:
            return self._without_post(ctx, Ending(cause, self._ids(ctx, answer)))
        return self._later(ctx, response, reason)

    def _ordered(
        self, ctx: DeliveryContext, cause: Error, cart: ServiceResponse | None = None
    ) -> Conclusion | Deferral:
        """The cart is ordered: one more POST under the same key can only repeat the first result.

        Not where that was done, where nobody knows the key, or where the message kills its worker.
        """
        ctx.ordered = True
        if ctx.repeated or ctx.poisoned_twice or ctx.state.key is None:
            return self._unknown_order(ctx, cause, cart)
        if (wait := wait_for_others(ctx.state, ctx.request.event_id, ctx.now(), self._policy.settle)) > 0:
            return replace(behind_another(ctx.request.retry, wait), marks=True)
        token = self._admitted(ctx)
        if isinstance(token, Ending):
            return self._unknown_order(ctx, cause, cart)
        if isinstance(token, Deferral):
            return replace(token, marks=True)
        return self._post(ctx, token)

    def _unknown_order(self, ctx: DeliveryContext, cause: Error, cart: ServiceResponse | None = None) -> Conclusion:
        """Report the orders that could be the cart's own, without choosing one: it could be another cart's."""
        cart = cart or self._get_cart(ctx)[1]
        orders = _OUT_OF_TIME
        if ctx.budget.allows(ctx.budget.limits.get):
            with ctx.line.step("list_orders"):
                orders = self._partner_center.list_orders(ctx.request)
            _escalate_foreign(ctx, orders)
        ids = self._ids(ctx, ctx.answer) if ctx.answer else None
        return self._unknown(ctx, replace(cause, data=candidates(cart, orders, self._clock()) or None), ids)

    def _later(self, ctx: DeliveryContext, response: ServiceResponse, reason: ErrorClass | None = None) -> Deferral:
        """The deferral after a transient response, of a POST or of GET cart."""
        now, retry = self._clock(), ctx.request.retry
        if reason is None:
            verdict = judge(response)
            reason = verdict.error.error_class if isinstance(verdict, Retry) else ErrorClass.SERVICE
        wait = retry_after(response.retry_after, now)
        if reason is ErrorClass.THROTTLED:
            self._gate.close(ctx.request.customer_id, now, wait)
        deferral = after_transient(retry, self._policy, self._uniform, now, reason=reason, wait=wait)
        spent = ctx.state.spent or (ctx.answer is not None and ctx.answer.left.spent)
        if spent and deferral.retry.attempt >= ATTEMPTS_BEFORE_A_NEW_KEY:
            remaining = settle_remaining(ctx.state, ctx.now(), self._policy.settle, ctx.heard)
            settled = settling(retry, remaining).delay if remaining else 0.0
            deferral = replace(deferral, delay=max(deferral.delay, settled))
        return deferral

    # --- small ------------------------------------------------------------------------------------------------

    def _closed(
        self, ctx: DeliveryContext, look: CartLookup | None, answered: Post | None, refused_404: Post | None = None
    ) -> bool:
        return is_closed(
            ctx.state,
            bought=ctx.record.bought() is not None,
            look=look,
            settle=self._policy.settle,
            answered=answered,
            refused_404=refused_404,
        )

    def _is_expired(self, ctx: DeliveryContext) -> bool:
        return ctx.request.not_after is not None and self._clock() >= ctx.request.not_after

    def _may_post(self, ctx: DeliveryContext) -> bool:
        return ctx.ordered or not self._is_expired(ctx)

    def _get_cart(self, ctx: DeliveryContext) -> tuple[CartLookup, ServiceResponse]:
        """GET the cart. `CartLookup.sent` is the time before it is sent."""
        sent = ctx.now()
        response = _OUT_OF_TIME
        if ctx.budget.allows(ctx.budget.limits.get):
            with ctx.line.step("get_cart"):
                response = self._partner_center.get_cart(ctx.request)
            _escalate_foreign(ctx, response)
        return lookup_of(response, sent), response

    def _unknown(self, ctx: DeliveryContext, cause: Error, response: dict[str, str | int] | None = None) -> Conclusion:
        decision = self._decision(ctx, Outcome.UNKNOWN, cause, response)
        return Conclusion(decision, after_unknown(ctx.state, ctx.heard))

    def _decision(
        self,
        ctx: DeliveryContext,
        outcome: Outcome,
        cause: Error | None,
        response: dict[str, str | int] | None = None,
        result: str | None = None,
    ) -> Decision:
        if cause is not None:
            ctx.line.add(**{"class": cause.error_class, "code": _code(cause)})
        return Decision(outcome, ctx.attempts, result, cause, response)

    def _ids(self, ctx: DeliveryContext, answer: Answer) -> dict[str, str | int] | None:
        return response_ids(answer.response, ctx.ms_request_id(answer.key), ctx.request.correlation_id)


def _escalate_foreign(ctx: DeliveryContext, response: ServiceResponse) -> None:
    """Log an ERROR where a call was given another's answer: something on the way mixes up customers."""
    if response.foreign:
        ctx.line.add(failure=response.failure)
        ctx.line.escalate(logging.ERROR)


def _ordered_though(cause: Error) -> str:
    return f"The cart is ordered, though: {cause.description or cause.code}"


def _unresolved(ending: Ending, reading: CartStatusReading) -> Error:
    """What is told where neither the POSTs nor GET cart have proved anything."""
    cause = ending.error
    said = f"{cause.description or cause.code}; GET cart then said: {reading}"
    if ending.refusal is None:
        return error(ErrorClass.UNANSWERED, said)
    return error(ErrorClass.UNANSWERED, said, code=cause.code, source=cause.source, advice=UNRESOLVED)


def _code(cause: Error) -> str | None:
    """The service's code for the log line, where it is one word: free text is never logged."""
    return cause.code if cause.code is not None and _WORD.fullmatch(cause.code) else None
