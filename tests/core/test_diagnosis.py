"""What was met in place of a request: what a sender is told, and the ids that can be told all the same."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core import diagnosis
from shared.core.request_fields import NAMES, guid_or_none
from tests.support.builders import CART, CUSTOMER, body, cloud_event, members, refused, text_of

BOM = b"\xef\xbb\xbf"
PLAIN = body(requestId="order-4711", context=">>>???~~~")
GRID: dict[str, Any] = {
    "topic": "/shop",
    "subject": "carts",
    "eventType": "CartReady",
    "eventTime": "2026-11-22T10:00:00Z",
    "id": "1",
}
GRID |= {"dataVersion": "1.0", "data": members()}


def b64(content: bytes) -> bytes:
    return base64.b64encode(content)


def padded(pads: int) -> bytes:
    """PLAIN with white space behind it, in base64 with so many pads."""
    return b64(PLAIN + b" " * ((-pads - len(PLAIN)) % 3))


assert [0, 1, 2] == [padded(pads).count(b"=") for pads in (0, 1, 2)]

MET = {
    "UTF-16": (PLAIN.decode().encode("utf-16"), "a JSON object in UTF-16"),
    "UTF-16, little end first": (PLAIN.decode().encode("utf-16-le"), "a JSON object in UTF-16"),
    "UTF-16, big end first": (PLAIN.decode().encode("utf-16-be"), "a JSON object in UTF-16"),
    "UTF-16 in base64": (b64(PLAIN.decode().encode("utf-16-le")), "a JSON object in UTF-16 in base64"),
    "base64 twice": (b64(b64(PLAIN)), "a JSON object in base64, twice"),
    "base64url": (base64.urlsafe_b64encode(PLAIN), "a JSON object in base64url"),
    "base64url without padding": (base64.urlsafe_b64encode(PLAIN).rstrip(b"="), "a JSON object in base64url"),
    "MIME lines": (base64.encodebytes(PLAIN), "a JSON object in base64 with white space or line breaks"),
    "a line break behind it": (b64(PLAIN) + b"\r\n", "a JSON object in base64 with white space or line breaks"),
    "no padding": (padded(1)[:-1], "a JSON object in base64 without its padding"),
    "half the padding": (padded(2)[:-1], "a JSON object in base64 without its padding"),
    "bits that mean nothing": (
        padded(2)[:-3] + bytes([padded(2)[-3] + 1]) + b"==",
        "a JSON object in base64 that is not canonical",
    ),
    "BOM": (BOM + b64(PLAIN), "a JSON object in base64 behind a byte order mark"),
    "a string": (text_of(PLAIN.decode()).encode(), "a JSON object in a JSON string"),
    "a string in base64": (b64(text_of(PLAIN.decode()).encode()), "a JSON object in a JSON string in base64"),
    "quoted base64": (b'"' + b64(PLAIN) + b'"', "a JSON object in base64 in a JSON string"),
    "an array": (b"[" + PLAIN + b"]", "an array (one request is one message)"),
    "an empty array": (b"[]", "an array (one request is one message)"),
    "an array of numbers": (b" [1]", "an array (one request is one message)"),
    "Event Grid's array": (
        text_of([GRID]).encode(),
        "an array of events in Event Grid's schema (one request is one message)",
    ),
    "an array in base64": (b64(b"[" + PLAIN + b"]"), "an array (one request is one message) in base64"),
    "null": (b"null", "null"),
    "a number": (b"4711", "a number"),
    "a truth value": (b"true", "true or false"),
    "nothing": (b"", "an empty text"),
    "white space": (BOM + b" \r\n", "an empty text"),
    "XML": (BOM + b"\n<cart/>", "XML"),
    "gzip": (b"\x1f\x8b\x08\0", "gzip"),
}


@pytest.mark.parametrize(("message", "met"), MET.values(), ids=MET.keys())
def test_what_was_met_in_place_of_a_json_object_is_told(message: bytes, met: str) -> None:
    found = refused(message)
    expected = "a JSON object in UTF-8, as it is or in standard, padded base64 without line breaks"
    assert ("$", f"{expected}; this is {met}") == (found.path, found.expected)


@pytest.mark.parametrize(
    "message", [b"buy this cart", b"buythiscart1", b64(bytes(range(256))), b"\0" + PLAIN, b"\xff\xfe{", b"{}{", b"===="]
)
def test_nothing_is_guessed_of_another_text(message: bytes) -> None:
    assert "; this is" not in refused(message).expected


def test_a_text_is_not_unwrapped_for_ever() -> None:
    message = PLAIN
    for _ in range(5):
        message = b64(message)
    assert "; this is" not in refused(message).expected
    assert refused(message).cart_id is None


WRAPPED = [name for name, (_, met) in MET.items() if met.startswith("a JSON object")]


@pytest.mark.parametrize("name", WRAPPED)
def test_the_ids_of_a_request_are_told_whatever_it_is_wrapped_in(name: str) -> None:
    found = refused(MET[name][0])
    assert (CUSTOMER, CART, "order-4711", None) == (
        *(found.customer_id, found.cart_id),
        *(found.request_id, found.causation_id),
    )


def test_a_deferred_copy_is_marked_as_one_whatever_it_is_wrapped_in() -> None:
    assert refused(b64(b64(body(retry={"attempt": 1})))).deferred
    assert not refused(b64(b64(body(retry=None)))).deferred


@given(st.binary(max_size=80) | st.text('{}[]",: \n\x00é-_=Ab4', max_size=60).map(str.encode))
def test_any_text_can_be_described(text: bytes) -> None:
    for message in (text, b64(text), text_of(text.decode(errors="replace")).encode()):
        assert diagnosis.describe(message) != ""
        assert isinstance(diagnosis.object_in(message), dict)


# --- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if name != "retry"])
@pytest.mark.parametrize("spell", [str.upper, str.lower, str.title, "_{}".format, "{} ".format])
def test_a_name_that_differs_in_case_or_a_separator_is_named(name: str, spell: Any) -> None:
    if spell(name) in NAMES:
        return
    found = refused(text_of({spell(name): "x", **members()}).encode())
    assert found.expected.endswith(f"notAfter, traceparent, context; did you mean `{name}`?")


@pytest.mark.parametrize("name", ["customer_id", "customer-id", "Customer Id", "CUSTOMER_ID", "CustomerID"])
def test_the_usual_spellings_of_an_id_are_recognised(name: str) -> None:
    tree = {name: CUSTOMER, "cartId": CART}
    assert refused(text_of(tree).encode()).expected.endswith("; did you mean `customerId`?")
    assert refused(cloud_event(tree)).expected.endswith("; did you mean `customerId`?")


@pytest.mark.parametrize("name", ["Retry", "retries", "customer", "tenantId", ""])
def test_no_other_name_is_suggested_and_retry_never(name: str) -> None:
    expected = refused(body(**{name: 1})).expected
    assert "did you mean" not in expected
    assert "retry" not in expected


WRONG_TYPES = [
    ("customerId", 4711, "a GUID such as 11111111-2222-3333-4444-555555555555, not a number"),
    ("cartId", [CART], "a GUID such as 11111111-2222-3333-4444-555555555555, not an array"),
    ("cartId", "4711", "a GUID such as 11111111-2222-3333-4444-555555555555"),
    ("cartId", None, "a GUID: it is required"),
    (
        "requestId",
        4711,
        "a string of 1 to 256 characters without control characters or lone surrogates, not a number",
    ),
    ("correlationId", {}, "a GUID such as 11111111-2222-3333-4444-555555555555, not an object"),
    (
        "customerUserUpn",
        True,
        "a string of 1 to 256 printable ASCII characters: it travels in a header, not true or false",
    ),
    ("notAfter", 1763805600, "a time with an offset (RFC 3339) such as 2026-11-22T18:00:00Z, not a number"),
    ("traceparent", 1.5, "a string: W3C trace context, not a number"),
    ("retry", {"attempt": "3"}, "what the program writes into its own copies: only those carry this member"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG_TYPES)
def test_a_wrong_value_is_answered_in_words(name: str, value: Any, expected: str) -> None:
    assert expected == refused(body(**{name: value})).expected


@given(
    st.sampled_from(NAMES), st.none() | st.integers() | st.floats() | st.booleans() | st.lists(st.none()) | st.just({})
)
def test_no_text_names_a_python_type(name: str, value: Any) -> None:
    expected = refused(body(**{name: value, "cartId": 1})).expected
    assert not {"str", "int", "float", "bool", "NoneType", "dict", "list", "got"} & {*expected.split()}


# --- envelopes --------------------------------------------------------------------------------------------------

PASCAL = {"SpecVersion": "1.0", "Id": "e-1", "Source": "/shop", "Type": "t", "Data": members(requestId="r")}
FOREIGN = {
    "Event Grid": (GRID, "$", "in Event Grid's schema, which can send CloudEvents 1.0 too"),
    "Event Grid in PascalCase": ({n[0].upper() + n[1:]: v for n, v in GRID.items()}, "$", "in Event Grid's schema"),
    "CloudEvent in PascalCase": (PASCAL, "$.SpecVersion", "`specversion`: CloudEvents 1.0 names are in lower case"),
    "CloudEvent in camelCase": (PASCAL | {"specVersion": "1.0"}, "$.specVersion", "names are in lower case"),
    "CloudEvent without a version": (
        {"id": "e-1", "source": "/shop", "type": "t", "data": members()},
        "$.specversion",
        'this looks like a CloudEvent without `specversion`: "1.0"',
    ),
    "another envelope": ({"messageId": "1", "message": members()}, "$.message", "; this holds one"),
    "another envelope in PascalCase": ({"Body": {"CustomerId": CUSTOMER}}, "$.Body", "; this holds one"),
}


@pytest.mark.parametrize(("tree", "path", "expected"), FOREIGN.values(), ids=FOREIGN.keys())
def test_another_systems_envelope_is_named(tree: dict[str, Any], path: str, expected: str) -> None:
    found = refused(text_of(tree).encode())
    assert path == found.path
    assert expected in found.expected


@pytest.mark.parametrize("tree", [{}, {"message": {}}, {"message": [members()]}, {"id": "1", "source": "s"}], ids=str)
def test_an_object_that_is_no_known_envelope_is_answered_as_a_request(tree: dict[str, Any]) -> None:
    expected = refused(text_of(tree).encode()).expected
    assert expected.startswith("one of" if tree else "a GUID: it is required")


def test_a_request_with_a_members_of_an_envelope_is_still_a_request() -> None:
    assert "$.id" == refused(body(id="1", source="s", type="t")).path
    assert "$.CustomerId" == refused(text_of({"CustomerId": CUSTOMER, "Id": 1, "Source": 1, "Type": 1}).encode()).path


@pytest.mark.parametrize("name", ["id", "source", "type", "data"])
def test_an_attribute_in_another_case_is_named(name: str) -> None:
    event = json.loads(cloud_event())
    event[name.title()] = event.pop(name)
    found = refused(text_of(event).encode())
    assert (f"$.{name}", f"`{name}`: CloudEvents 1.0 names are in lower case") == (found.path, found.expected)


DATA = "a JSON object: the checkout request"
ENCODED = "standard, padded base64 of a JSON object: the checkout request"
NO_DATA = [
    (cloud_event(...), "$.data", f"{DATA}. It is required"),
    (cloud_event(PLAIN.decode()), "$.data", f"{DATA}; this is a JSON object in a JSON string"),
    (cloud_event(b64(PLAIN).decode()), "$.data", f"{DATA}; this is a JSON object in base64 in a JSON string"),
    (cloud_event([members()]), "$.data", f"{DATA}; this is an array (one request is one message)"),
    (cloud_event(5), "$.data", f"{DATA}; this is a number"),
    (cloud_event(..., data_base64=5), "$.data_base64", f"{ENCODED}, not a number"),
    (cloud_event(..., data_base64=PLAIN.decode()), "$.data_base64", f"{ENCODED}; this is a JSON object"),
    (
        cloud_event(..., data_base64=b64(b64(PLAIN)).decode()),
        "$.data_base64",
        f"{ENCODED}; this is a JSON object in base64, twice",
    ),
    (
        cloud_event(..., data_base64=base64.encodebytes(PLAIN).decode()),
        "$.data_base64",
        f"{ENCODED}; this is a JSON object in base64 with white space or line breaks",
    ),
    (cloud_event(data_base64=b64(PLAIN).decode()), "$.data_base64", "`data` or `data_base64`, not both"),
]


@pytest.mark.parametrize(("message", "path", "expected"), NO_DATA, ids=range(len(NO_DATA)))
def test_what_an_event_has_in_place_of_its_data_is_told(message: bytes, path: str, expected: str) -> None:
    found = refused(message)
    assert (path, expected) == (found.path, found.expected)
    assert "e-1" == found.causation_id


# --- the ids of what is refused -----------------------------------------------------------------------------------

TOLD = {
    "PascalCase": (text_of({"CustomerId": CUSTOMER, "CartId": CART, "RequestId": "r"}).encode(), "r", None),
    "snake case": (text_of({"customer_id": CUSTOMER, "cart_id": CART, "request_id": "r"}).encode(), "r", None),
    "a wrong member": (body(requestId="r", x=1), "r", None),
    "an unusable request id": (body(requestId="a\nb"), None, None),
    "a number as request id": (body(requestId=4711), None, None),
    "a CloudEvent": (cloud_event(members(x=1, requestId="r")), "r", "e-1"),
    "a CloudEvent of another version": (cloud_event(members(requestId="r"), specversion="0.3"), "r", "e-1"),
    "a CloudEvent without a usable id": (cloud_event(members(requestId="r"), id="\ud800"), "r", None),
    "a CloudEvent in PascalCase": (text_of(PASCAL).encode(), "r", "e-1"),
    "a CloudEvent with data_base64": (cloud_event(..., data_base64=b64(body(x=1)).decode()), None, "e-1"),
    "a CloudEvent with its data in a string": (cloud_event(PLAIN.decode()), "order-4711", "e-1"),
    "an event of Event Grid": (text_of(GRID).encode(), None, "1"),
}


@pytest.mark.parametrize(("message", "request_id", "causation_id"), TOLD.values(), ids=TOLD.keys())
def test_valid_ids_are_told_under_their_names_in_any_case(
    message: bytes, request_id: str | None, causation_id: str | None
) -> None:
    found = refused(message)
    assert (CUSTOMER, CART) == (found.customer_id, found.cart_id)
    assert (request_id, causation_id) == (found.request_id, found.causation_id)


@pytest.mark.parametrize("data", [5, [], "x", "[1]"])
def test_an_event_without_a_request_has_an_id_all_the_same(data: Any) -> None:
    found = refused(cloud_event(data))
    assert ("e-1", None, False) == (found.causation_id, found.cart_id, found.deferred)


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"customerId": CUSTOMER, "CustomerId": CART}, CUSTOMER),
        ({"customerId": "x", "CustomerId": CART}, None),
        ({"customerId": None, "CustomerId": CART}, CART),
        ({"CUSTOMERID": CUSTOMER, "CustomerId": CART}, None),
        ({"CUSTOMERID": None, "CustomerId": CART}, CART),
        ({}, None),
    ],
)
def test_an_id_is_told_where_it_is_not_ambiguous(tree: dict[str, Any], told: str | None) -> None:
    assert told == diagnosis.member(tree, "customerId", guid_or_none)
