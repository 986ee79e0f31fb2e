"""Whether an answer is the one to this call: what it names is of the customer, or the cart, that was asked for. Pure.

A gateway or a proxy that mixes up two exchanges gives one customer's call the answer of another's. Most answers do
not say whose they are, and those that do are compared as GUIDs, since spellings differ. Any other value says nothing.
"""

from collections.abc import Iterator

from shared.core import jsontext
from shared.core.request_fields import guid_or_none


def names_another(named: object, asked: str) -> bool:
    """Whether an id of an answer names another customer or cart than the one that was asked for."""
    found = guid_or_none(named)
    return found is not None and found != asked.lower()


def is_of_another_customer(body: bytes, customer_id: str) -> bool:
    """Whether an order in the body (an Order, or those of a CartCheckoutResult) is another customer's."""
    return any(
        names_another(named, customer_id)
        for order in _orders(_load(body))
        for named in _members(order, "referencecustomerid")
    )


def is_of_another_cart(body: bytes, cart_id: str) -> bool:
    """Whether the body is another Cart."""
    return any(names_another(named, cart_id) for named in _members(_load(body), "id"))


def _load(body: bytes) -> object:
    try:
        return jsontext.load(body)
    except jsontext.NotJson:
        return None


def _orders(tree: object) -> Iterator[object]:
    yield tree
    for orders in _members(tree, "orders"):
        if isinstance(orders, list):
            yield from orders


def _members(tree: object, name: str) -> Iterator[object]:
    """The members of an object that have this name, in any case."""
    if isinstance(tree, dict):
        yield from (value for key, value in tree.items() if key.lower() == name)
