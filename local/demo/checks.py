"""What must hold after the demo, and whether it does. Each check names what broke it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.demo.shop import Order, Shop


@dataclass(frozen=True, slots=True)
class Check:
    """One claim; it holds where no fault was found. ``counted`` is what it was made of, for people."""

    claim: str
    counted: str
    faults: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts it."""
        return not self.faults


def prove(shop: Shop) -> list[Check]:
    """Check all claims, by the outcomes that were told and the simulator's books."""
    shop.read_books()
    told = sum(len(order.events) for order in shop.orders)
    twice = [order for order in shop.orders if order.copies > 1]
    totals = shop.books["totals"]
    waiting = shop.waiting()

    def check(claim: str, counted: str, find: Callable[[Shop], Iterator[str]]) -> Check:
        return Check(claim, counted, tuple(find(shop)))

    return [
        check("every outcome is the expected one", f"{shop.answered} of {len(shop.orders)} answered", _outcomes),
        check("every request has one event id", f"{told} events", _ids),
        check("no cart is bought twice", f"{totals['purchases']} purchases, {totals['posts']} POSTs", _purchases),
        check("duplicates are told under the same id", f"{len(twice)} requests sent twice", _duplicates),
        check("the queues are empty", ", ".join(f"{name} {count}" for name, count in waiting.items()), _queues),
    ]


def _outcomes(shop: Shop) -> Iterator[str]:
    for order in shop.orders:
        if order.sent_at is None:
            yield f"{_named(order)}: not sent, since {order.after} has no outcome"
        elif order.came is None:
            yield f"{_named(order)}: expected {order.expected}, nothing came after {order.posts} POSTs"
        elif order.came != order.expected:
            yield f"{_named(order)}: expected {order.expected}, came {order.came}: {order.data}"


def _ids(shop: Shop) -> Iterator[str]:
    for event in shop.strangers:
        yield f"an event that no request stands behind: {event}"
    for order in shop.orders:
        ids = {event["id"] for event in order.events if not _corrects(order, event)}
        if order.events and ids != {order.event_id}:
            yield f"{_named(order)}: expected the event id {order.event_id}, came {', '.join(sorted(ids))}"


def _purchases(shop: Shop) -> Iterator[str]:
    """The books are strict: a second MS-RequestId for an ordered cart would have bought it again."""
    pages: dict[tuple[str, str], dict[str, Any]] = {
        (page["customerId"], page["cartId"]): page for page in shop.books["carts"]
    }
    named: set[tuple[str, str]] = set()
    for order in shop.orders:
        cart = (order.customer_id, order.cart_id)
        if cart in named:  # a second request for it
            continue
        named.add(cart)
        page = pages.get(cart)
        bought, expected = (page["purchases"] if page else 0), order.expected.purchases or 0
        if bought > 1 or (order.came and bought != expected):
            yield f"{_named(order)}: expected {expected} purchase(s), the books show {bought}"
    for customer, stranger in pages.keys() - named:
        yield f"a cart that nobody asked for: {customer}/{stranger}"


def _duplicates(shop: Shop) -> Iterator[str]:
    for order in shop.orders:
        if order.copies > 1 and order.events:
            if len(order.events) < order.copies:
                yield f"{_named(order)}: sent {order.copies} times, told {len(order.events)} times"
            if any(event != order.events[0] for event in order.events if not _corrects(order, event)):
                yield f"{_named(order)}: two different events: {order.events}"


def _queues(shop: Shop) -> Iterator[str]:
    for name, count in shop.waiting().items():
        if count:
            yield f"{name} holds {count} message(s)"


def _corrects(order: Order, event: dict[str, Any]) -> bool:
    return "corrects" in order.data and event["id"] != order.event_id


def _named(order: Order) -> str:
    return f"{order.name} (cart {order.cart_id})" if order.cart_id else order.name
