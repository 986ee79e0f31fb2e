"""What Partner Center sends, as typed models. Pure: no I/O.

Every definition of the API reference with every field of it, what Microsoft's samples and client have beside it, and
a Cart. Attributes are snake_case, on the wire the names are camelCase. Shapes of errors: see `shared.core.faults`.

The service adds fields and values without a new version, so `parse_lenient` takes what fits and never raises, and a
field that names one of a set (status, billing cycle, …) stays text: the enums list known values. Money is Decimal,
dates are text (see `parse_date`), codes are text (see `code_text`). The models are for decisions. The body is passed
on unchanged.

Source: Partner Center REST reference, Check out a cart; cart, order and error resources from Partner Center's
developer documentation.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache, partial
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

import msgspec

from shared.core.jsontext import surrogate_free
from shared.core.redacted import Redacted

Code = Annotated[str, "code_text"]
"""Documented as a string, sent as an integer."""

_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_INT64 = 2**63


# Known values: more may be added. A member's value is its name in lower case unless it is given.
BillingCycle = StrEnum("BillingCycle", "UNKNOWN MONTHLY ANNUAL NONE ONE_TIME TRIENNIAL BIENNIAL")
OrderStatus = StrEnum(
    "OrderStatus",
    "PENDING COMPLETED CANCELLED SUSPENDED PENDING_REVIEW PENDING_PO_UPLOAD PO_UPLOAD_COMPLETE"
    " PO_REVIEW_REJECTED PARTIAL_SUCCESS ERROR UNKNOWN",
)
CartStatus = StrEnum("CartStatus", "ACTIVE ORDERED")  # sent as Active and Ordered
LineTransactionType = StrEnum(
    "LineTransactionType",
    {
        "NEW": "new",
        "RENEW": "renew",
        "ADD_QUANTITY": "addQuantity",
        "REMOVE_QUANTITY": "removeQuantity",
        "CANCEL": "cancel",
        "CONVERT": "convert",
        "CUSTOMER_CREDIT": "customerCredit",
    },
)
OrderTransactionType = StrEnum(
    "OrderTransactionType",
    {"USER_PURCHASE": "UserPurchase", "SYSTEM_PURCHASE": "SystemPurchase", "SYSTEM_BILLING": "SystemBilling"},
)
TermDuration = StrEnum("TermDuration", {"ONE_MONTH": "P1M", "ONE_YEAR": "P1Y", "THREE_YEARS": "P3Y", "NONE": ""})


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An object of the API. A field that is missing is None."""


class KeyValuePair(Model, frozen=True, kw_only=True):
    """A name with its value: a header of a Link, a partner who takes part in a purchase."""

    key: str | None = None
    value: str | None = None


class Link(Model, frozen=True, kw_only=True):
    """Where another resource is, and how to request it. `uri` is relative to the API's base."""

    body: str | None = None
    headers: list[KeyValuePair] | None = None
    method: str | None = None
    uri: str | None = None


class ResourceAttributes(Model, frozen=True, kw_only=True):
    """What kind of object this is, and its version."""

    etag: str | None = None
    object_type: str | None = None


class ClientContext(Model, frozen=True, kw_only=True):
    """The application that placed the order."""

    device_family: str | None = None
    marketplace_country: str | None = None
    name: str | None = None


class Pricing(Model, frozen=True, kw_only=True):
    """Prices in the order's currency."""

    discounted_price: Decimal | None = None
    extended_price: Decimal | None = None
    list_price: Decimal | None = None
    price: Decimal | None = None
    prorated_price: Decimal | None = None


class PurchaseCommitment(Model, frozen=True, kw_only=True):
    """An amount that the customer committed to spend."""

    amount: Decimal | None = None
    currency: str | None = None
    grain: str | None = None


class RenewsTo(Model, frozen=True, kw_only=True):
    """What the subscription becomes when its term ends."""

    term_duration: str | None = None


