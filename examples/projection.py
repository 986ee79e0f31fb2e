"""An event-sourced view: which orders came of which cart, rebuilt from the events as often as one likes.

    python examples/projection.py    read every event from the records container, print one JSON line for each cart

The records are the event store: each cart's is the array of all outcomes decided for it. The same projection can be
fed from the outcomes queue as well, or from both: events may come twice, late, and in any order, and the view is the
same, since it is a function of the *set* of events. That is the whole trick: `apply` only adds to the set.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from azure.storage.blob import ContainerClient

BOUGHT = ("completed", "action_required", "partial")


@dataclass
class Cart:
    """A cart as all events together tell of it. `requests`: by request id, the event that answers it."""

    customer_id: str
    cart_id: str
    outcome: str = ""
    orders: dict[str, str] = field(default_factory=dict)
    total: dict[str, str] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)


class Projection:
    """Carts and their orders."""

    def __init__(self) -> None:
        self._told: dict[str, dict[str, Any]] = {}
        self._replaced: set[str] = set()

    def apply(self, event: dict[str, Any], data: dict[str, Any]) -> None:
        """Take an event in; the same one again changes nothing."""
        self._told[event["id"]] = data
        if "corrects" in data:
            self._replaced.add(data["corrects"])

    def carts(self) -> list[Cart]:
        """The view, by cart."""
        found: dict[tuple[str, str], Cart] = {}
        valid = [(id_, data) for id_, data in self._told.items() if id_ not in self._replaced and "requestId" in data]
        # what was decided first comes first, and of the same instant the smaller id: so any order of arrival will do
        for id_, data in sorted(valid, key=lambda told: (told[1]["finishedAt"], told[0])):
            key = data["customerId"], data["cartId"]
            cart = found.setdefault(key, Cart(*key))
            # with `answeredBy` it repeats a purchase of which that event tells: it links the request, and no more
            cart.requests[data["requestId"]] = data.get("answeredBy", id_)
            if data["outcome"] in BOUGHT or cart.outcome not in BOUGHT:
                cart.outcome = data["outcome"]
            if data["outcome"] in BOUGHT and "answeredBy" not in data:
                _add_orders(cart, data["result"])
        return [found[key] for key in sorted(found)]


def _add_orders(cart: Cart, result: dict[str, Any]) -> None:
    for order in result.get("orders") or []:
        name, currency = order.get("id", "?"), order.get("currencyCode", "?")
        if name not in cart.orders:
            # as decimals, from text: a 36.480 stays 36.480
            cart.total[currency] = str(
                Decimal(cart.total.get(currency, "0")) + Decimal(str(order.get("totalPrice") or 0))
            )
        cart.orders[name] = order.get("status", "?")


def replay(records: ContainerClient) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every event of the store with its data."""
    home = records.url.partition("?")[0]  # behind the ? would be a signature
    for blob in records.list_blobs():
        if not blob.name.endswith((".data.json", ".waiting.json")):
            for event in _load(records, blob.name):
                data = event["data"] if "data" in event else _load(records, event["dataref"].removeprefix(home))
                yield event, data


def _load(records: ContainerClient, name: str) -> Any:  # noqa: ANN401  any JSON
    return json.loads(records.download_blob(name.lstrip("/")).readall(), parse_float=Decimal)


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
