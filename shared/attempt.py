"""Asking the service about one request: POST, and where its answer proves nothing, GET. Decides by the verdict.

What comes of it is a value: a `Decision` to keep and tell, or a `Deferral` to try again later. What a later try
must remember (the doubt, the epoch) is written into the visit on the way.
"""

import logging
import re
from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec.structs import replace

from shared.core import retry as again
from shared.core.errors import UNRESOLVED, Error, ErrorClass, error
from shared.core.messages import CheckoutRequest, Delivery
from shared.core.models import ServiceResponse
from shared.core.outcomes import Decision, Outcome, response
from shared.core.retry import Deferral, RetryPolicy, ThrottleGate, Uniform
from shared.core.verdict import CartStatusReading, Kind, Verdict, candidates, judge, read_cart_status
from shared.ports import PartnerCenterApi, TokenUnavailable
from shared.telemetry import LogLine

OPERATORS_TURN = frozenset({ErrorClass.AUTHENTICATION, ErrorClass.CONFIGURATION})
"""Classes that an alert must match: the carts are held until somebody corrects something."""
_WORD = re.compile(r"[0-9A-Za-z._-]{1,40}", re.ASCII)


class DeliveryContext(msgspec.Struct):
    """One delivery of a valid request, on its way. `sent`: the MS-RequestId of the POST that it has made."""

    request: CheckoutRequest
    delivery: Delivery
    line: LogLine
    sent: str | None = None

    @property
    def attempts(self) -> int:
        """How many attempts the outcome will tell of."""
        return self.request.retry.attempt + (self.sent is not None)

    def remember(self, **memory: object) -> None:
        """Change what a copy of this message will remember."""
        self.request = replace(self.request, retry=replace(self.request.retry, **memory))