class OrderLineItemLinks(Model, frozen=True, kw_only=True):
    """The links of an order line."""

    activation_links: Link | None = None
    availability: Link | None = None
    product: Link | None = None
    provisioning_status: Link | None = None
    sku: Link | None = None
    subscription: Link | None = None


class OrderLineItem(Model, frozen=True, kw_only=True):
    """One product of an order. `subscription_id` may be missing until it is provisioned."""

    additional_partner_ids_on_record: list[str] | None = None
    attestation_accepted: bool | None = None
    custom_term_end_date: str | None = None
    friendly_name: str | None = None
    line_item_number: int | None = None
    links: OrderLineItemLinks | None = None
    offer_id: str | None = None
    parent_subscription_id: str | None = None
    partner_id_on_record: str | None = None
    pricing: Pricing | None = None
    promotion_id: str | None = None
    provisioning_context: dict[str, Any] | None = None
    purchase_commitment: PurchaseCommitment | None = None
    quantity: int | None = None
    renews_to: RenewsTo | None = None
    subscription_id: str | None = None
    term_duration: str | None = None
    transaction_type: str | None = None


class OrderLinks(Model, frozen=True, kw_only=True):
    """The links of an order."""

    patch_operation: Link | None = None
    provisioning_status: Link | None = None
    self_: Link | None = None  # `self` on the wire


class Order(Model, frozen=True, kw_only=True):
    """One order: a cart becomes one for each of its order groups."""

    alternate_id: str | None = None
    attributes: ResourceAttributes | None = None
    billing_cycle: str | None = None
    client: ClientContext | None = None
    creation_date: str | None = None
    currency_code: str | None = None
    currency_symbol: str | None = None
    id: str | None = None
    line_items: list[OrderLineItem] | None = None
    links: OrderLinks | None = None
    partner_on_record_attestation_accepted: bool | None = None
    reference_customer_id: str | None = None
    status: str | None = None
    total_price: Decimal | None = None
    transaction_type: str | None = None


class OrderError(Model, frozen=True, kw_only=True):
    """Why an order group of the cart was not ordered."""

    attributes: ResourceAttributes | None = None
    code: Code | None = None
    description: str | None = None
    order_group_id: str | None = None


class CartCheckoutResult(Model, frozen=True, kw_only=True):
    """The body of a 2xx: what was ordered, and what was not."""

    attributes: ResourceAttributes | None = None
    order_errors: list[OrderError] | None = None
    orders: list[Order] | None = None


class CartLineError(Model, frozen=True, kw_only=True):
    """Why the service cannot process a line of a cart. `error_code`: a number, or text in snake_case."""

    error_code: Code | None = None
    error_description: str | None = None
    additional_information: str | None = None


class CartLineItem(Model, frozen=True, kw_only=True):
    """One product of a cart, and the add-ons bought with it."""

    id: str | None = None
    addon_items: list["CartLineItem"] | None = None
    attestation_accepted: bool | None = None
    billing_cycle: str | None = None
    catalog_item_id: str | None = None
    currency_code: str | None = None
    custom_term_end_date: str | None = None
    error: CartLineError | None = None
    friendly_name: str | None = None
    order_group: str | None = None
    participants: list[KeyValuePair] | None = None
    promotion_id: str | None = None
    provisioning_context: dict[str, Any] | None = None
    purchase_system: str | None = None
    quantity: int | None = None
    renews_to: RenewsTo | None = None
    term_duration: str | None = None


class Cart(Model, frozen=True, kw_only=True):
    """A cart. It names no order, and an order names no cart."""

    id: str | None = None
    status: str | None = None
    creation_timestamp: str | None = None
    last_modified_timestamp: str | None = None
    expiration_timestamp: str | None = None
    line_items: list[CartLineItem] | None = None


