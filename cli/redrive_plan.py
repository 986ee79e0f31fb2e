"""Plans how a cart's last request is sent again: whether it may be, under which id, and as which message.

All of it is derived from the cart's record and the app's own rules. Nothing here protects against a second purchase,
since the function does: whatever was told of a cart, its next request sends the same idempotency key, and another one
only once the cart is known to be Active and no POST can be at work.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cli.cart_history import CartHistory, CartKey, Entry
from cli.left_out import DAMAGED
from cli.rebuilt_request import rebuilt_request
from cli.times import format_utc
from shared.core.messages import CheckoutRequest, Delivery, InvalidMessage, decode
from shared.core.request_fields import LONGEST_REQUEST_ID
from shared.core.rules import Replay, apply_rules

_NUMBERED = re.compile(r"(.+)~([1-9][0-9]{0,5})", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class RedrivePlan:
    """A cart's last request, to be sent again as `request`, or the `reason` why it must not be.

    `left_out`: it may have to be sent, but its record does not say so now, and this is the kind of that.
    """

    cart: CartKey
    last: Entry | None
    reason: str = ""
    request: CheckoutRequest | None = None
    left_out: str = ""

    def withdraw(self, reason: str, left_out: str = "") -> "RedrivePlan":
        """The same plan, but not to be sent."""
        return replace(self, reason=reason, request=None, left_out=left_out)

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
    """Plans redrives. `upn`: the user to assign the licences to."""

    upn: str | None

    def plan(self, history: CartHistory) -> RedrivePlan:
        """Plan one request for the cart, however many have failed: a second one could only wait for the first."""
        now = datetime.now(UTC)
        plan = RedrivePlan(history.cart, history.last)
        if history.trouble:
            return plan.withdraw(history.trouble, DAMAGED)
        if history.last is None:
            none = self._forbidden(history, now) or "there is no outcome yet to try again"
            return plan.withdraw(none)
        if reason := self._forbidden(history, now):
            return plan.withdraw(reason)
        new_id = next_id(history.last.request_id, [entry.request_id for entry in history.entries])
        if len(new_id) > LONGEST_REQUEST_ID:
            return plan.withdraw("its requestId has no room for ~n: send it with another one, `cart-checkout send`")
        request = rebuilt_request(history.last, new_id, started_at=now, upn=self.upn)
        if isinstance(apply_rules(history.record, request), Replay):
            return plan.withdraw(f"{new_id} is answered already")
        read = decode(request.copy(request.retry), Delivery("", 1, now))
        if isinstance(read, InvalidMessage):
            return plan.withdraw(f"the function could not read it: {read.path}: expected {read.expected}")
        return replace(plan, request=request)

    def _forbidden(self, history: CartHistory, now: datetime) -> str:
        """Why this cart must not be sent again, or empty if it may."""
        if bought := history.record.bought():
            return f"the cart is bought ({bought.outcome}), and is never posted again"
        if (post := history.waiting) and post.is_alive(now):
            until = f" until {format_utc(post.next_at)} UTC" if post.next_at else ""
            return f"a request of it waits already ({post.reason}){until}: another would only wait for it"
        return ""


def next_id(old: str, known: list[str]) -> str:
    """`{old}~{n}`: the next free number among the requests in the record.

    A `~` is followed by a number of ours only if the record has the request before it: a producer's own `order~7`
    becomes `order~7~1`. The id is derived from the record alone, so that running it twice gives the same id.
    """
    numbered = _NUMBERED.fullmatch(old)
    base = numbered[1] if numbered and numbered[1] in known else old
    taken = [int(found[2]) for each in known if (found := _NUMBERED.fullmatch(each)) and found[1] == base]
    return f"{base}~{max(taken, default=0) + 1}"
