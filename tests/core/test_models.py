import json
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.core import models
from shared.core.jsontext import load
from shared.core.models import (
    BillingCycle,
    Cart,
    CartCheckoutResult,
    CartLineItem,
    CartStatus,
    KeyValuePair,
    LineTransactionType,
    Link,
    Model,
    Order,
    OrderError,
    OrderLineItem,
    OrderLinks,
    OrderStatus,
    OrderTransactionType,
    Pricing,
    ServiceResponse,
    TermDuration,
    code_text,
    normal_status,
    parse_date,
    parse_lenient,
)

# The reference's definitions: each field's JSON name and type; a capital letter names another definition.
# Where the reference leaves the type blank, it is the one that the name and the service's bodies show. Two fields
# (partnerOnRecordAttestationAccepted, additionalPartnerIdsOnRecord) and a cart's line come from Microsoft's samples.
REFERENCE = {
    "Link": "body string, headers [KeyValuePair], method string, uri string",
    "ResourceAttributes": "etag string, objectType string",
    "CartCheckoutResult": "attributes ResourceAttributes, orderErrors [OrderError], orders [Order]",
    "ClientContext": "deviceFamily string, marketplaceCountry string, name string",
    "Order": (
        "alternateId string, attributes ResourceAttributes, billingCycle string, client ClientContext,"
        " creationDate string, currencyCode string, currencySymbol string, id string,"
        " lineItems [OrderLineItem], links OrderLinks, partnerOnRecordAttestationAccepted boolean,"
        " referenceCustomerId string, status string,"
        " totalPrice number, transactionType string"
    ),
    # `code` is an integer in the reference, and text here like every other code.
    "OrderError": "attributes ResourceAttributes, code code, description string, orderGroupId string",
    "OrderLineItem": (
        "additionalPartnerIdsOnRecord [string], attestationAccepted boolean, customTermEndDate string,"
        " friendlyName string, lineItemNumber integer,"
        " links OrderLineItemLinks, offerId string, parentSubscriptionId string, partnerIdOnRecord string,"
        " pricing Pricing, promotionId string, provisioningContext object,"
        " purchaseCommitment PurchaseCommitment, quantity integer, renewsTo RenewsTo, subscriptionId string,"
        " termDuration string, transactionType string"
    ),
    "OrderLineItemLinks": (
        "activationLinks Link, availability Link, product Link, provisioningStatus Link, sku Link, subscription Link"
    ),
    "OrderLinks": "patchOperation Link, provisioningStatus Link, self Link",
    "Pricing": ("discountedPrice number, extendedPrice number, listPrice number, price number, proratedPrice number"),
    "PurchaseCommitment": "amount number, currency string, grain string",
    "RenewsTo": "termDuration string",
    "KeyValuePair": "key string, value string",
    "CartLineError": "errorCode code, errorDescription string, additionalInformation string",
    "CartLineItem": (
        "id string, addonItems [CartLineItem], attestationAccepted boolean, billingCycle string, catalogItemId string,"
        " currencyCode string, customTermEndDate string, error CartLineError, friendlyName string, orderGroup string,"
        " participants [KeyValuePair], promotionId string, provisioningContext object, purchaseSystem string,"
        " quantity integer, renewsTo RenewsTo, termDuration string"
    ),
}
PYTHON: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": Decimal,
    "boolean": bool,
    "object": dict[str, Any],
    "code": models.Code,
}
SAMPLES = {
    "string": "Ω",
    "integer": 7,
    "number": Decimal("36.480"),
    "boolean": False,
    "object": {"a": [1]},
    "code": "800065",
}
MODELS: list[type[Model]] = Model.__subclasses__()


def fields_of(definition: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind in (each.split() for each in REFERENCE[definition].split(", "))]


def python_type(kind: str) -> Any:
    if kind.startswith("["):
        return list[python_type(kind.strip("[]"))]  # type: ignore[misc]
    return PYTHON.get(kind) or getattr(models, kind)


def sample(kind: str, inside: tuple[str, ...] = ()) -> Any:
    """A value of a type of the reference, with every field of every definition in it. A line's add-ons have none."""
    if kind.startswith("["):
        return [] if kind.strip("[]") in inside else [sample(kind.strip("[]"), inside)]
    if kind in SAMPLES:
        return SAMPLES[kind]
    return {name: sample(inner, (*inside, kind)) for name, inner in fields_of(kind)}