class CheckoutAttempt:
    """Asks the service. Thread-safe: the gate is all that visits share."""

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

    def ask(self, visit: DeliveryContext) -> Decision | Deferral:
        """POST the checkout, unless this customer is throttled or there is no token."""
        request, now = visit.request, self._clock()
        too_late = again.is_last_day(request.started_at, now)
        opening = self._gate.opening(request.customer_id, now)
        if opening is not None:
            if too_late:
                return self.give_up(visit, error(ErrorClass.THROTTLED, "Throttled until the cart's last day"))
            return again.after_closed_gate(request.retry, self._uniform, opening, now)
        try:
            with visit.line.step("post"):
                answer = self._partner_center.checkout(request)
        except TokenUnavailable as missing:
            visit.line.add(exception=type(missing).__name__, detail=str(missing))
            visit.line.escalate(logging.ERROR)
            if too_late:
                return self.give_up(visit, error(ErrorClass.AUTHENTICATION, str(missing)))
            return again.without_call(request.retry, self._uniform, ErrorClass.AUTHENTICATION)
        visit.sent = request.ms_request_id
        visit.line.add(status=answer.status, msRequestId=visit.sent, failure=answer.failure)
        return self._follow(visit, answer, judge(answer))

    def _follow(self, visit: DeliveryContext, answer: ServiceResponse, verdict: Verdict) -> Decision | Deferral:
        """Do what the verdict says."""
        match verdict.kind:
            case Kind.AGAIN:
                if verdict.doubtful:
                    visit.remember(doubt=self._clock())
                visit.remember(epoch=min(visit.request.retry.epoch + verdict.new_epoch, again.MAX_COUNT))
                return self._later(visit, answer, verdict) or self.give_up(visit, _error_of(verdict), answer)
            case Kind.REFUSED:
                return self._weigh(visit, answer, verdict)
            case Kind.ALREADY_ORDERED:
                return self._already_ordered(visit, answer, _error_of(verdict), self._get_cart(visit))
            case Kind.COMPLETED | Kind.ACTION_REQUIRED | Kind.PARTIAL:
                return _decision(visit, Outcome(verdict.kind), answer, verdict.error, verdict.result)

    def _later(self, visit: DeliveryContext, answer: ServiceResponse, verdict: Verdict) -> Deferral | None:
        """The deferral after a transient answer; None: it is too late for one."""
        retry, now, reason = visit.request.retry, self._clock(), _error_of(verdict).error_class
        throttled = reason is ErrorClass.THROTTLED
        wait = again.retry_after(answer.retry_after, now)
        if throttled:
            self._gate.close(visit.request.customer_id, now, wait)
        if reason in OPERATORS_TURN:
            visit.line.escalate(logging.ERROR)
        visit.line.add(code=_code(_error_of(verdict)))
        if again.is_expired(retry, self._policy, visit.request.started_at, now, throttled=throttled):
            return None
        if throttled:
            return again.after_throttling(retry, self._policy, self._uniform, wait)
        return again.after_answer(retry, self._policy, self._uniform, now, reason=reason, wait=wait)

    def _weigh(self, visit: DeliveryContext, answer: ServiceResponse, verdict: Verdict) -> Decision | Deferral:
        """A refusal is proof when no earlier POST is unanswered and its code is known; else GET the cart.

        POST 1 ───────────────── (no answer) ──────────── still ordering ─► Ordered
                POST 2 ─ 400 ─ GET cart: Active            proves nothing yet: `failed` would be a lie
                                      ···· settle ···· POST 3 ─ 400 ─ GET cart: Active ─► failed, truly
        """
        found = _error_of(verdict)
        refused = _decision(visit, Outcome.FAILED, answer, found, verdict.result)
        if visit.request.retry.doubt is None and verdict.known:
            return refused
        cart = self._get_cart(visit)
        unresolved = _decision(visit, Outcome.UNKNOWN, answer, replace(found, advice=UNRESOLVED))
        match read_cart_status(cart):
            case CartStatusReading.ORDERED:
                description = f"The cart is ordered, though the service refused: {found.description}"
                ordered = error(ErrorClass.ALREADY_ORDERED, description, code=found.code, source=found.source)
                return self._already_ordered(visit, answer, ordered, cart)
            case CartStatusReading.ACTIVE:
                rest = again.settle_remaining(visit.request.retry, self._policy, self._clock())
                if not rest:
                    return refused
                if again.is_last_day(visit.request.started_at, self._clock()):
                    return unresolved
                return again.settling(visit.request.retry, rest)
            case CartStatusReading.NOT_NOW:
                return self._later(visit, cart, judge(cart)) or unresolved
            case CartStatusReading.UNCLEAR:
                return unresolved

    def give_up(self, visit: DeliveryContext, last: Error, answer: ServiceResponse | None = None) -> Decision:
        """No answer came in time: `failed` if none can come any more, else ask about the cart, once."""
        if visit.request.retry.doubt is None:
            return _decision(visit, Outcome.FAILED, answer, last)
        cart = self._get_cart(visit)
        if read_cart_status(cart) is CartStatusReading.ORDERED:
            found = error(ErrorClass.ALREADY_ORDERED, "No POST was answered, but the cart is ordered")
            return self._already_ordered(visit, answer, found, cart)
        description = (
            f"No POST got a certain answer, of {visit.attempts} that are known; the last: "
            f"{last.description or last.code}; "
            f"GET cart then said: {read_cart_status(cart)}"
        )
        return _decision(visit, Outcome.UNKNOWN, answer, error(ErrorClass.UNANSWERED, description))

    def _already_ordered(
        self, visit: DeliveryContext, answer: ServiceResponse | None, found: Error, cart: ServiceResponse
    ) -> Decision:
        """No POST will tell more: tell which orders could be this cart's, and guess none."""
        with visit.line.step("list_orders"):
            orders = self._partner_center.list_orders(visit.request)
        found = replace(found, data=candidates(cart, orders, self._clock()) or None)
        return _decision(visit, Outcome.UNKNOWN, answer, found)

    def _get_cart(self, visit: DeliveryContext) -> ServiceResponse:
        with visit.line.step("get_cart"):
            return self._partner_center.get_cart(visit.request)


def _decision(
    visit: DeliveryContext,
    outcome: Outcome,
    answer: ServiceResponse | None,
    found: Error | None,
    result: str | None = None,
) -> Decision:
    if found is not None:
        visit.line.add(**{"class": found.error_class, "code": _code(found)})
    ids = response(answer, visit.sent or "", visit.request.correlation_id) if answer else None
    return Decision(outcome, visit.attempts, result, found, ids)


def _code(found: Error) -> str | None:
    """The service's code for the log line, where it is one: of free text nothing is logged."""
    return found.code if found.code is not None and _WORD.fullmatch(found.code) else None


def _error_of(verdict: Verdict) -> Error:
    if verdict.error is None:
        raise AssertionError(f"a verdict {verdict.kind} without its error")
    return verdict.error
