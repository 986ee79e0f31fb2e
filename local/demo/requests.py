"""The requests of a demo: what is sent, which outcome is expected, and which arrived."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from local.message_text import decode_text, request_text
from local.simulator.scenarios import BY_NAME, cart_id
from shared.core.messages import CheckoutRequest, InvalidMessage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.demo.rows import DemoRow, InvalidRow
    from local.outcomes import Event

_CUSTOMERS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:partnercenter:cart-checkout:shop")


@dataclass(frozen=True, slots=True)
class ExpectedOutcome:
    """What an outcome must say, and how often the cart must be bought in the end."""

    outcome: str
    error_class: str | None = None
    code: str | None = None
    answered_by: str | None = None
    purchases: int | None = None

    def __str__(self) -> str:
        parts = " ".join(part for part in (self.outcome, self.error_class, self.code) if part)
        return f"{parts}, answered by {self.answered_by}" if self.answered_by else parts


@dataclass(slots=True)
class DemoRequest:
    """A message and its outcomes: a checkout request or an invalid message.

    `posts`: how often the simulator was asked to check its cart out. `events`: its outcomes as they arrived. `data`:
    that of the first, or of its correction.
    """

    name: str
    about: str
    text: str
    expected: ExpectedOutcome
    copies: int = 1
    after: str | None = None
    sent_at: float | None = None
    answered_at: float | None = None
    posts: int = 0
    events: list[Event] = field(default_factory=list)
    data: Event = field(default_factory=dict)
    message: CheckoutRequest | InvalidMessage = field(init=False)

    def __post_init__(self) -> None:
        self.message = decode_text(self.text)

    @property
    def event_id(self) -> str:
        """The id under which its outcome must be published."""
        return self.message.event_id

    @property
    def cart(self) -> tuple[str, str] | None:
        """The ids of its customer and cart, or None for an invalid message."""
        message = self.message
        return (message.customer_id, message.cart_id) if isinstance(message, CheckoutRequest) else None

    @property
    def cart_id(self) -> str:
        """The id of its cart, or empty for an invalid message."""
        return self.cart[1] if self.cart else ""

    @property
    def received(self) -> ExpectedOutcome | None:
        """What its outcome says, in the shape of `expected`, or None before it arrived."""
        if not self.events:
            return None
        error = self.data.get("error", {})
        answered_by = self.data.get("answeredBy")
        outcome = self.data["outcome"]
        return ExpectedOutcome(outcome, error.get("class"), error.get("code"), answered_by, self.expected.purchases)

    @property
    def seconds(self) -> float | None:
        """From sending to its first outcome."""
        return None if self.sent_at is None or self.answered_at is None else self.answered_at - self.sent_at

    @property
    def settled(self) -> bool:
        """Whether each copy of its message was answered."""
        return len(self.events) >= self.copies


def build_requests(rows: Iterable[DemoRow], invalid_rows: Iterable[InvalidRow], seed: str) -> list[DemoRequest]:
    """Build the requests of a demo. The seed determines customers, carts and request ids."""
    by_scenario: dict[str, DemoRequest] = {}
    requests: list[DemoRequest] = []
    for row in rows:
        request = _request(row, by_scenario.get(row.cart_of or ""), seed)
        by_scenario.setdefault(row.scenario, request)
        requests.append(request)
    expected = ExpectedOutcome("invalid", "invalid_message")
    return requests + [DemoRequest(row.name, row.about, row.body, expected) for row in invalid_rows]


def _request(row: DemoRow, first: DemoRequest | None, seed: str) -> DemoRequest:
    """`first`: the earlier request for the same cart, if any."""
    scenario = BY_NAME[row.scenario]
    name = f"{row.scenario}, again" if first else row.scenario
    customer = str(uuid.uuid5(_CUSTOMERS, f"{seed} {name}"))
    ids = (first and first.cart) or (customer, cart_id(row.scenario, f"{seed} {name}"))
    fields = {"customerId": ids[0], "cartId": ids[1], "requestId": f"{seed} {name}"}
    text = request_text(fields, row.form, "shop")
    answered_by = first.event_id if first else None
    expected = ExpectedOutcome(scenario.expected, scenario.error_class, scenario.code, answered_by, scenario.purchases)
    return DemoRequest(name, row.about, text, expected, row.copies, after=row.after or row.cart_of)