def to_tree(value: object) -> object:
    """A model as the tree it was read from."""
    if isinstance(value, Model):
        names = {each.name: each.encode_name for each in msgspec.structs.fields(value)}
        return {names[name]: to_tree(inner) for name, inner in msgspec.structs.asdict(value).items()}
    return [to_tree(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("definition", REFERENCE)
def test_a_model_has_every_field_of_its_definition_with_its_type(definition: str) -> None:
    documented = {name: python_type(kind) | None for name, kind in fields_of(definition)}
    actual = {each.encode_name: each.type for each in msgspec.structs.fields(getattr(models, definition))}
    assert documented == actual


@pytest.mark.parametrize("definition", REFERENCE)
def test_a_full_object_is_read_in_full(definition: str) -> None:
    tree = sample(definition)
    assert tree == to_tree(parse_lenient(getattr(models, definition), tree))


@pytest.mark.parametrize("model", MODELS)
def test_every_field_may_be_missing_and_no_model_can_be_changed(model: type[Model]) -> None:
    empty = model()
    assert {None} == {getattr(empty, name) for name in model.__struct_fields__}
    with pytest.raises(AttributeError, match="immutable"):
        setattr(empty, model.__struct_fields__[0], "changed")


@pytest.mark.parametrize(
    ("enum", "seen"),
    [
        (BillingCycle, ["unknown", "monthly", "annual", "none", "one_time", "triennial", "biennial"]),
        (
            OrderStatus,
            [
                "pending",
                "completed",
                "cancelled",
                "suspended",
                "pending_review",
                "pending_po_upload",
                "po_upload_complete",
                "po_review_rejected",
                "partial_success",
                "error",
                "unknown",
            ],
        ),
        (CartStatus, ["active", "ordered"]),
        (
            LineTransactionType,
            ["new", "renew", "addQuantity", "removeQuantity", "cancel", "convert", "customerCredit"],
        ),
        (OrderTransactionType, ["UserPurchase", "SystemPurchase", "SystemBilling"]),
        (TermDuration, ["P1M", "P1Y", "P3Y", ""]),
    ],
)
def test_the_enums_hold_the_known_values(enum: type[StrEnum], seen: list[str]) -> None:
    assert seen == [each.value for each in enum]


TEXTS = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(["5", "36.480", "800065", "0"])
NUMBERS = (
    st.integers()
    | st.floats()
    | st.decimals()
    | st.sampled_from([Decimal("1e999999999"), Decimal("1e-999999999"), Decimal("5.0")])
)
NAMES = sorted({each.encode_name for model in MODELS for each in msgspec.structs.fields(model)})
TREES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | TEXTS, inner, max_size=6),
    max_leaves=20,
)


@given(st.sampled_from(MODELS), TREES)
@example(CartCheckoutResult, {"orders": {}, "orderErrors": [[]], "attributes": "x"})
@example(OrderLineItem, {"quantity": Decimal("1e999999999"), "offerId": Decimal("1e-999999999")})
def test_reading_never_raises_and_every_field_has_its_type(model: type[Model], tree: object) -> None:
    found = parse_lenient(model, tree)
    # What was read is what a strict decoder would have taken.
    assert found == msgspec.convert(to_tree(found), model, strict=True)


@given(TREES)
def test_a_code_is_text_or_nothing(value: object) -> None:
    code = code_text(value)
    assert code is None or code == code.strip()
    assert code not in {"", "0"}


@given(TEXTS | st.datetimes(timezones=st.timezones()).map(str) | st.none())
def test_a_date_is_in_utc_or_nothing(text: str | None) -> None:
    moment = parse_date(text)
    assert moment is None or moment.tzinfo is UTC


def test_a_checkout_result_is_read_as_the_service_sends_it() -> None:
    body = b"""\xef\xbb\xbf{
        "orders": [{
            "id": "o1", "status": "completed", "totalPrice": 36.480,
            "creationDate": "2026-11-22T10:00:00.1234567Z", "additionalInformation": {"new": true},
            "lineItems": [{
                "lineItemNumber": 0, "quantity": 5, "provisioningContext": {"scope": "shared"},
                "pricing": {"listPrice": 7.296}
            }],
            "links": {"self": {"uri": "/orders/o1", "method": "GET", "headers": [{"key": "k", "value": "v"}]}}
        }],
        "orderErrors": [{"orderGroupId": "1", "code": 800089, "description": "no"}],
        "attributes": {"objectType": "CartCheckoutResult"}
    }"""
    result = parse_lenient(CartCheckoutResult, load(body))
    line = OrderLineItem(
        line_item_number=0,
        quantity=5,
        provisioning_context={"scope": "shared"},
        pricing=Pricing(list_price=Decimal("7.296")),
    )
    link = Link(uri="/orders/o1", method="GET", headers=[KeyValuePair(key="k", value="v")])
    assert result.orders == [
        Order(
            id="o1",
            status="completed",
            total_price=Decimal("36.480"),
            creation_date="2026-11-22T10:00:00.1234567Z",
            line_items=[line],
            links=OrderLinks(self_=link),
        )
    ]
    assert result.order_errors == [OrderError(order_group_id="1", code="800089", description="no")]


