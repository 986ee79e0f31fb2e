"""The JSON of carts and orders, as varied as the real ones.

A field that the service does not always send, or sends in several spellings, differs from cart to cart. Its value
follows from the ids, so it is the same in every run.
"""

import base64
import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from json import dumps
from typing import Any, TypeVar

from local.simulator.carts import Call, CartLine, CartState
from local.simulator.scenarios import Scenario
from local.simulator.steps import Commit

HOUR = 3600.0
T = TypeVar("T")

BILLING_CYCLES = ("monthly", "annual", "none", "one_time", "triennial", "biennial", "unknown", "Monthly", "OneTime")
TERMS = ("P1M", "P1Y", "P3Y", "", None)
_OFFER = "CFQ7TTC0LH18:0001:CFQ7TTC0K971"


def encode(tree: Mapping[str, Any]) -> bytes:
    """Encode as JSON. A text like `$36.480` becomes the number 36.480, which as a float would lose its last zero."""
    return re.sub(r'"\$(\d+\.\d+)"', r"\1", dumps(tree, ensure_ascii=False)).encode()


def collection(items: Sequence[Mapping[str, Any]]) -> bytes:
    """Encode a list of resources, as the service wraps it."""
    return encode({"totalCount": len(items), "items": items, "attributes": {"objectType": "Collection"}})


def _pick(options: Sequence[T], *name: object) -> T:
    """Return one of the options: another for each name, the same in every run."""
    return options[uuid.uuid5(uuid.NAMESPACE_OID, " ".join(map(str, name))).int % len(options)]


def _present(**fields: object) -> dict[str, Any]:
    """Return the fields without those that are None."""
    return {name: value for name, value in fields.items() if value is not None}


def _offer(line: int) -> str:
    return f"CFQ7TTC0{0x1A18 + line:04X}:0001:CFQ7TTC0K971" if line else _OFFER


def _time(at: float, utc_offset: int | None = None) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    if utc_offset is None:
        return f"{moment:%Y-%m-%dT%H:%M:%S.%f}0Z"
    local = moment.astimezone(timezone(timedelta(hours=utc_offset)))
    return f"{local:%Y-%m-%dT%H:%M:%S}.{local.microsecond // 10_000:02}{local.isoformat()[-6:]}"


def _link(uri: str, method: str = "GET") -> dict[str, Any]:
    return {"uri": uri, "method": method, "headers": []}