class ServiceResponse(Redacted, frozen=True):
    """What came back from one HTTP exchange: a status and a body, or a failure.

    `status` None: there is no HTTP response, and `failure` says why ("no answer: ReadTimeout"). `sent`: False where no
    byte of the request was sent ("not sent: NameResolutionError"). `foreign`: what came answers another call, since it
    names another customer or cart. `retry_after` is the header as it came, the ids are the response headers
    MS-RequestId, MS-CorrelationId and MS-CV.
    """

    redacted_fields: ClassVar[frozenset[str]] = frozenset({"body"})

    status: int | None
    body: bytes = b""
    retry_after: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    cv: str | None = None
    failure: str | None = None
    sent: bool = True
    foreign: bool = False


T = TypeVar("T", bound=Model)


def parse_lenient(model: type[T], tree: object) -> T:
    """A model from parsed JSON, as far as it fits. Never raises (trees as `jsontext.load` returns them).

    A field of another type is converted where nothing is lost ("5" to the integer 5, 5 to the text "5"), else None.
    Names are read in any case, as Microsoft's own client reads them. Unknown fields are ignored, and lone surrogates in
    text replaced. Anything but an object gives an empty model, in a list too, so that positions are kept.
    `provisioning_context` stays as parsed.
    """
    if not isinstance(tree, dict):
        return model()
    members = {name.lower(): value for name, value in tree.items()} | tree  # its own name comes first
    found = [(name, key if key in members else key.lower(), convert) for name, key, convert in _fields(model)]
    return model(**{name: convert(members[key]) for name, key, convert in found if key in members})


def normal_status(status: str | None) -> str:
    """A status for comparing: its letters alone, in lower case, and "" for None. The one l of "canceled" is two."""
    letters = "".join(filter(str.isalpha, (status or "").lower()))
    return "cancelled" if letters == "canceled" else letters


def code_text(value: object) -> str | None:
    """A fault's code as text, however it was sent, or None where there is none: null, 0, "0", "" and other types."""
    if isinstance(value, str):
        text = surrogate_free(value).strip()
    else:
        integer = _integer(value)
        text = (_text(value) if integer is None else str(integer)) or ""
    return None if text in {"", "0"} else text


def parse_date(text: str | None) -> datetime | None:
    """A date of the API in UTC: with `Z`, an offset or neither (then UTC), any number of digits of a second.

    None for anything that is not a date in the years 1 to 9999. Never raises.
    """
    try:
        moment = datetime.fromisoformat((text or "").strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    if isinstance(value, str) and not _PLAIN_NUMBER.fullmatch(value):
        return None
    number = Decimal(repr(value) if isinstance(value, float) else value)
    return number if number.is_finite() else None


def _integer(value: object) -> int | None:
    number = _number(value)
    # the range is checked first: int() of 1E+999999999 would fill the memory
    if number is None or not -_INT64 <= number < _INT64 or number != int(number):
        return None
    return int(number)


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return surrogate_free(value)
    number = _number(value)
    return None if number is None else str(number)  # of the Decimal, since str() of an int fails with 5,000 digits


def _list(element: Callable[[object], object], value: object) -> list[object] | None:
    return [item for item in map(element, value) if item is not None] if isinstance(value, list) else None


def _object(model: type[Model], value: object) -> Model | None:
    return parse_lenient(model, value) if isinstance(value, dict) else None


_CONVERTERS: dict[object, Callable[[object], object]] = {
    str: _text,
    int: _integer,
    bool: lambda value: value if isinstance(value, bool) else None,
    Decimal: _number,
    Code: code_text,
    dict[str, Any]: lambda value: value if isinstance(value, dict) else None,
}


def _converter(kind: Any) -> Callable[[object], object]:  # noqa: ANN401  a type of a field, without None
    if get_origin(kind) is list:
        (element,) = get_args(kind)
        return partial(_list, _CONVERTERS.get(element) or partial(parse_lenient, element))
    return _CONVERTERS.get(kind) or partial(_object, kind)


@cache
def _fields(model: type[Model]) -> list[tuple[str, str, Callable[[object], object]]]:
    """Each field's attribute name, its name on the wire, and its converter."""
    fields = msgspec.structs.fields(model)
    return [(field.name, field.encode_name, _converter(get_args(field.type)[0])) for field in fields]
