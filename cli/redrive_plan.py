"""Plans how a cart's last request is sent again: whether it may be, under which id, and as which message.

All of it is derived from the cart's record and the app's own rules.
"""

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cli.cart_history import CartHistory, CartKey, Entry, WaitingNote
from cli.times import format_utc
from shared.core.messages import LONGEST_REQUEST_ID, CheckoutRequest, Delivery, InvalidMessage, decode
from shared.core.outcomes import SOURCE, TYPE
from shared.core.retry import LAST_DAY, RetryState
from shared.core.rules import Replay, apply_rules

_NUMBERED = re.compile(r"(.+)~([1-9][0-9]{0,5})", re.ASCII | re.DOTALL)
_CHECK_FIRST = (
    "it may have been bought, and a new request may buy it again. Look in Partner Center: is the cart Active, and "
    "has the customer no such order, 15 minutes after the last attempt? Then --checked-in-partner-center"
)


@dataclass(frozen=True, slots=True)
class RedrivePlan:
    """A cart's last request, to be sent again as `request`, or the `reason` why it must not be."""

    cart: CartKey
    last: Entry | None
    reason: str = ""
    request: CheckoutRequest | None = None

    def withdraw(self, reason: str) -> "RedrivePlan":
        """The same plan, but not to be sent."""
        return replace(self, reason=reason, request=None)

    @property
    def new_id(self) -> str:
        """The requestId that it is sent under."""
        return self.request.request_id if self.request else ""

    @property
    def decided_at(self) -> datetime:
        """When its last outcome was decided."""
        return (self.last and self.last.decided_at) or datetime.min.replace(tzinfo=UTC)

    def as_json(self, status: str) -> dict[str, Any]:
        """The JSON object of this plan."""
        found: dict[str, Any] = self.cart.as_json() | {"status": status}
        if self.reason:
            found["reason"] = self.reason
        if self.request:
            found |= {"requestId": self.new_id, "eventId": self.request.event_id}
        if self.last:
            error = self.last.error
            found |= {
                "redrives": self.last.request_id,
                "outcome": self.last.event.outcome,
                "decidedAt": self.last.attributes.get("time"),
            }
            found |= {name: error[name] for name in ("class", "code") if name in error}
        return found


@dataclass(frozen=True, slots=True)
class RedriveRules:
    """Plans redrives. `checked`: the operator has checked `unknown` carts in Partner Center."""

    checked: bool
    upn: str | None

    def plan(self, history: CartHistory) -> RedrivePlan:
        """Plan one request for the cart, however many have failed: two at the same time could each buy it."""
        now = datetime.now(UTC)
        plan = RedrivePlan(history.cart, history.last)
        if history.last is None:
            return plan.withdraw(history.trouble or "there is no outcome yet to try again")
        if reason := self._forbidden(history, now):
            return plan.withdraw(reason)
        new_id = next_id(history.last.request_id, [entry.request_id for entry in history.entries])
        if len(new_id) > LONGEST_REQUEST_ID:
            return plan.withdraw("its requestId has no room for ~n: send it with another one, `cart-checkout send`")
        request = self._request(history.last, new_id, now, doubt=_doubt(history, now))
        if isinstance(apply_rules(history.record, request), Replay):
            return plan.withdraw(f"{new_id} is answered already")
        read = decode(request.copy(request.retry), Delivery("", 1, now))
        if isinstance(read, InvalidMessage):
            return plan.withdraw(f"the function could not read it: {read.path}: expected {read.expected}")
        return replace(plan, request=request)

    def _forbidden(self, history: CartHistory, now: datetime) -> str:
        """Why this cart must not be sent again, or empty if it may. Every request counts, not only the last.

        order-1   POST ─ (no answer) ─ `unknown`: it may be bought
        order-2     no token ─ `failed`, which is true of this request and proves nothing about the first
        """
        if bought := history.record.bought():
            return f"the cart is bought ({bought.outcome}), and is never posted again"
        if history.last_ordered:
            return "Partner Center calls it ordered: find the order, and do not buy it again"
        if history.last_unknown and not self.checked:
            return _CHECK_FIRST
        if (note := history.waiting) and _may_be_queued(note, now):
            return f"its request {note.request_id} waits ({note.reason}) until {format_utc(note.next_at)} UTC"
        return ""

    def _request(self, last: Entry, request_id: str, now: datetime, *, doubt: datetime | None) -> CheckoutRequest:
        """The original request, as far as its outcome contains it. No outcome contains the UPN."""
        correlation, cause = last.attributes.get("correlationid"), last.attributes.get("causationid")
        context = last.raw_context
        fields = {
            "customerId": json.dumps(last.cart.customer_id),
            "cartId": json.dumps(last.cart.cart_id),
            "correlationId": json.dumps(correlation) if correlation else None,
            "customerUserUpn": json.dumps(self.upn) if self.upn else None,
            "context": context,
        }
        return CheckoutRequest(
            last.cart.customer_id,
            last.cart.cart_id,
            request_id,
            now,
            retry=RetryState(doubt=doubt),
            correlation=correlation,
            customer_user_upn=self.upn,
            context=context,
            causation_id=cause,
            raw_fields={name: raw for name, raw in fields.items() if raw is not None},
            raw_envelope=_envelope(cause) if cause else None,
        )


def next_id(old: str, known: list[str]) -> str:
    """`{old}~{n}`: the next free number among the requests in the record.

    A `~` is followed by a number of ours only if the record has the request before it: a producer's own `order~7`
    becomes `order~7~1`. The id is derived from the record alone, so that running it twice gives the same id.
    """
    numbered = _NUMBERED.fullmatch(old)
    base = numbered[1] if numbered and numbered[1] in known else old
    taken = [int(found[2]) for each in known if (found := _NUMBERED.fullmatch(each)) and found[1] == base]
    return f"{base}~{max(taken, default=0) + 1}"


def _doubt(history: CartHistory, now: datetime) -> datetime | None:
    """Since when an earlier POST may have ordered: it keeps the new request from reporting `failed` unchecked."""
    return (history.last_unknown.decided_at or now) if history.last_unknown else None


def _envelope(cause: str) -> dict[str, str]:
    """A CloudEvent's attributes, so that the new outcome names the same cause."""
    attributes = {"specversion": "1.0", "id": cause, "source": SOURCE, "type": f"{TYPE}redrive"}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in attributes.items()}


def _may_be_queued(note: WaitingNote, now: datetime) -> bool:
    """Whether its message may still exist: waiting for a token, storage or a throttled customer renews no note."""
    return note.next_at is None or note.next_at > now - LAST_DAY
