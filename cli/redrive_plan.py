"""A request sent anew: whether it may be, under which id, and the message. By the record and the program's rules."""

import json
import re
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from cli.cart_history import Cart, CartHistory, Entry, Note, raw_context
from cli.connection import Connection
from cli.times import format_utc
from shared.adapters.storage import AzureQueue
from shared.core.messages import LONGEST_REQUEST_ID, CheckoutRequest, Delivery, InvalidMessage, decode
from shared.core.outcomes import SOURCE, TYPE
from shared.core.retry import LAST_DAY, Deferral, RetryState
from shared.core.rules import Replay, apply_rules
from shared.publisher import Publisher

_NUMBERED = re.compile(r"(.+)~([1-9][0-9]{0,5})", re.ASCII | re.DOTALL)
LOOK_FIRST = (
    "it may have been bought, and a new request may buy it again. Look in Partner Center: is the cart Active, and "
    "has the customer no such order, 15 minutes after the last attempt? Then --checked-in-partner-center"
)


@dataclass(frozen=True, slots=True)
class RedrivePlan:
    """A cart's last request, to be sent anew as `request`; or, with a `reason`, not."""

    cart: Cart
    last: Entry | None
    reason: str = ""
    request: CheckoutRequest | None = None

    @classmethod
    def of(cls, file: CartHistory, *, unsure: bool, upn: str | None, now: datetime) -> "RedrivePlan":
        """What the record allows.

        One request for a cart, whatever many have failed: two alive at the same time could each buy it.
        """
        plan = cls(file.cart, file.last)
        if file.last is None:
            return plan.withdrawn(file.trouble or "there is no outcome yet to try again")
        if reason := _forbidden(file, now, unsure=unsure):
            return plan.withdrawn(reason)
        new_id = next_id(file.last.request_id, [entry.request_id for entry in file.kept])
        if len(new_id) > LONGEST_REQUEST_ID:
            return plan.withdrawn("its requestId has no room for ~n: send it with another one, `cart-checkout send`")
        request = _request(file.last, new_id, upn, now, doubt=_doubt(file, now))
        if isinstance(apply_rules(file.record, request), Replay):
            return plan.withdrawn(f"{new_id} is answered already")
        read = decode(message_of(request), Delivery("", 1, now))
        if isinstance(read, InvalidMessage):
            return plan.withdrawn(f"the function could not read it: {read.path}: expected {read.expected}")
        return replace(plan, request=request)

    def withdrawn(self, reason: str) -> "RedrivePlan":
        """The same, but not to be sent."""
        return replace(self, reason=reason, request=None)

    @property
    def new_id(self) -> str:
        """The requestId that it is sent under."""
        return self.request.request_id if self.request else ""

    @property
    def decided_at(self) -> datetime:
        """When its last outcome was decided."""
        return (self.last and self.last.decided_at) or datetime.min.replace(tzinfo=UTC)

    def told(self, status: str) -> dict[str, Any]:
        """As JSON says it."""
        found: dict[str, Any] = {"customerId": self.cart.customer_id, "cartId": self.cart.cart_id, "status": status}
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


def _forbidden(file: CartHistory, now: datetime, *, unsure: bool) -> str:
    """Why this cart must not be sent again; empty where it may. Each of its requests has a say, not the last alone.

    order-1   POST ─ (no answer) ─ `unknown`: it may be bought
    order-2     no token ─ `failed`, which is true of this request and proves nothing of the first
    """
    if bought := file.record.bought():
        return f"the cart is bought ({bought.outcome}), and is never posted again"
    if file.ordered:
        return "Partner Center calls it ordered: find the order, and do not buy it again"
    if file.unsure and not unsure:
        return LOOK_FIRST
    if (note := file.waiting) and _is_alive(note, now):
        return f"its request {note.request_id} waits ({note.reason}) until {format_utc(note.next_at)} UTC"
    return ""


def next_id(old: str, known: list[str]) -> str:
    """`{old}~{n}`: the next free number among the requests that the record knows.

    What follows a `~` is a number of ours only if the record knows the request before it; a producer's own
    `order~7` becomes `order~7~1`. It follows from the record alone, so whoever asks twice gets the same id.
    """
    numbered = _NUMBERED.fullmatch(old)
    base = numbered[1] if numbered and numbered[1] in known else old
    taken = [int(found[2]) for each in known if (found := _NUMBERED.fullmatch(each)) and found[1] == base]
    return f"{base}~{max(taken, default=0) + 1}"


def message_of(request: CheckoutRequest) -> bytes:
    """The message's text: made by the program's own code, which pins the requestId and the memory in `retry`."""
    return request.copy(request.retry)


def _doubt(file: CartHistory, now: datetime) -> datetime | None:
    """What a request after `unknown` must remember: the earlier POST may still order.

    So a refusal of the new one is no proof, and the cart is asked about before `failed` is told.
    """
    return (file.unsure.decided_at or now) if file.unsure else None


def _request(
    last: Entry, request_id: str, upn: str | None, now: datetime, *, doubt: datetime | None
) -> CheckoutRequest:
    """The request as it was, as far as its outcome tells; the UPN is in no outcome."""
    correlation, cause = last.attributes.get("correlationid"), last.attributes.get("causationid")
    context = raw_context(last)
    fields = {
        "customerId": json.dumps(last.cart.customer_id),
        "cartId": json.dumps(last.cart.cart_id),
        "correlationId": json.dumps(correlation) if correlation else None,
        "customerUserUpn": json.dumps(upn) if upn else None,
        "context": context,
    }
    envelope = None
    if cause:  # only a CloudEvent has a cause to tell: the new outcome names the same one
        attributes = {"specversion": "1.0", "id": cause, "source": SOURCE, "type": f"{TYPE}redrive"}
        envelope = {name: json.dumps(value, ensure_ascii=False) for name, value in attributes.items()}
    return CheckoutRequest(
        last.cart.customer_id,
        last.cart.cart_id,
        request_id,
        now,
        retry=RetryState(doubt=doubt),
        correlation=correlation,
        customer_user_upn=upn,
        context=context,
        causation_id=cause,
        raw_fields={name: raw for name, raw in fields.items() if raw is not None},
        raw_envelope=envelope,
    )


def _is_alive(note: Note, now: datetime) -> bool:
    """Whether its message may still be there: it outlives its note where it waits for a token, storage, or its turn."""
    return note.next_at is None or note.next_at > now - LAST_DAY


class CopySender:
    """The three queues, written to by the program's own publisher. A context manager."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        queues = (self._connection.outcomes(), self._connection.carts(), self._connection.poison())
        self.program = Publisher(*(AzureQueue(self._stack.enter_context(queue)) for queue in queues))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, plan: RedrivePlan) -> None:
        """Send a request anew; raises StorageUnavailable."""
        if plan.request is None:
            raise AssertionError(plan.reason)
        self.program.send_deferred(plan.request, Deferral(0.0, plan.request.retry))
