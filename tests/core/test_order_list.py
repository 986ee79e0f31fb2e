"""A customer's list of orders, cut into its orders wherever the chunks of it end."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core import order_list as module
from shared.core.jsontext import load
from shared.core.models import parse_lenient
from shared.core.order_list import ListedLineItem, ListedOrder, read_orders
from tests.core.test_verdict import BODIES

TEXTS = st.text(st.sampled_from('ab"\\[]{}:, é\u2028'), max_size=8)
NAMES = ["id", "creationDate", "lineItems", "referenceCustomerId"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def lenient(text: bytes) -> list[ListedOrder]:
    """The orders as the models of the other answers are read."""
    return [parse_lenient(ListedOrder, item) for item in load(text)["items"] if isinstance(item, dict)]


def ids(*chunks: bytes) -> list[str | None]:
    return [order.id for order in read_orders(chunks)]


def collection(items: Any, **others: Any) -> bytes:
    return json.dumps({**others, "items": items, "links": {"next": {"items": [{"id": "no order"}]}}}).encode()


def test_of_each_order_is_read_what_a_decision_needs() -> None:
    order = {
        "id": "o",
        "creationDate": "2026-11-22T10:00:00Z",
        "lineItems": [{"offerId": "P:S:A", "quantity": 1}, None],
        "referenceCustomerId": "c",
        "status": "completed",
    }
    expected = ListedOrder(
        id="o",
        creation_date="2026-11-22T10:00:00Z",
        line_items=[ListedLineItem(offer_id="P:S:A"), ListedLineItem()],
        reference_customer_id="c",
    )
    assert [expected, ListedOrder()] == list(read_orders([collection([order, {}])]))


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from([*NAMES, "items", "x"]), VALUES, max_size=3) | VALUES, max_size=4),
    st.dictionaries(st.sampled_from(["a", "totalCount", "attributes"]), VALUES, max_size=2),
    st.integers(1, 40),
    st.booleans(),
)
def test_every_order_is_read_wherever_the_chunks_end(
    items: list[Any], others: dict[str, Any], size: int, as_ascii: bool
) -> None:
    text = json.dumps({**others, "items": items, "z": others}, ensure_ascii=as_ascii).encode()
    assert lenient(text) == list(read_orders(text[at : at + size] for at in range(0, len(text), size)))


@settings(deadline=None)
@given(BODIES, st.integers(1, 40))
def test_any_bytes_are_read(body: bytes, size: int) -> None:
    whole = list(read_orders([body]))
    assert whole == list(read_orders(body[at : at + size] for at in range(0, len(body), size)))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", []),
        (b"<html>", []),
        (b'{"items": {"id": "o"}}', []),
        (b'{"value": [{"id": "o"}]}', []),
        (b'{"Items": null, "items": [{"id": "o"}]}', ["o"]),
        (b'{"items": [{"id": "o"}, {"id": "broken" "off"}, {"id": "p"}]}', ["o", "p"]),
        (b'{"items": [{"id": "o"}, {"id": "p"', ["o"]),
        (b'{"items": [[{"id": "o"}], "]", {"id": "p"}]}', ["p"]),
        (b'\xef\xbb\xbf{"items":[{"id":"\\ud800"}]}', ["\ufffd"]),
        (b'{"items":[{"id":"\xff"},{"id":"o"}]}', ["o"]),
        (b'{"items":[{"id":5,"lineItems":[null,{"offerId":7}]},{"id":[]}]}', ["5", None]),
        (b'{"items":[{"id":"o","x":%s}]}' % (b"[" * 200_000 + b"]" * 200_000), []),
        (b'{"x":"items","y":[{"id":"n"}],"items" :\n[{"id":"o"}]}', ["o"]),
        (b'{"x\\"items":[{"id":"n"}]}', []),
        (b'{"x":"\\"items\\":","y":[{"id":"n"}]}', []),
        (b'{"items":[{"id":"a"}],"items":[{"id":"b"}]}', ["a", "b"]),
    ],
)
def test_a_list_is_read_as_far_as_it_can_be(body: bytes, expected: list[str]) -> None:
    assert expected == ids(body)


def test_beyond_an_order_that_is_too_long_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_ORDER", 40)
    long = b'{"id": "%s"}' % (b"x" * 40)
    chunks = [b'{"items": [{"id": "o"}, ' + long[:40], long[40:41], long[41:], b', {"id": "p"}]}']
    assert ["o"] == ids(*chunks)
    monkeypatch.setattr(module, "LONGEST_ORDER", 41)
    assert ["o", "x" * 40, "p"] == ids(*chunks)
