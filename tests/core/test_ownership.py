"""Whose an answer is, where it says so."""

import json
from typing import Any

import pytest
from hypothesis import given

from shared.core.ownership import is_of_another_cart, is_of_another_customer, names_another
from tests.core.test_verdict import BODIES

OWN = "c0ffee00-1111-4222-8333-444444444444"
OTHER = "0ddba11a-1111-4222-8333-444444444444"


@pytest.mark.parametrize(
    "named", [OWN, OWN.upper(), f"{{{OWN}}}", None, "", "aaaa", 5, [OTHER], OTHER.replace("-", "")]
)
def test_the_own_guid_in_any_spelling_and_what_is_none_names_nobody_else(named: object) -> None:
    assert not names_another(named, OWN)


@pytest.mark.parametrize("named", [OTHER, OTHER.upper(), f"{{{OTHER}}}"])
@pytest.mark.parametrize("asked", [OWN, OWN.upper()])
def test_another_guid_in_any_spelling_names_another(named: str, asked: str) -> None:
    assert names_another(named, asked)


@pytest.mark.parametrize(
    "body",
    [
        {"referenceCustomerId": OTHER},
        {"ReferenceCustomerID": OTHER},
        {"orders": [{"referenceCustomerId": OTHER}]},
        {"orders": [None, {"referenceCustomerId": OWN}, {"referenceCustomerId": OTHER}]},
        {"Orders": [{"ReferenceCustomerId": OTHER}], "orders": []},
    ],
)
def test_an_order_that_names_another_customer_is_not_this_customers(body: Any) -> None:
    assert is_of_another_customer(json.dumps(body).encode(), OWN)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"5", b"{}", b'{"orders": {"referenceCustomerId": "%s"}}' % OTHER.encode()],
)
def test_what_names_no_customer_is_anybodys(body: bytes) -> None:
    assert not is_of_another_customer(body, OWN)


def test_a_cart_is_another_by_its_id() -> None:
    assert is_of_another_cart(json.dumps({"id": OTHER}).encode(), OWN)
    assert is_of_another_cart(json.dumps({"ID": OTHER.upper()}).encode(), OWN)
    for said in ({"id": OWN.upper()}, {"id": 5}, {"lineItems": [{"id": OTHER}]}, [OTHER], OTHER):
        assert not is_of_another_cart(json.dumps(said).encode(), OWN)


@given(BODIES)
def test_any_bytes_can_be_asked(body: bytes) -> None:
    assert is_of_another_customer(body, OWN) in (True, False)
    assert is_of_another_cart(body, OWN) in (True, False)
