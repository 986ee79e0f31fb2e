"""The JSON of carts and orders, with every field of the reference."""

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from json import dumps
from typing import Any

from local.simulator.carts import Call, CartState
from local.simulator.steps import Commit

HOUR = 3600.0
_OFFER = "CFQ7TTC0LH18:0001:CFQ7TTC0K971"


def encode(tree: Mapping[str, Any]) -> bytes:
    """Encode as JSON. A text like `$36.480` becomes the number 36.480, which as a float would lose its last zero."""
    return re.sub(r'"\$(\d+\.\d+)"', r"\1", dumps(tree, ensure_ascii=False)).encode()


def _id(call: Call, *parts: object) -> uuid.UUID:
    """Return an id for this cart's n-th purchase, the same in every run."""
    cart = call.cart
    name = (cart.customer_id, cart.cart_id, len(cart.purchases), *parts)
    return uuid.uuid5(uuid.NAMESPACE_OID, " ".join(map(str, name)))


def _offer(line: int) -> str:
    return f"CFQ7TTC0{0x1A18 + line:04X}:0001:CFQ7TTC0K971" if line else _OFFER


def _time(at: float, utc_offset: int | None) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    if utc_offset is None:
        return f"{moment:%Y-%m-%dT%H:%M:%S.%f}0Z"
    return moment.astimezone(timezone(timedelta(hours=utc_offset))).isoformat(timespec="seconds")


def _link(uri: str, method: str = "GET") -> dict[str, Any]:
    return {"uri": uri, "method": method, "headers": []}


def cart_resource(cart: CartState, as_of: float) -> dict[str, Any]:
    """Return a cart as it was at this time: `Ordered` once a purchase has taken effect."""
    lines = range(cart.scenario.order_groups * cart.scenario.lines)
    bought = [purchase.at for purchase in cart.purchases if purchase.at <= as_of]
    return {
        "id": cart.cart_id,
        "creationTimestamp": _time(cart.created, None),
        "lastModifiedTimestamp": _time(max(bought, default=cart.created), None),
        "expirationTimestamp": _time(cart.created + 7 * 24 * HOUR, None),
        "status": "Ordered" if bought else "Active",
        "lineItems": [
            {
                "id": line,
                "catalogItemId": _offer(line),
                "quantity": 1 + line % 5,
                "currencyCode": "EUR",
                "billingCycle": "monthly",
                "termDuration": "P1Y",
                "orderGroup": str(line // cart.scenario.lines),
            }
            for line in lines
        ],
        "links": {"self": _link(f"/customers/{cart.customer_id}/carts/{cart.cart_id}")},
        "attributes": {"objectType": "Cart"},
    }


def order_resource(step: Commit, call: Call, group: int, status: str) -> dict[str, Any]:
    """Return an order with every field of the reference."""
    customer = call.cart.customer_id
    per_group = call.cart.scenario.lines
    order_id = _id(call, group).hex[:12]
    uri = f"/customers/{customer}/orders/{order_id}"
    first = group * per_group
    return {
        "id": order_id,
        "alternateId": order_id,
        "referenceCustomerId": customer,
        "billingCycle": "monthly",
        "currencyCode": "EUR",
        "currencySymbol": "€",
        "lineItems": [_line_item(step, call, uri, (first, line), status) for line in range(first, first + per_group)],
        "creationDate": _time(call.at, step.utc_offset),
        "status": status,
        "transactionType": "New",
        "totalPrice": f"${36.48 * per_group:.3f}",
        "client": {"deviceFamily": "none", "marketplaceCountry": "DE", "name": "simulator"},
        "links": {
            "self": _link(uri),
            "provisioningStatus": _link(f"{uri}/provisioningstatus"),
            "patchOperation": _link(uri, "PATCH"),
        },
        "attributes": {"etag": f"etag-{order_id}", "objectType": "Order"},
        **step.extra,
    }


def _line_item(step: Commit, call: Call, uri: str, place: tuple[int, int], status: str) -> dict[str, Any]:
    first, line = place
    number = line - first
    product, sku, _ = _offer(line).split(":")
    subscription = str(_id(call, line))
    item = {
        "lineItemNumber": number,
        "offerId": _offer(line),
        "subscriptionId": subscription,
        "parentSubscriptionId": None,
        "friendlyName": f"Büroplatz {line}",
        "quantity": 1 + line % 5,
        "termDuration": "P1Y",
        "customTermEndDate": _time(call.at + 365 * 24 * HOUR, step.utc_offset),
        "transactionType": "New",
        "attestationAccepted": False,
        "partnerIdOnRecord": "1234567",
        "promotionId": "39NFJQT1X1KH:0001:39NFJQT1Q5FL",
        "provisioningContext": {"scope": "tenant"},
        "purchaseCommitment": {"amount": "$36.480", "currency": "EUR", "grain": "month"},
        "pricing": {
            "discountedPrice": "$36.480",
            "extendedPrice": "$36.480",
            "listPrice": "$38.400",
            "price": "$36.480",
            "proratedPrice": "$0.000",
        },
        "renewsTo": {"termDuration": "P1Y"},
        "links": {
            "product": _link(f"/products/{product}"),
            "sku": _link(f"/products/{product}/skus/{sku}"),
            "availability": _link(f"/products/{product}/skus/{sku}/availabilities"),
            "subscription": _link(f"/customers/{call.cart.customer_id}/subscriptions/{subscription}"),
            "provisioningStatus": _link(f"{uri}/lineitems/{number}/provisioningstatus"),
            "activationLinks": _link(f"{uri}/lineitems/{number}/activationlinks"),
        },
    }
    if status == "pending":  # provisioning is not complete: there is no subscription yet
        del item["subscriptionId"], item["links"]["subscription"]  # type: ignore[index]
    return item
