"""A shop that sends checkout requests to the carts queue and gathers what is told of them, for the demo.

It knows what each request must come to: from the table of scenarios, or because its message is no request.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from local.simulator.scenarios import BY_NAME, cart_id
from shared.core.messages import Delivery, decode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from local.stack import Stack

Form = Literal["plain", "base64", "cloudevent"]

_CUSTOMERS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:partnercenter:cart-checkout:shop")
_BOOKS_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """One request of the demo.

    ``copies``: how often its message is sent. ``after``: the scenario whose outcome must come first.
    ``cart_of``: it asks for the cart of that scenario's request, and is answered by that request's outcome.
    """

    scenario: str
    about: str
    form: Form = "plain"
    copies: int = 1
    after: str | None = None
    cart_of: str | None = None


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A message that is no request."""

    name: str
    about: str
    body: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What an outcome must say, and how often the cart must be bought in the end."""

    outcome: str
    error_class: str | None = None
    code: str | None = None
    answered_by: str | None = None
    purchases: int | None = None

    def __str__(self) -> str:
        said = " ".join(part for part in (self.outcome, self.error_class, self.code) if part)
        return f"{said}, answered by {self.answered_by}" if self.answered_by else said


@dataclass(slots=True)
class Order:
    """A request on its way: what was sent, what must come of it, what came."""

    name: str
    about: str
    body: str
    event_id: str
    expected: Expected
    customer_id: str = ""
    cart_id: str = ""
    copies: int = 1
    after: str | None = None
    sent_at: float | None = None
    answered_at: float | None = None
    posts: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def came(self) -> Expected | None:
        """What its outcome says; None: there is none yet."""
        if not self.events:
            return None
        error = self.data.get("error", {})
        return Expected(
            self.data["outcome"],
            error.get("class"),
            error.get("code"),
            self.data.get("answeredBy"),
            self.expected.purchases,
        )

    @property
    def seconds(self) -> float | None:
        """From sending to its first outcome."""
        return None if self.sent_at is None or self.answered_at is None else self.answered_at - self.sent_at

    @property
    def settled(self) -> bool:
        """Whether each copy of its message was answered."""
        return len(self.events) >= self.copies


class Shop:
    """Sends the orders of a demo, each when it is due, and gathers outcomes; `step` does both."""

    def __init__(self, stack: Stack, rows: Iterable[Row], strays: Iterable[InvalidRow], seed: str) -> None:
        self._stack = stack
        self.orders: list[Order] = []
        self.strangers: list[dict[str, Any]] = []
        self.books: dict[str, Any] = {}
        by_scenario: dict[str, Order] = {}
        for row in rows:
            order = _order(row, by_scenario, seed)
            by_scenario.setdefault(row.scenario, order)
            self.orders.append(order)
        self.orders += (_stray(stray) for stray in strays)
        self._by_event = {order.event_id: order for order in self.orders}
        self._by_name = {order.name: order for order in self.orders}
        self._read_books_at = 0.0

    @property
    def answered(self) -> int:
        """How many orders have an outcome."""
        return sum(bool(order.events) for order in self.orders)

    @property
    def done(self) -> bool:
        """Whether all was told, and nothing waits any more."""
        return all(order.settled for order in self.orders) and not any(self.waiting().values())

    def step(self) -> bool:
        """Send what is due, take what was told; True: something was told."""
        for order in self.orders:
            if order.sent_at is None and (order.after is None or self._by_name[order.after].events):
                order.sent_at = time.monotonic()
                for _ in range(order.copies):
                    self._stack.carts.send_message(order.body)
        if time.monotonic() - self._read_books_at > _BOOKS_EVERY:
            self.read_books()
        return self._receive()

    def read_books(self) -> None:
        """Ask the simulator who bought what."""
        self.books = self._stack.books()
        pages = {(page["customerId"], page["cartId"]): page for page in self.books["carts"]}
        for order in self.orders:
            page = pages.get((order.customer_id, order.cart_id))
            order.posts = page["posts"] if page else 0
        self._read_books_at = time.monotonic()

    def waiting(self) -> dict[str, int]:
        """How many messages are in the carts and the poison queue, those in work or invisible included."""
        queues = (self._stack.carts, self._stack.poison)
        return {queue.queue_name: queue.get_queue_properties().approximate_message_count or 0 for queue in queues}

    def _receive(self) -> bool:
        queue, found = self._stack.outcomes, False
        for message in queue.receive_messages(messages_per_page=32, visibility_timeout=60):
            self._note(json.loads(base64.b64decode(message.content)))
            queue.delete_message(message)
            found = True
        return found

    def _note(self, event: dict[str, Any]) -> None:
        data = self._data(event)
        order = self._by_event.get(event["id"]) or self._by_event.get(data.get("corrects", ""))
        if order is None:
            self.strangers.append(event)
            return
        if order.answered_at is None:
            order.answered_at = time.monotonic()
        order.events.append(event)
        if event["id"] != order.event_id or not order.data:  # a correction replaces what it corrects
            order.data = data

    def _data(self, event: dict[str, Any]) -> dict[str, Any]:
        """An event's data: in it, or in the blob that it refers to."""
        data = event.get("data")
        if data is None:
            name = event["dataref"].removeprefix(f"{self._stack.records.url}/")
            data = json.loads(self._stack.records.download_blob(name).readall())
        return dict(data)


def _order(row: Row, by_scenario: dict[str, Order], seed: str) -> Order:
    scenario = BY_NAME[row.scenario]
    first = by_scenario[row.cart_of] if row.cart_of else None
    name = row.scenario if first is None else f"{row.scenario}, again"
    customer = first.customer_id if first else str(uuid.uuid5(_CUSTOMERS, f"{seed} {name}"))
    cart = first.cart_id if first else cart_id(row.scenario, f"{seed} {name}")
    body = _body(row.form, {"customerId": customer, "cartId": cart, "requestId": f"{seed} {name}"})
    return Order(
        name=name,
        about=row.about,
        body=body,
        event_id=_event_id(body),
        expected=Expected(
            scenario.expected,
            scenario.error_class,
            scenario.code,
            first.event_id if first else None,
            scenario.purchases,
        ),
        customer_id=customer,
        cart_id=cart,
        copies=row.copies,
        after=row.after or row.cart_of,
    )


def _stray(stray: InvalidRow) -> Order:
    return Order(
        name=stray.name,
        about=stray.about,
        body=stray.body,
        event_id=_event_id(stray.body),
        expected=Expected("failed", "invalid_message"),
    )


def _body(form: Form, request: dict[str, str]) -> str:
    """The message's text in the queue."""
    match form:
        case "plain":
            return json.dumps(request)
        case "base64":
            return base64.b64encode(json.dumps(request).encode()).decode()
        case "cloudevent":
            event_id = request.pop("requestId")  # the function derives one from the event's source and id
            envelope = {"specversion": "1.0", "id": event_id, "source": "urn:shop", "type": "shop.order.placed"}
            return json.dumps({**envelope, "data": request})


def _event_id(body: str) -> str:
    """The id under which this message must be told, by the program's own reckoning."""
    return decode(body.encode(), Delivery("", 1, datetime.now(UTC))).event_id