def scenario_lines(scenario: Scenario, cart_id: str, created: float) -> list[CartLine]:
    """Return the lines of a cart that nobody created: as many as its scenario says."""
    lines = []
    for line in range(scenario.order_groups * scenario.lines):
        group = str(line // scenario.lines)
        lines.append(
            _present(
                id=line,
                catalogItemId=_offer(line),
                friendlyName=f"Büroplatz {line}",
                quantity=1 + line % 5,
                currencyCode="EUR",
                billingCycle=_pick(BILLING_CYCLES, cart_id, group, "cycle"),
                termDuration=_pick(TERMS, cart_id, line, "term"),
                customTermEndDate=_time(created + 365 * 24 * HOUR),
                promotionId=_pick(("39NFJQT1X1KH:0001:39NFJQT1Q5FL", None), cart_id, line, "promotion"),
                participants=[{"key": "transaction_reseller", "value": "1234567"}],
                provisioningContext={"scope": "tenant"},
                purchaseSystem="commerce",
                addonItems=[],
                renewsTo={"termDuration": "P1Y"},
                attestationAccepted=False,
                orderGroup=group,
                error=scenario.line_error,
            )
        )
    return lines


def cart_resource(cart: CartState, as_of: float) -> dict[str, Any]:
    """Return a cart as it was at this time: `Ordered` once a purchase has taken effect."""
    bought = [purchase.at for purchase in cart.purchases if purchase.at <= as_of]
    return {
        "id": cart.cart_id,
        "creationTimestamp": _time(cart.created),
        "lastModifiedTimestamp": _time(max(bought, default=cart.modified)),
        "expirationTimestamp": _time(cart.created + 7 * 24 * HOUR),
        "lastModifiedUser": str(uuid.uuid5(uuid.NAMESPACE_OID, cart.customer_id)),
        "status": "Ordered" if bought else "Active",
        "lineItems": cart.lines,
        "links": {"self": _link(f"/customers/{cart.customer_id}/carts/{cart.cart_id}")},
        "attributes": {"objectType": "Cart"},
    }


def order_resource(step: Commit, call: Call, group: str, lines: Sequence[CartLine], status: str) -> dict[str, Any]:
    """Return the order of an order group, without its prices."""
    customer = call.cart.customer_id
    name = (customer, call.cart.cart_id, len(call.cart.purchases), group)  # another purchase is another order
    order_id = _order_id(*name)
    uri = f"/customers/{customer}/orders/{order_id}"
    return {
        **_present(
            id=order_id,
            alternateId=hashlib.sha256(order_id.encode()).hexdigest()[:12],
            referenceCustomerId=_pick((customer, customer, customer.upper()), order_id, "customer"),
            billingCycle=lines[0].get("billingCycle"),
            currencyCode=lines[0].get("currencyCode"),
            currencySymbol=_pick(("€", None), order_id, "symbol"),
            lineItems=[
                _order_line(step, call.at, uri, number, line, status == "pending") for number, line in enumerate(lines)
            ],
            creationDate=_time(call.at, step.utc_offset),
            status=status,
            transactionType="UserPurchase",
            partnerOnRecordAttestationAccepted=_pick((True, None), order_id, "attestation"),
        ),
        "client": {"deviceFamily": "none", "marketplaceCountry": "DE", "name": "simulator"},
        "links": {
            "self": _link(uri),
            "provisioningStatus": _link(f"{uri}/provisioningstatus"),
            "patchOperation": _link(uri, "PATCH"),
        },
        "attributes": {"etag": f"etag-{order_id}", "objectType": "Order"},
        **step.extra,
    }


def priced(order: Mapping[str, Any]) -> dict[str, Any]:
    """Return an order with its prices, which only a GET that asks for them returns."""
    prices = {
        "discountedPrice": "$36.480",
        "extendedPrice": "$36.480",
        "listPrice": "$38.400",
        "price": "$36.480",
        "proratedPrice": "$0.000",
    }
    lines = [{**line, "pricing": prices} for line in order["lineItems"]]
    return {**order, "lineItems": lines, "totalPrice": f"${36.48 * len(lines):.3f}"}


def activation_links(order: Mapping[str, Any], line: int | None) -> list[dict[str, Any]]:
    """Return where the lines of an order, or one of them, are activated."""
    return [
        {"lineItemNumber": each["lineItemNumber"], "link": _link(f"https://saas.example/{order['id']}")}
        for each in order["lineItems"]
        if "activationLinks" in each["links"] and line in (None, each["lineItemNumber"])
    ]


def _order_id(*name: object) -> str:
    """Return a GUID, or 32 letters, digits, `-` and `_`."""
    text = " ".join(map(str, name))
    letters = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:24]).decode()
    return _pick((str(uuid.uuid5(uuid.NAMESPACE_OID, text)), letters), text, "id")


def _order_line(
    step: Commit,
    at: float,
    uri: str,
    number: int,
    line: CartLine,
    pending: bool,
) -> dict[str, Any]:
    """Return a line of an order. While provisioning is not complete, it has no subscription."""
    offer = str(line["catalogItemId"])
    product, sku, *_ = f"{offer}::".split(":")
    subscription = None if pending else str(uuid.uuid5(uuid.NAMESPACE_OID, f"{uri} {number}"))
    customer = uri.partition("/orders/")[0]
    links = _present(
        product=_link(f"/products/{product}"),
        sku=_link(f"/products/{product}/skus/{sku}"),
        availability=_link(f"/products/{product}/skus/{sku}/availabilities"),
        subscription=None if pending else _link(f"{customer}/subscriptions/{subscription}"),
        provisioningStatus=_link(f"{uri}/lineitems/{number}/provisioningstatus"),
        activationLinks=_link(f"{uri}/lineitems/{number}/activationlinks") if step.activation else None,
    )
    commitment = {"amount": "$36.480", "currency": "EUR", "grain": "month"}
    copied = ("friendlyName", "quantity", "termDuration", "promotionId", "provisioningContext", "renewsTo")
    return {
        "lineItemNumber": number,
        "offerId": offer,
        "parentSubscriptionId": None,
        **_present(**{name: line.get(name) for name in copied}),
        **_present(
            subscriptionId=subscription,
            customTermEndDate=_time(at + 365 * 24 * HOUR, step.utc_offset),
            transactionType=_pick(("New", "new"), uri, number, "type"),
            partnerIdOnRecord="1234567",
            additionalPartnerIdsOnRecord=_pick((["7654321"], None), uri, number, "partners"),
            purchaseCommitment=_pick((commitment, None), uri, number, "commitment"),
        ),
        "attestationAccepted": False,
        "links": links,
    }
