"""One attempt at the service: gate, POST, verdict, and GET cart where the response proves nothing.

The result is a value: a `Decision` to record and publish, or a `Deferral` to try again later. What a later attempt
must know (the doubt, the epoch) is written into the delivery's context on the way.
"""

import logging
import re
from collections.abc import Callable
from datetime import datetime

from msgspec.structs import replace

from shared.context import DeliveryContext
from shared.core.errors import HELD_FOR_OPERATOR, UNRESOLVED, Error, ErrorClass, error
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Outcome, response_ids
from shared.core.retry import (
    MAX_COUNT,
    Deferral,
    RetryPolicy,
    ThrottleGate,
    Uniform,
    after_closed_gate,
    after_throttling,
    after_transient,
    is_expired,
    is_last_day,
    retry_after,
    settle_remaining,
    settling,
    without_call,
)
from shared.core.verdict import (
    AlreadyOrdered,
    Bought,
    CartStatusReading,
    Refused,
    Retry,
    Verdict,
    candidates,
    judge,
    read_cart_status,
)
from shared.ports import PartnerCenterApi, TokenUnavailable

_WORD = re.compile(r"[0-9A-Za-z._-]{1,40}", re.ASCII)


class CheckoutAttempt:
    """Attempts the checkout of a cart. Thread-safe: deliveries share only the gate."""

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

    def run(self, ctx: DeliveryContext) -> Decision | Deferral:
        """POST the checkout, unless this customer is throttled or there is no token."""
        request, now = ctx.request, self._clock()
        too_late = is_last_day(request.started_at, now)
        opening = self._gate.opening(request.customer_id, now)
        if opening is not None:
            if too_late:
                return self.give_up(ctx, error(ErrorClass.THROTTLED, "Throttled until the cart's last day"))
            return after_closed_gate(request.retry, self._uniform, opening, now)
        try:
            response = self._post(ctx)
        except TokenUnavailable as failure:
            ctx.line.add(exception=type(failure).__name__, detail=str(failure))
            ctx.line.escalate(logging.ERROR)
            if too_late:
                return self.give_up(ctx, error(ErrorClass.AUTHENTICATION, str(failure)))
            return without_call(request.retry, self._uniform, ErrorClass.AUTHENTICATION)
        return self._conclude(ctx, response, judge(response))

    def give_up(self, ctx: DeliveryContext, last: Error, response: ServiceResponse | None = None) -> Decision:
        """Decide without a response in time: `failed` if no order can exist, else what GET cart says, once."""
        if ctx.request.retry.doubt is None:
            return _decision(ctx, Outcome.FAILED, response, last)
        cart = self._get_cart(ctx)
        status = read_cart_status(cart)
        if status is CartStatusReading.ORDERED:
            ordered = error(ErrorClass.ALREADY_ORDERED, "No POST was answered, but the cart is ordered")
            return self._already_ordered(ctx, response, ordered, cart)
        description = (
            f"No POST got a certain answer, of {ctx.attempts} that are known; the last: "
            f"{last.description or last.code}; GET cart then said: {status}"
        )
        return _decision(ctx, Outcome.UNKNOWN, response, error(ErrorClass.UNANSWERED, description))

    def _post(self, ctx: DeliveryContext) -> ServiceResponse:
        with ctx.line.step("post") as step:
            response = self._partner_center.checkout(ctx.request)
            step.set_response(response)
        ctx.sent_id = ctx.request.ms_request_id
        ctx.line.add(status=response.status, msRequestId=ctx.sent_id, failure=response.failure)
        return response

    def _conclude(self, ctx: DeliveryContext, response: ServiceResponse, verdict: Verdict) -> Decision | Deferral:
        """Turn the verdict into a decision or a deferral."""
        match verdict:
            case Bought(outcome, result, cause):
                return _decision(ctx, outcome, response, cause, result)
            case Refused():
                return self._confirm_refusal(ctx, response, verdict)
            case AlreadyOrdered(cause):
                return self._already_ordered(ctx, response, cause, self._get_cart(ctx))
            case Retry():
                if verdict.doubtful:
                    ctx.update_retry(doubt=self._clock())
                ctx.update_retry(epoch=min(ctx.request.retry.epoch + verdict.new_epoch, MAX_COUNT))
                deferral = self._retry_later(ctx, response, verdict)
                return deferral or self.give_up(ctx, verdict.error, response)

    def _retry_later(self, ctx: DeliveryContext, response: ServiceResponse, verdict: Retry) -> Deferral | None:
        """Return the deferral after a transient response, or None when it is too late for one."""
        retry, now, reason = ctx.request.retry, self._clock(), verdict.error.error_class
        throttled = reason is ErrorClass.THROTTLED
        wait = retry_after(response.retry_after, now)
        if throttled:
            self._gate.close(ctx.request.customer_id, now, wait)
        if reason in HELD_FOR_OPERATOR:
            ctx.line.escalate(logging.ERROR)
        ctx.line.add(code=_code(verdict.error))
        if is_expired(retry, self._policy, ctx.request.started_at, now, throttled=throttled):
            return None
        if throttled:
            return after_throttling(retry, self._policy, self._uniform, wait)
        return after_transient(retry, self._policy, self._uniform, now, reason=reason, wait=wait)

    def _confirm_refusal(
        self, ctx: DeliveryContext, response: ServiceResponse, refused: Refused
    ) -> Decision | Deferral:
        """Accept a refusal if no earlier POST is unanswered and its code is known, otherwise GET the cart.

        POST 1 ───────────────── (no answer) ──────────── still ordering ─► Ordered
                POST 2 ─ 400 ─ GET cart: Active            proves nothing yet: `failed` could be untrue
                                      ···· settle ···· POST 3 ─ 400 ─ GET cart: Active ─► failed
        """
        cause = refused.error
        failed = _decision(ctx, Outcome.FAILED, response, cause, refused.result)
        if ctx.request.retry.doubt is None and refused.known:
            return failed
        cart = self._get_cart(ctx)
        unresolved = _decision(ctx, Outcome.UNKNOWN, response, replace(cause, advice=UNRESOLVED))
        match read_cart_status(cart):
            case CartStatusReading.ORDERED:
                description = f"The cart is ordered, though the service refused: {cause.description}"
                ordered = error(ErrorClass.ALREADY_ORDERED, description, code=cause.code, source=cause.source)
                return self._already_ordered(ctx, response, ordered, cart)
            case CartStatusReading.ACTIVE:
                return self._once_settled(ctx, failed, unresolved)
            case CartStatusReading.NOT_NOW:
                transient = judge(cart)
                later = self._retry_later(ctx, cart, transient) if isinstance(transient, Retry) else None
                return later or unresolved
            case CartStatusReading.UNCLEAR:
                return unresolved

    def _once_settled(self, ctx: DeliveryContext, failed: Decision, unresolved: Decision) -> Decision | Deferral:
        """The cart is active: `failed` once no earlier POST can still be at work, otherwise wait until then."""
        remaining = settle_remaining(ctx.request.retry, self._policy, self._clock())
        if not remaining:
            return failed
        if is_last_day(ctx.request.started_at, self._clock()):
            return unresolved
        return settling(ctx.request.retry, remaining)

    def _already_ordered(
        self, ctx: DeliveryContext, response: ServiceResponse | None, cause: Error, cart: ServiceResponse
    ) -> Decision:
        """Another call ordered the cart: report the orders that could be its own, without choosing one."""
        with ctx.line.step("list_orders"):
            orders = self._partner_center.list_orders(ctx.request)
        cause = replace(cause, data=candidates(cart, orders, self._clock()) or None)
        return _decision(ctx, Outcome.UNKNOWN, response, cause)

    def _get_cart(self, ctx: DeliveryContext) -> ServiceResponse:
        with ctx.line.step("get_cart"):
            return self._partner_center.get_cart(ctx.request)


def _decision(
    ctx: DeliveryContext,
    outcome: Outcome,
    response: ServiceResponse | None,
    cause: Error | None,
    result: str | None = None,
) -> Decision:
    if cause is not None:
        ctx.line.add(**{"class": cause.error_class, "code": _code(cause)})
    ids = response_ids(response, ctx.sent_id or "", ctx.request.correlation_id) if response else None
    return Decision(outcome, ctx.attempts, result, cause, ids)


def _code(cause: Error) -> str | None:
    """The service's code for the log line, where it is one word: free text is never logged."""
    return cause.code if cause.code is not None and _WORD.fullmatch(cause.code) else None
