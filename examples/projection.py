"""An event-sourced view: which cart led to which orders, rebuilt from the events any number of times.

    python examples/projection.py    read every event from the records container, print one JSON line for each cart

The records are the event store: each cart's record is the array of all outcomes decided for it. The projection can
also be fed from the outcomes queue, or from both. Events may arrive twice, late, and in any order. The view is the
same, since it is a function of the *set* of events: `apply` only adds to the set. Those of one cart are ordered by
`revision`, their place in the cart's record, and not by time, which workers' clocks disagree on.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from azure.storage.blob import ContainerClient

BOUGHT = ("completed", "action_required", "partial")
TYPES = {f"partnercenter.cart.checkout.{outcome}" for outcome in (*BOUGHT, "failed", "unknown")}


@dataclass
class Cart:
    """A cart according to all its events.

    `orders` maps the id of an order to its status, `quantity` an offer to how many of it were ordered, and `requests` a
    request id to the event that answers it. The service tells no prices at a checkout.
    """

    customer_id: str
    cart_id: str
    outcome: str = ""
    orders: dict[str, str] = field(default_factory=dict)
    quantity: dict[str, int] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)


class Projection:
    """Carts and their orders."""

    def __init__(self) -> None:
        self._events: dict[str, dict[str, Any]] = {}
        self._replaced: set[str] = set()

    def apply(self, event: dict[str, Any], data: dict[str, Any]) -> None:
        """Add an event. Adding it again changes nothing. One of a type that a later version adds is passed over."""
        if event["type"] not in TYPES:
            return
        self._events[event["id"]] = data
        if "corrects" in data:
            self._replaced.add(data["corrects"])

    def carts(self) -> list[Cart]:
        """The view, by cart."""
        found: dict[tuple[str, str], Cart] = {}
        valid = [(id_, data) for id_, data in self._events.items() if id_ not in self._replaced]
        # ordered by the place in the cart's record, so that the order of arrival does not matter
        for id_, data in sorted(valid, key=lambda event: event[1]["revision"]):
            key = data["customerId"], data["cartId"]
            cart = found.setdefault(key, Cart(*key))
            # with `answeredBy` it repeats the purchase of another event: only link the request
            cart.requests[data["requestId"]] = data.get("answeredBy", id_)
            if data["outcome"] in BOUGHT or cart.outcome not in BOUGHT:
                cart.outcome = data["outcome"]
            if data["outcome"] in BOUGHT and "answeredBy" not in data:
                _add_orders(cart, data["result"])
        return [found[key] for key in sorted(found)]


def _add_orders(cart: Cart, result: dict[str, Any]) -> None:
    for order in result.get("orders") or []:
        name = order.get("id", "?")
        for line in (order.get("lineItems") or []) if name not in cart.orders else []:
            offer = line.get("offerId", "?")
            cart.quantity[offer] = cart.quantity.get(offer, 0) + (line.get("quantity") or 0)
        cart.orders[name] = order.get("status", "?")


def replay(records: ContainerClient) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield every event of the store with its data."""
    home = records.url.partition("?")[0]  # after the ? there may be a signature
    for blob in records.list_blobs():
        if not blob.name.endswith(".data.json"):
            for event in _load(records, blob.name):  # none yet in the record of a cart that is being processed
                if event["type"] in TYPES:
                    data = event["data"] if "data" in event else _load(records, event["dataref"].removeprefix(home))
                    yield event, data


def _load(records: ContainerClient, name: str) -> Any:  # noqa: ANN401  any JSON
    return json.loads(records.download_blob(name.lstrip("/")).readall(), parse_float=Decimal)  # money as it came


def main() -> None:
    """Rebuild the view and print it."""
    projection = Projection()
    storage, container = os.environ["CheckoutStorage"], os.environ["RECORDS_CONTAINER"]
    with ContainerClient.from_connection_string(storage, container) as records:
        for event, data in replay(records):
            projection.apply(event, data)
    for cart in projection.carts():
        print(json.dumps(asdict(cart)))


if __name__ == "__main__":
    main()
