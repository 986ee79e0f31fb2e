"""What `resolve` is going to tell, and for which request. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cli.cart_history import CartHistory, Entry
from cli.outcome_event import OutcomeEvent, parse_object
from shared.core import jsontext
from shared.core.messages import CheckoutRequest
from shared.core.outcomes import Event, Outcome
from shared.core.verdict import order_ids


class Refused(Exception):
    """It cannot be resolved so, or not now. The text says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the operator has found: the ids of the cart's orders, or that it is not bought.

    `request_id`: the request that it is told for. None: the only one of the cart that ended in `unknown`.
    """

    orders: tuple[str, ...]
    not_bought: bool
    request_id: str | None
    note: str


@dataclass(frozen=True, slots=True)
class ResolutionPlan:
    """The correction that would be told. `warnings`: what the operator should know before."""

    request: CheckoutRequest
    event: Event
    metadata: Mapping[str, str] | None
    warnings: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """The outcome that it tells."""
        return str(self.event.outcome)

    @property
    def parsed(self) -> OutcomeEvent:
        """The event, to be read."""
        text = self.event.text
        return OutcomeEvent(text, parse_object(text), parse_object(self.event.data or "{}"))

    def is_same(self, entry: Event) -> bool:
        """Whether an entry of the record is this event, though its data may lie in a blob."""
        told, recorded = self.parsed.attributes.get("time"), parse_object(entry.text).get("time")
        return entry.id == self.event.id and told == recorded

    def is_like(self, other: "ResolutionPlan") -> bool:
        """Whether an operator who has confirmed the other one has confirmed this one."""
        return (self.outcome, self.warnings) == (other.outcome, other.warnings)

    def lines(self, note: str) -> list[str]:
        """What will be told, for a person."""
        parsed, request = self.parsed, self.request
        orders = parsed.data.get("result", {}).get("orders", [])
        shown = [f"  order     {o.get('id')}, {o.get('status')}, created {o.get('creationDate')}" for o in orders]
        return [
            f"The request {request.request_id} of the cart {request.cart_id} will be told as `{self.outcome}`:",
            f"  event     {self.event.id}",
            f"  corrects  {parsed.data.get('corrects')}",
            *([f"  repeats   {parsed.data['answeredBy']}, of another request"] if "answeredBy" in parsed.data else []),
            *shown,
            *([f"  error     {parsed.class_and_code}: {parsed.error.get('description')}"] if parsed.error else []),
            *([f"  note      {note}"] if note else []),
        ]

    def as_json(self, status: str) -> dict[str, Any]:
        """The JSON object of this plan."""
        parsed, request = self.parsed, self.request
        found = {
            "eventId": self.event.id,
            "corrects": parsed.data.get("corrects"),
            "customerId": request.customer_id,
            "cartId": request.cart_id,
            "requestId": request.request_id,
            "outcome": self.outcome,
            "orders": parsed.orders or None,
            "answeredBy": parsed.data.get("answeredBy"),
            "status": status,
        }
        return {name: value for name, value in found.items() if value is not None}


def last_of(history: CartHistory, request_id: str | None) -> Entry:
    """The last entry of the request, or of the only one that ended in `unknown`.

    Raises:
        Refused: there is none, or more than one.
    """
    last = {entry.request_id: entry for entry in history.entries}
    if request_id is not None:
        if request_id in last:
            return last[request_id]
        raise Refused(f"no outcome of the request {request_id} is recorded")
    unknown = [entry for entry in last.values() if entry.event.outcome is Outcome.UNKNOWN]
    if len(unknown) == 1:
        return unknown[0]
    if unknown:
        listed = ", ".join(entry.request_id for entry in unknown)
        raise Refused(f"several of its requests are unknown, resolve each: --request-id {listed}")
    said = ", ".join(f"{entry.request_id}: {entry.event.outcome}" for entry in last.values()) or "none"
    raise Refused(f"none of its outcomes is `unknown` ({said})")


def warn_of_copy(found: Finding, bought: Entry) -> tuple[str, ...]:
    """What is told instead of what the operator has found."""
    known = {order.lower() for order in order_ids(jsontext.members(bought.data_text).get("result", "{}"))}
    others = [order for order in found.orders if order.lower() not in known]
    said = f"The request {bought.request_id} is recorded as bought, and that is told instead"
    if others:
        return (f"{said}. NOT AMONG ITS ORDERS, perhaps a second purchase: {', '.join(others)}",)
    return () if found.orders else (f"{said} of --not-bought.",)
