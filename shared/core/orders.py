"""What the orders in a response mean: is anybody to do something? Pure.

the orders                                                  outcome
----------------------------------------------------------  ------------------
one failed, or an order group was not ordered                `partial`
one waits for a person, or a line must be activated          `action_required`
any other, whatever their status                             `completed`
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

from msgspec.structs import replace

from shared.core.errors import Error, ErrorClass, error
from shared.core.models import CartStatus, Order, OrderLineItem, OrderStatus, normal_status, parse_lenient
from shared.core.outcomes import Outcome


def _normal(*statuses: StrEnum) -> frozenset[str]:
    return frozenset(map(normal_status, statuses))


_UNFULFILLED = _normal(OrderStatus.ERROR, OrderStatus.CANCELLED, OrderStatus.PO_REVIEW_REJECTED)
_FAILED = _UNFULFILLED | _normal(OrderStatus.PARTIAL_SUCCESS)
_CART_STATUSES = _normal(*CartStatus)
_WAITING = {
    normal_status(
        OrderStatus.PENDING_REVIEW
    ): "The order waits for a review: answer what Partner Center asks, or wait for it.",
    normal_status(OrderStatus.PENDING_PO_UPLOAD): "The order waits for a purchase order: upload it in Partner Center.",
}
_ACTIVATION = (
    "The customer or the partner must activate the line by its `links.activationLinks`: billing starts only then."
)
_PARTIAL = "Part of the cart is bought: buy the failed order groups with a new cart, and never send this one again."
_NOTHING_FULFILLED = (
    "No order of this cart will be fulfilled: buy what is still wanted with a new cart, and never send this one again."
)


def judge_orders(orders: Sequence[Order], failure: Error | None) -> tuple[Outcome, Error | None]:
    """The outcome of a response with orders, and what a person must do.

    Args:
        orders: The orders, at least one.
        failure: Why an order group was not ordered; None: all were.
    """
    failed = [order for order in orders if normal_status(order.status) in _FAILED]
    tasks = list(_tasks(orders))
    described, advised = (" ".join(dict.fromkeys(texts)) for texts in (zip(*tasks, strict=True) if tasks else ("", "")))
    if failure is None and not failed:
        if not tasks:
            return Outcome.COMPLETED, None
        return Outcome.ACTION_REQUIRED, error(ErrorClass.PARTNER, described, advice=advised)
    cause = failure or error(ErrorClass.REJECTED, _status_of(failed[0]))
    unfulfilled = all(normal_status(order.status) in _UNFULFILLED for order in orders)
    advice = [_NOTHING_FULFILLED if unfulfilled else _PARTIAL, *((described, advised) if tasks else ())]
    return Outcome.PARTIAL, replace(cause, advice=" ".join(advice), retryable=False)


def bare_order(tree: dict[str, Any] | None) -> Order | None:
    """A body that is one order instead of a CartCheckoutResult, or None.

    It has an id, a status and lines. So has a cart, but no order has the status of one.
    """
    order = parse_lenient(Order, tree)
    status = normal_status(order.status)
    complete = bool(order.id and status) and order.line_items is not None
    return order if complete and status not in _CART_STATUSES else None


def _tasks(orders: Sequence[Order]) -> Iterator[tuple[str, str]]:
    """What waits for a person, and what they must do."""
    for order in orders:
        status = normal_status(order.status)
        if status in _WAITING:
            yield _status_of(order), _WAITING[status]
        for place, line in enumerate(order.line_items or []):
            if status not in _UNFULFILLED and _must_be_activated(line):
                number = place if line.line_item_number is None else line.line_item_number
                yield f"Order {_name(order)}, line {number}, must be activated.", _ACTIVATION


def _must_be_activated(line: OrderLineItem) -> bool:
    """Whether it is marketplace software, which is not active before somebody follows its link."""
    link = line.links.activation_links if line.links else None
    return link is not None and bool((link.uri or "").strip())


def _status_of(order: Order) -> str:
    return f"Order {_name(order)} has the status {order.status}."


def _name(order: Order) -> str:
    return order.id or "without id"
