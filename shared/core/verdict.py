"""What a response of the service means. Pure.

    2xx ──► by its body ──► Bought, Refused, AlreadyOrdered, Retry
    else ─► by (status, code), never by the status alone ──► Refused, AlreadyOrdered, Retry

A refusal proves something only when no earlier POST is unanswered. In doubt the cart itself is read, by
`read_cart_status`. Source: the Partner Center REST reference. docs/service.md marks what is inferred.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

import msgspec

from shared.core import jsontext
from shared.core.errors import BY_CODE, IMPLY_ORDER, TRANSIENT, Error, ErrorClass, class_of, error
from shared.core.faults import Fault, cart_line_errors, faults_in, is_of_gateway, order_faults, quote
from shared.core.models import (
    Cart,
    CartCheckoutResult,
    CartLineItem,
    CartStatus,
    Order,
    OrderError,
    ServiceResponse,
    normal_status,
    parse_date,
    parse_lenient,
)
from shared.core.order_list import ListedOrder, read_orders
from shared.core.orders import bare_order, judge_orders
from shared.core.outcomes import Outcome

_SAME_FROM_GATEWAY = frozenset({401, 403, 408, 429})
"""Statuses that mean the same from a gateway as from the API."""


class Bought(msgspec.Struct, frozen=True):
    """The cart, or a part of it, is bought. `result`: the CartCheckoutResult as it came.

    `error`: what a person must do, for `action_required` and `partial`.
    """

    outcome: Outcome
    result: str
    error: Error | None = None

    @classmethod
    def of(cls, orders: Sequence[Order], failure: Error | None, result: str) -> "Bought":
        """What these orders mean. `failure`: why an order group was not ordered; None: all were."""
        outcome, cause = judge_orders(orders, failure)
        return cls(outcome, result, cause)


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
    text = "" if tree is None else jsontext.decode(response.body)
    if 200 <= response.status < 300:  # noqa: PLR2004  the success statuses
        return _judge_result(tree, text) or _judge_faults(response, text, _class_in_success)
    if _is_of_gateway(response.status, text):
        return _judge_faults(response, text, lambda _: ErrorClass.SERVICE)
    return _judge_faults(response, text, partial(class_of, response.status))


def _judge_result(tree: dict[str, Any] | None, text: str) -> Verdict | None:
    """A 2xx is not success by itself: the first shape that matches decides. None where there is no result.

    An order that says nothing is no purchase, but something may be bought: the errors beside it are no refusal.
    """
    result = parse_lenient(CartCheckoutResult, tree)
    if result.orders:
        orders = [order for order in result.orders if order != Order()]
        if not orders:
            return Retry(error(ErrorClass.SERVICE, quote(text.encode())))
        return Bought.of(orders, next(iter(_order_group_errors(text)), None), text)
    if result.orders is None and (order := bare_order(tree)):
        return Bought.of([order], None, f'{{"orders":[{text.strip()}]}}')
    if any(each != OrderError() for each in result.order_errors or []):
        return _judge_order_errors(text)
    return None


def _judge_order_errors(text: str) -> Refused | AlreadyOrdered | Retry:
    causes = _order_group_errors(text)
    for cause in causes:
        if cause.error_class is ErrorClass.ALREADY_ORDERED:
            return AlreadyOrdered(cause, text)
    if all(cause.error_class in (ErrorClass.SERVICE, ErrorClass.IN_PROGRESS) for cause in causes):
        return Retry(causes[0])
    return Refused(causes[0], text, known=all(_known(cause.code) for cause in causes))


def _judge_faults(
    response: ServiceResponse, text: str, classify: Callable[[str | None], ErrorClass]
) -> Refused | AlreadyOrdered | Retry:
    """What the faults in a body mean, of which the first that tells of an order decides, else the first with a code.

    `classify`: the class of a code, None for none.
    """
    faults = faults_in(text) if text else [Fault()]
    fault = min(faults, key=_rank)
    words = next((each.text for each in (fault, *faults) if each.text), None)
    default = quote(response.body) or f"HTTP {response.status} with an empty body"
    cause = _to_error(classify(fault.code), msgspec.structs.replace(fault, text=words or default))
    if cause.error_class is ErrorClass.ALREADY_ORDERED:
        return AlreadyOrdered(cause)
    if cause.error_class in TRANSIENT:
        return Retry(cause)
    return Refused(cause, known=all(_known(each.code) for each in faults))


def _rank(fault: Fault) -> tuple[bool, ...]:
    implied = BY_CODE.get(fault.code or "")
    return implied is not ErrorClass.ALREADY_ORDERED, implied is not ErrorClass.IN_PROGRESS, fault.code is None


def _class_in_success(code: str | None) -> ErrorClass:
    """The class of a fault inside a 2xx: the code alone selects the row. An unknown one is no answer."""
    return BY_CODE.get(code or "", ErrorClass.SERVICE)


def _is_of_gateway(status: int, text: str) -> bool:
    """Whether only a gateway has answered, with a 4xx that means something else from it than from the API."""
    if not 400 <= status < 500 or status in _SAME_FROM_GATEWAY:  # noqa: PLR2004
        return False
    return not text or is_of_gateway(text)


def _known(code: str | None) -> bool:
    """Whether a refusal with this code proves that nothing was ordered.

    It does not where there is none, where the table lacks it, or where it is listed for an order that is made or in
    progress: such a code came in `orderErrors`, beside another.
    """
    return BY_CODE.get(code or "", ErrorClass.IN_PROGRESS) not in IMPLY_ORDER


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        tree = jsontext.load(body)
    except jsontext.NotJson:
        return None
    return tree if isinstance(tree, dict) else None


def _order_group_errors(text: str) -> list[Error]:
    """Why order groups were not ordered: the code alone selects the row of the error table."""
    return [_to_error(BY_CODE.get(fault.code or "", ErrorClass.REJECTED), fault) for fault in order_faults(text)]


def _to_error(error_class: ErrorClass, fault: Fault) -> Error:
    return error(error_class, fault.text or "", code=fault.code, source=fault.source, data=fault.data)


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


def with_line_errors(cause: Error, cart: ServiceResponse) -> Error:
    """A refusal, and in its `data` what GET cart says about the lines of the cart."""
    found = cart_line_errors(jsontext.decode(cart.body)) if _object(cart.body) is not None else ()
    return msgspec.structs.replace(cause, data=(*(cause.data or ()), *found)) if found else cause


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