def test_a_cart_is_read_with_its_add_ons() -> None:
    body = b"""{"id": "c1", "status": "Active", "lineItems": [{
        "id": 0, "catalogItemId": "P:S:A", "quantity": 2, "orderGroup": "0",
        "addonItems": [{"id": 1, "catalogItemId": "Q:S:A"}]
    }]}"""
    add_on = CartLineItem(id="1", catalog_item_id="Q:S:A")
    line = CartLineItem(id="0", catalog_item_id="P:S:A", quantity=2, order_group="0", addon_items=[add_on])
    assert Cart(id="c1", status="Active", line_items=[line]) == parse_lenient(Cart, load(body))


@pytest.mark.parametrize("tree", [None, 5, "orders", [], [{"orders": []}], {}, {"order_errors": [1]}])
def test_anything_but_an_object_is_an_empty_model(tree: object) -> None:
    assert CartCheckoutResult() == parse_lenient(CartCheckoutResult, tree)


def test_an_element_that_is_not_an_object_keeps_its_place() -> None:
    found = parse_lenient(CartCheckoutResult, {"orders": [None, 1, {"id": "o1"}], "orderErrors": []})
    assert CartCheckoutResult(orders=[Order(), Order(), Order(id="o1")], order_errors=[]) == found


@pytest.mark.parametrize("name", ["lineItems", "LineItems", "lineitems", "LINEITEMS"])
def test_a_field_is_read_in_any_case(name: str) -> None:
    assert Order(line_items=[]) == parse_lenient(Order, {name: []})


@pytest.mark.parametrize("tree", [{"ID": "1", "id": "2"}, {"id": "2", "ID": "1"}])
def test_a_field_in_its_own_case_comes_first(tree: object) -> None:
    assert Order(id="2") == parse_lenient(Order, tree)


@pytest.mark.parametrize(
    ("came", "quantity"),
    [
        (5, 5),
        ("5", 5),
        (Decimal("5.0"), 5),
        (5.0, 5),
        ("-5", -5),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (Decimal("5.5"), None),
        (Decimal("1e999999999"), None),
        (Decimal("1e-999999999"), None),
        (Decimal("NaN"), None),
        (float("inf"), None),
        (True, None),
        ("5 pieces", None),
        ("٥", None),  # noqa: RUF001  an Arabic digit
        ("1_0", None),
        ("", None),
        ([5], None),
        (None, None),
    ],
)
def test_an_integer_is_taken_however_it_is_written(came: object, quantity: int | None) -> None:
    assert quantity == parse_lenient(OrderLineItem, {"quantity": came}).quantity


@pytest.mark.parametrize(
    ("came", "price"),
    [(36, "36"), (36.48, "36.48"), (Decimal("36.480"), "36.480"), ("36.480", "36.480"), ("-0.5", "-0.5")],
)
def test_money_is_taken_however_it_is_written_and_keeps_its_digits(came: object, price: str) -> None:
    assert price == str(parse_lenient(Pricing, {"price": came}).price)


@pytest.mark.parametrize("came", [True, "1e5", "NaN", "1,5", {}, [1], float("nan"), Decimal("-Infinity")])
def test_an_invalid_amount_is_none(came: object) -> None:
    assert parse_lenient(Pricing, {"price": came}).price is None


@pytest.mark.parametrize(
    ("came", "identifier"),
    [
        ("o1", "o1"),
        ("", ""),
        (5, "5"),
        (Decimal("1.50"), "1.50"),
        ("a\ud800b", "a\ufffdb"),
        (True, None),
        (None, None),
        ({}, None),
        ([], None),
    ],
)
def test_text_is_taken_from_a_number_too_and_can_be_encoded(came: object, identifier: str | None) -> None:
    assert identifier == parse_lenient(Order, {"id": came}).id


