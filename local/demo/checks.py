"""Checks the promises of the README after a demo, mostly by `local.invariants`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from local import invariants
from shared.core.messages import CheckoutRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.demo.requests import DemoRequest
    from local.demo.run import DemoRun


@dataclass(frozen=True, slots=True)
class DemoCheck:
    """A claim and what contradicts it. `counted` says how much it was checked with."""

    claim: str
    counted: str
    faults: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts it."""
        return not self.faults


def check_demo(run: DemoRun) -> list[DemoCheck]:
    """Check all claims by the published outcomes, the queues and the simulator's books."""
    run.read_books()
    events = sum(len(request.events) for request in run.requests)
    copied = sum(request.copies > 1 for request in run.requests)
    totals = run.books["totals"]
    waiting = run.waiting()

    def check(claim: str, counted: str, find: Callable[[DemoRun], Iterator[str]]) -> DemoCheck:
        return DemoCheck(claim, counted, tuple(find(run)))

    return [
        check("every outcome is the expected one", f"{run.answered} of {len(run.requests)} answered", _outcomes),
        check("every request has one event id", f"{events} events", _event_ids),
        check("no cart is bought twice", f"{totals['purchases']} purchases, {totals['posts']} POSTs", _purchases),
        check("duplicates are published under the same id", f"{copied} requests sent twice", _duplicates),
        check("the queues are empty", ", ".join(f"{name} {count}" for name, count in waiting.items()), _queues),
    ]


def _outcomes(run: DemoRun) -> Iterator[str]:
    for request in run.requests:
        if request.sent_at is None:
            yield f"{_label(request)}: not sent, since {request.after} has no outcome"
        elif request.received is None:
            yield f"{_label(request)}: expected {request.expected}, nothing came after {request.posts} POSTs"
        elif request.received != request.expected:
            yield f"{_label(request)}: expected {request.expected}, came {request.received}: {request.data}"


def _event_ids(run: DemoRun) -> Iterator[str]:
    event_ids = (event["id"] for event in run.outcomes.events)
    yield from invariants.no_other_events(event_ids, [request.message for request in run.requests])
    for request in run.requests:
        if isinstance(request.message, CheckoutRequest):
            yield from invariants.answered_once(request.message, request.events)
        else:
            yield from invariants.rejected_once(request.message, request.events)


def _purchases(run: DemoRun) -> Iterator[str]:
    """The books are strict: a second MS-RequestId for an ordered cart would have bought it again."""
    pages = {(page["customerId"], page["cartId"]): page for page in run.books["carts"]}
    checked: set[tuple[str, str]] = set()
    for request in run.requests:
        if not isinstance(request.message, CheckoutRequest) or request.cart is None:
            continue
        page = pages.get(request.cart, {})
        bought = page.get("purchases", 0)
        yield from invariants.outcome_is_true(request.message, request.events, page)
        yield from invariants.one_key_at_work(request.message, page)
        if request.cart in checked:  # an earlier request asked for the same cart
            continue
        checked.add(request.cart)
        yield from invariants.bought_once(request.message, bought)
        if request.events and bought != request.expected.purchases:
            yield f"{_label(request)}: expected {request.expected.purchases} purchase(s), the books show {bought}"
    for customer, cart in pages.keys() - checked:
        yield f"a cart that no request named: {customer}/{cart}"


def _duplicates(run: DemoRun) -> Iterator[str]:
    for request in run.requests:
        if request.events and len(request.events) < request.copies:
            yield f"{_label(request)}: sent {request.copies} times, answered {len(request.events)} times"


def _queues(run: DemoRun) -> Iterator[str]:
    yield from invariants.queues_are_empty(run.waiting())


def _label(request: DemoRequest) -> str:
    return f"{request.name} (cart {request.cart_id})" if request.cart_id else request.name
