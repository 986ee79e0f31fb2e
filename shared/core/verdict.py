"""What a response of the service means. Pure.

    2xx ──► by its body ──► Bought, Refused, AlreadyOrdered, Retry
    else ─► by (status, code), never by the status alone ──► Refused, AlreadyOrdered, Retry

A refusal proves something only when no earlier POST is unanswered. In doubt the cart itself is read, by
`read_cart_status`. Source: the Partner Center REST reference. docs/service.md marks what is inferred.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from shared.core import jsontext
from shared.core.errors import BY_CODE, IMPLY_ORDER, TRANSIENT, Error, ErrorClass, class_of, error
from shared.core.models import (
    Cart,
    CartCheckoutResult,
    CartLineItem,
    CartStatus,
    Fault,
    Order,
    OrderError,
    OrderStatus,
    ServiceResponse,
    normal_status,
    parse_date,
    parse_lenient,
)
from shared.core.order_list import ListedOrder, read_orders
from shared.core.outcomes import Outcome

_SAME_FROM_GATEWAY = frozenset({401, 403, 408, 429})
"""Statuses that mean the same from a gateway as from the API."""

_FAILED_ORDERS = frozenset(
    {OrderStatus.ERROR, OrderStatus.PARTIAL_SUCCESS, OrderStatus.PO_REVIEW_REJECTED, OrderStatus.CANCELLED}
)
_WAITING_ORDERS: dict[str, str] = {
    OrderStatus.PENDING_REVIEW: "The order waits for a review: answer what Partner Center asks, or wait for it.",
    OrderStatus.PENDING_PO_UPLOAD: "The order waits for a purchase order: upload it in Partner Center.",
}
_PARTIAL_ADVICE = (
    "Part of the cart is bought: buy the failed order groups with a new cart, and never send this one again."
)


class Bought(msgspec.Struct, frozen=True):
    """The cart, or a part of it, is bought. `result`: the CartCheckoutResult as it came.

    `error`: what a person must do, for `action_required` and `partial`.
    """

    outcome: Outcome
    result: str
    error: Error | None = None


class Refused(msgspec.Struct, frozen=True):
    """The service refused the checkout. `known`: False where it gave no code, or one that proves nothing."""

    error: Error
    result: str | None = None
    known: bool = True


class AlreadyOrdered(msgspec.Struct, frozen=True):
    """Another call has ordered the cart."""

    error: Error
    result: str | None = None


class Retry(msgspec.Struct, frozen=True):
    """A transient response: try again later."""

    error: Error


Verdict = Bought | Refused | AlreadyOrdered | Retry


def judge(response: ServiceResponse) -> Verdict:
    """What the response to a checkout means."""
    if response.status is None:
        return Retry(error(ErrorClass.SERVICE, response.failure or "no answer"))
    tree = _object(response.body)
    if 200 <= response.status < 300:  # noqa: PLR2004  the success statuses
        return _judge_success(response, tree)
    return _judge_error(response.status, tree)


def _judge_success(response: ServiceResponse, tree: dict[str, Any] | None) -> Verdict:
    """A 2xx is not success by itself: the first shape that matches decides."""
    result = parse_lenient(CartCheckoutResult, tree)
    if result.orders:
        return _judge_orders(result, result.orders, jsontext.decode(response.body))
    if result.order_errors:
        return _judge_order_errors(result.order_errors, jsontext.decode(response.body))
    fault = parse_lenient(Fault, tree)
    if error_class := BY_CODE.get(fault.code or ""):
        return _by_class(_fault_error(error_class, fault))
    return Retry(error(ErrorClass.SERVICE, f"HTTP {response.status} without an answer in it"))


def _judge_orders(result: CartCheckoutResult, orders: list[Order], text: str) -> Bought:
    failed = [order for order in orders if normal_status(order.status) in _FAILED_ORDERS]
    if result.order_errors or failed:
        return Bought(Outcome.PARTIAL, text, _partial_error(result, failed))
    for order in orders:
        if advice := _WAITING_ORDERS.get(normal_status(order.status)):
            return Bought(Outcome.ACTION_REQUIRED, text, _order_error(ErrorClass.PARTNER, order, advice))
    return Bought(Outcome.COMPLETED, text)


def _judge_order_errors(failures: list[OrderError], text: str) -> Refused | AlreadyOrdered | Retry:
    causes = [_order_group_error(failure) for failure in failures]
    for cause in causes:
        if cause.error_class is ErrorClass.ALREADY_ORDERED:
            return AlreadyOrdered(cause, text)
    if all(cause.error_class in (ErrorClass.SERVICE, ErrorClass.IN_PROGRESS) for cause in causes):
        return Retry(causes[0])
    return Refused(causes[0], text, known=all(_known(cause.code) for cause in causes))


def _judge_error(status: int, tree: dict[str, Any] | None) -> Verdict:
    from_gateway = tree is None and 400 <= status < 500 and status not in _SAME_FROM_GATEWAY  # noqa: PLR2004
    fault = parse_lenient(Fault, tree)
    error_class = ErrorClass.SERVICE if from_gateway else class_of(status, fault.code)
    return _by_class(_fault_error(error_class, fault, f"HTTP {status} without a fault in it"), known=_known(fault.code))


def _known(code: str | None) -> bool:
    """Whether a refusal with this code proves that nothing was ordered.

    It does not where there is none, where the table lacks it, or where it is listed for an order that is made or in
    progress: such a code came in `orderErrors`, beside another.
    """
    return BY_CODE.get(code or "", ErrorClass.IN_PROGRESS) not in IMPLY_ORDER


def _by_class(cause: Error, *, known: bool = True) -> Verdict:
    if cause.error_class is ErrorClass.ALREADY_ORDERED:
        return AlreadyOrdered(cause)
    return Retry(cause) if cause.error_class in TRANSIENT else Refused(cause, known=known)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        tree = jsontext.load(body)
    except jsontext.NotJson:
        return None
    return tree if isinstance(tree, dict) else None


def _fault_error(error_class: ErrorClass, fault: Fault, default: str = "") -> Error:
    description = fault.description or fault.message or default
    return error(
        error_class,
        description,
        code=fault.code,
        source=fault.source,
        data=None if fault.data is None else tuple(fault.data),
    )


def _order_group_error(group: OrderError) -> Error:
    """Why an order group was not ordered: the code alone selects the row of the error table."""
    return error(BY_CODE.get(group.code or "", ErrorClass.REJECTED), group.description or "", code=group.code)


def _partial_error(result: CartCheckoutResult, failed: list[Order]) -> Error:
    if result.order_errors:
        return msgspec.structs.replace(
            _order_group_error(result.order_errors[0]), advice=_PARTIAL_ADVICE, retryable=False
        )
    return _order_error(ErrorClass.REJECTED, failed[0], _PARTIAL_ADVICE)


def _order_error(error_class: ErrorClass, order: Order, advice: str) -> Error:
    return error(error_class, f"Order {order.id or 'without id'} has the status {order.status}.", advice=advice)


_CART_LIFE = timedelta(days=7)


class CartStatusReading(StrEnum):
    """What GET cart says about a cart, where the response to the POST proves nothing."""

    ACTIVE = "active"
    ORDERED = "ordered"
    NOT_NOW = "not_now"
    UNCLEAR = "unclear"


def read_cart_status(response: ServiceResponse) -> CartStatusReading:
    """Read the response to GET cart."""
    tree = _object(response.body)
    if response.status is not None and 200 <= response.status < 300 and tree is not None:  # noqa: PLR2004
        status = normal_status(parse_lenient(Cart, tree).status)
        return (
            CartStatusReading(status)
            if status in (CartStatus.ACTIVE, CartStatus.ORDERED)
            else CartStatusReading.UNCLEAR
        )
    return CartStatusReading.NOT_NOW if isinstance(judge(response), Retry) else CartStatusReading.UNCLEAR


def order_ids(result: str) -> frozenset[str]:
    """The ids of the orders in a CartCheckoutResult."""
    orders = parse_lenient(CartCheckoutResult, _object(result.encode())).orders or []
    return frozenset(order.id for order in orders if order.id)


def candidates(cart: ServiceResponse, orders: ServiceResponse, now: datetime) -> tuple[str, ...]:
    """The ids of the customer's orders that could be this cart's: recent ones, of its offers and no others.

    An order does not name its cart, so none is reported as the cart's own: it could be another's. Empty where the
    cart or the orders could not be read.
    """
    offers = _offers(parse_lenient(Cart, _object(cart.body)).line_items or [])
    since = now - _CART_LIFE
    return tuple(order.id for order in read_orders([orders.body]) if order.id and _could_be(order, offers, since))


def _offers(items: list[CartLineItem]) -> set[str]:
    own = {item.catalog_item_id.lower() for item in items if item.catalog_item_id}
    return own.union(*(_offers(item.addon_items) for item in items if item.addon_items))


def _could_be(order: ListedOrder, offers: set[str], since: datetime) -> bool:
    created = parse_date(order.creation_date)
    ordered = {item.offer_id.lower() for item in order.line_items or [] if item.offer_id}
    return bool(ordered) and ordered <= offers and (created is None or created >= since)