def test_an_integer_too_long_for_pythons_limit_is_read() -> None:
    line = parse_lenient(OrderLineItem, {"quantity": 10**5000, "offerId": 10**5000})
    assert OrderLineItem(offer_id="1" + "0" * 5000) == line
    assert code_text(10**5000) == line.offer_id


@pytest.mark.parametrize("came", [0, 1, "true", "yes", None, {}])
def test_only_a_boolean_is_read_as_a_boolean(came: object) -> None:
    assert parse_lenient(OrderLineItem, {"attestationAccepted": came}).attestation_accepted is None
    assert parse_lenient(OrderLineItem, {"attestationAccepted": True}).attestation_accepted is True


@pytest.mark.parametrize("came", [5, "x", [{"uri": "/x"}], None])
def test_an_object_of_another_shape_is_none(came: object) -> None:
    line = {"links": came, "provisioningContext": came and [came]}
    found = parse_lenient(Order, {"links": came, "lineItems": [line]})
    assert Order(line_items=[OrderLineItem()]) == found


@pytest.mark.parametrize(
    ("came", "code"),
    [
        (800065, "800065"),
        ("800065", "800065"),
        (" 800065\n", "800065"),
        (Decimal("800065.0"), "800065"),
        (Decimal("8E+5"), "800000"),
        (800065.0, "800065"),
        (-1, "-1"),
        (Decimal("1.5"), "1.5"),
        (2**64, str(2**64)),
        ("InvalidRequest", "InvalidRequest"),
        ("x\ud800", "x\ufffd"),
        (0, None),
        (Decimal("0.0"), None),
        ("0", None),
        (" 0 ", None),
        ("", None),
        (" ", None),
        (None, None),
        (False, None),
        (True, None),
        ([800065], None),
        ({"code": 800065}, None),
        (float("nan"), None),
    ],
)
def test_a_code_is_text_however_it_was_sent(came: object, code: str | None) -> None:
    assert code == code_text(came)
    assert code == parse_lenient(OrderError, {"code": came}).code


@pytest.mark.parametrize(
    "spelling", ["partial_success", "partial success", "Partial-Success", " PARTIAL SUCCESS ", "PartialSuccess"]
)
def test_a_status_compares_by_its_letters(spelling: str) -> None:
    assert "partialsuccess" == normal_status(spelling) == normal_status(OrderStatus.PARTIAL_SUCCESS)


@pytest.mark.parametrize("spelling", ["cancelled", "canceled", "Canceled", "CANCELLED"])
def test_an_order_is_cancelled_with_one_l_or_two(spelling: str) -> None:
    assert "cancelled" == normal_status(spelling)


def test_a_missing_status_is_empty() -> None:
    assert normal_status(None) == ""
    assert normal_status("Ordered") == CartStatus.ORDERED


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T10:00:00Z", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22T10:00:00.1234567Z", datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)),
        ("2026-11-22T10:00:00+00:00", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22T10:00:00-08:00", datetime(2026, 11, 22, 18, tzinfo=UTC)),
        ("2026-11-22T10:00:00.5", datetime(2026, 11, 22, 10, 0, 0, 500000, tzinfo=UTC)),
        (" 2026-11-22 ", datetime(2026, 11, 22, tzinfo=UTC)),
        ("9999-12-31T23:59:59-08:00", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("10000-01-01T00:00:00Z", None),
        ("2026-02-30T00:00:00Z", None),
        ("tomorrow", None),
        ("2026-11-22\ud800", None),
        ("", None),
        (None, None),
    ],
)
def test_a_date_is_a_moment_in_utc(text: str | None, moment: datetime | None) -> None:
    assert moment == parse_date(text)


def test_the_repr_of_a_response_does_not_show_its_body() -> None:
    answer = ServiceResponse(201, json.dumps({"orders": []}).encode(), request_id="r1")
    assert (answer.status, answer.failure, answer.request_id) == (201, None, "r1")
    assert "orders" not in repr(answer)
    with pytest.raises(AttributeError, match="immutable"):
        answer.status = 500  # type: ignore[misc]


def test_a_response_without_a_status_has_a_failure() -> None:
    answer = ServiceResponse(None, failure="timeout after 180 s")
    assert (answer.status, answer.body, answer.retry_after, answer.cv) == (None, b"", None, None)
